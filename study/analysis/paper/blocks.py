"""What a document is made of, whatever it is printed as.

Text is a sequence of plain strings; those that are to stand out are of a class of their own. No string is ever read as
markup, so names from a table need no care before they are printed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


class Strong(str):
    """To be read first."""

    __slots__ = ()


class Code(str):
    """A file, a command, a hash, a formula."""

    __slots__ = ()


class Small(str):
    """A remark below what it belongs to."""

    __slots__ = ()


class Cite(str):
    """Keys of works in `references`, with blanks between them, that are cited together."""

    __slots__ = ()

    @property
    def keys(self) -> list[str]:
        return self.split()


Text = tuple[str, ...]


@dataclass(frozen=True)
class Paragraph:
    """`manner`: "" for text, "lead" for what is to be read first, "note" for remarks, "fault" for what went wrong."""

    text: Text
    manner: str = ""


@dataclass(frozen=True)
class Bullets:
    """A list without order."""

    items: tuple[Text, ...]


@dataclass(frozen=True)
class Terms:
    """Terms with what belongs to them."""

    rows: tuple[tuple[str, Text], ...]


@dataclass(frozen=True)
class Table:
    """Rows of text. The first column heads its row; those named in `prose` hold sentences, which may be wrapped."""

    name: str
    caption: str
    head: Sequence[str]
    rows: Sequence[Sequence[Text | str]]
    note: str = ""
    prose: frozenset[str] = frozenset()

    @property
    def manners(self) -> list[str]:
        """Of each column: "prose", "words" (flush left) or "numbers" (flush right)."""
        columns = zip(*self.rows, strict=True) if self.rows else ([] for _ in self.head)
        return [
            "prose" if name in self.prose else "words" if any(map(_has_letters, cells)) else "numbers"
            for name, cells in zip(self.head, columns, strict=True)
        ]


@dataclass(frozen=True)
class Figure:
    """A drawing of the report, by the name of its files. `alt` is read out in its place."""

    name: str
    caption: str
    alt: str


Block = Paragraph | Bullets | Terms | Table | Figure


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """A document: `banners` are on every page of it."""

    title: str
    subtitle: Text
    sections: tuple[Section, ...]
    banners: tuple[str, ...] = field(default=())

    def tables(self) -> Iterator[Table]:
        return (block for section in self.sections for block in section.blocks if isinstance(block, Table))

    def figures(self) -> Iterator[Figure]:
        return (block for section in self.sections for block in section.blocks if isinstance(block, Figure))


def _has_letters(cell: Text | str) -> bool:
    return any(character.isalpha() for part in ((cell,) if isinstance(cell, str) else cell) for character in part)


def texts(*items: str | Text) -> tuple[Text, ...]:
    """Each item as a text."""
    return tuple((item,) if isinstance(item, str) else item for item in items)


def paragraph(*parts: str, manner: str = "") -> Paragraph:
    return Paragraph(tuple(part for part in parts if part), manner)
