import numpy as np
import pandas as pd
import pytest

from study.analysis import adaptive, frames
from study.trials.adaptive import Quest
from tests.study.analysis.observers import row

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def study_of(thresholds: list[float], seed: int = 1, trials: int = 40, slope: float = 2.0) -> pd.DataFrame:
    """Adaptive trials of people with these thresholds at half of F, strengths chosen by QUEST+, lapse .02."""
    rng = np.random.default_rng(seed)
    quest = Quest.of(STRENGTHS)
    rows = []
    for person, threshold in enumerate(thresholds):
        history: list[tuple[float, bool]] = []
        for i in range(trials):
            strength = quest.next_strength(quest.posterior(history))
            chance = 0.5 + 0.48 * (1 - 2 ** -((strength / threshold) ** slope))
            rows.append(row(rng, person, f"S{(i + 7 * person) % 60:02d}", strength, chance))
            history.append((strength, bool(rows[-1]["correct"])))
        rows += [row(rng, person, f"I{i}", 0.0, 0.5) | {"control": "identity"} for i in range(4)]
    return frames.from_records([line | {"procedure": "adaptive"} for line in rows], "simulation")


@pytest.fixture(scope="module")
def trials() -> pd.DataFrame:
    return study_of([0.5] * 6 + [2.0] * 6)


def test_everybody_gets_the_threshold_of_their_own_answers(trials: pd.DataFrame) -> None:
    rows = adaptive.threshold_rows(trials)
    assert [line["population"] for line in rows] == sorted(trials["participant"].unique())
    found = np.log2([line["threshold"] for line in rows])
    assert found[:6].mean() == pytest.approx(-1, abs=0.4)
    assert found[6:].mean() == pytest.approx(1, abs=0.4)
    assert {line["n"] for line in rows} == {40}


def test_the_median_person_is_found_although_people_differ() -> None:
    """The crossed model's intervals hold the truth in 48 of 50 such studies; one curve over all is 30 % too low."""
    rng = np.random.default_rng(5)
    differing = study_of([*np.exp(rng.normal(0, 0.6, 24))], trials=30)
    _, at_three_quarters = adaptive.median_person_rows(differing, differing[:0])
    assert at_three_quarters["population"] == "median person"
    assert at_three_quarters["low"] < 1.03 < at_three_quarters["high"]


def test_a_threshold_is_the_posterior_mean_that_the_study_itself_went_by(trials: pd.DataFrame) -> None:
    own = trials[(trials["participant"] == "P03") & (trials["strength"] > 0)]
    quest = Quest.of(STRENGTHS)
    history = list(zip(own["strength"], own["correct"] == 1, strict=True))
    expected = quest.summary(quest.posterior(history)).threshold
    assert adaptive.threshold_rows(trials)[3]["threshold"] == pytest.approx(expected)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rows = adaptive.threshold_rows(study_of([1.0] * 60, seed=3))
    held = [(line["low"] or 0) <= 1.0 <= (line["high"] or np.inf) for line in rows]
    assert np.mean(held) >= 0.88


def test_a_threshold_beyond_the_strengths_shown_has_an_open_end() -> None:
    (found,) = adaptive.threshold_rows(study_of([50.0]))
    assert (found["low"], found["high"]) == (4.0, None)
    assert found["note"] == "upper end beyond the strengths shown"


def test_strengths_that_were_chosen_carry_no_claim() -> None:
    assessed = {"participant_spread": {"p": 0.5, "reason": None}, "verdict": "detectable", "holm_p": 0.01}
    counts = {"attack": "wanet", "n": 40, "correct": 30, "proportion_correct": 0.75, "two_way_low": 0.6, "dprime": 0.9}
    found = adaptive.without_claims({**assessed, **counts, "strength": 0.5, "displacement_px": 0.3})
    assert (found["n"], found["displacement_px"]) == (40, 0.3)
    assert [found[name] for name in ("two_way_low", "dprime", "verdict", "holm_p")] == [None] * 4
    assert found["participant_spread"] == {"p": None, "reason": adaptive.REASON}
    assert found["verdict_reason"] == adaptive.REASON


def test_identity_controls_keep_their_tests_but_get_no_verdict() -> None:
    row_ = {"strength": 0.0, "two_way_difference_p": 0.4, "verdict": "inconclusive", "holm_p": 0.2}
    found = adaptive.without_claims(row_)
    assert found["two_way_difference_p"] == 0.4
    assert found["verdict"] is None
