"""A researcher gets from an empty database to a study that has been run and its report without writing code."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.e2e.participant import Participant, profile
from tests.e2e.researcher import Researcher, installed, tour

pytestmark = pytest.mark.slow


def test_clicks_alone_lead_from_an_empty_database_to_a_report(browser: Browser, tmp_path: Path) -> None:
    people: list[Participant] = []
    with installed(tmp_path / "var") as installation:
        desk = Participant(profile(browser), installation.address)

        def bring() -> Participant:
            people.append(Participant(profile(browser), installation.address))
            return people[-1]

        began = time.monotonic()
        for name, page in tour(Researcher(desk.page, installation), bring):
            print(f"{time.monotonic() - began:.1f} s: {name}")
        assert [fault for person in (desk, *people) for fault in person.faults()] == []
