"""report.html: the document as one self-contained page to read and to print."""

import re
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from study.analysis.paper.blocks import (
    Block,
    Bullets,
    Cite,
    Code,
    Document,
    Figure,
    Paragraph,
    Small,
    Strong,
    Table,
    Terms,
)
from study.analysis.references import cited


def render(document: Document, drawings: Mapping[str, str]) -> str:
    """The page's HTML. `drawings`: SVG text by name of the figure."""
    tables, figures = count(1), count(1)
    sections = [
        {
            "name": section.name,
            "title": section.title,
            "blocks": [_block(block, drawings, tables, figures) for block in section.blocks],
        }
        for section in document.sections
    ]
    context = {"document": document, "subtitle": inline(document.subtitle), "sections": sections}
    return render_to_string("analysis/report.html", context)


def inline(text: tuple[str, ...] | str) -> SafeString:
    """HTML of a text; nothing in it is read as markup."""
    parts = (text,) if isinstance(text, str) else text
    return format_html_join("", "{}", ((_part(part),) for part in parts))


def inline_svg(svg: str, name: str, alt: str) -> SafeString:
    """An SVG file's text made fit to stand in a page: no prologue, ids of its own, a text alternative."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{name}-', body)
    body = re.sub(r"url\(#", f"url(#{name}-", body)
    body = re.sub(r'href="#', f'href="#{name}-', body)
    opening = format_html('<svg role="img" aria-label="{}"', alt)
    return mark_safe(body.replace("<svg", opening, 1))  # noqa: S308 our own drawing


def _part(part: str) -> str:
    match part:
        case Strong():
            return format_html("<strong>{}</strong>", str(part))
        case Code():
            return format_html("<code>{}</code>", str(part))
        case Small():
            return format_html("<small>{}</small>", str(part))
        case Cite():
            return cited(part.keys)
    return str(part)


def _block(block: Block, drawings: Mapping[str, str], tables: Iterator[int], figures: Iterator[int]) -> dict[str, Any]:
    match block:
        case Paragraph():
            return {"kind": "paragraph", "manner": block.manner, "text": inline(block.text)}
        case Bullets():
            return {"kind": "bullets", "items": [inline(item) for item in block.items]}
        case Terms():
            return {"kind": "terms", "rows": [(term, inline(text)) for term, text in block.rows]}
        case Table():
            head = list(zip(block.head, block.manners, strict=True))
            return {"kind": "table", "number": next(tables), "table": block, "head": head, "rows": list(_cells(block))}
        case Figure():
            drawing = inline_svg(drawings[block.name], block.name, block.alt)
            return {"kind": "figure", "number": next(figures), "figure": block, "svg": drawing}


def _cells(table: Table) -> Iterator[list[tuple[SafeString, str]]]:
    """(HTML, class) of each cell, row by row."""
    manners = table.manners
    return ([(inline(cell), manner) for cell, manner in zip(row, manners, strict=True)] for row in table.rows)
