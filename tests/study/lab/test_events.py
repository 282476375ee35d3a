"""A process is followed until it has ended, whatever becomes of its output."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from study.lab.events import events_of


def shell(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE, text=True)


def test_a_process_that_closes_its_output_is_followed_until_it_ends() -> None:
    process = shell("exec >&-; sleep 0.7")
    assert set(events_of(process)) == {None}
    assert process.returncode == 0


def test_a_process_that_leaves_another_with_its_output_is_not_followed_beyond_its_end() -> None:
    began = time.monotonic()
    (left,) = [event["pid"] for event in events_of(shell("sleep 30 & echo '{\"pid\": '$!'}'")) if event]
    os.kill(left, signal.SIGKILL)
    assert time.monotonic() - began < 20
