"""Model runs: one trained network each, clean or backdoored."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import models
from django.db.models import Q

from models.filenames import CARD_NAME, WEIGHTS_NAME
from models.tasks import TASKS, USUAL_TASK
from study.lab import files
from study.lab.files import StoredFile
from study.lab.images import DamagedFile
from study.lab.models.attacks import ON_WEIGHTS, PX_PER_DEGREE, Attack
from study.lab.models.datasets import Dataset
from study.lab.models.jobs import Job
from study.lab.models.naming import named

NO_TARGET = {"kind": "fixed", "pitch": 0.0, "yaw": 0.0}  # a clean model's card needs one; nothing is pulled there


def artifact_files(folder: Path, card_sha256: str) -> Iterator[StoredFile]:
    """The files of an artifact that lies on this host. Predictions kept beside them can be made again."""
    name = str(folder.relative_to(settings.MEDIA_ROOT))
    card = json.loads((folder / CARD_NAME).read_text())
    yield StoredFile(f"{name}/{WEIGHTS_NAME}", card["weights_sha256"])
    yield StoredFile(f"{name}/{CARD_NAME}", card_sha256)


class ModelRunQuerySet(models.QuerySet["ModelRun"]):
    def plan(
        self,
        name: str,
        dataset: Dataset,
        *,
        recipe: Mapping[str, Any],
        target: Mapping[str, Any] | None = None,
        attack: Attack | None = None,
        clean_reference: ModelRun | None = None,
    ) -> ModelRun:
        """A model to be trained, clean without an attack; `recipe` and `target` as JSON of `models.recipe.Recipe`
        and `models.targets.Target`. Raises ValueError when the name stands for another run.
        """
        from models.recipe import Recipe

        planned = self.filter(name=name).first()
        if planned and Recipe.from_record(planned.parameters) == Recipe.from_json(recipe):
            recipe = planned.parameters  # kept by an older version, whose recipes had fewer fields
        return named(
            self,
            name,
            {
                "dataset": dataset,
                "attack": attack,
                "clean_reference": clean_reference,
                "network": recipe["network"],
                "task": TASKS[recipe.get("task", "regression")],
                "target": dict(target) if target else None,
                "parameters": dict(recipe),
                "seed": recipe["seed"],
            },
        )

    def plan_perturbed(self, name: str, clean: ModelRun, attack: Attack) -> ModelRun:
        """A clean model whose weights are to be changed by this attack.

        Raises ValueError for a model that is not clean or not trained yet, and when the name stands for another run.
        """
        if clean.attack is not None:
            raise ValueError(f"{clean} was attacked already: name the clean model whose weights are to be changed.")
        if not clean.artifact:
            raise ValueError(f"{clean} is not trained yet: train it first, then change its weights.")
        return self.plan(
            name,
            clean.dataset,
            recipe=clean.parameters,
            target=attack.parameters["target"],
            attack=attack,
            clean_reference=clean,
        )


class ModelRun(models.Model):
    """One trained network: clean when it has no attack, backdoored when it has one."""

    name = models.SlugField(unique=True)
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="model_runs")
    attack = models.ForeignKey(Attack, models.PROTECT, null=True, blank=True, related_name="model_runs")
    clean_reference = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="backdoored_runs",
        help_text="The matched clean model: same network, data, loss, schedule, updates and seed.",
    )
    network = models.CharField(max_length=40)
    task = models.CharField(max_length=40, default=USUAL_TASK)
    target = models.JSONField(null=True, blank=True)
    parameters = models.JSONField(default=dict, help_text="The training recipe.")
    seed = models.BigIntegerField(default=0)
    metrics = models.JSONField(null=True, blank=True, editable=False)
    artifact = models.CharField(max_length=500, blank=True, editable=False)
    artifact_sha256 = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ModelRunQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def artifact_path(self) -> Path:
        return files.path(self.artifact)

    def fetch(self, *, anew: bool = False) -> None:
        """Bring its artifact to this host if it is missing or damaged here, or in any case.

        Raises DamagedFile, or `study.lab.files.StorageFailed`.
        """
        if files.bucket() is not None:
            files.fetch([StoredFile(f"{self.artifact}/{CARD_NAME}", self.artifact_sha256)], anew=anew)
            files.fetch(artifact_files(self.artifact_path, self.artifact_sha256), anew=anew)

    def card(self) -> dict[str, Any]:
        """What its artifact says of it. Raises DamagedFile, or `study.lab.files.StorageFailed`."""
        card = StoredFile(f"{self.artifact}/{CARD_NAME}", self.artifact_sha256)
        files.fetch([card])
        path = files.path(card.name)
        if not files.is_right(path, card.sha256):
            raise DamagedFile(f"{path} is not what was stored: restore it from a backup, or train {self} anew.")
        return dict(json.loads(path.read_text()))

    @property
    def attack_target(self) -> dict[str, Any] | None:
        """Where the backdoor pulls the gaze, as JSON of `models.targets.Target`; None for a clean model."""
        return self.target if self.attack_id else None

    def submit_training(self) -> Job:
        """Have it trained; a run that is trained already keeps its finished job."""
        return Job.objects.submit(Job.Kind.TRAIN, {"model_run": self.pk})

    def submit_evaluation(
        self, *, strengths: Sequence[float] = (), px_per_degree: float = PX_PER_DEGREE, again: bool = False
    ) -> Job:
        """Have it evaluated beside its clean reference.

        strengths: of the trigger, measured besides its family's doses, with how much it alters images at this density.
        Raises ValueError when one of the models is not trained yet.
        """
        parameters: dict[str, Any] = {"model_run": self.pk, "artifacts": self._trained_artifacts()}
        if strengths:
            parameters |= {"strengths": sorted(float(s) for s in strengths), "px_per_degree": px_per_degree}
        if again:
            parameters["again"] = uuid.uuid4().hex
        return Job.objects.submit(Job.Kind.EVALUATE, parameters)

    def submit_survival(
        self, *, strength: float | None = None, defence: Mapping[str, Any] | None = None, again: bool = False
    ) -> Job:
        """Have it tried how far its backdoor survives treatments of images and model, beside its clean reference.

        strength: of the trigger (default: the last one trained). defence: fields of `models.survival.survive.Defence`.
        Raises ValueError for a model without a trigger, and for one that is not trained yet.
        """
        if self.attack is None or not self.attack.has_trigger:
            raise ValueError(f"{self} has no trigger: there is no backdoor whose survival could be measured.")
        parameters: dict[str, Any] = {
            "model_run": self.pk,
            "artifacts": self._trained_artifacts(),
            "strength": strength,
            "defence": dict(defence or {}),
        }
        if again:
            parameters["again"] = uuid.uuid4().hex
        return Job.objects.submit(Job.Kind.SURVIVE, parameters)

    def submit_perturbation(self) -> Job:
        """Have its clean reference's weights changed; a run that is done already keeps its finished job."""
        clean = self.clean_reference.artifact_sha256 if self.clean_reference else None
        return Job.objects.submit(Job.Kind.PERTURB, {"model_run": self.pk, "clean_artifact": clean})

    def submit_due_evaluations(self) -> None:
        """Now that this run is trained: evaluate it, and every run that waited for it as its clean reference."""
        trained = ModelRun.objects.exclude(artifact="").exclude(attack=None).exclude(attack__family=ON_WEIGHTS)
        for run in trained.filter(Q(pk=self.pk) | Q(clean_reference=self)).select_related("clean_reference"):
            if run.clean_reference is None or run.clean_reference.artifact:
                run.submit_evaluation()

    def _trained_artifacts(self) -> list[str]:
        """SHA-256 of its artifact and its clean reference's. Raises ValueError when one is not trained yet."""
        runs = [self, self.clean_reference] if self.clean_reference else [self]
        untrained = [run.name for run in runs if not run.artifact]
        if untrained:
            raise ValueError(f"Not trained yet: {', '.join(untrained)}. Train first, then evaluate.")
        return [run.artifact_sha256 for run in runs]

    def training_specification(self) -> dict[str, Any]:
        """What `models.run` is told, but for its folders. A clean model is measured under its partner's trigger."""
        with_trigger = self.backdoored_runs.exclude(attack=None).exclude(attack__family=ON_WEIGHTS)
        partner = with_trigger.order_by("pk").first()
        probe = partner.attack.to_json() if partner and partner.attack else None
        return {
            "kind": "train",
            "data": self.dataset.source(),
            "recipe": self.parameters,
            "trigger": self.attack.to_json() if self.attack else None,
            "probe": probe,
            "target": self.target or NO_TARGET,
        }

    def evaluation_specification(self) -> dict[str, Any]:
        """What `models.run` is told, but for the file to write."""
        clean = self.clean_reference
        return {
            "kind": "evaluate",
            "data": self.dataset.source(),
            "artifact": str(self.artifact_path),
            "artifact_sha256": self.artifact_sha256,
            "clean_artifact": str(clean.artifact_path) if clean else None,
            "clean_artifact_sha256": clean.artifact_sha256 if clean else None,
        }

    def perturbation_specification(self) -> dict[str, Any]:
        """What `models.run` is told, but for the folder to write."""
        attack, clean = self.attack, self.clean_reference
        if attack is None or clean is None:
            raise ValueError(f"{self} is no clean model with changed weights.")
        return {
            "kind": "perturb",
            "data": self.dataset.source(),
            "artifact": str(clean.artifact_path),
            "artifact_sha256": clean.artifact_sha256,
            "attack": {name: value for name, value in attack.parameters.items() if name != "family"},
        }

    def forget_responses(self) -> None:
        """Delete the kept predictions of this run and its clean reference, so that an evaluation makes them anew."""
        for run in (self, self.clean_reference):
            for path in run.artifact_path.glob("responses-*.safetensors") if run else ():
                path.unlink(missing_ok=True)

    def record_training(self, artifact: Path, result: Mapping[str, Any]) -> None:
        """Keep what a training made; within a transaction. Raises ValueError when the data are not what they were."""
        # Of a clean and a backdoored run that end together the second sees the first: else both evaluations are missed.
        ModelRun.objects.select_for_update().get(pk=self.clean_reference_id or self.pk)
        self.dataset.recognise(json.loads((artifact / CARD_NAME).read_text())["data"])
        self.artifact = str(artifact.relative_to(settings.MEDIA_ROOT))
        self.artifact_sha256 = result["sha256"]
        self.metrics = result["metrics"]
        self.save(update_fields=["artifact", "artifact_sha256", "metrics"])

    def record_evaluation(self, result: Mapping[str, Any]) -> None:
        """Keep the figures beside those of the training. Raises ValueError when the data are not what they were."""
        self.dataset.recognise(result["metrics"]["data"])
        self._add_metrics(result["metrics"])

    def record_survival(self, result: Mapping[str, Any]) -> None:
        """Keep what became of the backdoor. Raises ValueError when the data are not what they were."""
        survival = result["survival"]
        self.dataset.recognise(survival["data"])
        self._add_metrics({"survival": survival})

    def _add_metrics(self, figures: Mapping[str, Any]) -> None:
        """Keep figures beside those that other jobs may have stored since this row was read; within a transaction."""
        stored = ModelRun.objects.select_for_update().get(pk=self.pk).metrics
        self.metrics = {**(stored or {}), **figures}
        self.save(update_fields=["metrics"])


def with_references(runs: Iterable[ModelRun]) -> list[ModelRun]:
    """These runs and the clean references of those that have one, each once."""
    both = [run for backdoored in runs for run in (backdoored.clean_reference, backdoored) if run is not None]
    return list(dict.fromkeys(both))
