"""What log records are about: the job or the request at hand, told once and written with every record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType

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
