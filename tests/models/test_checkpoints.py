import errno
import os

import pytest
import torch

from models.checkpoints import (
    CHECKPOINT_NAME,
    Checkpoints,
    read_tensors,
    tensor_bytes,
    write_tensors,
)

TENSORS = {"b": torch.arange(3.0), "a": torch.ones(2, 2, dtype=torch.int64)}
RECORD = {"epoch": 3, "scores": [0.1, None]}


def test_tensors_and_record_come_back(tmp_path):
    write_tensors(tmp_path / "state", TENSORS, RECORD)
    tensors, record = read_tensors(tmp_path / "state")
    assert {name: tensor.tolist() for name, tensor in tensors.items()} == {"b": [0, 1, 2], "a": [[1, 1], [1, 1]]}
    assert record == RECORD


def test_the_same_content_gives_the_same_bytes():
    assert tensor_bytes(TENSORS, RECORD) == tensor_bytes(
        dict(reversed(TENSORS.items())), dict(reversed(RECORD.items()))
    )


def test_a_flipped_byte_is_refused(tmp_path):
    path = tmp_path / "state"
    content = tensor_bytes(TENSORS, RECORD)
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"has changed since it was written|is damaged"):
            read_tensors(path)


def test_a_checkpoint_keeps_the_one_before_it(tmp_path):
    checkpoints = Checkpoints(tmp_path / "folder")
    for epoch in range(3):
        checkpoints.write(TENSORS, {"epoch": epoch})
    assert checkpoints.read()[1]["epoch"] == 2
    checkpoints.newest.unlink()
    assert checkpoints.read()[1]["epoch"] == 1


def test_a_checkpoint_is_written_even_if_a_late_attempt_moves_the_one_before_away_meanwhile(tmp_path, monkeypatch):
    checkpoints, replace = Checkpoints(tmp_path), os.replace
    checkpoints.write(TENSORS, {"epoch": 1})

    def second(source, destination):
        if destination == checkpoints.previous:
            replace(source, destination)
        replace(source, destination)

    monkeypatch.setattr("os.replace", second)
    checkpoints.write(TENSORS, {"epoch": 2})
    assert checkpoints.read()[1]["epoch"] == 2
    assert read_tensors(checkpoints.previous)[1]["epoch"] == 1


def test_without_a_checkpoint_there_is_nothing_to_read(tmp_path):
    assert Checkpoints(tmp_path / "folder").read() is None


def test_a_checkpoint_that_another_version_wrote_is_not_continued(tmp_path):
    write_tensors(tmp_path / CHECKPOINT_NAME, TENSORS, {"epoch": 1})
    with pytest.warns(RuntimeWarning, match="was written by another version"):
        assert Checkpoints(tmp_path).read() is None


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.write(TENSORS, {"epoch": 1})
    with monkeypatch.context() as full:
        full.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            checkpoints.write(TENSORS, {"epoch": 2})
    assert checkpoints.read()[1]["epoch"] == 1


def test_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_tensors(tmp_path / "state", TENSORS, {"loss": float("nan")})
    assert not (tmp_path / "state").exists()
