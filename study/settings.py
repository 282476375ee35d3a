"""Settings. Everything that differs between machines comes from the environment: docs/operations.md has the table."""

from datetime import timedelta
from typing import Any

import environ
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.functional import SimpleLazyObject

from study import database, logs, places, storage_url
from study.rate_limits import Limit

BASE_DIR, VAR = places.BASE_DIR, places.VAR
env = environ.Env()

PRODUCTION = env.bool("PRODUCTION", default=False)
DEBUG = not PRODUCTION and env.bool("DEBUG", default=False)


def _required_in_production(name: str, default: str) -> str:
    if PRODUCTION and not env.str(name, default=""):
        raise ImproperlyConfigured(f"PRODUCTION=1 needs {name}: set it in the environment (docs/operations.md).")
    return str(env.str(name, default=default))


def _number(name: str, default: int, least: int = 0) -> int:
    given = str(env.str(name, default="")) or str(default)
    if not (given.isascii() and given.isdecimal()) or int(given) < least:
        raise ImproperlyConfigured(
            f"{name} must be a whole number of at least {least}, not {given!r} (docs/operations.md)."
        )
    return int(given)


def _rate(name: str, usual: str) -> Limit | None:
    return Limit.named(name, str(env.str(name, default="")) or usual)


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
    "study.desk.apps.AdminConfig",  # django.contrib.admin on the desk's site
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_totp",
    "django_otp.plugins.otp_static",
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
    "study.accounts.middleware.name_the_actor",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
    "study.outages.DatabaseOutage",
    "study.trials.rates.LimitRates",
]

ROOT_URLCONF = "study.urls"
WSGI_APPLICATION = "study.wsgi.application"
AUTH_USER_MODEL = "accounts.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LOGIN_URL, LOGIN_REDIRECT_URL = "admin:login", "admin:index"
AUTHENTICATION_BACKENDS = ["study.accounts.throttling.Throttle", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
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
MAX_UPLOAD_MB = _number("MAX_UPLOAD_MB", 512)  # of researchers; nobody else uploads anything
FILE_UPLOAD_HANDLERS = [
    "study.lab.uploads.SizeGate",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]

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
SESSION_COOKIE_AGE = 3600 * _number("SESSION_HOURS", 12, least=1)  # s: from signing in on, in use or not
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
REQUIRE_TWO_FACTOR = env.bool("REQUIRE_TWO_FACTOR", default=PRODUCTION)
OTP_TOTP_ISSUER = "Blindspot"
# What researchers may import from in the admin: folders of this server.
IMPORT_FOLDERS = env.list("IMPORT_FOLDERS", default=[])
# Uploads are spooled to disk above this, and a form holds no more than that: of text, of fields, of files.
FILE_UPLOAD_MAX_MEMORY_SIZE = DATA_UPLOAD_MAX_MEMORY_SIZE = 2_500_000
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2000
DATA_UPLOAD_MAX_NUMBER_FILES = 10
FILE_UPLOAD_PERMISSIONS = 0o600
# Who guesses a password or a code has to wait: five failures of a name from an address, for a quarter of an hour.
AXES_FAILURE_LIMIT = 5
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # else whoever keeps guessing keeps the researcher out
AXES_CLIENT_IP_CALLABLE = "study.accounts.throttling.address"
AXES_USERNAME_CALLABLE = "study.accounts.throttling.counted_name"
AXES_LOCKOUT_CALLABLE = "study.accounts.throttling.locked"
AXES_SENSITIVE_PARAMETERS = ["username", "ip_address", "code", "csrfmiddlewaretoken"]
AXES_DISABLE_ACCESS_LOG = True  # the audit log has who signed in, and no addresses
AXES_ENABLE_ADMIN = AXES_VERBOSE = False
if PRODUCTION:
    SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=True)
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SECURE_HSTS_PRELOAD = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SESSION_COOKIE_SECURE = True
    SESSION_COOKIE_NAME = "__Host-session"  # browsers take it from this very host, over HTTPS, or not at all
    CSRF_COOKIE_SECURE = True

# --- how often participants' addresses may be asked (docs/operations.md)
RATE_LIMITS = {
    "run": _rate("RATE_LIMIT_RUN", "5000+20/s"),
    "starts": _rate("RATE_LIMIT_STARTS", "1000+5/s"),
    "misses": _rate("RATE_LIMIT_MISSES", "300+1/s"),
}
PROXIES = _number("PROXIES", 1 if PRODUCTION else 0)  # in front of this server: whom they speak for is believed

# --- watching (docs/monitoring.md)
METRICS_TOKEN = env.str("METRICS_TOKEN", default="")
LOGGING = logs.configuration(env)
