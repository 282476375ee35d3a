import re
import zlib
from dataclasses import replace

import pytest

from study.analysis import figures, pdf, report
from study.analysis.paper.blocks import Bullets, Cite, Code, Document, Figure, Paragraph, Section, Strong, Table, Terms
from study.analysis.paper.document import document

SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="72" height="36"><rect width="36" height="18"/></svg>'
BLOCKS = (
    Paragraph((Strong("strong"), " plain ", Code("code"), Cite("hautus1995"))),
    Paragraph(("a fault",), "fault"),
    Bullets((("one",), ("two",))),
    Terms((("term", ("meaning",)),)),
    Table("t", "caption", ("a", "b"), [["1", "2"], ["3", (Strong("4"),)]], note="note"),
    Figure("f", "caption", "alternative"),
)


def of(*blocks: object, title: str = "A title", banners: tuple[str, ...] = ()) -> bytes:
    return pdf.render(Document(title, ("subtitle",), (Section("s", "Section", blocks),), banners), {"f": SVG})


def streams(content: bytes) -> bytes:
    """All that is stored compressed."""
    found = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    return b"\n".join(zlib.decompress(stream) for stream in found if stream.startswith(b"\x78"))


def test_every_kind_of_block_is_typeset() -> None:
    assert of(*BLOCKS).startswith(b"%PDF-")


def test_the_same_document_gives_the_same_bytes_without_a_date() -> None:
    first, second = of(*BLOCKS), of(*BLOCKS)
    assert first == second
    assert b"CreationDate" not in first + streams(first)


def test_the_pdf_is_tagged_named_and_in_a_language() -> None:
    made = of(*BLOCKS)
    everything = made + streams(made)
    assert re.search(rb"/Marked true", everything)
    assert b"/Lang" in everything
    assert b"pdfuaid" in everything


@pytest.mark.parametrize(
    "name", ["#set page(width: 1pt)", "$x^2$", '"quoted" \\ [b]', "*star* _under_ `tick`", "@ref <label>"]
)
def test_a_name_is_never_read_as_markup(name: str) -> None:
    plain = of(Paragraph(("x" * len(name),)), title="x")
    made = of(Paragraph((name,)), title=name)
    assert made.count(b"/Type /Page\n") == plain.count(b"/Type /Page\n")


@pytest.mark.parametrize("name", ["a\x00b", "\x7f", "\ufeff", "\ufffe", "中文", "😀", "אבג", "a\tb\nc"], ids=ascii)
def test_a_name_in_any_letters_is_typeset(name: str) -> None:
    table = Table("t", name, (name,), [[name]], note=name)
    assert of(Paragraph((name,)), table, Figure("f", name, name), title=f"x {name}").startswith(b"%PDF-")


def test_a_banner_takes_its_place_on_every_page() -> None:
    long = tuple(Paragraph(("word " * 400,)) for _ in range(6))
    with_banner, without = of(*long, banners=(figures.EXPLORATORY,)), of(*long)
    assert len(with_banner) > len(without)


def test_a_whole_report_is_typeset_with_its_figures(published: dict[str, bytes]) -> None:
    assert published["report.pdf"].startswith(b"%PDF-")
    assert len(published["report.pdf"]) > 100_000


def test_a_report_without_figures_is_typeset(built: report.Report) -> None:
    content = {**built.content, "exploratory": ["for a test"]}
    assert pdf.render(document(replace(built, content=content).content, ()), {}).startswith(b"%PDF-")
