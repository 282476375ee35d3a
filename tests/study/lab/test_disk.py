"""Room is asked for before work starts; a full disk is named with what to do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from study.lab import disk


class Usage(NamedTuple):
    free: int


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Callable[[dict[Path, int]], None]:
    """Says how many bytes the disks of these folders have left."""
    settings.MINIMUM_FREE_MB = 500

    def have(free: dict[Path, int]) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(free[Path(folder)]))

    return have


def test_a_disk_with_room_will_do(tmp_path: Path, left: Callable[[dict[Path, int]], None]) -> None:
    left({tmp_path: 500 * disk.MB})
    disk.require_space(tmp_path)


def test_a_disk_with_less_than_the_minimum_is_named_with_what_to_do(
    tmp_path: Path, left: Callable[[dict[Path, int]], None]
) -> None:
    left({tmp_path: 499 * disk.MB})
    with pytest.raises(disk.DiskFull) as refused:
        disk.require_space(tmp_path)
    assert str(refused.value) == (
        f"The disk of {tmp_path} has 499 MB left, and 500 MB are wanted before work starts: "
        "make room there, then try again (MINIMUM_FREE_MB says how much is always left)."
    )


def test_what_is_needed_comes_on_top_of_the_minimum(tmp_path: Path, left: Callable[[dict[Path, int]], None]) -> None:
    left({tmp_path: 700 * disk.MB})
    disk.require_space(tmp_path, 200 * disk.MB)
    with pytest.raises(disk.DiskFull, match="701 MB are wanted"):
        disk.require_space(tmp_path, 200 * disk.MB + 1)


def test_a_folder_that_is_not_there_yet_counts_as_the_one_it_will_be_in(
    tmp_path: Path, left: Callable[[dict[Path, int]], None]
) -> None:
    left({tmp_path: 0})
    with pytest.raises(disk.DiskFull, match="jobs/1"):
        disk.require_space(tmp_path / "jobs" / "1")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_errors_and_sentences_of_a_full_disk_or_quota_are_recognised(number: int) -> None:
    error = OSError(number, os.strerror(number), "weights.part")
    assert disk.is_for_want_of_room(error)
    assert disk.tells_of_want_of_room(str(error))


def test_other_errors_are_not_taken_for_a_full_disk() -> None:
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "weights")
    assert not disk.is_for_want_of_room(error)
    assert not disk.tells_of_want_of_room(str(error))
