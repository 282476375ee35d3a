"""What a command says when its surroundings are at fault: one sentence, what is wrong and what to do."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured
from django.db.utils import DatabaseError, OperationalError

from study.places import VAR

FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def sentence_of(error: Exception) -> str | None:
    """The sentence for a fault of settings, database or files; None for a bug, whose traceback is of more use."""
    if isinstance(error, ImproperlyConfigured):
        return finished(str(error))
    if isinstance(error, OSError):
        return _of_files(error)
    if isinstance(error, OperationalError) or type(error) is DatabaseError:  # its other kinds are mistakes in a query
        return _of_database(" ".join(str(error).split()))
    return None


def finished(text: str) -> str:
    """In one line, with something at its end."""
    text = " ".join(text.split())
    return text if text.endswith((".", "?", "!")) else f"{text}."


def no_installation(place: Path | str) -> str:
    """For who asks something of an installation that is not there."""
    return f"There is no installation at {place}: check BLINDSPOT_VAR and DATABASE_URL."


def _of_files(error: OSError) -> str:
    if not isinstance(error.filename, str | Path):
        return finished(error.strerror or str(error))
    place, sentence = Path(error.filename), f"{error.filename}: {error.strerror}."
    if VAR.is_relative_to(place) or (error.errno in FORBIDDEN and place.is_relative_to(VAR)):
        sentence += f" {VAR} must be a folder that this user can write to: see to that, or set BLINDSPOT_VAR."
    return sentence


def _of_database(said: str) -> str:
    from django.db import connection

    if connection.vendor != "sqlite":
        return finished(f"The database that DATABASE_URL names cannot be used: {said}")
    path = Path(connection.settings_dict["NAME"])
    if not os.path.isdir(path.parent):
        return no_installation(path.parent)
    if "not a database" in said or "malformed" in said:
        return f"{path} is damaged ({said}): bring a backup back with `manage.py restore FILE --replace`."
    if "no such table" in said or "no such column" in said:
        return f"The database {path} is not of this version ({said}): run `manage.py migrate`."
    if "unable to open" in said or "readonly" in said:
        return (
            f"The database {path} cannot be written ({said}): its folder must be one that this user can write to; "
            "see to that, or set BLINDSPOT_VAR."
        )
    return finished(f"The database {path} cannot be used: {said}")
