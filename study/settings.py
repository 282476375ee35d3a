"""Settings. Everything that differs between machines comes from the environment: docs/operations.md has the table."""

from typing import Any

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject

from study import database, logs, places, storage_url

BASE_DIR, VAR = places.BASE_DIR, places.VAR
env = environ.Env()

PRODUCTION = env.bool("PRODUCTION", default=False)
DEBUG = not PRODUCTION and env.bool("DEBUG", default=False)


def _required_in_production(name: str, default: str) -> str:
    if PRODUCTION and not env.str(name, default=""):
        raise ImproperlyConfigured(f"PRODUCTION=1 needs {name}: set it in the environment (docs/operations.md).")
    return str(env.str(name, default=default))


def _number(name: str, default: int) -> int:
    given = str(env.str(name, default="")) or str(default)
    if not (given.isascii() and given.isdecimal()):
        raise ImproperlyConfigured(f"{name} must be a whole number of at least 0, not {given!r} (docs/operations.md).")
    return int(given)


def _local_secret_key() -> str:
    """A key of this installation's own, made at first use: sessions survive a restart and no default key exists."""
    import os
    import secrets

    path = VAR / "secret_key"
    if not path.exists():
        places.make(VAR)
        temporary = path.with_name(f"secret_key.{os.getpid()}")
        temporary.touch(mode=0o600)
        temporary.write_text(secrets.token_urlsafe(48))
        try:
            os.link(temporary, path)  # of two processes starting together, one wins and both read the winner's
        except FileExistsError:
            pass
        finally:
            temporary.unlink()
    return path.read_text()


SECRET_KEY = _required_in_production("SECRET_KEY", "") or SimpleLazyObject(_local_secret_key)
ALLOWED_HOSTS = _required_in_production("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").replace(" ", "").split(",")
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

INSTALLED_APPS = [
    "study.accounts",
    "study.lab",
    "study.trials",
    "study.analysis",
    "study.desk",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
]

MIDDLEWARE = [
    "study.middleware.answer_probes",
    "study.middleware.tell_of_requests",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "study.outages.DatabaseOutage",
]

ROOT_URLCONF = "study.urls"
WSGI_APPLICATION = "study.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- database: SQLite in var/ unless DATABASE_URL says otherwise
DATABASES: dict[str, dict[str, Any]] = {
    "default": database.configured(
        database.named_by(env.str("DATABASE_URL", default="")),
        database.this_process(),
        var=VAR,
        pool=_number("DATABASE_POOL", database.USUAL_POOL),
    )
}
_required_in_production("DATABASE_URL", "")

# --- files
STATIC_URL = "static/"
STATIC_ROOT = VAR / "static"
STORAGES = {
    "default": storage_url.storage_of(env.str("STORAGE_URL", default="")),  # the truth; MEDIA_ROOT is this host's copy
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
MEDIA_ROOT = VAR / "files"

# --- workers
CELERY_BROKER_URL = _required_in_production("REDIS_URL", "")
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_IGNORE_RESULT = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # a worker waits for its broker, however long that is away
# A training goes on while the broker is away: the job's row says who has it, the message does not matter any more.
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_TRANSPORT_OPTIONS = {
    # Longer than any job: Redis delivers a task that outlives it a second time. The job table guards against that.
    "visibility_timeout": 48 * 3600,
    # A broker that has gone silent is noticed, and nobody who submits a job waits for it long.
    "socket_connect_timeout": 2,
    "socket_timeout": 10,
    "socket_keepalive": True,
    "health_check_interval": 15,
}
MINIMUM_FREE_MB = _number("MINIMUM_FREE_MB", 500)  # on the disks that a job writes to, before it starts

# --- language and time
LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("nl", "Dutch"), ("de", "German")]  # of the participants' pages
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

# --- security
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "img-src": [SELF, "blob:"],
        "object-src": [NONE],
        "base-uri": [NONE],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
    }
}
# Participants' pages say "no-referrer" themselves. Here it would make browsers send "Origin: null" with the admin's
# forms, which the CSRF check refuses.
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
if PRODUCTION:
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = True
    CSRF_COOKIE_SECURE = True

# --- watching (docs/monitoring.md)
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
LOGGING = logs.configuration(env)
