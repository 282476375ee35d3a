import math
import time
from functools import cache

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from study.analysis import equivalence, frames
from study.analysis.equivalence import Evidence, TwoWay, verdict, verdicts_in_sequence
from study.analysis.protocols import YES_NO
from tests.study.analysis import observers
from tests.study.analysis.observers import one_condition, simulate

SHOWN = Evidence(equivalence_p=0.01, spread_p=0.5, difference_p=0.5)
SHOWN_AND_SEEN = Evidence(equivalence_p=0.01, spread_p=0.5, difference_p=0.01)
SEEN = Evidence(equivalence_p=0.5, spread_p=0.5, difference_p=0.01)
OPEN = Evidence(equivalence_p=0.5, spread_p=0.5, difference_p=0.5)
#: People of whom a few see it, and as many see it and name the wrong image.
GROUPS = (0.9,) * 5 + (0.1,) * 5 + (0.5,) * 30


def two_way(cell) -> TwoWay:
    return equivalence.two_way(cell["correct"], frames.codes(cell["participant"]), frames.codes(cell["stimulus"]))


# --- goldens


def test_two_way_tests_agree_with_the_golden_values(golden_twoway, golden_main) -> None:
    found = {(attack, s): two_way(cell) for attack, s, cell in frames.cells(golden_main)}
    assert found.keys() == golden_twoway.keys()
    for key, result in found.items():
        target = golden_twoway[key]
        assert result.mean == pytest.approx(target["mean"], abs=1e-10)
        assert result.se == pytest.approx(target["se"], abs=1e-10)
        assert (result.df, result.floored) == (target["df"], target["floored"])
        assert result.interval(0.90) == pytest.approx(target["ci90"], abs=1e-10)
        assert result.p_difference() == pytest.approx(target["p_two_sided_vs_half"], abs=1e-10)
        assert result.p_below(0.60) == pytest.approx(target["p_upper_pc_lt_060"], abs=1e-10)
        assert result.p_below(0.55) == pytest.approx(target["p_upper_pc_lt_055"], abs=1e-10)
        assert result.p_equivalence(0.60) == pytest.approx(target["tost_p_040_060"], abs=1e-10)


def test_participant_level_tests_agree_with_the_golden_values(golden, golden_main) -> None:
    expected = {(row["attack"], row["strength"]): row for row in golden["participant_level_all"]}
    rows = equivalence.assess(golden_main)
    for (attack, s, _), row in zip(frames.cells(golden_main), rows, strict=True):
        target = expected[attack, s]
        assert row["tost_p"] == pytest.approx(target["tost_p"], abs=1e-8)
        assert row["upper_bound_p"] == pytest.approx(target["noninferiority_p_pc_lt_0.6"], abs=1e-8)
        assert row["holm_p"] == pytest.approx(target["holm_p_greater"], abs=1e-8)


def test_the_strict_bound_agrees_with_the_golden_values(golden, golden_main) -> None:
    expected = {(row["attack"], row["strength"]): row for row in golden["participant_level_all"]}
    for (attack, s, _), row in zip(frames.cells(golden_main), equivalence.assess(golden_main, 0.55), strict=True):
        assert row["upper_bound_p"] == pytest.approx(expected[attack, s]["noninferiority_p_pc_lt_0.55"], abs=1e-8)


def test_a_chance_condition_that_pooling_would_claim_is_inconclusive(golden_main) -> None:
    verdicts = {
        (attack, s): row["verdict"]
        for (attack, s, _), row in zip(frames.cells(golden_main), equivalence.assess(golden_main), strict=True)
    }
    assert verdicts["badnets", 0.0] == "inconclusive"
    assert verdicts["badnets", 0.25] == "below the bound (.60)"
    assert verdicts["wanet", 0.25] == "inconclusive"
    assert verdicts["wanet", 2.0] == "detectable"


# --- words


@pytest.mark.parametrize(
    ("evidence", "bound", "words"),
    [
        (SHOWN_AND_SEEN, 0.60, "detectable, below the bound (.60)"),
        (SHOWN_AND_SEEN, 0.55, "detectable, below the bound (.55)"),
        (SHOWN, 0.60, "below the bound (.60)"),
        (SHOWN, 0.55, "imperceptible (PC < .55)"),
        (SEEN, 0.60, "detectable"),
        (OPEN, 0.60, "inconclusive"),
    ],
)
def test_the_words_of_a_verdict(evidence: Evidence, bound: float, words: str) -> None:
    assert verdict(evidence, bound) == words


