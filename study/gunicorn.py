"""How gunicorn serves the pages, under `serve` and in a container alike: `gunicorn -c python:study.gunicorn`.

WEB_CONCURRENCY, which gunicorn reads by itself, changes the number of processes.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import environ

from study import database, logs, metrics_folder
from study.places import VAR, keep_private

wsgi_app = "study.wsgi"
worker_class = "gthread"
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = database.USUAL_POOL  # a connection for each

# A stopping process finishes the requests it has: an answer is stored before it is acknowledged, so none is lost, and
# one that was cut off is sent again by the page. There is no `max_requests`: memory does not grow (docs/deployment.md),
# and a process that starts afresh makes people wait.
graceful_timeout = 10
# Longer than a reverse proxy keeps an idle connection: whoever closes first must be the one that also sends.
keepalive = 75

#: How long the system keeps a connection that has said nothing to itself.
SILENCE_S = 60

# A heartbeat file on a busy disk would make the parent take a waiting process for a dead one.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108 (gunicorn makes a private file)
control_socket_disable = True  # it would write to the home folder

loglevel = "warning"
accesslog = None  # paths hold the tokens of sessions
logconfig_dict = logs.configuration(environ.Env())


def on_starting(server: Any) -> None:
    """What the processes write is for their user alone; those that come and go count into one folder."""
    keep_private()
    metrics_folder.begin(VAR / "run" / "metrics")


def when_ready(server: Any) -> None:
    """Take a connection when it has something to say.

    A thread that has taken one waits for its first request, and browsers open connections ahead of need: some twenty of
    them kept everybody else waiting (docs/benchmarks.md).
    """
    for listener in server.LISTENERS:
        if listener.sock.family in (socket.AF_INET, socket.AF_INET6) and hasattr(socket, "TCP_DEFER_ACCEPT"):
            listener.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, SILENCE_S)


def child_exit(server: Any, worker: Any) -> None:
    """Keep what a process that ended has counted."""
    metrics_folder.bury(worker.pid)
