"""Response times, order, disturbances, and the results with and without exclusions."""

import json
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.analysis import equivalence, frames, quality
from study.trials.exclusions import ExclusionRules
from tests.study.analysis.observers import simulate


def in_order(trials: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """The table with a random order of each participant's trials, from trial 6 on: practice came before."""
    rng = np.random.default_rng(seed)
    place = trials.groupby("participant")["participant"].transform(lambda of: rng.permutation(len(of)).astype(str))
    return trials.assign(trial_index=place.astype(float) + 6)


def parts(trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return frames.main_trials(trials), frames.catch_trials(trials)


def tiring(seed: int, change: float, people: int = 30) -> pd.DataFrame:
    """Sixty trials of everybody whose PC falls from .75 + change / 2 to .75 - change / 2 over the session."""
    rng = np.random.default_rng(seed)
    place = np.tile(np.arange(60), people)
    right = rng.random(len(place)) < 0.75 + change * (0.5 - place / 60)
    return pd.DataFrame(
        {
            "participant": np.repeat(np.arange(people), 60).astype(str),
            "stimulus": np.concatenate([rng.permutation(60) for _ in range(people)]).astype(str),
            "attack": "wanet",
            "strength": rng.choice([0.5, 1.0], len(place)),
            "correct": right.astype(int),
            "rt_ms": 900.0 - 2 * place,
            "trial_index": place + 6.0,
        }
    )


NO_CATCH = pd.DataFrame({"participant": pd.Series(dtype=str), "trial_index": pd.Series(dtype=float)})


def test_response_times_are_left_out_by_floor_and_ceiling_and_counted(golden_main) -> None:
    right = golden_main[golden_main["correct"] == 1]
    rt = right["rt_ms"].to_numpy()
    ceiling = np.median(rt) + 3 * 1.482602218505602 * np.median(np.abs(rt - np.median(rt)))
    found = quality.response_times(golden_main)
    assert found["ceiling_ms"] == pytest.approx(ceiling)
    assert found["left_out"] == {"below_floor": 0, "above_ceiling": int((rt > ceiling).sum())}
    assert found["n"] == len(rt) - (rt > ceiling).sum()
    assert found["formula"] == "log(rt_ms) ~ strength + attack + (1|participant) + (1|stimulus)"
    assert set(found["coefficients"]) == {"Intercept", "strength", "attack[T.wanet]"}
    assert found["coefficients"]["strength"]["p"] < 1e-6


def test_anticipations_are_left_out_of_the_model(golden_main) -> None:
    first = golden_main.index[golden_main["correct"] == 1][:7]
    early = golden_main.assign(rt_ms=golden_main["rt_ms"].where(~golden_main.index.isin(first), 199.0))
    assert quality.response_times(early)["left_out"]["below_floor"] == 7


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rt_ms": 800.0}, "all responses are alike"),
        ({"participant": "P00"}, "one participant only"),
        ({"stimulus": "S00"}, "one stimulus only"),
        ({"correct": 0}, "no right answers"),
        ({"rt_ms": 100.0}, "no right answers within the floor"),
    ],
)
def test_a_model_that_cannot_be_fitted_says_why(golden_main, change: dict[str, Any], reason: str) -> None:
    found = quality.response_times(golden_main.assign(**change))
    assert (found["coefficients"], found["sd"], found["converged"]) == (None, None, False)
    assert reason in found["reason"]


def test_one_attack_and_one_strength_leave_a_model_of_the_mean(golden_main) -> None:
    one = golden_main[(golden_main["attack"] == "wanet") & (golden_main["strength"] == 1.0)]
    found = quality.response_times(one)
    assert found["formula"] == "log(rt_ms) ~ 1 + (1|participant) + (1|stimulus)"
    assert list(found["coefficients"]) == ["Intercept"]


def test_fatigue_is_found_with_its_size() -> None:
    found = quality.order(tiring(1, change=0.3), NO_CATCH)
    assert found["slope_per_10_trials"] == pytest.approx(-0.05, abs=0.02)
    assert found["low"] < -0.05 < found["high"] < 0
    assert found["half_difference"] == pytest.approx(-0.15, abs=0.06)
    assert found["half_p"] < 0.01
    assert [block["n"] for block in found["by_block"]] == [300] * 6
    assert [block["median_rt_ms"] for block in found["by_block"]] == [891, 871, 851, 831, 811, 791]


def test_where_there_is_no_fatigue_it_is_seldom_found() -> None:
    p = np.array([quality.order(tiring(seed, change=0.0, people=12), NO_CATCH)["p"] for seed in range(100)])
    assert 0 <= (p < 0.05).sum() <= 11


def test_a_condition_that_only_comes_late_is_no_fatigue() -> None:
    trials = tiring(2, change=0.0)
    late = trials["trial_index"] > 36
    trials = trials.assign(strength=np.where(late, 2.0, 0.5), correct=np.where(late, 1, trials["correct"]))
    assert quality.order(trials, NO_CATCH)["slope_per_10_trials"] == pytest.approx(0, abs=0.04)


def test_the_first_trial_after_practice_begins_the_first_block_also_where_it_is_a_catch_trial() -> None:
    main, catch = parts(in_order(simulate(1, participants=6, trials=4)))
    found = quality.order(main, catch)
    assert [block["first_trial"] for block in found["by_block"]] == [1, 11, 21, 31]
    assert sum(block["n"] for block in found["by_block"]) == len(main)


