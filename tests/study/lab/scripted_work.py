"""Work that does as it is told, in place of a training. Run as `python -m tests.study.lab.scripted_work FILE`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


class Stopped(Exception):  # noqa: N818
    """SIGTERM came."""


def emit(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def stop(*_: object) -> None:
    raise Stopped


def main() -> int:
    told = json.loads(Path(sys.argv[1]).read_text())
    signal.signal(signal.SIGTERM, signal.SIG_IGN if told.get("stubborn") else stop)
    try:
        work(told)
    except Stopped:
        if not told.get("done_all_the_same"):
            emit("stopped", error="The work was stopped.")
            return 1
    except OSError as error:
        emit("failed", error=str(error))
        return 1
    emit("done", **told["done"])
    return 0


def work(told: dict[str, Any]) -> None:
    emit("progress", stage="training", fraction=0.5)
    if "prints" in told:
        os.write(1, told["prints"].encode("latin-1") + b"\n")
    if "checkpoint" in told:
        emit("checkpoint", fraction=told["checkpoint"])
    time.sleep(told.get("seconds", 0))
    if told.get("stops_itself"):
        os.kill(os.getpid(), signal.SIGTERM)
    if told.get("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if told.get("failed"):
        raise OSError(told["failed"])
    if told.get("crashed"):
        raise RuntimeError(told["crashed"])
    if told.get("fills_the_disk"):
        Path("/dev/full").write_bytes(b"x")


if __name__ == "__main__":
    sys.exit(main())
