"""Simulated studies have the truth they were asked for, and the shape of real ones."""

import math

import numpy as np
import pandas as pd
import pytest

from study.analysis import frames
from study.analysis.synthetic import (
    CATCH_SEEN,
    Layout,
    Truth,
    at_level,
    draw,
    latin_square,
    weibull,
)


def rng() -> np.random.Generator:
    return np.random.default_rng(20261122)


def counted(*columns: np.ndarray) -> np.ndarray:
    return np.unique(np.column_stack(columns), axis=0, return_counts=True)[1]


# --- the layout


@pytest.mark.parametrize(("participants", "stimuli", "trials", "conditions"), [(40, 30, 6, 10), (30, 15, 5, 3)])
def test_every_image_meets_every_condition_equally_often(
    participants: int, stimuli: int, trials: int, conditions: int
) -> None:
    layout = latin_square(participants, stimuli, trials, conditions)
    assert set(counted(layout.participant, layout.condition)) == {trials}
    assert set(counted(layout.stimulus, layout.condition)) == {participants * trials // stimuli}


def test_nobody_sees_an_image_twice_when_there_are_enough() -> None:
    layout = latin_square(37, 60, 12, 5)
    assert set(counted(layout.participant, layout.stimulus)) == {1}


def test_half_of_a_persons_trials_in_a_condition_have_the_altered_image_on_the_left() -> None:
    layout = latin_square(12, 30, 6, 4)
    left = pd.Series(layout.altered_left).groupby([layout.participant, layout.condition]).mean()
    assert (left == 0.5).all()


def test_an_odd_number_of_trials_is_balanced_over_people() -> None:
    layout = latin_square(12, 30, 5, 4)
    left = pd.Series(layout.altered_left).groupby(layout.condition).mean()
    assert (left == 0.5).all()


def test_nested_conditions_share_no_image() -> None:
    layout = latin_square(40, 30, 30, 2, nested=True)
    first, second = (set(layout.stimulus[layout.condition == c]) for c in (0, 1))
    assert (len(first), len(second), first & second) == (15, 15, set())


def test_a_layout_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="needs one participant"):
        latin_square(0, 30, 6)


# --- the truth


@pytest.mark.parametrize(("pc", "sd"), [(0.5, 0.3), (0.6, 0.42), (0.9, 1.5), (0.52, 0.0)])
def test_people_and_images_that_differ_have_the_mean_asked_for(pc: float, sd: float) -> None:
    centre = at_level(pc, sd).centre
    effects = rng().normal(0, sd, 400_000)
    assert np.mean(1 / (1 + np.exp(-(centre + effects)))) == pytest.approx(pc, abs=0.002)


@pytest.mark.parametrize("pc", [0.0, 1.0, 1.2])
def test_an_impossible_mean_is_refused(pc: float) -> None:
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        at_level(pc)


def test_a_weibull_condition_has_a_weibull_proportion_correct() -> None:
    truth = Truth((weibull("wanet", 1.0, scale=1.25, slope=1.6),))
    pc = draw(truth, latin_square(50, 20, 20), 100, rng()).correct.mean()
    assert pc == pytest.approx(0.5 + 0.5 * (1 - math.exp(-(0.8**1.6))), abs=0.005)


def test_nothing_is_seen_at_strength_0_whoever_looks() -> None:
    truth = Truth((weibull("wanet", 0.0, 1.25, 1.6),), participant_sd=0.5, stimulus_sd=0.4, side_bias=(0.1, 0.3))
    drawn = draw(truth, latin_square(50, 20, 20), 100, rng())
    assert drawn.correct.mean() == pytest.approx(0.5, abs=0.005)


def test_a_side_bias_moves_answers_and_not_their_mean() -> None:
    layout = latin_square(40, 20, 20)
    drawn = draw(Truth((at_level(0.5),), side_bias=(0.2, 0.0)), layout, 100, rng())
    left, right = (drawn.correct[:, layout.altered_left == side].mean() for side in (True, False))
    assert left == pytest.approx(0.579, abs=0.006)
    assert right == pytest.approx(0.421, abs=0.006)


