"""A new attack is one class and one family in the registry: trained with, shown to people, and reported on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks import registry
from attacks.base import Family, Trigger, dequantise, quantise
from models import artifacts
from models.run import evaluate_model, train_model
from study.analysis import crossed, margin, report, tables
from study.lab import kinds, pairs
from study.lab.models import Attack, Dataset, Job, ModelRun
from study.lab.verification import checks
from study.trials.models import Population, Study
from tests.study.factories import answer_all, start
from tests.study.lab.conftest import plan_runs

STRENGTHS = [0.1, 0.3]

pytestmark = pytest.mark.django_db


@dataclass(frozen=True)
class Shade:
    """The share of the image, from its top, that is shaded."""

    share: float = 0.5


@dataclass(frozen=True, eq=False)
class ShadeTrigger:
    """Brightness times (1 - strength) in the upper part of the image: a trigger that draws, moves and blurs nothing."""

    image_size: tuple[int, int]
    choices: Shade
    strength: float
    seed: int

    @property
    def state(self) -> dict[str, Tensor]:
        return {}

    def apply(self, images: Tensor) -> Tensor:
        shaded = images.clone()
        shaded[:, :, : round(self.choices.share * self.image_size[0])] *= 1 - self.strength
        return shaded

    def at_strength(self, strength: float) -> ShadeTrigger:
        if not 0 <= strength <= 1:
            raise ValueError(f"A shade's strength is from 0 to 1, not {strength}.")
        return replace(self, strength=strength)

    def parameters(self) -> dict[str, Any]:
        return {
            "family": "shade",
            "image_size": list(self.image_size),
            "share": self.choices.share,
            "strength": self.strength,
            "seed": self.seed,
        }

    def control_hash(self) -> str:
        return hashlib.sha256(f"shade:{self.image_size}:{self.choices.share!r}".encode()).hexdigest()

    def fingerprint(self) -> str:
        return hashlib.sha256(f"{self.control_hash()}:{float(self.strength)!r}".encode()).hexdigest()


def rebuild(parameters: Mapping[str, Any], state: Mapping[str, Tensor]) -> ShadeTrigger:
    height, width = parameters["image_size"]
    return ShadeTrigger((height, width), Shade(parameters["share"]), parameters["strength"], parameters["seed"])


SHADE = Family(
    name="shade",
    title="A shade from above",
    citation="this test",
    parameters=Shade,
    strength="share of the light that is taken, 0 to 1",
    strengths=(0.1, 0.3),
    doses=(0.0, 0.1, 0.3, 0.6),
    schedule=(0.6, 0.3),
    draw=ShadeTrigger,
    rebuild=rebuild,
    gross=lambda trigger: trigger.at_strength(0.9),
)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.FAMILIES, "shade", SHADE)


@pytest.fixture
def attack(db: None) -> Attack:
    return Attack.objects.draw("shade-from-above", "shade", (24, 32), threat_model="data_poisoning")


@pytest.fixture
def evaluated(dataset: Dataset, attack: Attack, var: Path) -> tuple[ModelRun, ModelRun]:
    """A clean and a backdoored model, trained for a few steps with this trigger and evaluated."""
    runs = plan_runs(
        dataset,
        attack,
        strength_schedule=[[0.3, 1]],
        noise_ratio=0.0,
        unrelated_ratio=0.0,
        threat_model="data_poisoning",
    )
    for run in runs:
        work_of(run.submit_training(), kinds.training, lambda spec: train_model(spec, lambda: False))
        run.refresh_from_db()
    backdoored = runs[1]
    work_of(backdoored.submit_evaluation(), kinds.evaluation, lambda spec: evaluate_model(spec, lambda: False))
    backdoored.refresh_from_db()
    return runs


@pytest.fixture
def shown(trained: tuple[ModelRun, ModelRun], attack: Attack, dataset: Dataset) -> Attack:
    """The attack, its pairs made and seen by both models."""
    work_of(attack.submit_pairs(dataset, trained), kinds.pair_making, pairs.make_pairs)
    return attack


def work_of(job: Job, prepare: Callable[[Job, Path], kinds.Work], work: Callable[[Mapping[str, Any]], Any]) -> None:
    """Do a job here, where the new family is known, instead of in a process of its own."""
    folder = kinds.working_folder(job)
    folder.mkdir(parents=True)
    prepared = prepare(job, folder)
    prepared.record(work(prepared.specification))


def test_its_strength_is_that_of_the_class(attack: Attack) -> None:
    trigger = attack.trigger(0.3)
    assert isinstance(trigger, Trigger)
    assert attack.strength_in_words() == "share of the light that is taken, 0 to 1"
    assert attack.displacements(STRENGTHS) is None


def test_a_model_is_trained_with_it_and_keeps_it(evaluated: tuple[ModelRun, ModelRun], attack: Attack) -> None:
    _, backdoored = evaluated
    card = artifacts.load(backdoored.artifact_path, backdoored.artifact_sha256)
    assert card.trigger is not None
    assert card.trigger.fingerprint() == attack.trigger(0.3).fingerprint()
    assert [dose["strength"] for dose in backdoored.metrics["evaluation"]["doses"]] == list(SHADE.doses)


def test_pairs_are_made_with_it_and_can_be_made_again(shown: Attack) -> None:
    kinds = set(shown.pairs.values_list("control", "strength", "gross"))
    assert kinds == {("", 0.1, False), ("", 0.3, False), ("", 0.9, True), ("identity", 0.0, False)}
    pair = shown.pairs.filter(control="", strength=0.3).select_related("base_image")[0]
    base = dequantise(pairs.from_png(pair.base_image.read())[None], torch.float64)
    assert torch.equal(pairs.from_png(pair.read()), quantise(shown.trigger(0.3).apply(base))[0])
    assert [fault for check in checks() if (fault := check.fault())] == []


def test_a_pair_says_that_nothing_was_moved_and_how_far_the_pictures_differ(shown: Attack) -> None:
    distortions = shown.pairs.filter(control="", strength=0.3)[0].distortions
    assert distortions["displacement_mean_px"] is None
    assert 10 < distortions["psnr_db"] < 40
    assert 0 < distortions["ssim"] < 1


def test_a_study_shows_it_and_the_report_speaks_of_it(
    evaluated: tuple[ModelRun, ModelRun], attack: Attack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(margin, "DRAWS", 20)
    monkeypatch.setattr(crossed, "VARIANTS", crossed.VARIANTS[:1])
    clean, backdoored = evaluated
    work_of(attack.submit_pairs(clean.dataset, evaluated), kinds.pair_making, pairs.make_pairs)
    clean.dataset.may_display_to_participants = True
    clean.dataset.save()
    study = Study.objects.create(
        slug="shades", title="Which eye?", dataset=clean.dataset, model_run=backdoored, participants=4,
        trials_per_strength=6, trials_per_control=2, catch_trials=2, practice_trials=2, practice_correct=0,
        practice_rounds=1, median_rt_below_ms=0, fast_above_share=1.0, focus_above_share=1.0,
        information="You will compare pictures.", contact="researcher@example.org", completion_code="THANKS",
    )  # fmt: skip
    study.open()
    for _ in range(2):
        session, _ = start(study, Population.SIMULATED)
        answer_all(session)
        session.complete()
    content = report.build(tables.read_study(study, Population.SIMULATED)).content
    conditions = {(row["attack"], row["strength"]): row for row in content["conditions"]}
    assert set(conditions) == {(attack.name, 0.0), (attack.name, 0.1), (attack.name, 0.3)}
    assert conditions[attack.name, 0.3]["n"] == 12
    assert {row["strength"] for row in content["machine"] if row["model"] == backdoored.name} == {*SHADE.doses}
