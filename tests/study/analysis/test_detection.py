import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtr, ndtri

from study.analysis import detection, frames, protocols

#: Hits and false alarms, with their numbers of trials, of two people who see as much and say "altered" unlike.
STRICT_AND_LAX = ((90, 400, 9, 400), (391, 400, 310, 400))
counts = st.tuples(st.integers(0, 60), st.integers(1, 60)).filter(lambda pair: pair[0] <= pair[1])


def test_conditions_agree_with_the_golden_values(golden, golden_main) -> None:
    expected = {(row["attack"], row["strength"]): row for row in golden["conditions_all"]}
    found = {(attack, s): detection.describe(cell) for attack, s, cell in frames.cells(golden_main)}
    assert found.keys() == expected.keys()
    for key, row in found.items():
        target = expected[key]
        assert (row["n"], row["correct"]) == (target["n"], target["k"])
        assert row["proportion_correct"] == pytest.approx(target["pc"], abs=1e-8)
        assert (row["wilson_low"], row["wilson_high"]) == pytest.approx(target["wilson"], abs=1e-8)
        exact = (row["clopper_pearson_low"], row["clopper_pearson_high"])
        assert exact == pytest.approx(target["clopper_pearson"], abs=1e-8)
        assert row["dprime"] == pytest.approx(target["dprime_2afc"], abs=1e-8)
        assert row["dprime_se"] == pytest.approx(target["dprime_2afc_se_delta"], abs=1e-8)
        assert row["dprime_unbiased"] == pytest.approx(target["dprime_bias_free_loglinear"], abs=1e-8)
        assert row["criterion"] == pytest.approx(target["criterion_c_loglinear"], abs=1e-8)


@pytest.mark.parametrize("proportion", [0.0, 1.0])
def test_an_infinite_dprime_is_no_number(proportion: float) -> None:
    assert detection.dprime(proportion) is None
    assert detection.dprime_se(proportion, 40) is None


@given(hits=counts, false=counts)
def test_swapping_the_sides_flips_the_criterion_and_nothing_else(hits, false) -> None:
    (h, n_left), (f, n_right) = hits, false
    d, c = detection.dprime_unbiased(h, n_left, f, n_right)
    # Left becomes right: "left given altered left" is now "right given altered right".
    swapped_d, swapped_c = detection.dprime_unbiased(n_right - f, n_right, n_left - h, n_left)
    assert math.isclose(swapped_d, d, abs_tol=1e-12)
    assert math.isclose(swapped_c, -c, abs_tol=1e-12)


def test_without_trials_on_one_side_there_is_no_bias_free_dprime() -> None:
    assert detection.dprime_unbiased(3, 4, 0, 0) == (None, None)


# --- other protocols


def yes_no(hits: int, n_altered: int, false_alarms: int, n_clean: int) -> pd.DataFrame:
    """A cell of single images: left = altered, shown or said."""
    clean = ["right"] * n_altered + ["left"] * n_clean
    said = ["left"] * hits + ["right"] * (n_altered - hits) + ["left"] * false_alarms
    said += ["right"] * (n_clean - false_alarms)
    table = pd.DataFrame({"participant": "P1", "clean_side": clean, "response_side": said})
    return table.assign(correct=(table["clean_side"] != table["response_side"]).astype(int))


def test_in_yes_no_dprime_is_the_difference_of_z_and_is_not_divided_by_root_two() -> None:
    row = detection.describe(yes_no(30, 40, 10, 40), protocol=protocols.YES_NO)
    z_hit, z_false = ndtri(30.5 / 41), ndtri(10.5 / 41)
    assert row["dprime"] == pytest.approx(z_hit - z_false)
    assert row["dprime_unbiased"] == row["dprime"]
    assert row["criterion"] == pytest.approx(-(z_hit + z_false) / 2)
    assert row["proportion_correct"] == 0.75


def test_in_yes_no_dprime_does_not_follow_the_criterion_that_moves_the_proportion_correct() -> None:
    strict, lax = (detection.describe(yes_no(*counts), protocol=protocols.YES_NO) for counts in STRICT_AND_LAX)
    assert strict["dprime"] == pytest.approx(lax["dprime"], abs=1e-9)
    assert strict["criterion"] == pytest.approx(-lax["criterion"], abs=1e-9)
    middle = detection.describe(yes_no(299, 400, 101, 400), protocol=protocols.YES_NO)
    assert middle["dprime"] == pytest.approx(strict["dprime"], abs=0.1)
    assert middle["proportion_correct"] - strict["proportion_correct"] > 0.05


def test_the_standard_error_of_a_yes_no_dprime_is_that_of_many_studies() -> None:
    rng = np.random.default_rng(1)
    draws = [yes_no(rng.binomial(200, 0.8), 200, rng.binomial(200, 0.3), 200) for _ in range(700)]
    found = [detection.sensitivity(cell, protocols.YES_NO) for cell in draws]
    spread = np.std([row["dprime"] for row in found])
    assert np.mean([row["dprime_se"] for row in found]) == pytest.approx(spread, rel=0.06)


@pytest.mark.parametrize("d", [0.5, 1.0, 2.0, 3.0])
def test_the_differencing_model_is_that_of_an_observer_who_compares_differences(d: float) -> None:
    rng = np.random.default_rng(4)
    images = rng.normal(0, 1, (4, 400_000))
    chosen = np.abs(images[0] + d - images[1]) > np.abs(images[2] - images[3])
    assert detection.dprime(float(chosen.mean()), "differencing") == pytest.approx(d, abs=0.03)


