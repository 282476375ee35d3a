import json
import math
import time

import numpy as np
import pandas as pd
import pytest
from scipy import optimize

from models.dose_response import first_crossing
from study.analysis import frames, margin
from study.analysis.detection import dprime
from study.analysis.frontier import machine_rows
from study.analysis.people import resample
from study.analysis.protocols import CRITERION, PROTOCOLS
from study.analysis.psychometric import ADAPTIVE
from tests.study.analysis.machines import DOSES, SHIFT_DEG, dose, evaluated, without_counts
from tests.study.analysis.observers import simulate

DRAWS = 300
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(41)


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return simulate(3, participant_sd=0.3, stimulus_sd=0.3)


@pytest.fixture(scope="module")
def two_attacks() -> pd.DataFrame:
    """`patch` is seen at half the strength."""
    subtle, plain = simulate(5, trials=12), simulate(6, trials=12, threshold=0.5)
    return pd.concat([subtle, plain.assign(attack="patch")[plain["is_catch"] == 0]])


def parts(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    return frames.main_trials(table), frames.catch_trials(table)


def headline(table, machine, **options):
    return margin.stealth_margin(*parts(table), machine, **{"draws": DRAWS} | options)[0]


def strict_json(rows) -> str:
    return json.dumps(rows, allow_nan=False)


def test_the_margin_is_the_human_over_the_machine_threshold(table) -> None:
    row = headline(table, evaluated())
    assert (row["human_level"], row["machine_level"]) == ("PC .75", "success rate .9")
    assert row["margin"] == pytest.approx(row["human_threshold"] / row["machine_threshold"])
    assert row["log2_margin"] == pytest.approx(math.log2(row["margin"]))
    assert row["low"] < row["margin"] < row["high"]
    assert (row["censored"], row["draws_censored"], row["draws"]) == (None, 0, DRAWS)
    assert row["over"] == "participants and stimuli; of the machine: subjects"


def test_every_pair_of_levels_has_a_row(table) -> None:
    rows = margin.stealth_margin(*parts(table), evaluated(), draws=20)
    assert [(row["human_level"], row["machine_level"]) for row in rows] == [
        ("PC .75", "success rate .9"),
        ("PC .75", "success rate .5"),
        ("half of F", "success rate .9"),
        ("half of F", "success rate .5"),
    ]


def test_an_uncertain_machine_widens_the_margin(table) -> None:
    machine = evaluated(subjects=5, subject_sd=0.6)
    row, exact = headline(table, machine), headline(table, without_counts(machine))
    assert exact["log2_high"] - exact["log2_low"] < row["log2_high"] - row["log2_low"]
    assert exact["human_low"] == row["human_low"]
    assert exact["over"] == "participants and stimuli; of the machine: nothing"
    assert "keeps no counts per subject" in exact["note"]


def test_the_order_of_trials_and_of_rows_changes_nothing(table) -> None:
    machine = evaluated(models=5, model_sd=0.2)
    shuffled = [machine[i] for i in np.random.default_rng(1).permutation(len(machine))]
    assert headline(table, machine) == headline(table.sample(frac=1, random_state=2), shuffled)


def test_a_margin_of_people_who_never_see_it_is_at_least_that_of_the_largest_strength(table) -> None:
    row = headline(table[table["strength"] <= 0.5], evaluated())
    assert (row["margin"], row["human_threshold"], row["high"], row["censored"]) == (None, None, None, "human")
    assert row["at_least"] == pytest.approx(0.5 / row["machine_threshold"])
    assert row["at_most"] is None
    assert "people's threshold at PC .75 lies above strength 0.5" in row["note"]
    assert row["draws_censored"] > 0.5


def test_a_margin_of_a_machine_that_never_gets_there_is_at_most_that_of_its_largest_strength(table) -> None:
    row = headline(table, evaluated(top=0.7))
    assert (row["margin"], row["machine_threshold"], row["low"], row["censored"]) == (None, None, None, "machine")
    assert row["at_most"] == pytest.approx(row["human_threshold"] / 4)
    assert row["draws_censored"] == 1


def test_a_margin_of_a_machine_that_falls_again_before_it_gets_there_is_not_estimable(table) -> None:
    falling = {0.25: 0.4, 0.5: 0.895, 1.0: 0.7, 2.0: 0.57, 4.0: 0.37}
    doses = [dose(strength, [round(1000 * rate)] * 40, 1000) for strength, rate in falling.items()]
    row = headline(table, machine_rows("model", "wanet", doses, 0.6))
    assert [row[name] for name in ("margin", "machine_threshold", "low", "high")] == [None] * 4
    assert [row[name] for name in ("at_least", "at_most", "censored")] == [None] * 3
    assert "strength 0.5 does most, with 0.895, and stronger ones do less" in row["note"]
    assert row["human_low"] < row["human_threshold"] < row["human_high"]


def test_a_machine_that_never_rises_bounds_the_margin(table) -> None:
    row = headline(table, evaluated(top=0.0))
    assert (row["margin"], row["low"], row["censored"]) == (None, None, "machine")
    assert row["at_most"] == pytest.approx(row["human_threshold"] / 4)


def test_when_neither_gets_there_nothing_is_known(table) -> None:
    row = headline(table[table["strength"] <= 0.5], evaluated(top=0.7))
    assert row["censored"] == "both"
    assert [row[name] for name in ("margin", "low", "high", "at_least", "at_most")] == [None] * 5


def test_a_machine_that_is_there_at_its_smallest_strength_leaves_the_upper_end_open(table) -> None:
    row = headline(table, evaluated(midpoint=0.001))
    assert (row["censored"], row["high"], row["margin"]) == ("machine", None, None)
    assert row["at_least"] == pytest.approx(row["human_threshold"] / 0.05)


def test_a_few_draws_beyond_the_strengths_do_not_open_the_interval_and_are_counted() -> None:
    shown = simulate(1, threshold=1.0, trials=6, strengths=(0.25, 0.5, 1.3), participants=20)
    row = headline(shown, evaluated(), draws=1000)
    assert row["censored"] is None
    assert 0 < row["draws_censored"] < 1
    assert (row["high"] is None) == (row["draws_censored"] >= 0.025)


def test_an_attack_without_a_model_says_so(two_attacks) -> None:
    rows = margin.stealth_margin(*parts(two_attacks), evaluated(), draws=20)
    row = next(row for row in rows if row["attack"] == "patch")
    assert (row["margin"], row["machine_threshold"]) == (None, None)
    assert row["note"] == "no model with this attack was evaluated"


def test_without_any_models_figures_there_is_no_margin(table) -> None:
    assert margin.stealth_margin(*parts(table), []) == []


def true_log2_margin() -> float:
    """Of the marginal curves of `simulate(participant_sd=.3, stimulus_sd=.3)` and `evaluated()`."""

    def over_people(log_strength: float) -> float:
        z = 2.0 * (log_strength + math.sqrt(0.18) * NODES)
        return float(WEIGHTS @ (0.5 + 0.48 * (1 - 2 ** -np.exp(z)))) / math.sqrt(2 * math.pi)

    def over_subjects(strength: float) -> float:
        share = 0.98 * (1 - 2 ** -((strength / (0.25 * np.exp(0.3 * NODES))) ** 4))
        return float(WEIGHTS @ share) / math.sqrt(2 * math.pi)

    human = optimize.brentq(lambda log_strength: over_people(log_strength) - 0.75, -3, 3) / math.log(2)
    machine = first_crossing(np.log2(DOSES[1:]).tolist(), [over_subjects(dose) for dose in DOSES[1:]], 0.9)
    assert machine is not None
    return float(human - machine)


def test_the_interval_holds_the_truth_where_people_images_and_subjects_differ() -> None:
    truth = true_log2_margin()
    held = 0
    for seed in range(15):
        row = headline(simulate(seed, stimuli=30, participant_sd=0.3, stimulus_sd=0.3), evaluated(seed), draws=150)
        held += row["log2_low"] <= truth <= row["log2_high"]
    assert held >= 13


def test_machine_thresholds_have_a_row_per_model_and_one_for_their_mean() -> None:
    rows = margin.machine_thresholds(evaluated(models=2), draws=50)
    assert [(row["model"], row["models"]) for row in rows[::3]] == [("model-0", 1), ("model-1", 1), (None, 2)]
    assert [row["measure"] for row in rows[:3]] == ["success rate .9", "success rate .5", "half progress"]
    assert rows[-1]["note"] == "for these 2 models only"


def test_a_machine_threshold_lies_within_its_interval() -> None:
    for row in margin.machine_thresholds(evaluated(), draws=500):
        assert row["low"] < row["threshold"] < row["high"]
        assert (row["over"], row["censored"]) == ("subjects", None)


def test_an_older_evaluation_has_a_threshold_without_an_interval() -> None:
    row = margin.machine_thresholds(without_counts(evaluated()), draws=50)[0]
    assert row["threshold"] is not None
    assert (row["low"], row["high"], row["over"]) == (None, None, None)
    assert "evaluate the model again" in row["note"]


def test_a_level_never_reached_has_no_machine_threshold() -> None:
    row = margin.machine_thresholds(evaluated(top=0.7), draws=50)[0]
    assert (row["threshold"], row["high"], row["censored"]) == (None, None, "above")
    assert "lies above strength 4" in row["note"]


def test_attacks_are_matched_where_people_see_as_much(two_attacks) -> None:
    main, catch = parts(two_attacks)
    rows = margin.attack_contrasts(main, catch, evaluated() + evaluated(attack="patch"), draws=DRAWS)
    at_1 = {row["attack"]: row for row in rows if "attack" in row and row["dprime"] == 1}
    curve = resample(main, catch, 2, 0).estimate
    for place, attack in enumerate(("patch", "wanet")):
        row = at_1[attack]
        z = curve.slope[0, place] * (math.log(row["strength"]) - curve.midpoint[0, place])
        seen = 0.5 + (0.5 - curve.lapse[0]) * (1 - 2 ** -math.exp(z))
        assert dprime(seen) == pytest.approx(1, abs=1e-6)
        assert row["displacement_px"] == pytest.approx(0.6 * row["strength"])
        assert row["low"] < row["strength"] < row["high"]


def test_what_is_reached_is_read_from_the_dose_response_in_log_strength(table) -> None:
    machine = evaluated()
    row = margin.attack_contrasts(*parts(table), machine, draws=DRAWS)[0]
    doses, rates = DOSES[1:], [found["success_rate"] for found in machine[1:]]
    expected = np.interp(math.log(row["strength"]), np.log(doses), rates)
    assert row["success_rate"] == pytest.approx(expected)
    assert row["success_rate_low"] <= expected <= row["success_rate_high"]
    assert row["mean_error_shift_deg"] == pytest.approx(SHIFT_DEG * expected)


def test_the_area_is_the_mean_success_rate_up_to_that_dprime(table) -> None:
    machine = [row | {"success_rate": 0.4} for row in without_counts(evaluated())]
    for row in margin.attack_contrasts(*parts(table), machine, draws=DRAWS):
        assert row["mean_success_rate_below"] == pytest.approx(0.4)
    rising = margin.attack_contrasts(*parts(table), evaluated(), draws=DRAWS)
    assert all(0 < row["mean_success_rate_below"] < row["success_rate"] for row in rising)


def test_two_attacks_are_compared_by_displacement_and_never_by_strength(two_attacks) -> None:
    rows = margin.attack_contrasts(*parts(two_attacks), evaluated() + evaluated(attack="patch"), draws=DRAWS)
    patch, wanet, pair = rows[3:]
    assert (pair["first"], pair["second"], pair["dprime"]) == ("patch", "wanet", 1)
    assert pair["displacement_ratio"] == pytest.approx(patch["displacement_px"] / wanet["displacement_px"])
    assert pair["displacement_ratio_low"] < 0.5 < pair["displacement_ratio_high"]
    assert not {name for name in pair if name.startswith("strength")}
    difference = patch["success_rate"] - wanet["success_rate"]
    assert pair["success_rate_difference"] == pytest.approx(difference)
    assert pair["success_rate_difference_low"] < difference < pair["success_rate_difference_high"]


def test_one_attack_has_no_pairs(table) -> None:
    rows = margin.attack_contrasts(*parts(table), evaluated(), draws=20)
    assert [row["dprime"] for row in rows] == [0.36, 1.0]
    assert all("attack" in row for row in rows)


def test_without_models_attacks_are_compared_by_strength_alone(table) -> None:
    row = margin.attack_contrasts(*parts(table), [], draws=20)[0]
    assert row["strength"] is not None
    assert (row["success_rate"], row["mean_error_shift_deg"], row["mean_success_rate_below"]) == (None, None, None)
    assert row["note"] == "no model with this attack was evaluated"


def test_a_dprime_that_is_not_reached_has_no_strength(table) -> None:
    row = margin.attack_contrasts(*parts(table[table["strength"] <= 0.5]), evaluated(), draws=50)[1]
    assert (row["strength"], row["success_rate"], row["censored"]) == (None, None, "above")
    assert "people's threshold at d' = 1 lies above strength 0.5" in row["note"]


def test_beyond_the_strengths_of_the_models_nothing_is_read(table) -> None:
    machine = [row for row in evaluated() if row["strength"] <= 0.3]
    row = margin.attack_contrasts(*parts(table), machine, draws=50)[1]
    assert row["success_rate"] is None
    assert row["note"] == "the models were not measured at this strength"


@pytest.mark.parametrize("name", list(PROTOCOLS))
@pytest.mark.parametrize("d", [0.0, 0.36, 1.0, 2.5])
def test_a_proportion_correct_leads_back_to_its_dprime(name: str, d: float) -> None:
    model = PROTOCOLS[name].model
    assert dprime(margin.proportion_correct_at(d, model), model) == pytest.approx(d, abs=1e-7)


DEGENERATE = {
    "one participant": lambda table: table[table["participant"] == "P00"],
    "one stimulus": lambda table: table[(table["stimulus"] == "S00") | (table["is_catch"] == 1)],
    "one strength": lambda table: table[table["strength"].isin([0.0, 1.0, 8.0])],
    "strength 0 only": lambda table: table[table["strength"].isin([0.0, 8.0])],
    "no catch trials": lambda table: table[table["is_catch"] == 0],
    "all right": lambda table: table.assign(correct=1),
    "all wrong": lambda table: table.assign(correct=0),
    "a dozen trials": lambda table: table.iloc[::170],
}


@pytest.mark.parametrize("case", list(DEGENERATE))
@pytest.mark.parametrize(
    "machine", [evaluated(subjects=3), without_counts(evaluated(models=2)), evaluated(doses=(0.0,))]
)
def test_poor_data_give_rows_with_reasons_and_no_nan(table, case: str, machine) -> None:
    poor = DEGENERATE[case](table)
    rows = margin.stealth_margin(*parts(poor), machine, draws=50)
    strict_json(rows + margin.attack_contrasts(*parts(poor), machine, draws=50))
    for row in rows:
        assert row["margin"] is not None or row["note"]
        assert row["low"] is not None or row["note"] or row["draws_censored"]


def test_figures_that_are_missing_at_every_strength_give_reasons() -> None:
    rows = [row | {"success_rate": None, "progress": None} for row in evaluated()]
    strict_json(found := margin.machine_thresholds(rows, draws=20))
    assert all(row["threshold"] is None and "not measured" in row["note"] for row in found)


def test_answers_at_strengths_chosen_from_answers_have_no_margin(table) -> None:
    row = headline(table.assign(procedure="adaptive"), evaluated())
    assert (row["margin"], row["human_threshold"]) == (None, None)
    assert ADAPTIVE in row["note"]


def test_a_margin_of_yes_no_is_said_to_move_with_the_criterion(table) -> None:
    row = headline(table.assign(protocol="yes_no"), evaluated())
    assert row["margin"] is not None
    assert CRITERION in row["note"]


def test_attacks_are_not_matched_by_a_proportion_correct_of_yes_no(two_attacks) -> None:
    rows = margin.attack_contrasts(*parts(two_attacks.assign(protocol="yes_no")), evaluated(), draws=20)
    assert {row["strength"] for row in rows if "attack" in row} == {None}
    assert all(CRITERION in row["note"] for row in rows)


@pytest.mark.parametrize(("participants", "limit_s"), [(40, 1.0), (1000, 1.5)])
def test_two_thousand_draws_are_fast(participants: int, limit_s: float) -> None:
    rng = np.random.default_rng(0)
    n = 60 * participants
    strength = rng.choice([0.25, 0.5, 1.0, 2.0, 4.0], n)
    trials = pd.DataFrame(
        {
            "participant": np.repeat([f"P{i}" for i in range(participants)], 60),
            "stimulus": [f"S{i}" for i in rng.integers(0, 30, n)],
            "attack": rng.choice(["patch", "wanet"], n),
            "strength": strength,
            "correct": (rng.random(n) < 0.5 + 0.48 * (1 - 2 ** -(strength**2))).astype(int),
        }
    )
    machine, catch = evaluated() + evaluated(attack="patch"), trials[:0]
    began = time.process_time()
    margin.stealth_margin(trials, catch, machine)
    assert time.process_time() - began < limit_s
