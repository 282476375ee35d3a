"""axe finds nothing on a report's page, at the width of a phone and of a desk, and nothing sticks out of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from study.analysis import publication, report
from study.analysis.material import Material
from tests.e2e import axe
from tests.study.analysis.observers import simulate

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1200, "height": 900}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report and a comparison of it with itself."""
    out = tmp_path_factory.mktemp("pages")
    trials = simulate(1, participants=12, trials=6).assign(population="simulated")
    made = report.build(Material("a study", trials, exploratory=("for a test",)))
    publication.publish(made, out)
    publication.publish_comparison([made.content, {**made.content, "study": "another"}], {}, out / "both")
    return out


@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
@pytest.mark.parametrize("name", ["report.html", "both/comparison.html"])
def test_axe_finds_nothing_on_a_report(browser: Browser, folder: Path, size: dict[str, Any], name: str) -> None:
    page = browser.new_page(viewport=size)
    page.goto((folder / name).as_uri())
    assert [axe.told(violation) for violation in axe.violations(page)] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    ends = "[...document.querySelectorAll('caption')].map(caption => caption.getBoundingClientRect().right)"
    assert max(page.evaluate(ends)) <= size["width"]
    page.close()


def test_a_printed_report_has_no_page_without_its_marks(browser: Browser, folder: Path) -> None:
    page = browser.new_page(viewport=DESK)
    page.goto((folder / "report.html").as_uri())
    rule = page.evaluate(
        "[...document.styleSheets].flatMap(s => [...s.cssRules]).find(r => r instanceof CSSPageRule).cssText"
    )
    assert "SIMULATED DATA" in rule
    assert "EXPLORATORY" in rule
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF-")
    page.close()
