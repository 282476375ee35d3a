"""The commit that everything made here is signed with."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from study import checkout


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(checkout, "ROOT", tmp_path)
    return tmp_path


def git(folder: Path, *words: str) -> str:
    command = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def test_the_commit_is_marked_where_code_differs_from_it_but_not_for_a_page(folder: Path) -> None:
    for name in ("code.py", "page.md"):
        (folder / name).write_text("first")
    for words in (("init",), ("add", "."), ("commit", "--message", "first")):
        git(folder, *words)
    head = git(folder, "rev-parse", "HEAD")
    (folder / "page.md").write_text("second")
    assert checkout.commit() == head
    (folder / "code.py").write_text("second")
    assert checkout.commit() == f"{head}+changes"
    assert checkout.commit(digits=7) == f"{head[:7]}+changes"


def test_outside_a_checkout_no_commit_is_known(folder: Path) -> None:
    assert checkout.commit() is None
