"""What log records are about, how they are written, and what is kept out of them: runs' tokens and recruiters' ids.

Whoever has a token has the run, so no record may show one, whatever logger, argument or traceback it came by. Hence
the finished text is redacted, after everything has been put into it, by the one handler that all loggers share.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.config
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

# A slash may be percent-encoded, as in the address that a login form leads back to. Whatever stands before "run":
# a path too many is better than a token. The query is searched for only where there is one: every record pays for this.
_TOKEN = re.compile(r"(run(?:/|%+(?:25)*2[fF])+)[^/\s\"'\\?#<>]+")
_QUERY = re.compile(r"((?:\b|(?<=2[fF]))(?:s|run)(?:/|%+(?:25)*2[fF])[^\s\"'\\?]*?)(?:\?|%+(?:25)*3[fF])[^\s\"'\\]+")

_subject: ContextVar[Mapping[str, str]] = ContextVar("subject", default=MappingProxyType({}))


@contextlib.contextmanager
def about(**fields: str) -> Iterator[None]:
    """Records written within the block carry these fields, such as `job` or `request`."""
    token = _subject.set({**_subject.get(), **fields})
    try:
        yield
    finally:
        _subject.reset(token)


def subject() -> Mapping[str, str]:
    """The fields of the blocks around this call."""
    return _subject.get()


def redacted(text: str) -> str:
    """The text without tokens in the paths of runs, and without queries at participants' addresses."""
    text = _TOKEN.sub(r"\1[token]", text)
    return _QUERY.sub(r"\1?[query]", text) if "?" in text or "%" in text else text


class LineFormatter(logging.Formatter):
    """One line to read for each record, and its traceback below."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object on one line for each record: the fields below, those of `subject()`, and the record's `fields`.

    Nothing else of a record is written: what libraries attach to theirs, as Django does the request, holds too much.
    """

    def format(self, record: logging.LogRecord) -> str:
        written: dict[str, Any] = {
            "time": _rfc3339(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **_request_of(record),
            **subject(),
            **getattr(record, "fields", {}),
        }
        if exception := self._exception(record):
            written["exception"] = exception
        return redacted(json.dumps(written, default=str))

    def _exception(self, record: logging.LogRecord) -> str:
        parts = (
            record.exc_text or (self.formatException(record.exc_info) if record.exc_info else ""),
            self.formatStack(record.stack_info) if record.stack_info else "",
        )
        return "\n".join(part for part in parts if part)


FORMATS: dict[str, type[logging.Formatter]] = {"json": JsonFormatter, "line": LineFormatter}


class Console(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to standard error. A record that cannot be formatted is replaced by one that says where it came from."""

    def format(self, record: logging.LogRecord) -> str:
        try:
            return super().format(record)
        except Exception as error:  # noqa: BLE001 (arguments fail as they like, and logging must not)
            message = f"This record could not be written ({type(error).__name__}): {record.pathname}:{record.lineno}"
            fields = {"name": record.name, "levelno": record.levelno, "levelname": record.levelname, "msg": message}
            return super().format(logging.makeLogRecord(fields))

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        """Standard error is gone, or its disk is full. Python would now print the record's arguments, unredacted."""


def configuration(env: environ.Env) -> dict[str, Any]:
    """For `logging.config.dictConfig`: every record of every library goes through the one handler.

    LOG_FORMAT is one of FORMATS; LOG_LEVEL is of all loggers, by default INFO of ours and WARNING of the rest. Raises
    ImproperlyConfigured for a format or a level that there is not.
    """
    style = env.str("LOG_FORMAT", default="json" if env.bool("PRODUCTION", default=False) else "line")
    if style not in FORMATS:
        raise ImproperlyConfigured(f"LOG_FORMAT is {style!r}: it must be one of {', '.join(FORMATS)}.")
    level = env.str("LOG_LEVEL", default="")
    if level and level not in logging.getLevelNamesMapping():
        raise ImproperlyConfigured(f"LOG_LEVEL is {level!r}: it must be one of DEBUG, INFO, WARNING, ERROR, CRITICAL.")
    ours = {"level": level or "INFO"}
    # Handlers that a library brings along go: they know nothing of redaction.
    through_root: dict[str, Any] = {"handlers": [], "propagate": True}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {style: {"()": FORMATS[style]}},
        "handlers": {"console": {"()": Console, "formatter": style}},
        "root": {"handlers": ["console"], "level": level or "WARNING"},
        "loggers": {
            "study": ours,
            "celery": {**through_root, **ours},
            # Two lines for every task, and a worker sweeps every few seconds. What jobs do, `study.lab` tells.
            "celery.app.trace": {"level": level or "WARNING"},
            "celery.worker.strategy": {"level": level or "WARNING"},
            "django": through_root,
            "django.request": {"level": "ERROR"},  # `study.requests` tells of every request, refused ones too
            "django.server": through_root,
            "gunicorn.error": {"handlers": ["console"], "propagate": False},  # its level is gunicorn's own affair
            "gunicorn.access": {"handlers": [], "propagate": False},
        },
    }


def configure(**_: Any) -> None:
    """Receiver of Celery's `setup_logging`: workers log as everybody does."""
    from django.conf import settings

    logging.config.dictConfig(settings.LOGGING)


def _request_of(record: logging.LogRecord) -> Mapping[str, str]:
    """Django tells of refused requests when they are over, and attaches them."""
    request_id = getattr(getattr(record, "request", None), "id", None)
    return {"request": request_id} if request_id else {}


def _rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
