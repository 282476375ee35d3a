"""Texts that researchers write for participants: Markdown, which becomes HTML that cannot do anything but be read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from django.utils.safestring import SafeString
from markdown_it import MarkdownIt
from markdown_it.token import Token

LINKS: Final = ("https://", "http://", "mailto:")
LOWEST_HEADING: Final = 6


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 (the library's name)
        return url.lower().startswith(LINKS)


# Images would be fetched from elsewhere. What is merely indented or underlined is plain text to most who write it, and
# code is nothing that participants read.
_MARKDOWN: Final = _Markdown("commonmark", {"html": False, "breaks": True, "xhtmlOut": False}).disable(
    ["image", "html_block", "html_inline", "code", "fence", "lheading"]
)


@lru_cache(maxsize=512)
def render(text: str, top: int = 2) -> SafeString:
    """Markdown as HTML. Line ends are kept; markup in HTML, images and links to anything but pages and mail are text.

    top: level of the text's highest heading, 2 to 6, so that it fits below the heading that the page puts before it.
    """
    tokens = _MARKDOWN.parse(text)
    _shift_headings(tokens, top)
    for token in tokens:
        for inline in token.children or ():
            if inline.type == "link_open":
                _leave_the_page_open(inline)
    html: str = _MARKDOWN.renderer.render(tokens, _MARKDOWN.options, {})
    return SafeString(html)  # html is off, see above


def _leave_the_page_open(link: Token) -> None:
    """A run under way must not be left for a link; and its address, which is a secret, must not be told."""
    link.attrSet("rel", "noopener noreferrer")
    if not str(link.attrGet("href")).lower().startswith("mailto:"):
        link.attrSet("target", "_blank")


def _shift_headings(tokens: Sequence[Token], top: int) -> None:
    """The levels that are used become `top` and those below it, none further down than one below the one before."""
    headings = [token for token in tokens if token.type in ("heading_open", "heading_close")]
    used = sorted({token.tag for token in headings})
    before = top - 1
    for opening, closing in zip(headings[::2], headings[1::2], strict=True):
        before = min(top + used.index(opening.tag), before + 1, LOWEST_HEADING)
        opening.tag = closing.tag = f"h{before}"
