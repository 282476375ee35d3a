"""Work that does as it is told, in place of a training. Run as `python -m tests.study.lab.scripted_work FILE`."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any


def emit(event: str, **fields: Any) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


def main() -> int:
    told = json.loads(Path(sys.argv[1]).read_text())
    emit("progress", stage="training", fraction=0.5)
    if told.get("stubborn"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(told.get("seconds", 0))
    if told.get("killed"):
        os.kill(os.getpid(), signal.SIGKILL)
    if told.get("failed"):
        emit("failed", error=told["failed"])
        return 1
    if told.get("crashed"):
        raise RuntimeError(told["crashed"])
    emit("done", **told["done"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
