"""A process that does a job which needs the tables: `python -m study.lab.working specification.json`.

It reports as `models.run` describes. The specification names under `work` the module whose `carry_out`
does it; that is given the specification and a function that says whether to stop, and returns the fields of `done`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import django

MODULE: Final = __name__ if __name__ != "__main__" else "study.lab.working"
TELL_EVERY_S = 0.5


def main(arguments: Sequence[str]) -> int:
    """Do the work of the specification named on the command line; return the exit code."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "study.settings")
    # One thread: the matrices are small, and threads that wait for each other cost more than they save.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    django.setup()
    from models.run import conclude

    return conclude(Path(arguments[0]), _carry_out)


def _carry_out(specification: Mapping[str, Any], stop: Callable[[], bool]) -> dict[str, Any]:
    done: dict[str, Any] = import_module(specification["work"]).carry_out(specification, stop)
    return done


def counting(stage: str) -> Callable[[int, int], None]:
    """Tells how far a stage is when called with what is done and how much there is: at its end, and now and then."""
    from models.run import emit

    told = [-TELL_EVERY_S]

    def count(done: int, total: int) -> None:
        if done == total or time.monotonic() - told[0] >= TELL_EVERY_S:
            told[0] = time.monotonic()
            emit("progress", stage=stage, fraction=done / max(total, 1), done=done, total=total)

    return count


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
