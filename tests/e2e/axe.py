"""axe, the checker of accessibility: put into a page once, and asked as often as the page is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Page

#: WCAG 2.2 A and AA, and what axe holds to be good practice.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
#: Only what is wrong is told, by its HTML, and no style sheet is fetched again: all that would only take time.
OPTIONS = {"runOnly": RULES, "resultTypes": ["violations"], "selectors": False, "preload": False}
RUN = "([where, options]) => axe.run(where, options).then((found) => found.violations)"


def violations(page: Page, leave_out: str = "") -> list[dict[str, Any]]:
    """What axe finds wrong on the page as it stands, but for what the selector `leave_out` names."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    where = {"include": [["html"]], "exclude": [[leave_out]] if leave_out else []}
    found: list[dict[str, Any]] = page.evaluate(RUN, [where, OPTIONS])
    return found


def told(violation: Mapping[str, Any]) -> str:
    """One line: the rule, and where it is broken first."""
    return f"{violation['id']}: {violation['help']} {violation['nodes'][0]['html'][:200]}"
