"""A design's document says everything that was fixed, in the order in which OSF asks."""

from __future__ import annotations

from typing import Any

import pytest

from study.desk import preregistration
from study.trials.exclusions import ExclusionRules
from study.trials.models import Study
from tests.study.factories import add_model, frozen_in_format_1, make_study

pytestmark = pytest.mark.django_db

SHA256 = "0" * 64
OSF_ORDER = [
    "## Study information", "### Title", "### Authors", "### Description", "### Hypotheses",
    "## Design plan", "### Study type", "### Blinding", "### Study design", "### Randomisation",
    "## Sampling plan", "### Existing data", "### Data collection procedures", "### Sample size",
    "### Sample size rationale", "### Stopping rule",
    "## Variables", "### Manipulated variables", "### Measured variables", "### Indices",
    "## Analysis plan", "### Statistical models", "### Transformations", "### Inference criteria", "### Data exclusion",
    "### Missing data", "### Exploratory analysis", "## Other",
]  # fmt: skip


def draft(**fields: Any) -> Study:
    return make_study(opened=False, **{"base_images": 22, "size": 4, **fields})


def written(design: dict[str, Any], **options: Any) -> str:
    return preregistration.markdown(preregistration.document(design, SHA256, **options))


def test_it_answers_what_osf_asks_in_its_order() -> None:
    lines = written(draft().design_json()).splitlines()
    assert [line for line in lines if line in OSF_ORDER] == OSF_ORDER


def test_it_names_every_rule_the_bound_the_quota_the_conditions_and_the_hash() -> None:
    study = draft(bound=0.55, participants=7, median_rt_below_ms=300, fast_above_share=0.2, focus_above_share=0.1)
    design = study.design_json()
    text = written(design)
    rules = ExclusionRules.of_design(design).in_words()
    assert len(rules) == 6
    assert all(f"- {rule}" in text for rule in rules)
    assert "The bound is 0.55" in text
    assert "7 participants who complete the study" in text
    for row in (
        "| strength 0.5 | condition | 6 |",
        "| strength 2 | condition | 6 |",
        "| identity | control | 2 |",
        "| resampled at strength 2 | control | 2 |",
        "| other field at strength 2 | control | 2 |",
        "| gross alteration at strength 7 | catch | 2 |",
    ):
        assert row in text
    assert text.count(f"`{SHA256}`") == 2


def test_it_holds_what_the_researchers_wrote() -> None:
    study = draft(
        research_question="Is it seen?\n\nWe ask at two strengths.",
        hypotheses="It is not seen at 0.5.\nIt is seen at 2.",
        sample_size_reason="Power of .9 at a PC of .5.",
    )
    text = written(study.design_json())
    assert "Is it seen?\n\nWe ask at two strengths." in text
    assert "- It is not seen at 0.5.\n- It is seen at 2." in text
    assert "Power of .9 at a PC of .5." in text


def test_a_draft_is_marked_and_a_version_says_when_and_why() -> None:
    design = draft().design_json()
    assert preregistration.DRAFT_BANNER in written(design)
    amended = written(design, version=2, reason="A typing error in the debriefing.", on="2026-11-22")
    assert preregistration.DRAFT_BANNER not in amended
    assert "Version 2, frozen on 2026-11-22." in amended
    assert "A typing error in the debriefing." in amended


def test_an_adaptive_study_registers_its_stop_rule_and_thresholds_only() -> None:
    study = draft(base_images=30, procedure="adaptive", adaptive_trials=12, adaptive_minimum=6, adaptive_sd=0.3)
    text = written(study.design_json())
    assert "at most 12 trials of the attack, at strengths 0.5, 2; from the 6th on it stops early" in text
    assert preregistration.THRESHOLDS_ONLY in text


def test_times_that_a_protocol_does_not_use_are_left_out() -> None:
    design = draft().design_json()
    assert "blank between two intervals" not in written(design)
    assert "| blank between two intervals | 500 ms |" in written({**design, "protocol": "ifc"})


def test_designs_of_the_first_format_can_be_registered_too() -> None:
    assert "### Hypotheses\n\nNot said." in written(frozen_in_format_1(draft()), version=1, on="2026-01-01")


def test_the_pdf_has_the_document() -> None:
    design = draft().design_json()
    content = preregistration.pdf(preregistration.document(design, SHA256))
    assert content.startswith(b"%PDF-")
    assert b"/MarkInfo" in content


def test_every_attack_and_model_is_named_where_there_are_several() -> None:
    study = draft(base_images=40)
    run = add_model(study, size=4).model_run
    text = written(study.design_json())
    assert f"| {run.attack}: strength 0.5 | condition | 6 |" in text
    assert f"- {run.attack} (wanet), control hash" in text
    assert f"- {run} (backdoored), SHA-256" in text
