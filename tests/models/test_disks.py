"""Of several disks the fullest is named, with what to do."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from models import disks


class Usage(NamedTuple):
    free: int


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Folders of disks that have 5 and 4 MB left."""
    roomy, tight = tmp_path / "roomy", tmp_path / "tight"
    left = {roomy: 5 * disks.MB, tight: 4 * disks.MB}
    for folder in left:
        folder.mkdir()
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(left[Path(folder)]))
    return roomy, tight


def test_of_several_disks_the_fullest_is_named(two: tuple[Path, Path]) -> None:
    assert disks.fullest(*two) == two[1]


def test_a_folder_that_is_not_there_yet_counts_as_the_one_it_will_be_in(two: tuple[Path, Path]) -> None:
    assert disks.free_bytes(two[1] / "not" / "yet") == 4 * disks.MB


@pytest.mark.parametrize(("goes_on", "ending"), [(False, "."), (True, "; it goes on from its last checkpoint.")])
def test_the_sentence_says_what_to_do(two: tuple[Path, Path], goes_on: bool, ending: str) -> None:
    told = disks.ran_full(two[1], goes_on=goes_on)
    assert told == f"The disk of {two[1]} is full (4 MB left): make room there, then try again{ending}"
