"""Studies whose design was frozen in an earlier format go on as they were opened."""

from __future__ import annotations

import pytest

from study.analysis.report import build
from study.analysis.tables import read_study
from study.trials.design import FORMAT
from study.trials.exclusions import ExclusionRules
from study.trials.models import Session, Study
from study.trials.plan import make_plan
from tests.study.factories import answer_all, frozen_in_format_1, make_study, start

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
