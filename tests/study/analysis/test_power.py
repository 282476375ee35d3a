"""What a design can show: the tests are those of the verdicts, and the power is the one measured elsewhere."""

import dataclasses
import json
import math

import numpy as np
import pytest
from scipy import stats

from study.analysis import equivalence
from study.analysis.power import BELOW, DETECTABLE, Design, counts, plan, simulate, spread_p, two_way
from study.analysis.synthetic import Studies, Truth, at_level, draw, latin_square

QUICK = {"studies": 400, "grid_participants": (), "grid_trials": ()}


def studies(participants: int, trials: int, stimuli: int, *, pc: float = 0.5, sd: float = 0.3, n: int = 12) -> Studies:
    truth = Truth((at_level(pc, sd),), participant_sd=sd, stimulus_sd=sd)
    return draw(truth, latin_square(participants, stimuli, trials), n, np.random.default_rng(1))


# --- the same tests as those of the verdicts, study by study


@pytest.mark.parametrize(
    ("participants", "trials", "stimuli", "pc"), [(40, 6, 30, 0.5), (12, 20, 9, 0.62), (5, 3, 20, 0.9), (3, 2, 2, 0.97)]
)
@pytest.mark.parametrize("bound", equivalence.BOUNDS)
def test_every_study_is_judged_as_the_report_judges_it(
    participants: int, trials: int, stimuli: int, pc: float, bound: float
) -> None:
    drawn = studies(participants, trials, stimuli, pc=pc)
    correct, participant, stimulus = drawn.cell(0)
    tests, spread = two_way(correct, participant, stimulus), spread_p(correct, participant)
    for study in range(len(correct)):
        (row,) = equivalence.assess(drawn.table(study), bound)
        assert tests.p_equivalence(bound)[study] == pytest.approx(row["two_way_tost_p"], abs=1e-10)
        assert tests.p_below(bound)[study] == pytest.approx(row["two_way_upper_bound_p"], abs=1e-10)
        assert tests.p_difference()[study] == pytest.approx(row["two_way_difference_p"], abs=1e-10)
        assert tests.se[study] == pytest.approx(row["two_way_se"], abs=1e-10)
        assert spread[study] == pytest.approx(row["participant_spread"]["p"], abs=1e-10)


def test_answers_that_are_all_alike_get_the_exact_test() -> None:
    layout = latin_square(8, 10, 4)
    correct = np.array([np.ones(32, bool), np.zeros(32, bool)])
    tests = two_way(correct, layout.participant, layout.stimulus)
    for study, answers in enumerate(correct):
        one = equivalence.two_way(answers, layout.participant, layout.stimulus)
        assert tests.p_equivalence(0.6)[study] == pytest.approx(one.p_equivalence(0.6))
        assert tests.p_difference()[study] == pytest.approx(one.p_difference())
    assert list(spread_p(correct, layout.participant)) == [1, 1]


def test_without_a_second_answer_spread_cannot_be_tested_and_nothing_is_claimed() -> None:
    drawn = studies(40, 1, 30)
    assert np.isnan(spread_p(drawn.correct, drawn.layout.participant)).all()
    assert simulate(Design(trials=1, **QUICK), 40, 1).below.share == 0


# --- power


@pytest.mark.parametrize(
    ("pc", "sd", "bound", "participants", "trials", "upper", "tost"),
    [
        (0.50, 0.0, 0.60, 20, 12, 0.91, 0.83),
        (0.50, 0.0, 0.60, 40, 6, 0.92, 0.85),
        (0.50, 0.0, 0.55, 40, 6, 0.44, 0.02),
        (0.50, 0.0, 0.55, 40, 12, 0.68, 0.38),
        (0.50, 0.3, 0.60, 40, 6, 0.90, 0.78),
        (0.50, 0.3, 0.55, 40, 30, 0.84, 0.69),
        (0.52, 0.3, 0.60, 40, 12, 0.93, 0.93),
        (0.52, 0.3, 0.55, 80, 60, 0.87, 0.87),
    ],
)
def test_simulated_people_give_the_power_measured_for_tests_on_participants(
    *, pc: float, sd: float, bound: float, participants: int, trials: int, upper: float, tost: float
) -> None:
    layout = latin_square(participants, 60, trials)
    drawn = draw(Truth((at_level(pc, sd),), participant_sd=sd), layout, 500, np.random.default_rng(8))
    share = counts(drawn.correct, layout.participant) / trials
    se = share.std(axis=1, ddof=1) / math.sqrt(participants)
    below = stats.t.cdf((share.mean(axis=1) - bound) / se, participants - 1)
    above = stats.t.sf((share.mean(axis=1) - 1 + bound) / se, participants - 1)
    assert np.mean(below < 0.05) == pytest.approx(upper, abs=0.08)
    assert np.mean(np.maximum(below, above) < 0.05) == pytest.approx(tost, abs=0.08)


def test_a_claim_at_the_bound_itself_is_hardly_ever_made() -> None:
    cell = simulate(Design(pc=0.6, participant_sd=0.3, stimulus_sd=0.3, **QUICK), 40, 20)
    assert cell.equivalence.share < 0.1


def test_detection_at_chance_is_hardly_ever_claimed() -> None:
    cell = simulate(Design(detectable_pc=0.5, conditions=1, participant_sd=0.3, stimulus_sd=0.3, **QUICK), 40, 20)
    assert cell.detectable.share < 0.1


def test_power_grows_with_people_when_they_are_alike() -> None:
    design = Design(participant_sd=0, stimulus_sd=0, **QUICK)
    few, many = (simulate(design, n, 8) for n in (20, 60))
    assert many.equivalence.share > few.equivalence.share + 0.2
    assert many.detectable.share > few.detectable.share + 0.2


