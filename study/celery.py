"""The Celery application: two queues, `gpu` (training) and `cpu` (everything else), JSON only, no result back end."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "study.settings")

app = Celery("study")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.task_routes = {f"study.lab.tasks.{name}": {"queue": "gpu"} for name in ("train", "evaluate")}
app.autodiscover_tasks()