def test_people_who_differ_too_much_forbid_the_claim() -> None:
    spread = Evidence(equivalence_p=0.001, spread_p=0.01, difference_p=0.9)
    assert verdict(spread, 0.60) == "inconclusive"
    assert "people differ" in spread.why_not_below(0.60)


def test_what_could_not_be_computed_supports_no_claim() -> None:
    assert verdict(Evidence(None, None, None), 0.60) == "inconclusive"
    assert verdict(Evidence(0.001, None, 0.9), 0.60) == "inconclusive"


def test_claims_stop_at_the_first_strength_that_fails() -> None:
    rows = verdicts_in_sequence([0.25, 0.5, 1.0, 2.0], [SHOWN, OPEN, SHOWN, SEEN], 0.60)
    assert [row["verdict"] for row in rows] == ["below the bound (.60)", "inconclusive", "inconclusive", "detectable"]
    assert rows[2]["verdict_reason"] == "claims go up in strength and stopped at s = 0.5"


def test_an_identity_control_that_fails_stops_no_claim() -> None:
    rows = verdicts_in_sequence([0.0, 0.25], [OPEN, SHOWN], 0.60)
    assert [row["verdict"] for row in rows] == ["inconclusive", "below the bound (.60)"]


def test_a_bound_that_was_never_offered_is_refused(golden_main) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        equivalence.assess(golden_main, 0.7)


# --- truths


def test_people_who_see_it_but_name_the_wrong_image_are_not_called_below_the_bound() -> None:
    claimed = [
        equivalence.assess(one_condition(seed, GROUPS))[0]["verdict"].endswith("below the bound (.60)")
        for seed in range(100)
    ]
    assert sum(claimed) <= 7


def test_a_mean_near_chance_of_such_people_passes_the_one_sided_test_alone() -> None:
    passed = [two_way(one_condition(seed, GROUPS, trials=12)).p_below(0.60) < 0.05 for seed in range(40)]
    assert sum(passed) >= 20


def test_a_small_study_at_chance_is_inconclusive_never_imperceptible() -> None:
    for bound in equivalence.BOUNDS:
        words = [
            equivalence.assess(one_condition(seed, [0.5] * 12, trials=5), bound)[0]["verdict"] for seed in range(60)
        ]
        assert not any(word.startswith("imperceptible") for word in words)
        assert words.count("inconclusive") >= 50


def test_a_large_study_at_chance_is_below_the_bound() -> None:
    verdicts = [equivalence.assess(one_condition(seed, [0.5] * 60, trials=12))[0]["verdict"] for seed in range(20)]
    assert verdicts.count("below the bound (.60)") >= 16


def test_the_two_way_test_holds_its_level_when_people_and_images_differ() -> None:
    rejected = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        people, images = rng.normal(0, 0.3, 40), rng.normal(0, 0.3, 30)
        participant, stimulus = (
            np.repeat(np.arange(40), 12),
            np.concatenate([rng.permutation(30)[:12] for _ in range(40)]),
        )
        chance = 1 / (1 + np.exp(-people[participant] - images[stimulus]))
        rejected += equivalence.two_way(rng.random(480) < chance, participant, stimulus).p_difference() < 0.05
    assert rejected <= 22


# --- properties


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), permutation=st.integers(0, 10_000))
def test_neither_row_order_nor_the_names_of_the_sides_change_a_verdict(seed: int, permutation: int) -> None:
    trials = simulate(seed, participants=6, stimuli=8, strengths=(0.0, 0.5, 2.0), trials=3, catch=0)
    other = {"left": "right", "right": "left"}
    swapped = trials.assign(
        clean_side=trials["clean_side"].map(other), response_side=trials["response_side"].map(other)
    ).sample(frac=1, random_state=permutation)
    before, after = equivalence.assess(trials), equivalence.assess(swapped)
    for one, two in zip(before, after, strict=True):
        assert one["verdict"] == two["verdict"]
        for name in ("two_way_tost_p", "two_way_difference_p", "tost_p"):
            assert (one[name] is None) == (two[name] is None)
            assert one[name] is None or math.isclose(one[name], two[name], abs_tol=1e-12)


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_makes_a_p_value_smaller(p: list[float]) -> None:
    assert all(adjusted >= raw for raw, adjusted in zip(p, equivalence.holm(p), strict=True))


def test_a_missing_p_value_counts_in_the_family_but_stays_missing() -> None:
    assert equivalence.holm([0.01, None, 0.02]) == pytest.approx([0.03, None, 0.04])


# --- cells with little in them


