"""Studies whose design was frozen in an earlier format go on as they were opened."""

from __future__ import annotations

import pytest
from django.db.models import QuerySet

from study.analysis.report import build
from study.analysis.tables import read_study
from study.trials.design import FORMAT
from study.trials.exclusions import ExclusionRules
from study.trials.models import Session, Study
from study.trials.plan import make_plan
from tests.study.factories import answer_all, frozen_in_format_1, frozen_in_format_3, make_study, start

pytestmark = pytest.mark.django_db


@pytest.fixture
def study() -> Study:
    """An open study as it was before there were protocols, but for the columns that its row has since."""
    study = make_study(opened=False, resume_hours=24 * 14)
    frozen_in_format_1(study)
    return study


def test_a_design_of_format_1_matches_its_study(study: Study) -> None:
    assert study.current_design is not None
    assert study.current_design.faults() == []


def test_a_design_that_declares_nothing_about_response_times_and_focus_leaves_nobody_out_by_them(study: Study) -> None:
    assert study.current_design is not None
    rules = ExclusionRules.of_design(study.current_design.now)
    assert (rules.median_rt_below_ms, rules.fast_above_share, rules.focus_above_share) == (None, None, None)
    assert study.current_design.now["exclusions"]["focus"] == {"above_share": 1.0}


def test_a_session_under_a_design_of_format_1_runs_to_its_end_and_is_analysed(study: Study) -> None:
    for _ in range(3):
        session, _ = start(study)
        answer_all(session)
        assert session.complete() == "THANKS"
    report = build(read_study(study)).content
    assert report["flow"] == {**report["flow"], "recruited": 3, "analysed": 3, "excluded": {}}
    assert (report["protocol"]["name"], report["procedure"]) == ("afc", "constant")
    assert [row["correct"] for row in report["conditions"] if row["strength"]] == [18, 18]
    assert Session.objects.filter(state=Session.State.COMPLETE).count() == 3


def test_a_study_of_format_1_can_be_amended_and_keeps_its_trials(study: Study) -> None:
    before = make_plan(study.current_design.now, 0, seed=5)  # type: ignore[union-attr]
    amended = study.amend("more people came forward", participants=9)
    assert (amended.json["format"], amended.faults()) == (FORMAT, [])
    assert make_plan(amended.now, 0, seed=5) == before


# --- format 3: one attack, and nothing of pay, looks, preregistration, instructions and debrief


@pytest.fixture
def of_one_attack() -> Study:
    """An open study as it was before there could be several attacks."""
    study = make_study(opened=False, base_images=22, size=4, debrief="A warp.")
    frozen_in_format_3(study)
    return study


def test_a_design_of_format_3_keeps_its_hash_and_matches_its_study(of_one_attack: Study) -> None:
    version = of_one_attack.current_design
    assert version is not None
    assert set(version.json) == {
        "format", "sides", "analysis", "code_version", "study", "participants", "seed", "protocol", "procedure",
        "not_sure", "timing", "display", "break_every", "resume_hours", "dataset", "attack", "models", "bound",
        "minimum_age", "consent", "image", "cells", "adaptive", "stimuli", "catch", "practice", "pairs", "exclusions",
    }  # fmt: skip
    assert set(version.json["cells"][0]) == {"control", "strength", "trials"}
    assert (version.matches(), version.now["format"]) == (True, 3)


def test_a_design_of_format_3_reads_as_one_of_one_attack(of_one_attack: Study) -> None:
    then, now = of_one_attack.current_design.now, of_one_attack.design_json()  # type: ignore[union-attr]
    same = ("attacks", "models", "cells", "pairs", "looks", "stimuli", "exclusions")
    assert {part: then[part] for part in same} == {part: now[part] for part in same}
    assert (then["pay"], then["preregistration"], then["texts"]) == (None, None, None)
    assert make_plan(then, 3, seed=5) == make_plan(now, 3, seed=5)


def test_a_study_of_format_3_is_analysed_and_amended(of_one_attack: Study) -> None:
    session, _ = start(of_one_attack)
    answer_all(session)
    row = next(of_one_attack.trial_rows())
    run = of_one_attack.model_run
    assert (row["attack"], row["field"], row["model"]) == (str(run.attack), "c" * 12, run.name)
    amended = of_one_attack.amend("more people came forward", participants=9)
    assert (amended.json["format"], amended.json["pay"]["base_pay"], amended.faults()) == (FORMAT, "0", [])


def test_looks_that_a_design_of_format_3_did_not_allow_are_noticed(of_one_attack: Study) -> None:
    QuerySet(Study).filter(pk=of_one_attack.pk).update(looks_allowed=True)
    version = of_one_attack.current_design
    assert version is not None
    assert version.faults() == ["The study says otherwise than its design: looks."]
