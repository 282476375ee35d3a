"""What researchers write becomes text that can be read, and nothing that acts."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from itertools import pairwise

import pytest
from django.template import Context, Template
from hypothesis import example, given, settings
from hypothesis import strategies as st

from study.trials.prose import render

TAGS = {
    "p", "br", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "strong", "em", "a", "blockquote", "code", "hr"
}  # fmt: skip
ATTRIBUTES = {("a", "href"), ("a", "title"), ("a", "rel"), ("a", "target"), ("ol", "start")}
PIECES = (
    "<script>", "</p>", "<img src=x onerror=alert(1)>", "onclick=", "javascript:", "JaVaScRiPt&colon;", "vbscript:",
    "data:text/html,", "&#106;avascript:", "https://example.org", "mailto:a@example.org", "//example.org", "[", "](",
    ")", "![", "<", ">", '"', "'", "`", "```", "# ", "#", "- ", "1. ", "> ", "*", "_", "\\", "&lt;", "\0", "\t", "\n",
    "[a]: javascript:alert(1) 'b'", "[a]", "</template>", "<!--", "]]>", "<svg/onload=alert(1)>",
)  # fmt: skip


class Seen(HTMLParser):
    """Every tag and attribute of a piece of HTML, as a browser would find them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("br", "hr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    handle_decl = unknown_decl = handle_pi = handle_comment


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=4)), max_size=14).map("".join))
@example("[a](javascript:alert(1))\n\n<javascript:alert(1)>\n\n[b]\n\n[b]: vbscript:x")
@example("<a href='javascript:alert(1)' onclick='alert(1)'>x</a><script>alert(1)</script>")
@example("[a](https://example.org '\" onclick=alert(1)')\n\n``` \" onclick=alert(1)\n```")
def test_nothing_that_acts_comes_through(text: str) -> None:
    seen = Seen(render(text))
    assert seen.open == []
    assert set(seen.tags) <= TAGS
    assert {(tag, name) for tag, name, _ in seen.attributes} <= ATTRIBUTES
    links = [value for _, name, value in seen.attributes if name == "href"]
    assert [link for link in links if not re.match("(https?://|mailto:)", link, re.IGNORECASE)] == []


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=8), st.integers(2, 4))
def test_the_outline_begins_below_the_pages_heading_and_skips_no_level(levels: list[int], top: int) -> None:
    html = render("\n\n".join(f"{'#' * level} x" for level in levels), top)
    found = [int(level) for level in re.findall(r"<h([1-6])>", html)]
    assert len(found) == len(levels)
    assert found[0] == top
    assert min(found) == top
    assert all(after <= before + 1 for before, after in pairwise(found))


def test_headings_keep_their_order_of_rank() -> None:
    html = render("# Aim\n\n### Detail\n\n# Data\n\n###### Small", top=3)
    assert re.findall(r"<(h\d)>(\w+)", html) == [("h3", "Aim"), ("h4", "Detail"), ("h3", "Data"), ("h4", "Small")]


def test_paragraphs_and_line_ends_of_a_plain_text_are_kept() -> None:
    assert render("One\ntwo.\n\nThree & four.") == "<p>One<br>\ntwo.</p>\n<p>Three &amp; four.</p>\n"


@pytest.mark.parametrize(
    "text", ["We pay\n---", "    indented", "5 * 3 * 2 = 30", "a_b_c", "1 < 2 > 0", "file_name.txt"]
)
def test_what_is_not_meant_as_markdown_stays_as_it_is(text: str) -> None:
    assert set(Seen(render(text)).tags) <= {"p", "br", "hr"}


def test_a_link_leaves_the_page_open_and_does_not_tell_where_it_was() -> None:
    assert render("[x](https://example.org/a)") == (
        '<p><a href="https://example.org/a" rel="noopener noreferrer" target="_blank">x</a></p>\n'
    )


def test_a_mail_address_opens_no_window() -> None:
    assert 'href="mailto:a@example.org" rel="noopener noreferrer">' in render("<a@example.org>")


def test_an_image_is_not_fetched() -> None:
    assert "<img" not in render("![eyes](https://example.org/eyes.png)")


def test_the_filter_renders_in_a_template() -> None:
    template = Template("{% load prose %}{{ text|prose:3 }}")
    assert template.render(Context({"text": "# *Aim*"})) == "<h3><em>Aim</em></h3>\n"
