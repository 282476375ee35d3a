"""A second attack beside the demonstration's warp, so that two can be compared: a patch.

Its model has the warp's network, data, target, schedule and seed, and so the same clean twin.
"""

from __future__ import annotations

from pathlib import Path

from study.desk.sweep_table import write
from study.lab import sweeps
from study.lab.models import Attack, ModelRun

FAMILY = "patch"


def plan(beside: ModelRun) -> ModelRun:
    """The patch's model run that matches this backdoored one, made now where it is not there yet.

    The strengths of its phases and what its family needs besides poisoned images are the patch's own.
    """
    from attacks import registry
    from models.recipe import Recipe
    from models.targets import Target

    if beside.attack is None or beside.clean_reference is None:
        raise ValueError(f"{beside} has no attack or no clean reference that a second attack could share.")
    family, target = registry.family(FAMILY), Target.from_json(beside.target or {})
    epochs = [epochs for _, epochs in beside.parameters["strength_schedule"]]
    strengths = [family.schedule[0]] * (len(epochs) - 1) + [family.schedule[-1]]
    schedule = tuple(zip(strengths, epochs, strict=True))
    suited = Recipe.for_attack(family, target)
    fields = {name: getattr(suited, name) for name in ("noise_ratio", "unrelated_ratio", "rehearsal")}
    fields["strength_schedule"] = schedule
    image_size = beside.dataset.image_size()
    return ModelRun.objects.plan(
        f"{beside.clean_reference.name.removesuffix('-clean')}-{FAMILY}",
        beside.dataset,
        recipe=Recipe.from_record({**beside.parameters, **fields}).to_json(),
        target=beside.target,
        attack=Attack.objects.draw(f"{FAMILY}-{image_size[0]}x{image_size[1]}", FAMILY, image_size),
        clean_reference=beside.clean_reference,
    )


def compare(runs: list[ModelRun], folder: Path) -> None:
    """Evaluate these models side by side, training what is not trained yet, and write table and figure.

    Raises JobFailed with the sentence of the first job that failed.
    """
    from study.lab.following import JobFailed

    swept = sweeps.carry_out([sweeps.planned_of(run) for run in runs])
    for name, sentence in swept.failures.items():
        raise JobFailed(f"{name}: {sentence}")
    write(swept, folder)
