from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.side_by_side import rendering


def test_one_process_is_measured_at_both_sizes_and_for_its_textures() -> None:
    rows = rendering.in_one_process(rounds=1, seconds=0.0)
    assert [row.id for row in rows] == ["render.64", "render.224", "render.textures"]
    assert rows[0].ours > rows[1].ours > 0
    assert all(row.costs["ours"].peak_mb for row in rows)


def test_every_round_renders_from_nothing_and_then_reads_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []

    def load(config: Any, folder: Path, processes: int) -> None:
        asked.append((folder.name, config.train_images + config.validation_images + config.test_images, processes))

    monkeypatch.setattr("models.datasets.synthetic_eyes.load", load)
    cold, cached = rendering.in_two_processes(rounds=2, n=600, folder=tmp_path)
    assert asked == [("0", 600, 2), ("0", 600, 2), ("1", 600, 2), ("1", 600, 2)]
    assert (cold.id, cached.id) == ("render.64.cold", "render.64.cached")
