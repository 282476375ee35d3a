import numpy as np
import pandas as pd
import pytest

from study.analysis import controls, equivalence, frames
from tests.study.analysis.observers import one_condition


@pytest.fixture(scope="module")
def main():
    return frames.main_trials(one_condition(1, [0.85] * 30, trials=8))


def control(seed: int, chance: float, strength: float = 0.5) -> pd.DataFrame:
    return one_condition(seed, [chance] * 30, trials=8).assign(control="resampled", strength=strength)


def answers(seed: int, people: int = 30, trials: int = 6) -> pd.DataFrame:
    """To images drawn from thirty, three in five of them right, whoever answers."""
    rng = np.random.default_rng(seed)
    stimulus = [rng.choice(30, trials, replace=False) for _ in range(people)]
    correct = (rng.random(people * trials) < 0.6).astype(int)
    participant = np.repeat(np.arange(people), trials)
    return pd.DataFrame({"participant": participant, "stimulus": np.concatenate(stimulus), "correct": correct})


def test_a_control_is_contrasted_with_the_attack_at_the_same_strength(main) -> None:
    (row,) = controls.compare(control(2, 0.5), main)
    assert row["contrast_with_attack"] == pytest.approx(row["proportion_correct"] - main["correct"].mean())
    assert row["low"] < -0.25 < row["high"] < 0
    assert row["p"] < 0.001


def test_a_control_that_looks_like_the_attack_has_a_contrast_around_zero(main) -> None:
    (row,) = controls.compare(control(3, 0.85), main)
    assert row["low"] < 0 < row["high"]


def test_the_contrast_holds_its_level_when_people_are_shared() -> None:
    excluded = 0
    for seed in range(150):
        _, low, high, _ = equivalence.contrast(answers(2 * seed), answers(2 * seed + 1))
        excluded += not low < 0 < high
    assert excluded <= 15


def test_without_the_attack_at_that_strength_there_is_no_contrast(main) -> None:
    (row,) = controls.compare(control(4, 0.5, strength=4.0), main)
    assert row["contrast_with_attack"] is None
    assert row["p"] is None
    assert row["two_way_low"] < 0.5 < row["two_way_high"]
    assert row["note"] == "the attack was not shown at this strength: no contrast"


def test_where_no_answer_varies_the_contrast_has_no_interval_and_says_so(main) -> None:
    (row,) = controls.compare(control(5, 1.0), main.assign(correct=1))
    assert (row["contrast_with_attack"], row["low"], row["p"]) == (0, None, None)
    assert "all answers are alike" in row["note"]
    assert "the contrast has no interval" in row["note"]


def test_a_contrast_as_usual_needs_no_note(main) -> None:
    assert controls.compare(control(2, 0.5), main)[0]["note"] is None