def test_a_table_without_an_order_says_so(golden_main) -> None:
    found = quality.order(golden_main, golden_main[:0])
    assert "trial_index" in found["reason"]
    assert (found["slope_per_10_trials"], found["by_block"]) == (None, [])


def test_an_adaptive_study_has_no_order_and_no_proportions_to_compare() -> None:
    main, catch = parts(in_order(simulate(1, participants=4, trials=4)).assign(procedure="adaptive"))
    assert quality.order(main, catch)["reason"] == quality.ADAPTIVE_ORDER
    assert quality.with_and_without(main[:-10], main) == []


def test_each_condition_stands_beside_what_everybody_would_have_given() -> None:
    everybody = frames.main_trials(simulate(3, participants=20))
    analysed = everybody[everybody["participant"] >= "P05"]
    rows = quality.with_and_without(analysed, everybody)
    assert [row["strength"] for row in rows] == sorted(everybody["strength"].unique())
    for row in rows:
        with_all = everybody[everybody["strength"] == row["strength"]]
        assert row["everybody"]["proportion_correct"] == pytest.approx(with_all["correct"].mean())
        assert (row["everybody"]["n"], row["analysed"]["n"]) == (200, 150)
    verdicts = [row["verdict"] for row in equivalence.assess(everybody)]
    assert [row["everybody"]["verdict"] for row in rows] == verdicts
    assert [row["verdict_changes"] for row in rows] == [
        r["analysed"]["verdict"] != r["everybody"]["verdict"] for r in rows
    ]


def test_with_nobody_left_out_there_is_nothing_to_compare() -> None:
    everybody = frames.main_trials(simulate(3, participants=6))
    assert quality.with_and_without(everybody, everybody) == []


def test_a_condition_that_only_those_left_out_saw_is_missing_from_the_analysed() -> None:
    everybody = frames.main_trials(simulate(3, participants=6))
    analysed = everybody[(everybody["participant"] != "P00") & (everybody["strength"] < 4)]
    last = quality.with_and_without(analysed, everybody)[-1]
    assert (last["strength"], last["analysed"], last["verdict_changes"]) == (4.0, None, False)


def test_disturbed_trials_are_counted_where_they_are_known() -> None:
    main = frames.main_trials(simulate(1, participants=4, trials=5)).reset_index(drop=True)
    losses = pd.Series("0", index=main.index)
    losses[:10], losses[10:20] = "2", ""
    found = quality.disturbances(main.assign(focus_losses=losses))
    counted = found["focus_losses"]
    assert (counted["n_known"], counted["trials"], counted["total"]) == (len(main) - 10, 10, 20)
    assert counted["participants"] == main["participant"][:10].nunique()
    assert counted["proportion_correct"] == pytest.approx(main["correct"][:10].mean())
    assert counted["undisturbed"] == pytest.approx(main["correct"][20:].mean())
    assert found["pauses"]["trials"] is None
    assert "pauses" in found["pauses"]["reason"]


def test_the_order_of_the_rows_changes_nothing() -> None:
    trials = in_order(simulate(5, participants=12, stimuli=20)).assign(rt_ms=lambda t: 600 + 40.0 * t.index % 700)
    shuffled = trials.sample(frac=1, random_state=1)
    ours, theirs = (quality.summary(*parts(t), frames.main_trials(t)) for t in (trials, shuffled))
    assert pd.json_normalize(ours["order"]).iloc[0, :8].to_dict() == pytest.approx(
        pd.json_normalize(theirs["order"]).iloc[0, :8].to_dict(), abs=1e-12
    )
    assert ours["response_times"]["sd"] == pytest.approx(theirs["response_times"]["sd"], abs=1e-4)


def test_the_block_is_json_with_the_rules_in_words(golden_main, golden_trials) -> None:
    found = quality.summary(
        golden_main[golden_main["participant"] != "P08"],
        frames.catch_trials(golden_trials),
        golden_main,
        rules=ExclusionRules(catch_correct_below=3),
    )
    assert found["rules"] == ["fewer than 3 catch trials right"]
    assert len(found["with_and_without"]) == 10
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize("change", [{"participant": "P00"}, {"stimulus": "S00"}, {"correct": 1}])
def test_a_poor_table_still_gives_a_block(change: dict[str, Any]) -> None:
    main, catch = parts(in_order(simulate(1, participants=6, trials=4)).assign(**change))
    json.dumps(quality.summary(main, catch, main), allow_nan=False)


def test_a_quarter_of_a_million_trials_take_less_than_three_seconds() -> None:
    rng = np.random.default_rng(1)
    n, people = 240_000, 4_000
    person = np.arange(n) % people
    main = pd.DataFrame(
        {
            "participant": pd.Series(person).map("P{:04d}".format),
            "stimulus": pd.Series(rng.integers(0, 30, n)).map("S{:02d}".format),
            "attack": rng.choice(["badnets", "wanet"], n),
            "strength": rng.choice([0.0, 0.25, 0.5, 1.0, 2.0], n),
            "correct": rng.integers(0, 2, n),
            "rt_ms": rng.lognormal(6.8, 0.3, n),
            "trial_index": np.arange(n) // people + 6.0,
            "focus_losses": rng.poisson(0.02, n).astype(float),
            "control": "",
            "is_catch": 0,
        }
    )
    started = time.process_time()
    quality.summary(main[main["participant"] >= "P0100"], main[:0], main)
    assert time.process_time() - started < 4
