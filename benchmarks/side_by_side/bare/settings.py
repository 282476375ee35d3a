"""The same database, server and interpreter as ours, and nothing else: what an answer costs at the least."""

from study import database
from study.settings import *  # noqa: F403
from study.settings import VAR, env

INSTALLED_APPS = ["benchmarks.side_by_side.bare"]
MIDDLEWARE: list[str] = []
ROOT_URLCONF = "benchmarks.side_by_side.bare.urls"
WSGI_APPLICATION = "benchmarks.side_by_side.bare.wsgi.application"
AUTH_USER_MODEL = "auth.User"
DATABASES = {"default": database.configured(database.named_by(env.str("DATABASE_URL", "")), database.WEB, var=VAR)}
