"""Workers of a machine with a CUDA device: they count it as torch does, and train on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from study.desk import hosts
from tests.study.lab.conftest import recipe, write_arrays

ROOT = Path(__file__).parents[2]


def test_the_devices_counted_are_those_that_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hosts.devices() == [str(number) for number in range(torch.cuda.device_count())]
    assert hosts.torch_uses_devices()


def test_a_worker_trains_and_evaluates_on_the_device(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(json.dumps(recipe()))
    command = [sys.executable, "manage.py", "train_model", "--dataset", str(write_arrays(tmp_path / "blobs.npz"))]
    environment = {name: value for name, value in os.environ.items() if name not in ("REDIS_URL", "DATABASE_URL")}
    done = subprocess.run(
        [*command, "--recipe", str(tmp_path / "recipe.json")],
        cwd=ROOT,
        env={**environment, "BLINDSPOT_VAR": str(tmp_path / "var")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cards = [json.loads(path.read_text()) for path in (tmp_path / "var").rglob("card.json")]
    assert len(cards) == 2
    assert {card["versions"]["device"] for card in cards} == {"cuda"}
