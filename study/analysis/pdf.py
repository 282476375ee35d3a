"""report.pdf: the document typeset by Typst, tagged for screen readers (PDF/UA-1), the same bytes for the same content.

The layout is `templates/analysis/report.typ`. It reads the document as JSON, so that no name is ever read as markup.
"""

import json
import re
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

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

LAYOUT: Final = Path(__file__).parent / "templates" / "analysis" / "report.typ"
#: Of the letters that Typst's own fonts lack.
_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0-\ufdef\ufeff\ufffe\uffff]")


def _fonts() -> Path:
    """matplotlib's, found without loading it: preregistrations are typeset in web processes."""
    found = find_spec("matplotlib")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("matplotlib, whose fonts the PDF uses, is not installed.")
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"


FONTS: Final = _fonts()


def render(document: Document, drawings: Mapping[str, str]) -> bytes:
    """The PDF's bytes. `drawings`: SVG text by name of the figure."""
    return _compile(document, drawings, format="pdf", pdf_standards=["ua-1"], timestamp=0)


def _compile(document: Document, drawings: Mapping[str, str], **options: Any) -> Any:
    import typst

    with tempfile.TemporaryDirectory() as root:
        Path(root, "report.typ").write_bytes(LAYOUT.read_bytes())
        for figure in document.figures():
            Path(root, f"{figure.name}.svg").write_text(drawings[figure.name], encoding="utf-8")
        return typst.compile(
            str(Path(root, "report.typ")),
            root=root,
            sys_inputs={"document": json.dumps(_printable(_document(document)))},
            ignore_system_fonts=True,
            font_paths=[str(FONTS)],
            **options,
        )


def _printable(value: Any) -> Any:
    """Without the signs that no font shows and PDF/UA forbids, which a name from a table may have."""
    if isinstance(value, dict):
        return {key: _printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(item) for item in value]
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value) if isinstance(value, str) else value


def _document(document: Document) -> dict[str, Any]:
    return {
        "title": document.title,
        "subtitle": _text(document.subtitle),
        "banners": document.banners,
        "sections": [
            {"title": section.title, "blocks": [_block(block) for block in section.blocks]}
            for section in document.sections
        ],
    }


def _block(block: Block) -> dict[str, Any]:
    match block:
        case Paragraph():
            return {"kind": "paragraph", "manner": block.manner, "text": _text(block.text)}
        case Bullets():
            return {"kind": "bullets", "items": [_text(item) for item in block.items]}
        case Terms():
            return {"kind": "terms", "rows": [{"term": term, "text": _text(text)} for term, text in block.rows]}
        case Table():
            return {
                "kind": "table",
                "caption": block.caption,
                "head": list(block.head),
                "manners": block.manners,
                "rows": [[_text(cell) for cell in row] for row in block.rows],
                "note": block.note,
            }
        case Figure():
            return {"kind": "figure", "file": f"{block.name}.svg", "caption": block.caption, "alt": block.alt}


def _text(text: tuple[str, ...] | str) -> list[dict[str, str]]:
    """One {"manner", "words"} for each part."""
    parts = (text,) if isinstance(text, str) else text
    return [_part(part) for part in parts]


def _part(part: str) -> dict[str, str]:
    if isinstance(part, Cite):
        return {"manner": "", "words": cited(part.keys)}
    manners = {Strong: "strong", Code: "code", Small: "small"}
    return {"manner": manners.get(type(part), ""), "words": str(part)}
