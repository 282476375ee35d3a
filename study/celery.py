"""The Celery application: JSON only, no result back end; `study.queues` says what goes where."""

import logging
import os
import sys
from pathlib import Path

from celery import Celery
from celery.signals import celeryd_init, setup_logging

from study.queues import QUEUES

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "study.settings")

# Celery puts the working directory first on the path, where another folder named `models` would stand for ours.
_ROOT = str(Path(__file__).resolve().parent.parent)
_path = [_ROOT, *(folder for folder in sys.path if folder != _ROOT)]
app = Celery("study")
sys.path[:] = _path
app.config_from_object("django.conf:settings", namespace="CELERY")

app.conf.task_routes = {task: {"queue": queue} for queue, tasks in QUEUES.items() for task in tasks}
app.autodiscover_tasks()


@celeryd_init.connect
def _keep_private(**_: object) -> None:
    from study import places

    places.keep_private()


@celeryd_init.connect
def _log_warnings_as_well(**_: object) -> None:
    """Celery does so only after its own warning of running as root, which would stand between lines of JSON."""
    logging.captureWarnings(True)


@setup_logging.connect
def _log_as_everybody_does(**_: object) -> None:
    from study.logs import configure

    configure()
