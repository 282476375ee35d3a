import errno
import os

import pytest

from models.durable import remove_leftovers, write_bytes


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "state"
    write_bytes(path, b"old")
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert not list(tmp_path.glob(".state*"))


def test_a_failed_write_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(OSError, match=r"Input/output error: '.*/state'"):
        write_bytes(tmp_path / "state", b"new")


def test_leftovers_that_another_process_may_still_be_writing_stay(tmp_path):
    old, young = tmp_path / ".state.1", tmp_path / ".state.2"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    remove_leftovers(tmp_path / "state", older_than_s=60)
    assert not old.exists()
    assert young.exists()
