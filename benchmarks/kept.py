"""Folders of kept work: one process at a time in each, and which code made what lies there.

Work is kept by what was asked for, not by the code that did it: a changed training loop throws nothing away. So every
folder says in code.json which code made it, and a bench that uses the work of other code says so.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

from benchmarks.checkout import ROOT, commit
from models.checkpoints import to_json
from models.durable import write_bytes

#: The packages that decide what a request comes to.
ROOMS = ("attacks", "models")

_UNRECORDED = dict.fromkeys(("sources", "commit", "torch"), "unknown")
_telling = threading.Lock()
_told: set[str] = set()


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make the folder, and be the only one at work there, in this process and in others; wait, and say so, if need be.

    A process that ends, however it does, gives its place up.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"  {folder.name}: another process is at work there; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def code() -> dict[str, str]:
    """The code as it lies here: a hash of the sources that train and measure, the commit, and torch's version."""
    digest = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py")):
        digest.update(f"{path.relative_to(ROOT)}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
    return {"sources": digest.hexdigest()[:16], "commit": commit(), "torch": torch.__version__}


def sign(folder: Path, begun: bool = False) -> None:
    """Write to code.json that the code of now is at work here; with `begun`, besides the code that began it."""
    signed, now = signatures(folder) if begun else [], code()
    if now not in signed:
        write_bytes(folder / "code.json", to_json([*signed, now]).encode())


def tell_of_other_code(folder: Path) -> None:
    """Print one line when other code than that of now made what is kept here; once for each such code."""
    made_by = " and ".join(map(_in_words, other_code(folder)))
    with _telling:
        if made_by and made_by not in _told:
            _told.add(made_by)
            print(f"Kept work of {made_by} is used, such as {folder.name}; this is {_in_words(code())}", flush=True)


def other_code(folder: Path) -> list[dict[str, str]]:
    """All code that was at work in the folder and is other code than that of now, as `code` gives it."""
    now = code()
    return [each for each in signatures(folder) if _decisive(each) != _decisive(now)]


def signatures(folder: Path) -> list[dict[str, str]]:
    """All code that was at work in the folder, as `code` gives it."""
    path = folder / "code.json"
    return list(json.loads(path.read_text())) if path.exists() else [_UNRECORDED]


def _decisive(signature: Mapping[str, str]) -> tuple[str, str]:
    """A commit that changes documents, or nothing but a bench, makes no other code."""
    return signature["sources"], signature["torch"]


def _in_words(signature: Mapping[str, str]) -> str:
    return f"commit {signature['commit']} (sources {signature['sources']}, torch {signature['torch']})"
