"""The fault suite in short: the same code as `make faults`, with a few kills of each kind that is quick to heal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

SLOW_TO_HEAL = ("broker cut", "soft shutdown")


@pytest.mark.slow
def test_after_a_short_storm_nothing_acknowledged_is_lost_and_every_job_ended_once(tmp_path: Path) -> None:
    out = tmp_path / "faults"
    command = [
        sys.executable, "-m", "tests.faults.storm", "--kills", "6", "--seed", "3", "--epochs", "6",
        "--participants", "12", "--think", "0.4", "--pause", "0.2", "1.0", "--out", str(out),
        "--without", *SLOW_TO_HEAL,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=settings.BASE_DIR, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    report = json.loads((out / "report.json").read_text())
    assert report["kills"] == 6
    assert report["acknowledged"] > 0
    assert (report["lost"], report["duplicated"], report["stuck"], report["orphans"]) == (0, 0, [], 0)
    assert report["jobs_ended_once"] == report["jobs"] > 0
    assert report["weights_equal"]
