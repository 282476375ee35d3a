"""The parts of a document that a program writes, each between two marks."""

from __future__ import annotations


def put(text: str, name: str, inside: str) -> str:
    """The text with this between the marks of this name. Raises ValueError when it has no place for it."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    if begin not in text or end not in text:
        raise ValueError(f"There is no place for {name!r}: the document needs the lines {begin} and {end}.")
    before, after = text.partition(begin)[0], text.partition(end)[2]
    return f"{before}{begin}\n{inside.strip()}\n{end}{after}"
