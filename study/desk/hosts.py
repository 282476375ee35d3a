"""What a host needs before its workers take jobs, looked at without loading torch."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import OperationalError, connection
from django.db.migrations.recorder import MigrationRecorder

from study.health import migrations_of_this_code, missing_migrations
from study.lab import disk
from study.processes import broker_answers
from study.sentences import finished

DEVICE_FILES = Path("/dev")


def missing() -> list[str]:
    """What keeps this host from taking jobs, one sentence each; empty when nothing does."""
    checks: tuple[Callable[[], str | None], ...] = (_database, _broker, _storage, _space)
    found = [sentence for check in checks if (sentence := check())]
    connection.close()  # the workers fork and must not inherit it
    return found


def devices() -> list[str]:
    """The NVIDIA devices that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if (named := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(DEVICE_FILES.glob("nvidia[0-9]*"))]


def torch_uses_devices() -> bool:
    """Whether the installed torch was built for more than processors: its version says so without loading it."""
    return not metadata.version("torch").endswith("+cpu")


def _database() -> str | None:
    try:
        lacking = sorted(missing_migrations())
        applied = MigrationRecorder(connection).applied_migrations()
    except OperationalError as error:
        return f"The database cannot be reached (DATABASE_URL): {_sentence(error)}"
    ours = {app.label for app in apps.get_app_configs()}
    known = migrations_of_this_code()
    if unknown := sorted(key for key in applied if key not in known and key[0] in ours):
        return (
            f"The database is ahead of this host's code, which does not know {'.'.join(unknown[-1])}: "
            "bring the code of all hosts to the same version."
        )
    if lacking:
        more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
        return (
            f"The database is behind this host's code: it lacks {'.'.join(lacking[0])}{more}; "
            "run `manage.py migrate` once, on one host."
        )
    return None


def _broker() -> str | None:
    if not os.environ.get("REDIS_URL"):
        return "No broker is known: set REDIS_URL to the one that the web host publishes to."
    return None if broker_answers() else "The broker does not answer, or refuses the password (REDIS_URL)."


def _storage() -> str | None:
    storage, name, content = storages["default"], f"host-check-{uuid.uuid4()}", uuid.uuid4().bytes
    try:
        name = storage.save(name, ContentFile(content))
        with storage.open(name) as file:
            arrived = file.read()
        storage.delete(name)
    except Exception as error:  # noqa: BLE001 (each kind of storage has exceptions of its own; all mean the same here)
        place = f"STORAGE_URL, or {settings.MEDIA_ROOT}"
        return f"The files' storage cannot be written and read ({place}): {_sentence(error)}"
    return None if arrived == content else "The files' storage gives back something else than it was given."


def _space() -> str | None:
    folder = Path(settings.VAR)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        disk.require_space(folder)
    except OSError as error:
        return _sentence(error)
    return None if os.access(folder, os.W_OK) else f"The working folder {folder} cannot be written (BLINDSPOT_VAR)."


def _sentence(error: Exception) -> str:
    return finished(str(error).strip() or type(error).__name__)
