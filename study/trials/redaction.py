"""Keeps runs' tokens out of the logs: whoever has a token has the run."""

from __future__ import annotations

import logging
import re

TOKEN_IN_PATH = re.compile(r"(/run/)[\w-]+")


class RedactTokens(logging.Filter):
    """Rewrites a record's message so that no path in it shows a token."""

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if "/run/" in message:
            record.msg, record.args = TOKEN_IN_PATH.sub(r"\1[token]", message), ()
        return True


def redact_tokens() -> None:
    """Put the filter before every handler that is configured now."""
    redact = RedactTokens()
    names = [None, *logging.root.manager.loggerDict]
    for handler in {handler for name in names for handler in logging.getLogger(name).handlers}:
        handler.addFilter(redact)
