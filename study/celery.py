"""The Celery application: two queues, `gpu` (training) and `cpu` (everything else), JSON only, no result back end."""

import os
import sys
from pathlib import Path

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "study.settings")

# Celery puts the working directory first on the path, where another folder named `models` would stand for ours.
_ROOT = str(Path(__file__).resolve().parent.parent)
_path = [_ROOT, *(folder for folder in sys.path if folder != _ROOT)]
app = Celery("study")
sys.path[:] = _path
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_routes = {f"study.lab.tasks.{name}": {"queue": "gpu"} for name in ("train", "evaluate")}
app.autodiscover_tasks()
