"""A draft says everything that is missing at once."""

from __future__ import annotations

from typing import Any

import pytest

from study.desk.readiness import examine
from study.lab.models import sha256_of
from study.trials.models import Study
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db


def draft(**fields: Any) -> Study:
    return make_study(opened=False, base_images=22, size=4, **{"ethics_reference": "2026-17", **fields})


def test_nothing_is_missing_of_a_whole_draft() -> None:
    ready = examine(study := draft())
    assert ready.problems == ()
    assert ready.sha256 == sha256_of(study.design_json())


def test_all_problems_are_said_at_once() -> None:
    study = draft(information=" ", contact="", ethics_reference="", displayable=False, trials_per_control=3, mask_ms=50)
    ready = examine(study)
    assert ready.sha256 == ""
    assert len(ready.problems) == 6
    said = " ".join(ready.problems)
    for part in (
        "Mask: A mask follows a fixed exposure",
        "3 trials per session: give it an even number",
        "what participants read before they consent",
        "whom participants may ask",
        "reference of the ethics approval",
        "not cleared for display",
    ):
        assert part in said


def test_a_translation_lacks_what_the_studys_own_texts_have() -> None:
    study = draft(payment="3 euros.", debrief="Thank you.")
    study.translations.create(language="de", title="Welches Auge?", information="Bilder.", debrief="Danke.")
    assert examine(study).problems == ("The German texts lack what the study's own have: payment.",)


def test_a_translation_that_does_not_fit_is_named_with_its_language() -> None:
    study = draft(eligibility="I see well.")
    study.translations.create(language="de", title="Welches Auge?", information="Bilder.")
    assert any(problem.startswith("German: Eligibility: Translate") for problem in examine(study).problems)