def test_a_condition_answered_correctly_by_all_is_detectable() -> None:
    row = equivalence.assess(one_condition(1, [1.0] * 20))[0]
    assert row["verdict"] == "detectable"
    assert row["two_way_high"] == 1
    assert 0.7 < row["two_way_low"] < 1
    assert "all answers are alike" in row["note"]


def test_two_people_who_are_always_right_prove_nothing() -> None:
    row = equivalence.assess(one_condition(1, [1.0] * 2))[0]
    assert row["two_way_difference_p"] == pytest.approx(0.5)
    assert row["verdict"] == "inconclusive"


def test_a_condition_answered_wrongly_by_all_is_detectable_and_not_below_the_bound() -> None:
    row = equivalence.assess(one_condition(1, [0.0] * 20))[0]
    assert (row["two_way_low"], row["verdict"]) == (0, "detectable")


def test_one_participant_supports_no_claim() -> None:
    row = equivalence.assess(one_condition(1, [0.5], trials=20))[0]
    assert row["two_way_tost_p"] is None
    assert row["verdict"] == "inconclusive"
    assert "one participant" in row["note"]


# --- spread and numbers of pairs


def test_the_spread_test_holds_its_level() -> None:
    people = np.repeat(np.arange(40), 6)
    rejected = [
        equivalence.participant_spread(np.random.default_rng(seed).random(240) < 0.5, people)["p"] < 0.05
        for seed in range(400)
    ]
    assert 0.02 <= np.mean(rejected) <= 0.08


def test_no_share_of_people_is_given_below_ten_trials_per_person() -> None:
    spread = equivalence.participant_spread([0, 1] * 9, np.repeat([0, 1, 2], 6))
    assert spread["off_chance_share_upper"] is None
    assert "fewer than 10 trials" in spread["reason"]


def limits(chances: tuple[float, ...], trials: int, studies: int) -> list[dict]:
    """`participant_spread` of simulated studies of people with these proportions correct."""
    return [spread_of(chances, trials, seed) for seed in range(studies)]


@cache
def spread_of(chances: tuple[float, ...], trials: int, seed: int) -> dict:
    people, chance = np.repeat(np.arange(len(chances)), trials), np.repeat(chances, trials)
    return equivalence.participant_spread(np.random.default_rng([seed, 5]).random(len(people)) < chance, people)


@pytest.mark.parametrize(
    ("chances", "trials", "share"),
    [
        (GROUPS, 40, 0.25),
        ((0.65,) * 10 + (0.5,) * 30, 40, 0.25),
        ((0.9,) * 4 + (0.5,) * 36, 12, 0.1),
        ((0.7,) * 40, 20, 1.0),
    ],
)
def test_the_upper_limit_on_people_off_chance_covers_their_share(chances, trials: int, share: float) -> None:
    found = [one["off_chance_share_upper"] for one in limits(chances, trials, 40)]
    assert np.mean([limit >= share - 1e-9 for limit in found]) >= 0.95


def test_the_upper_limit_on_people_off_chance_says_something_where_there_are_trials_enough() -> None:
    assert np.median([one["off_chance_share_upper"] for one in limits(GROUPS, 40, 20)]) < 0.7
    assert np.median([one["off_chance_share_upper"] for one in limits((0.5,) * 60, 60, 10)]) < 0.3


def test_assuming_a_beta_distribution_is_only_reported_where_it_lowers_the_limit() -> None:
    (few,) = limits((0.5,) * 40, 12, 1)
    assert few["off_chance_share_upper_beta"] < few["off_chance_share_upper"]
    (groups,) = limits(GROUPS, 40, 1)
    assert groups["off_chance_share_upper_beta"] is None


def test_the_upper_limit_for_thousands_of_people_is_fast() -> None:
    people = np.repeat(np.arange(4000), 60)
    correct = np.random.default_rng(1).random(240_000) < 0.5
    start = time.process_time()
    spread = equivalence.participant_spread(correct, people)
    assert time.process_time() - start < 1
    assert spread["off_chance_share_upper"] < 0.1


def test_pairs_needed_follow_from_dprime() -> None:
    d = math.sqrt(2) * 0.2533471031357997  # PC = .60
    assert equivalence.pairs_needed(0.60) == math.ceil(2 * (1.6448536269514722 / d) ** 2)
    assert equivalence.pairs_needed(0.5) is None
    assert equivalence.pairs_needed(None) is None
    assert equivalence.pairs_needed(1.0) == 1


def test_where_the_wrong_image_is_named_more_often_than_by_chance_the_reason_says_so() -> None:
    (found,) = equivalence.assess(observers.one_condition(3, [0.2] * 20, trials=12))
    assert (found["verdict"], found["verdict_reason"]) == ("detectable", equivalence.MORE_WRONG)
    (above,) = equivalence.assess(observers.one_condition(3, [0.8] * 20, trials=12))
    assert (above["verdict"], above["verdict_reason"]) == ("detectable", None)


