"""Tables as they are printed: without columns that say nothing, and with remarks below instead of in every row."""

from collections.abc import Sequence
from dataclasses import replace
from string import ascii_lowercase
from typing import Final

from study.analysis.paper.blocks import Block, Section, Table, Text
from study.analysis.paper.numerals import DASH

NOTE: Final = "note"
_SAYS_NOTHING: Final = ("", DASH)


def arranged(section: Section) -> Section:
    """The section with its tables arranged."""
    return replace(section, blocks=tuple(map(_arranged, section.blocks)))


def _arranged(block: Block) -> Block:
    return _without_empty_columns(_with_footnotes(block)) if isinstance(block, Table) else block


def _with_footnotes(table: Table) -> Table:
    """Letters in place of the remarks of the column "note", and the remarks themselves below the table."""
    if NOTE not in table.head:
        return table
    column = list(table.head).index(NOTE)
    remarks = [_plain(row[column]) for row in table.rows]
    distinct = list(dict.fromkeys(remark for remark in remarks if remark))
    if not distinct or len(distinct) > len(ascii_lowercase):
        return table
    if len(distinct) == 1 and all(remarks):
        return _note_below(_cut(table, column), [sentence(distinct[0])])
    letters = dict(zip(distinct, ascii_lowercase, strict=False))
    rows = [
        [*row[:column], letters.get(remark, ""), *row[column + 1 :]]
        for row, remark in zip(table.rows, remarks, strict=True)
    ]
    below = [f"{letter}: {sentence(remark)}" for remark, letter in letters.items()]
    return _note_below(replace(table, rows=rows, prose=table.prose - {NOTE}), below)


def _note_below(table: Table, remarks: Sequence[str]) -> Table:
    return replace(table, note=" ".join(filter(None, [table.note, *remarks])))


def sentence(remark: str) -> str:
    """With a capital and a full stop."""
    return f"{remark[0].upper()}{remark[1:].removesuffix('.')}."


def _without_empty_columns(table: Table) -> Table:
    for column in reversed(range(1, len(table.head))):
        if table.rows and all(_plain(row[column]) in _SAYS_NOTHING for row in table.rows):
            table = _cut(table, column)
    return table


def _cut(table: Table, column: int) -> Table:
    rows = [[*row[:column], *row[column + 1 :]] for row in table.rows]
    return replace(table, head=[*table.head[:column], *table.head[column + 1 :]], rows=rows)


def _plain(cell: Text | str) -> str:
    return cell if isinstance(cell, str) else "".join(cell)
