"""The parts of a document that a program writes, each between two marks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from models.durable import write_bytes


def write(document: Path, parts: Mapping[str, str]) -> None:
    """Put each part between the marks of its name, in place of what was there; what is around them stays.

    Raises ValueError when the document has no place for one; then nothing is written.
    """
    text = document.read_text()
    for name, inside in parts.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        if begin not in text or end not in text:
            raise ValueError(f"{document.name} has no place for {name!r}: it needs the lines {begin} and {end}.")
        before, after = text.partition(begin)[0], text.partition(end)[2]
        text = f"{before}{begin}\n{inside.strip()}\n{end}{after}"
    write_bytes(document, text.encode())
