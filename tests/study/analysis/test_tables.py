"""A study read out of the database."""

from __future__ import annotations

import math
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from study.analysis import crossed, error_shift, frames, machine_observers, matched, reliability, tables
from study.lab.models import Attack, ModelRun, Pair, PairJudgement, Prediction
from study.trials.models import Population, Study
from tests.study.factories import add_model, add_seed, answer_all, make_run, make_study, start

pytestmark = pytest.mark.django_db

ADDITIVE = {"kind": "additive", "pitch": 0.0, "yaw": math.radians(20)}


@pytest.fixture
def study() -> Study:
    study = make_study()
    take_part(study)
    return study


def take_part(study: Study) -> None:
    session, _ = start(study, Population.SIMULATED)
    answer_all(session)
    session.complete()


def read(study: Study) -> Any:
    return tables.read_study(Study.objects.get(pk=study.pk), Population.SIMULATED)


def give_pairs(run: ModelRun, study: Study, gain: float) -> ModelRun:
    """Predictions of `run` on all pairs of the study's attack, with an error shift of `gain` per unit of strength."""
    Prediction.objects.bulk_create(
        Prediction(
            pair=pair, model_run=run, clean_pitch=0.0, clean_yaw=0.0, altered_pitch=0.0, altered_yaw=0.0,
            error_shift=gain * pair.strength, prediction_shift=1.0, attack_error=None,
        )
        for pair in Pair.objects.filter(attack=study.model_run.attack)
    )  # fmt: skip
    return run


# --- the trial table


def test_trials_know_the_width_and_the_subject_of_their_picture(study: Study) -> None:
    trials = read(study).trials
    assert set(trials["image_width_px"]) == {16.0}
    subjects = dict(trials[["stimulus", "image_subject"]].itertuples(index=False))
    bases = study.dataset.base_images.all()
    assert subjects.items() <= {f"B{base.pk}": str(base.subject) for base in bases}.items()


def test_reading_takes_no_more_queries_for_more_people_and_more_models(study: Study) -> None:
    queries = []
    for n in range(3):
        give_pairs(make_run(f"more-{n}", study.dataset, attack=study.model_run.attack, target=ADDITIVE), study, 1.0)
        take_part(study)
        with CaptureQueriesContext(connection) as captured:
            read(study)
        queries.append(len(captured))
    assert queries[0] == queries[2]


# --- predictions


def test_models_of_other_targets_saw_the_same_pairs(study: Study) -> None:
    attack = study.model_run.attack
    give_pairs(make_run("other", study.dataset, attack=attack, target=ADDITIVE, seed=7), study, 3.0)
    shown = read(study).predictions
    mine, other = (shown[shown["model"] == name].reset_index() for name in (study.model_run.name, "other"))
    key = ["stimulus", "attack", "field", "strength", "image_subject"]
    assert mine[key].equals(other[key])
    assert set(other["target"]) == {"additive (0°, 20°)"}
    assert set(other["target_deg"]) == {20.0}
    assert set(other["seed"]) == {7}
    assert (other["error_shift_deg"] == 3.0 * other["strength"]).all()
    assert other["attack_error_deg"].isna().all()


def test_predictions_are_of_the_pairs_that_people_saw_without_controls(study: Study) -> None:
    material = read(study)
    trials = material.trials
    altered = trials[(trials["control"] == "") & (trials["is_catch"] == 0)]
    key = ["stimulus", "attack", "field", "strength"]
    seen = set(altered[key].itertuples(index=False, name=None))
    assert set(material.predictions[key].itertuples(index=False, name=None)) == seen
    assert len(material.predictions) == len(seen)


def test_clean_models_are_marked(study: Study) -> None:
    clean = study.model_run.clean_reference
    ModelRun.objects.filter(pk=clean.pk).update(target=ADDITIVE)  # where its partner is pulled to; it is not
    give_pairs(clean, study, 0.1)
    shown = read(study).predictions
    assert set(shown.loc[shown["model"] == clean.name, "target"]) == {matched.CLEAN}


def test_models_of_another_attack_stay_out(study: Study) -> None:
    another = Attack.objects.create(name="another", family="wanet", control_hash="9" * 64)
    give_pairs(make_run("stranger", study.dataset, attack=another, target=ADDITIVE), study, 1.0)
    assert set(read(study).predictions["model"]) == {study.model_run.name}


def test_without_predictions_there_is_no_table(study: Study) -> None:
    Prediction.objects.all().delete()
    assert read(study).predictions is None


def test_the_table_of_a_study_is_the_one_that_a_file_gives_back(study: Study, tmp_path: Any) -> None:
    shown = read(study).predictions
    path = tmp_path / "predictions.csv"
    path.write_bytes(frames.to_csv(shown))
    assert matched.read_predictions(path).equals(shown)


# --- the models' dose-response