def test_images_that_differ_cost_power() -> None:
    alike, differ = (
        simulate(Design(stimuli=20, participant_sd=0, stimulus_sd=sd, **QUICK), 40, 8).equivalence.share
        for sd in (0.0, 0.6)
    )
    assert differ < alike - 0.1


def test_more_conditions_make_detection_harder() -> None:
    one, eight = (simulate(Design(conditions=n, **QUICK), 40, 8).detectable.share for n in (1, 8))
    assert eight < one - 0.1


# --- the plan


def test_40_people_with_6_trials_cannot_support_a_bound_of_55() -> None:
    power = plan(Design(bound=0.55, participants=40, trials=6, participant_sd=0, stimulus_sd=0, **QUICK))
    assert power.planned.below.share < 0.1
    assert power.warnings[0].startswith("40 participants × 6 trials cannot support PC < .55: at a true PC of .50")


def test_a_design_that_suffices_gets_no_warning() -> None:
    design = Design(participants=60, trials=12, participant_sd=0, stimulus_sd=0, **QUICK)
    assert plan(design).warnings == ()


def test_people_who_differ_are_named_as_what_stands_against_the_claim() -> None:
    power = plan(Design(participants=60, trials=30, participant_sd=0.4, **QUICK))
    assert power.planned.equivalence.share > 0.9
    assert any("fail the test of spread" in warning for warning in power.warnings)


@pytest.mark.parametrize(("trials", "given"), [(9, False), (10, True)])
def test_a_limit_on_people_off_chance_needs_ten_trials(trials: int, given: bool) -> None:
    power = plan(Design(trials=trials, **QUICK))
    assert power.planned.off_chance_limit is given
    assert any("no upper limit on the share of people off chance" in w for w in power.warnings) is not given


def test_few_images_are_said_to_be_untried() -> None:
    assert any("fewer than 10" in warning for warning in plan(Design(stimuli=9, **QUICK)).warnings)


def test_the_smallest_design_has_the_fewest_answers_of_those_that_suffice() -> None:
    design = Design(
        participant_sd=0, stimulus_sd=0, studies=400, grid_participants=(20, 40, 80), grid_trials=(4, 6, 12, 20)
    )
    power = plan(design)
    assert {(s.claim, s.least_trials) for s in power.smallest} == {(BELOW, 1), (BELOW, 10), (DETECTABLE, 1)}
    for smallest in power.smallest:
        enough = [
            cell.answers
            for cell in power.grid
            if cell.power(smallest.claim).share >= smallest.power and cell.trials >= smallest.least_trials
        ]
        assert smallest.participants * smallest.trials == min(enough)


def test_a_power_that_no_design_reaches_is_said() -> None:
    power = plan(Design(bound=0.55, participants=10, trials=4, **QUICK))
    assert {(s.claim, s.participants) for s in power.smallest} == {(BELOW, None), (DETECTABLE, None)}
    assert "no design that was tried reaches 80 %" in power.warnings[0]


def test_people_who_hide_behind_a_mean_of_one_half_are_noticed() -> None:
    cell = simulate(Design(participant_sd=0, stimulus_sd=0, **QUICK), 40, 6)
    assert cell.equivalence.share > 0.6
    assert cell.hidden.share < 0.07


def test_a_design_that_would_not_notice_them_is_warned_of_and_not_proposed() -> None:
    power = plan(Design(participants=200, trials=2, participant_sd=0, stimulus_sd=0, pc=0.5, **QUICK))
    assert power.planned.hidden.share > 0.07
    assert any("would not notice that one person in 8" in warning for warning in power.warnings)
    assert power.smallest[0].participants is None


def test_an_entry_does_not_depend_on_what_else_is_tried() -> None:
    alone = plan(Design(**QUICK))
    among = plan(Design(studies=400, grid_participants=(10, 20), grid_trials=(4,)))
    assert among.planned == alone.planned
    assert plan(Design(seed=1, **QUICK)).planned != alone.planned


def test_entries_that_need_more_images_than_there_are_are_left_out() -> None:
    assert {trials for _, trials in Design(trials=8, stimuli=12).sizes()} == {4, 6, 8, 10, 12}


def test_progress_is_told() -> None:
    told: list[tuple[int, int]] = []
    plan(Design(studies=100, grid_participants=(20,), grid_trials=(4,)), lambda *done: told.append(done))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("pc", [0.01, 0.99])
def test_the_most_extreme_truth_can_be_tried(pc: float) -> None:
    design = Design(pc=pc, detectable_pc=pc, participant_sd=3, stimulus_sd=3, **QUICK)
    assert simulate(design, 40, 8).below.share < 0.05


def test_a_plan_is_json() -> None:
    content = json.loads(json.dumps(plan(Design(**QUICK)).to_json(), allow_nan=False))
    assert content["design"]["bound"] == 0.6
    assert content["planned"]["below"]["error"] > 0


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"bound": 0.7}, "The bound is 0.7; it must be one of 0.6, 0.55"),
        ({"participants": 1}, "The number of participants is 1; it must be 2 or more"),
        ({"pc": 1.0}, r"between \.01 and \.99"),
        ({"detectable_pc": 0.0}, r"between \.01 and \.99"),
        ({"participant_sd": -1}, "between 0 and 3"),
        ({"participant_sd": math.nan}, "between 0 and 3"),
        ({"studies": 10}, "100 or more"),
        ({"trials": 40, "stimuli": 30}, "nobody sees an image twice"),
        ({"grid_trials": (0,)}, "must be 1 or more"),
    ],
)
def test_an_impossible_design_gets_one_sentence(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(Design(), **change)
