import pytest
import torch

from models.checkpoints import read_tensors, tensor_bytes, write_bytes, write_tensors

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


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state"
    write_bytes(path, b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert not list(tmp_path.glob(".state*"))


def test_nan_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_tensors(tmp_path / "state", TENSORS, {"loss": float("nan")})
    assert not (tmp_path / "state").exists()