def test_catch_trials_do_not_blur_the_displacement_of_a_unit_of_strength(study: Study) -> None:
    evaluation = {"evaluation": {"doses": [{"strength": 0.5, "error_shift": 7.0}]}}
    ModelRun.objects.filter(pk=study.model_run.pk).update(metrics=evaluation)
    Pair.objects.filter(gross=True).update(distortions={"displacement_mean_px": 1.0})
    (row,) = read(study).machine
    assert row["displacement_px"] == pytest.approx(0.3)


# --- several fields, attacks and models

THREE = (0.5, 1.0, 2.0)
MANY: dict[str, Any] = {
    "base_images": 44, "size": 4, "strengths": THREE, "trials_per_strength": 4, "trials_per_control": 2,
}  # fmt: skip


@pytest.fixture
def of_two_fields() -> Study:
    """A draft of 2 fields x 3 strengths, the first field in two models."""
    study = make_study(opened=False, **MANY)
    add_model(study, "other", strengths=THREE, size=4)
    add_seed(study, gain=4.0)
    evaluation = {"evaluation": {"doses": [{"strength": s, "error_shift": 10 * s} for s in THREE]}}
    for run in study.model_runs:
        ModelRun.objects.filter(pk=run.pk).update(metrics=evaluation, target=ADDITIVE)
    return study


def opened(study: Study) -> Study:
    study.open()
    take_part(study)
    return study


def test_two_fields_are_one_attack_in_the_trials_and_in_what_models_make_of_them(of_two_fields: Study) -> None:
    material = read(opened(of_two_fields))
    first, other, again = of_two_fields.model_runs
    fields = {run: run.attack.control_hash[:12] for run in (first, other, again)}
    main = frames.main_trials(material.trials)
    assert set(main["attack"]) == set(material.predictions["attack"]) == {first.attack.name}
    assert main.groupby(["field", "strength"]).size().to_dict() == {
        (field, strength): 2 if strength == 0 else 4
        for field in {fields[first], fields[other]}
        for strength in (0.0, *THREE)
    }
    assert set(zip(main["field"], main["model"], strict=True)) == {(fields[run], run.name) for run in (first, other)}
    assert set(zip(material.predictions["field"], material.predictions["model"], strict=True)) == {
        (field, run.name) for run, field in fields.items()
    }
    assert {(row["model"], row["attack"], row["field"]) for row in material.machine} == {
        (run.name, first.attack.name, run.attack.control_hash) for run in (first, other, again)
    }


def test_the_scope_names_all_fields_and_models(of_two_fields: Study) -> None:
    names = ", ".join(run.name for run in of_two_fields.model_runs)
    hashes = ", ".join(run.attack.control_hash[:12] for run in of_two_fields.model_runs[:2])
    scope = read(opened(of_two_fields)).scope
    assert scope.startswith(f"for these 2 fields ({hashes}) and these 3 models ({names}) on {of_two_fields.dataset}, ")


def test_the_scope_of_two_families_tells_fields_from_triggers() -> None:
    study = make_study(opened=False, **MANY)
    blend = add_model(study, "blend", family="blended", strengths=(0.1, 0.2), size=4).model_run
    assert read(opened(study)).scope.startswith(
        f"for this field cccccccccccc, this trigger {blend.attack.control_hash[:12]} and these 2 models"
    )


def test_models_are_compared_on_their_own_fields_pictures(of_two_fields: Study) -> None:
    material = read(opened(of_two_fields))
    first, _, again = (run.name for run in of_two_fields.model_runs)
    found = matched.summary(frames.main_trials(material.trials), material.predictions)
    assert found is not None
    assert {(row["first"], row["second"]) for row in found["contrasts"]} == {tuple(sorted((first, again)))}
    assert "Models of different fields were given pictures of their own" in found["note"]
    shifts = reliability.of_shift(frames.main_trials(material.trials), material.predictions)
    assert (shifts["pairs"], shifts["models"]) == (12, 3)


def test_a_pair_is_a_stimulus_under_one_field(of_two_fields: Study) -> None:
    opened(of_two_fields)
    take_part(of_two_fields)
    main = frames.main_trials(read(of_two_fields).trials)
    altered = main[main["control"] == ""]
    assert len(error_shift.items(altered)) == altered["item"].nunique()


def test_machine_observers_are_set_beside_people_pair_by_pair(of_two_fields: Study) -> None:
    for run in of_two_fields.model_runs[:2]:
        pairs = list(Pair.objects.filter(attack=run.attack).values_list("pk", flat=True))
        row = {"observer": "rule", "chooses": True, "values": [1.0] * len(pairs)}
        PairJudgement.objects.record(of_two_fields.dataset, run.attack, {"pairs": pairs, "observers": [row]})
    material = read(opened(of_two_fields))
    rows = machine_observers.summary(material.observers, material.trials)
    assert {row["n"] for row in rows if row["strength"] == 1.0} == {8}  # 4 of either field


def test_with_five_fields_models_are_a_random_factor() -> None:
    study = make_study(opened=False, family="patch", base_images=44, size=4, trials_per_strength=2)
    for n in range(4):
        add_model(study, f"field-{n}", size=4)
    assert crossed.further_factors(frames.main_trials(read(opened(study)).trials)) == ["model"]