def test_the_differencing_model_agrees_with_its_formula() -> None:
    pc = ndtr(0.5) ** 2 + ndtr(-0.5) ** 2
    assert detection.dprime(pc, "differencing") == pytest.approx(1.0)
    assert detection.dprime(0.5, "differencing") == 0.0


def test_below_chance_the_differencing_model_has_no_dprime() -> None:
    assert detection.dprime(0.49, "differencing") is None
    assert detection.dprime_se(0.49, 100, "differencing") is None


@pytest.mark.parametrize("model", ["forced choice", "differencing", "yes/no"])
def test_a_standard_error_is_that_of_the_proportion_over_the_slope(model: protocols.Model) -> None:
    pc, n, step = 0.8, 120, 1e-5
    slope = 2 * step / (detection.dprime(pc + step, model) - detection.dprime(pc - step, model))
    assert detection.dprime_se(pc, n, model) == pytest.approx(math.sqrt(pc * (1 - pc) / n) / slope, rel=1e-5)


def test_oddity_has_no_bias_free_dprime(golden_main) -> None:
    cell = golden_main[golden_main["strength"] == golden_main["strength"].max()]
    row = detection.describe(cell, protocol=protocols.ODDITY)
    assert row["dprime_unbiased"] is None
    assert row["dprime"] == detection.dprime(row["proportion_correct"], "differencing")
    assert row["dprime"] > detection.dprime(row["proportion_correct"])


@pytest.mark.parametrize("protocol", [protocols.IFC, protocols.FLICKER])
def test_intervals_and_flicker_are_forced_choices_like_side_by_side(golden_main, protocol) -> None:
    assert detection.describe(golden_main, protocol=protocol) == detection.describe(golden_main)


def test_the_share_of_not_sure_is_known_where_it_was_offered(golden_main) -> None:
    assert detection.describe(golden_main)["unsure_share"] is None
    quarter = golden_main.assign(unsure=np.arange(len(golden_main)) % 4 == 0)
    assert detection.describe(quarter)["unsure_share"] == 0.25


# --- each participant's own d'


def people(*counts: tuple[int, int, int, int]) -> pd.DataFrame:
    """Forced choices of one participant per row of counts, see `detection.z_rates`."""
    return pd.concat(
        [yes_no(*of_one).assign(participant=f"P{number}") for number, of_one in enumerate(counts)], ignore_index=True
    )


def test_each_participant_counts_once_with_a_log_linear_dprime_of_the_own() -> None:
    cell = people((5, 6, 1, 6), (3, 4, 2, 4), (20, 20, 0, 20))
    own = [detection.dprime_unbiased(*of_one) for of_one in ((5, 6, 1, 6), (3, 4, 2, 4), (20, 20, 0, 20))]
    found = detection.participant_dprime(cell)
    values, criteria = np.array(own).T
    assert found["n"] == 3
    assert found["mean"] == pytest.approx(values.mean())
    half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
    assert (found["low"], found["high"]) == pytest.approx((values.mean() - half, values.mean() + half))
    assert found["criterion_sd"] == pytest.approx(criteria.std(ddof=1))
    assert found["reason"] is None


def test_people_who_prefer_opposite_sides_have_a_pooled_dprime_below_their_own() -> None:
    cell = people(*[(39, 40, 20, 40), (20, 40, 1, 40)] * 5)
    row = detection.describe(cell)
    assert row["dprime_unbiased"] < row["participant_dprime"]["mean"] - 0.1
    assert row["participant_dprime"]["criterion_sd"] > 0.5


def test_in_yes_no_a_participants_dprime_is_not_divided_by_root_two() -> None:
    cell = people((30, 40, 10, 40), (28, 40, 12, 40))
    divided, whole = (detection.participant_dprime(cell, protocol=p)["mean"] for p in (protocols.AFC, protocols.YES_NO))
    assert whole == pytest.approx(divided * math.sqrt(2))


def test_whoever_saw_one_side_only_has_no_dprime_of_the_own() -> None:
    assert detection.participant_dprime(people((5, 6, 1, 6), (3, 4, 2, 4), (3, 4, 0, 0)))["n"] == 2
    nobody = detection.participant_dprime(people((3, 4, 0, 0), (2, 4, 0, 0)))
    assert (nobody["mean"], nobody["n"], nobody["reason"]) == (None, 0, "no participant has trials on both sides")


def test_one_participant_has_a_dprime_but_no_interval() -> None:
    found = detection.participant_dprime(people((5, 6, 1, 6)))
    assert found["mean"] is not None
    assert (found["low"], found["high"], found["n"]) == (None, None, 1)
    assert "no interval" in found["reason"]


def test_oddity_has_participants_dprimes_where_nobody_is_below_chance() -> None:
    found = detection.participant_dprime(people((18, 20, 2, 20), (17, 20, 3, 20)), protocol=protocols.ODDITY)
    shares = [36.5 / 41, 34.5 / 41]
    assert found["mean"] == pytest.approx(np.mean([detection.dprime(share, "differencing") for share in shares]))
    below = detection.participant_dprime(people((18, 20, 2, 20), (8, 20, 12, 20)), protocol=protocols.ODDITY)
    assert below["mean"] is None
    assert below["reason"].startswith("1 of 2 participants are below PC .5")


@pytest.mark.parametrize("protocol", protocols.PROTOCOLS.values())
def test_the_difference_of_the_two_dprimes_is_explained_in_one_sentence(golden_main, protocol) -> None:
    note = detection.explained(golden_main, protocol)["note"]
    assert "pooled" in note
    assert "6 per condition" in note
    assert note.count(". ") == 0
