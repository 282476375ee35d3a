"""axe finds nothing on any page that a participant can meet, at the width of a phone and of a desk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.e2e.participant import PHONE, Participant
from tests.e2e.tour import tour
from tests.study.factories import make_study

#: WCAG 2.2 A and AA, and what axe holds to be good practice.
OPTIONS = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}


@pytest.mark.slow
@pytest.mark.parametrize("device", [{}, PHONE], ids=["desktop", "phone"])
def test_axe_finds_nothing_on_any_page(
    address: str, arrive: Callable[..., Participant], device: dict[str, Any]
) -> None:
    axe, found, visited = Axe(), [], set()
    for name, page in tour(lambda: arrive(**device), make_study):
        visited.add(name)
        violations = axe.run(page, options=OPTIONS).response["violations"]
        found += [f"{name}: {v['id']}: {v['help']} {v['nodes'][0]['html'][:200]}" for v in violations]
    assert found == []
    assert len(visited) == 44
