"""The pictures of an installation of ours as plain files, served by whitenoise alone: nothing of a run is looked up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from whitenoise import WhiteNoise

from benchmarks.side_by_side.shown import PLAIN
from study.places import VAR


def _nothing_else(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("404 Not Found", [("Content-Length", "0")])
    return []


application = WhiteNoise(_nothing_else, root=str(VAR / "files"), prefix=PLAIN)
