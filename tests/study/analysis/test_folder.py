import csv
import hashlib
import os
from pathlib import Path

import pytest

from study.analysis import folder


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_the_folder_holds_the_files_and_a_list_of_them(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    folder.replace(out, {"report.html": b"page", "figures/a.svg": b"drawing"})
    found = contents(out)
    assert found.keys() == {"report.html", "figures/a.svg", folder.FILES}
    rows = list(csv.DictReader(found[folder.FILES].decode().splitlines()))
    assert {row["file"]: row["sha256"] for row in rows} == {
        name: hashlib.sha256(found[name]).hexdigest() for name in ("report.html", "figures/a.svg")
    }
    assert list(out.parent.iterdir()) == [out]


def test_what_an_older_report_had_and_a_newer_one_lacks_is_removed(tmp_path: Path) -> None:
    folder.replace(tmp_path, {"report.html": b"1", "figures/a.svg": b"1"})
    folder.replace(tmp_path, {"report.html": b"2"})
    assert contents(tmp_path).keys() == {"report.html", folder.FILES}


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    folder.replace(tmp_path, {"report.html": b"1"})
    folder.replace(tmp_path, {"report.html": b"2"})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_list_that_names_files_elsewhere_removes_none_of_them(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "mine.txt").write_text("mine")
    (out / folder.FILES).write_text("file,bytes,sha256\n../mine.txt,4,0\n")
    folder.replace(out, {"report.html": b"1"})
    assert (tmp_path / "mine.txt").exists()


def test_a_failure_while_writing_leaves_the_older_report_whole(tmp_path: Path, monkeypatch) -> None:
    out = tmp_path / "out"
    folder.replace(out, {"report.html": b"1", "report.json": b"1"})
    before = contents(out)

    def full(*_: object) -> int:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        folder.replace(out, {"report.html": b"2", "report.json": b"2"})
    assert contents(out) == before
    assert not any(path.name.startswith(".out") for path in tmp_path.iterdir())


def test_the_page_is_moved_in_last(tmp_path: Path, monkeypatch) -> None:
    moved = []
    move = os.replace
    monkeypatch.setattr(os, "replace", lambda source, target: (moved.append(Path(target).name), move(source, target)))
    folder.replace(tmp_path, {"report.html": b"1", "trials.csv": b"1", "zebra.csv": b"1"})
    assert moved[-1] == "report.html"