def test_lapses_lower_what_is_seen_and_the_catch_trials_alike() -> None:
    truth = Truth((weibull("wanet", 1e6, 1.0, 2.0),), lapse=(30.0, 270.0))
    drawn = draw(truth, latin_square(50, 20, 20), 100, rng(), catch=20)
    assert drawn.correct.mean() == pytest.approx(0.9, abs=0.01)
    assert drawn.catch.mean() == pytest.approx(0.5 + 0.4 * CATCH_SEEN, abs=0.01)


def test_the_first_people_are_off_chance_when_they_are_asked_to_be() -> None:
    layout = latin_square(40, 30, 12)
    drawn = draw(Truth((at_level(0.5),), off_chance=((5, 0.9), (5, 0.1))), layout, 100, rng())
    pc = pd.Series(drawn.correct.mean(axis=0)).groupby(layout.participant // 5).mean()
    assert list(pc.round(1)) == [0.9, 0.1, *[0.5] * 6]


@pytest.mark.parametrize("unit", ["participant", "stimulus"])
def test_people_and_images_vary_as_much_as_they_are_asked_to(unit: str) -> None:
    layout, sd = latin_square(60, 60, 60), 0.6
    truth = Truth((at_level(0.5, sd),), **{f"{unit}_sd": sd})
    correct = draw(truth, layout, 40, rng()).correct
    own = [correct[:, getattr(layout, unit) == code].mean(axis=1) for code in range(60)]
    between = (1 / (1 + np.exp(-rng().normal(0, sd, 200_000)))).var()
    assert np.var(own) == pytest.approx(between + (0.25 - between) / 60, rel=0.1)


def test_error_shifts_belong_to_the_item_and_are_0_without_an_alteration() -> None:
    conditions = (weibull("wanet", 0.0, 1.25, 1.6), weibull("wanet", 0.5, 1.25, 1.6, error_shift_deg=30.0))
    truth = Truth(conditions, shift_stimulus_sd=0.25, shift_noise_sd=0.35)
    drawn = draw(truth, latin_square(40, 30, 6, 2), 50, rng())
    assert not drawn.error_shift[:, :, 0].any()
    assert drawn.error_shift[:, :, 1].mean() == pytest.approx(30 * math.exp(0.25**2 / 2), rel=0.02)
    assert drawn.table(0).groupby(["stimulus", "strength"])["error_shift_deg"].nunique().eq(1).all()


def test_the_same_seed_gives_the_same_studies() -> None:
    truth = Truth((at_level(0.6, 0.3),), participant_sd=0.3, lapse=(1.5, 48.0))
    first, second = (draw(truth, latin_square(10, 10, 5), 3, rng(), catch=2) for _ in range(2))
    assert (first.correct == second.correct).all()
    assert (first.catch == second.catch).all()


# --- the trial table


def study() -> pd.DataFrame:
    conditions = tuple(weibull(attack, s, 1.0, 1.6, 9.0) for attack in ("badnets", "wanet") for s in (0.0, 0.5, 1.0))
    truth = Truth(conditions, 0.5, 0.4, (0.1, 0.2), (1.5, 48.0), shift_noise_sd=0.35)
    return draw(truth, latin_square(11, 12, 4, 6), 2, rng(), catch=3).table(1)


def test_the_trial_table_is_one_that_the_analysis_reads() -> None:
    table = study()
    read = frames.from_records(table.astype(object).where(table.notna(), None).to_dict("records"), "simulation")
    pd.testing.assert_frame_equal(table, read)


def test_catch_trials_and_identity_controls_are_marked() -> None:
    table = study()
    assert len(frames.catch_trials(table)) == 33
    assert (frames.main_trials(table)["control"].eq("identity") == frames.main_trials(table)["strength"].eq(0)).all()


def test_a_cell_has_codes_without_gaps() -> None:
    layout = latin_square(6, 30, 4, 3)
    _, participant, stimulus = draw(Truth((at_level(0.5),) * 3), layout, 1, rng()).cell(1)
    assert set(participant) == set(range(6))
    assert set(stimulus) == set(range(stimulus.max() + 1))


def test_a_layout_knows_its_size() -> None:
    layout = Layout(*(np.array(codes) for codes in ([0, 0, 1], [0, 4, 2], [0, 0, 0], [True, False, True])))
    assert (layout.participants, layout.stimuli) == (2, 5)