# --- other protocols


def single_images(*rates: tuple[float, float], trials: int = 10, seed: int = 1) -> pd.DataFrame:
    """Yes/no answers at one strength: each person's rates of saying "altered" to altered and to clean images."""
    rng = np.random.default_rng(seed)
    rows = []
    for person, (hit, false_alarm) in enumerate(rates):
        for i, stimulus in enumerate(rng.choice(60, 2 * trials, replace=False)):
            shown = i % 2 == 0
            clean_side = "right" if shown else "left"
            response_side = "left" if rng.random() < (hit if shown else false_alarm) else "right"
            answer = {"clean_side": clean_side, "response_side": response_side, "protocol": "yes_no"}
            line = observers.row(rng, person, f"S{stimulus}", 0.5, 0.5)
            rows.append(line | answer | {"correct": int(clean_side != response_side)})
    return frames.from_records(rows, "simulation")


def test_in_yes_no_people_who_hardly_ever_say_altered_hide_nothing_behind_their_criterion() -> None:
    seen_but_seldom_said = single_images(*[(0.12, 0.02)] * 40)
    (found,) = equivalence.assess(seen_but_seldom_said, protocol=YES_NO)
    assert found["two_way_tost_p"] < 0.05
    assert found["two_way_dprime_low"] > 0.5
    assert found["verdict"] == "detectable"
    (side_by_side,) = equivalence.assess(seen_but_seldom_said)
    assert side_by_side["verdict"] == "detectable, below the bound (.60)"


def test_in_yes_no_people_who_see_nothing_are_below_the_bound_whatever_their_criterion() -> None:
    for rate in (0.5, 0.15):
        (found,) = equivalence.assess(single_images(*[(rate, rate)] * 40, trials=12), protocol=YES_NO)
        assert found["verdict"] == "below the bound (.60)"


def test_an_equivalence_that_is_not_shown_names_both_measures_in_yes_no() -> None:
    (found,) = equivalence.assess(single_images(*[(0.5, 0.5)] * 8, trials=3), protocol=YES_NO)
    assert found["verdict_reason"] == "equivalence of both PC and d′ within (.40, .60) is not shown"


def test_the_two_way_interval_of_a_yes_no_dprime_holds_the_truth() -> None:
    truth = stats.norm.ppf(0.7) - stats.norm.ppf(0.3)
    found = [equivalence.YesNo.of(single_images(*[(0.7, 0.3)] * 12, seed=seed)) for seed in range(60)]
    held = [low <= truth <= high for low, high in (one.interval(0.95) for one in found if one)]
    assert len(held) == 60
    assert np.mean(held) >= 0.9


def test_without_one_of_the_two_images_there_is_no_yes_no_dprime() -> None:
    trials = single_images(*[(0.5, 0.5)] * 12)
    (found,) = equivalence.assess(YES_NO.showing_the_alteration(trials), protocol=YES_NO)
    assert found["two_way_dprime_low"] is None
    assert found["verdict"] == "inconclusive"


def test_pairs_needed_follow_the_model_of_the_protocol() -> None:
    assert equivalence.pairs_needed(0.60, "yes/no") == math.ceil(2 * (1.6448536 / (2 * stats.norm.ppf(0.6))) ** 2)
    assert equivalence.pairs_needed(0.60, "differencing") == math.ceil(2 * (1.6448536 / 1.1876) ** 2)


def test_in_yes_no_people_may_differ_in_their_criteria_but_not_in_what_they_see() -> None:
    criteria = [(0.1, 0.1)] * 20 + [(0.8, 0.8)] * 20
    assert equivalence.yes_no_spread(single_images(*criteria))["p"] > 0.05
    some_see = [(0.45, 0.02)] * 8 + [(0.1, 0.12)] * 32
    assert equivalence.yes_no_spread(single_images(*some_see))["p"] < 0.01


def test_the_yes_no_spread_test_keeps_its_level() -> None:
    alike = [
        equivalence.yes_no_spread(single_images(*[(0.3, 0.2)] * 30, trials=5, seed=seed))["p"] for seed in range(80)
    ]
    assert np.mean(np.array(alike) < 0.05) <= 0.125


def test_where_nobody_ever_says_altered_no_spread_is_known() -> None:
    assert equivalence.yes_no_spread(single_images(*[(0.0, 0.0)] * 5))["p"] is None
