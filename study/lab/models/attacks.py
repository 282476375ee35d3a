"""Attacks as they were drawn, and the pairs that are made of them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django.db import models

from study.lab.models.datasets import Dataset
from study.lab.models.jobs import Job
from study.lab.models.naming import named, sha256_of

if TYPE_CHECKING:
    from attacks.base import Trigger
    from study.lab.models.runs import ModelRun

#: The family of attacks that alter a model and no image: it has no triggers, and is not in `attacks.registry`.
ON_WEIGHTS = "weights"
#: Of a usual screen, 4 px per mm, at 60 cm; and of an image of which every pixel takes 4 of them.
SCREEN_PX_PER_DEGREE = 42.0
PX_PER_DEGREE = SCREEN_PX_PER_DEGREE / 4


def _density(px_per_degree: float) -> float:
    """Four digits of it, so that nearly equal densities are one. Raises ValueError for one that is not above 0."""
    if not 0 < px_per_degree < float("inf"):
        raise ValueError(f"Pixels per degree must be a finite number > 0, not {px_per_degree}.")
    return float(f"{px_per_degree:.4g}")


class AttackQuerySet(models.QuerySet["Attack"]):
    def draw(
        self,
        name: str,
        family: str,
        image_size: tuple[int, int],
        *,
        seed: int = 0,
        choices: Mapping[str, Any] | None = None,
        threat_model: str = "training_control",
    ) -> Attack:
        """Draw the trigger of this seed for (H, W) images and keep it; the same call again gives the same attack.

        family: a name in `attacks.registry`. choices: fields of the family's parameters. Raises ValueError for those
        that there are not, for what the family refuses, and for a name that stands for something else.
        """
        from attacks import registry
        from study.lab.triggers import gross_strength, possible_controls

        if threat_model not in (Attack.ThreatModel.DATA_POISONING, Attack.ThreatModel.TRAINING_CONTROL):
            raise ValueError(f"A trigger comes in by data_poisoning or training_control, not by {threat_model}.")
        trigger = registry.draw(family, image_size, 1.0, seed, choices)
        parameters = trigger.parameters()
        drawn = self.filter(name=name, family=family).first()
        if drawn and drawn.trigger(1.0).parameters() == parameters:
            parameters = drawn.parameters  # kept by an older version, whose families had fewer parameters
        return named(
            self,
            name,
            {
                "family": family,
                "parameters": parameters,
                "seed": seed,
                "control_hash": trigger.control_hash(),
                "threat_model": threat_model,
            },
            {
                "state": {part: tensor.tolist() for part, tensor in trigger.state.items()},
                "controls": possible_controls(trigger),
                "gross_strength": gross_strength(trigger),
            },
        )

    def on_weights(self, name: str, parameters: Mapping[str, Any]) -> Attack:
        """An attack on a trained model's weights; `parameters` as JSON of `models.perturbation.GazeAttack`.

        Raises ValueError for a name that stands for something else.
        """
        return named(
            self,
            name,
            {
                "family": ON_WEIGHTS,
                "parameters": {"family": ON_WEIGHTS, **parameters},
                "seed": parameters["seed"],
                "threat_model": Attack.ThreatModel.WEIGHTS,
            },
        )


class Attack(models.Model):
    """An attack: for most families one trigger, drawn once and kept here; an attack on the weights has none."""

    class ThreatModel(models.TextChoices):
        DATA_POISONING = "data_poisoning", "data poisoning"
        TRAINING_CONTROL = "training_control", "training control"
        WEIGHTS = "weights", "weights"

    name = models.SlugField(unique=True)
    family = models.CharField(max_length=40)
    parameters = models.JSONField(default=dict)
    seed = models.BigIntegerField(default=0)
    state = models.JSONField(default=dict, editable=False, help_text="The trigger's tensors as nested lists.")
    control_hash = models.CharField(max_length=64, blank=True, editable=False)
    controls = models.JSONField(
        default=list, editable=False, help_text="Kinds of control pairs that its trigger can have, beside identity."
    )
    gross_strength = models.FloatField(
        null=True, editable=False, help_text="From here on it is as strong as the gross alteration of catch trials."
    )
    threat_model = models.CharField(max_length=20, choices=ThreatModel, default=ThreatModel.TRAINING_CONTROL)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AttackQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def has_trigger(self) -> bool:
        """Whether there is something to add to an image; an attack on the weights alters the model instead."""
        return self.family != ON_WEIGHTS

    def trigger(self, strength: float) -> Trigger:
        """The stored trigger at this strength.

        Raises ValueError when the row is not what was drawn, or an attack on the weights, which has none.
        """
        from study.lab.triggers import stored_trigger

        if not self.has_trigger:
            raise ValueError(f"{self} is an attack on the weights: it has no trigger, and alters no image.")
        return stored_trigger(self.to_json(), strength)

    def strength_in_words(self) -> str | None:
        """What the strength is, with its unit and range; None of an attack that has none."""
        from attacks import registry

        return registry.family(self.family).strength if self.has_trigger else None

    def citation(self) -> str | None:
        """The paper that its family is from; None of an attack on the weights."""
        from attacks import registry

        return registry.family(self.family).citation if self.has_trigger else None

    def displacements(self, strengths: Iterable[float]) -> dict[str, float] | None:
        """Mean displacement in image px at each strength, by the strength as text; None where nothing is moved."""
        from attacks.base import Displaces

        triggers = {f"{strength:g}": self.trigger(strength) for strength in strengths}
        return {
            strength: trigger.displacement_px()[0]
            for strength, trigger in triggers.items()
            if isinstance(trigger, Displaces)
        } or None

    def to_json(self) -> dict[str, Any]:
        """What another process needs to rebuild the trigger and to know that it is the right one."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "state": self.state,
            "control_hash": self.control_hash,
        }

    def submit_pairs(self, dataset: Dataset, model_runs: Sequence[ModelRun], **wanted: Any) -> Job:
        """Have the pairs of `pair_parameters` made. Raises as that does."""
        return Job.objects.submit(Job.Kind.PAIRS, self.pair_parameters(dataset, model_runs, **wanted))

    def pair_parameters(
        self,
        dataset: Dataset,
        model_runs: Sequence[ModelRun],
        *,
        strengths: Sequence[float] | None = None,
        resampled: Sequence[float] | None = None,
        other_field: Sequence[float] | None = None,
        images: int | None = None,
        px_per_degree: float = PX_PER_DEGREE,
        again: bool = False,
    ) -> dict[str, Any]:
        """Of a job that makes pairs of (at most `images`) base images at each strength, with controls and one gross
        alteration.

        strengths: by default those usual for the attack's family. resampled, other_field: strengths of these controls,
        by default one of each that the trigger can have (`study.lab.triggers.pair_strengths`). px_per_degree: image px,
        for FLIP. again: also if the same pairs were made before, which restores lost and damaged files.
        Raises ValueError for strengths and controls that the trigger cannot have, for a model of other data or another
        attack, or one that is not trained yet, and for a density that is not above 0.
        """
        from study.lab.triggers import OTHER_FIELD, RESAMPLED, pair_strengths

        chosen = pair_strengths(self.trigger(1.0), {"": strengths, RESAMPLED: resampled, OTHER_FIELD: other_field})
        self.require_models(dataset, model_runs)
        parameters = {
            "dataset": dataset.pk,
            "attack": self.pk,
            "model_runs": sorted({run.pk for run in model_runs}),
            "strengths": chosen[""],
            "resampled": chosen[RESAMPLED],
            "other_field": chosen[OTHER_FIELD],
            "images": images,
            "px_per_degree": _density(px_per_degree),
        }
        return {**parameters, "again": uuid.uuid4().hex} if again else parameters

    def require_models(self, dataset: Dataset, model_runs: Sequence[ModelRun]) -> None:
        """Raises ValueError unless all these can be shown this attack's pairs on the data set."""
        untrained = [run.name for run in model_runs if not run.artifact]
        if untrained:
            raise ValueError(f"Not trained yet: {', '.join(untrained)}. Train first, then make pairs.")
        for run in model_runs:
            if run.dataset != dataset:
                raise ValueError(f"{run} was trained on {run.dataset}: the pairs would show {dataset}.")
            if run.attack not in (None, self):
                raise ValueError(f"{run} was attacked with {run.attack}: the pairs would show {self}.")

    def submit_judgements(self, dataset: Dataset, *, seed: int = 0, px_per_degree: float = PX_PER_DEGREE) -> Job:
        """Have machine observers judge all pairs on `dataset` that there are now; done already, the job is kept.

        seed: of the trained observer, which is named by it. px_per_degree: image px, for distances that depend on it.
        Raises ValueError when there are no pairs, for a negative seed, and for a density that is not above 0.
        """
        if not 0 <= seed < 2**63:
            raise ValueError(f"A seed must be a whole number from 0 of at most 63 bits, not {seed}.")
        density = _density(px_per_degree)
        pairs = self.pairs.filter(base_image__dataset=dataset)
        if not pairs.exists():
            raise ValueError(f"There are no pairs of {self} on {dataset}: make them first (manage.py make_pairs).")
        files = sorted(pairs.values_list("pk", "base_image__sha256", "sha256"))
        parameters = {
            "dataset": dataset.pk,
            "attack": self.pk,
            "seed": seed,
            "px_per_degree": density,
            "pairs": sha256_of(files),
        }
        return Job.objects.submit(Job.Kind.OBSERVE, parameters)
