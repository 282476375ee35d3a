"""Machine observers beside people: whose choices they are, over which pairs, and how far they agree."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from study.analysis import machine_observers
from study.analysis.machine_observers import DISTANCE, OVER_STRENGTHS, SAME
from study.analysis.tables import read_study
from study.lab.models import Pair, PairJudgement
from tests.study.analysis.observers import simulate
from tests.study.factories import answer_all, make_study, start

STRENGTHS = (0.0, 0.5, 1.0, 2.0)
STIMULI = [f"S{n:02d}" for n in range(20)]


def trials(seed: int = 1) -> pd.DataFrame:
    """Forty people at twenty stimuli; strength 0 is the identity control."""
    found = simulate(seed, strengths=STRENGTHS, stimuli=20, trials=8, stimulus_sd=0.6)
    return found.assign(control=np.where(found["strength"] == 0, "identity", ""))


def judgements(value: Any, observer: str = "network", chooses: bool = True) -> list[dict[str, Any]]:
    """One row per stimulus and strength with the value that a function of both gives."""
    return [
        {
            "observer": observer,
            "chooses": chooses,
            "stimulus": stimulus,
            "attack": "wanet",
            "strength": strength,
            "control": "identity" if strength == 0 else "",
            "is_catch": 0,
            "value": value(n, strength),
        }
        for n, stimulus in enumerate(STIMULI)
        for strength in STRENGTHS
    ]


def at(rows: list[dict[str, Any]], strength: float | None) -> dict[str, Any]:
    (row,) = [row for row in rows if row["strength"] == strength]
    return row


def test_without_observers_there_is_no_block() -> None:
    assert machine_observers.table([]) is None
    assert machine_observers.summary(None, trials()) == []


def test_evidence_for_the_altered_picture_is_right_and_none_is_half_right() -> None:
    rows = judgements(lambda n, s: [3.0, -0.1, 0.0][n % 3])
    table = machine_observers.table(rows)
    assert table is not None
    of_one = table[table["strength"] == 1.0].set_index("stimulus").loc[STIMULI]
    assert of_one["correct"].tolist() == [[1.0, 0.0, 0.5][n % 3] for n in range(20)]


def test_the_interval_is_over_stimuli() -> None:
    rows = machine_observers.summary(
        machine_observers.table(judgements(lambda n, s: 1.0 if n < 15 else -1.0)), trials()
    )
    expected = stats.t.interval(0.95, 19, 0.75, np.std([1] * 15 + [0] * 5, ddof=1) / np.sqrt(20))
    row = at(rows, 0.5)
    assert (row["n"], row["correct"], row["proportion_correct"]) == (20, 15, 0.75)
    assert (row["low"], row["high"]) == pytest.approx(expected)


def test_an_observer_that_is_always_right_has_an_exact_interval() -> None:
    rows = machine_observers.summary(machine_observers.table(judgements(lambda n, s: 1.0)), trials())
    assert (at(rows, 2.0)["low"], at(rows, 2.0)["high"]) == (pytest.approx(0.025 ** (1 / 20)), 1.0)
    wrong = machine_observers.summary(machine_observers.table(judgements(lambda n, s: -1.0)), trials())
    assert (at(wrong, 2.0)["low"], at(wrong, 2.0)["high"]) == (0.0, pytest.approx(1 - 0.025 ** (1 / 20)))


def test_equal_pictures_are_ties_and_no_evidence() -> None:
    row = at(machine_observers.summary(machine_observers.table(judgements(lambda n, s: s)), trials()), 0.0)
    assert (row["control"], row["proportion_correct"], row["low"], row["note"]) == ("identity", 0.5, None, SAME)


def test_a_distance_is_no_choice() -> None:
    table = machine_observers.table(judgements(lambda n, s: s / 10, "FLIP", chooses=False))
    row = at(machine_observers.summary(table, trials()), 1.0)
    assert (row["proportion_correct"], row["correct"], row["note"]) == (None, None, DISTANCE)
    assert row["mean_confidence"] == pytest.approx(0.1)


def test_agreement_is_the_rank_correlation_with_people_over_pairs() -> None:
    shown = trials()
    people = shown[shown["strength"] == 1.0].groupby("stimulus")["correct"].mean()
    noise = np.random.default_rng(2).normal(0, 0.1, 20)
    rows = judgements(lambda n, s: float(people[STIMULI[n]] + noise[n]))
    row = at(machine_observers.summary(machine_observers.table(rows), shown), 1.0)
    expected = stats.spearmanr(people[STIMULI], people[STIMULI].to_numpy() + noise).statistic
    assert row["agreement_with_people"] == pytest.approx(expected)
    assert row["agreement_low"] < expected < row["agreement_high"] < 1
    assert row["people"] == pytest.approx(shown[shown["strength"] == 1.0]["correct"].mean())


def test_over_all_strengths_agreement_says_that_strength_moves_both() -> None:
    rows = machine_observers.summary(machine_observers.table(judgements(lambda n, s: s + n / 1000)), trials())
    overall = at(rows, None)
    assert (overall["note"], overall["n"]) == (OVER_STRENGTHS, 60)
    assert overall["agreement_with_people"] > 0.5
    assert (overall["agreement_low"], overall["agreement_high"]) == (None, None)


def test_only_pairs_that_people_were_shown_count() -> None:
    shown = trials()
    seen = shown[shown["stimulus"] < "S12"]
    rows = machine_observers.summary(machine_observers.table(judgements(lambda n, s: 1.0)), seen)
    assert {row["n"] for row in rows if row["strength"] is not None} == {12}
    assert machine_observers.summary(machine_observers.table(judgements(lambda n, s: 1.0)), shown[:0]) == []


def test_controls_and_catch_trials_have_rows_of_their_own() -> None:
    shown = trials()
    more = shown[shown["strength"] == 2.0]
    everything = pd.concat([shown, more.assign(control="resampled"), more.assign(is_catch=1)], ignore_index=True)
    base = [row for row in judgements(lambda n, s: 1.0) if row["strength"] == 2.0]
    rows = [*base, *({**row, "control": "resampled"} for row in base), *({**row, "is_catch": 1} for row in base)]
    found = machine_observers.summary(machine_observers.table(rows), everything)
    assert [(row["control"], row["is_catch"]) for row in found] == [("", False), ("resampled", False), ("", True)]


@pytest.mark.parametrize("value", [lambda n, s: 1.0, lambda n, s: 0.0])
def test_what_does_not_vary_agrees_with_nobody(value: Any) -> None:
    rows = machine_observers.summary(machine_observers.table(judgements(value)), trials())
    assert {row["agreement_with_people"] for row in rows} == {None}
    json.dumps(rows, allow_nan=False)


def test_the_order_of_the_rows_changes_nothing() -> None:
    shown, rows = trials(), judgements(lambda n, s: np.sin(n) * s)
    mixed = [rows[i] for i in np.random.default_rng(1).permutation(len(rows))]
    tables = [machine_observers.table(given) for given in (rows, mixed)]
    pd.testing.assert_frame_equal(*tables)  # type: ignore[arg-type]
    summaries = [machine_observers.summary(tables[0], t) for t in (shown, shown.sample(frac=1, random_state=1))]
    assert summaries[0] == summaries[1]


@pytest.mark.django_db
def test_a_studys_report_has_the_judgements_of_the_pairs_that_its_participants_saw() -> None:
    study = make_study()
    for _ in range(2):
        answer_all(start(study)[0])
    assert read_study(study).observers is None
    pairs = list(Pair.objects.filter(attack=study.model_run.attack))
    evidence = [0.0 if pair.control == Pair.Control.IDENTITY else 1.0 for pair in pairs]
    row = {"observer": "network", "chooses": True, "values": evidence}
    attack = study.model_run.attack
    assert attack is not None
    PairJudgement.objects.record(study.dataset, attack, {"pairs": [p.pk for p in pairs], "observers": [row]})
    material = read_study(study)
    rows = machine_observers.summary(material.observers, material.trials)
    shown = material.trials.drop_duplicates(["stimulus", "strength", "control"])
    assert sum(row["n"] for row in rows if row["strength"] is not None) == len(shown)
    kinds = {(row["control"], row["is_catch"]): row["proportion_correct"] for row in rows}
    assert kinds == {
        ("", False): 1.0, ("", True): 1.0, ("identity", False): 0.5, ("other_field", False): 1.0,
        ("resampled", False): 1.0,
    }  # fmt: skip
