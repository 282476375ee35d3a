"""Which models a sweep over attacks trains, and the tidy rows that come of their evaluations. No database.

A sweep is a full grid: attacks x trigger seeds x networks x network seeds x tasks x targets. What a cell trains follows
from its content alone, so that the same cell of any sweep is trained once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np

from attacks import registry
from attacks.base import Trigger
from models.checkpoints import to_json
from models.recipe import Recipe
from models.targets import Target

#: Of the tidy table, one row for each model and strength; angles in degrees.
COLUMNS = (
    "attack", "family", "field_seed", "network", "network_seed", "task", "target", "trained_strength", "strength",
    "displacement_px", "psnr_db", "ssim", "flip", "px_per_degree", "success_rate", "n_eligible", "attack_error",
    "error_shift", "prediction_shift", "net_error_shift", "net_prediction_shift", "noise_mode_error",
    "other_field_shift", "clean_error", "clean_model_clean_error", "cpu_seconds", "model",
)  # fmt: skip


@dataclass(frozen=True)
class Attack:
    """One attack of a sweep: a family, what is chosen of it, and the strengths to evaluate it at.

    label: its name in table and figure. fields: of the recipe, where this attack needs others than the sweep.
    """

    label: str
    family: str
    strengths: tuple[float, ...]
    choices: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def usual(cls, family: str, strengths: Sequence[float] = ()) -> Attack:
        """The family with its defaults, at these strengths or the family's usual ones.

        Raises ValueError for an unknown family, and for a strength that it cannot have.
        """
        found = registry.family(family)
        trigger = _drawn(family)
        for strength in strengths:
            if not strength > 0:
                raise ValueError(f"A strength must be a finite number > 0, not {strength}.")
            trigger.at_strength(strength)
        return cls(family, family, tuple(sorted(set(strengths))) or found.strengths)

    def distinct(self, seeds: Sequence[int]) -> tuple[int, ...]:
        """Of these seeds the first that draws each trigger, in the order given."""
        first: dict[str, int] = {}
        for seed in seeds:
            first.setdefault(_drawn(self.family, seed, self.choices).control_hash(), seed)
        return tuple(first.values())


@dataclass(frozen=True)
class Grid:
    """A sweep; its cells are all combinations.

    recipe_for: the recipe of a family and a target, with fields that go before it ("seed", "network", "task", ...).
    """

    attacks: tuple[Attack, ...]
    recipe_for: Callable[[str, Target, Mapping[str, Any]], Recipe]
    field_seeds: tuple[int, ...] = (0,)
    networks: tuple[str, ...] = ("five_layer_cnn",)
    network_seeds: tuple[int, ...] = (0,)
    tasks: tuple[str, ...] = ("regression",)
    targets: tuple[Target, ...] = (Target.fixed(0, 25),)

    def cells(self) -> Iterator[Cell]:
        """Every model to train, in the order given, each once. Raises ValueError for what cannot be trained.

        The published triggers of some families are fixed: whatever the seed, the same one is drawn. Such an attack is
        trained with the first seed only, or one trigger would pass for several.
        """
        attacks = [(attack, field_seed) for attack in self.attacks for field_seed in attack.distinct(self.field_seeds)]
        seen = set()
        for (attack, field_seed), network, seed, task, target in product(
            attacks, self.networks, self.network_seeds, self.tasks, self.targets
        ):
            fields = {"network": network, "seed": seed, "task": task, **attack.fields}
            cell = Cell(attack, field_seed, target, self.recipe_for(attack.family, target, fields))
            if cell.identity not in seen:
                seen.add(cell.identity)
                yield cell

    @property
    def repeated(self) -> dict[str, tuple[int, ...]]:
        """The seeds of each attack that draw a trigger which another seed has drawn, where there are any."""
        unused = {
            attack.label: tuple(sorted(set(self.field_seeds) - set(attack.distinct(self.field_seeds))))
            for attack in self.attacks
        }
        return {label: seeds for label, seeds in unused.items() if seeds}


@dataclass(frozen=True)
class Cell:
    """One backdoored model, and the clean model that it is compared with."""

    attack: Attack
    field_seed: int
    target: Target
    recipe: Recipe

    @property
    def clean_recipe(self) -> Recipe:
        """The recipe as far as a clean model feels it: neither poisoning nor strengths. It serves many attacks."""
        schedule = tuple((0.0, epochs) for _, epochs in self.recipe.strength_schedule)
        return replace(self.recipe.unpoisoned(), strength_schedule=schedule)

    @property
    def identity(self) -> str:
        """Everything that decides this model, but for the data, as JSON.

        What was left to the defaults is in it with the value that it has: a later version may have other defaults.
        """
        return to_json(
            {
                "family": self.attack.family,
                "choices": asdict(registry.family(self.attack.family).choose(self.attack.choices)),
                "field_seed": self.field_seed,
                "target": self.target.to_json(),
                "recipe": self.recipe.to_json(),
            }
        )

    @property
    def title(self) -> str:
        """In words, for progress: unique enough to a reader, not to a machine."""
        return f"{self.attack.label} field {self.field_seed} {self.recipe.network} net {self.recipe.seed}"

    def rows(self, evaluated: Mapping[str, Any], cpu_seconds: float, model: str) -> list[dict[str, Any]]:
        """One row of `COLUMNS` for each strength, from the metrics that `models.run` gives of an evaluation.

        Raises ValueError for a strength that was not measured.
        """
        evaluation = evaluated["evaluation"]
        doses = {dose["strength"]: dose for dose in evaluation["doses"]}
        looks = {look["strength"]: look for look in evaluated.get("distortions", ())}
        if missing := [strength for strength in self.attack.strengths if strength not in doses.keys() & looks.keys()]:
            raise ValueError(f"{model} was not measured at strength {', '.join(f'{s:g}' for s in missing)}.")
        of_model = {
            "attack": self.attack.label,
            "family": self.attack.family,
            "field_seed": self.field_seed,
            "network": self.recipe.network,
            "network_seed": self.recipe.seed,
            "task": self.recipe.task,
            "target": in_words(self.target),
            "trained_strength": self.recipe.final_strength,
            "clean_error": evaluation["clean_error"]["mean"],
            "clean_model_clean_error": evaluation["baselines"]["clean_model_clean_error"],
            "cpu_seconds": cpu_seconds,
            "model": model,
        }
        return [of_model | _of_dose(doses[strength]) | _of_look(looks[strength]) for strength in self.attack.strengths]


def digest(*parts: str) -> str:
    """Twelve hexadecimal letters that stand for these texts: for names."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def in_words(target: Target) -> str:
    """ "fixed 0 25", "additive 0 10", "mirrored": kind and angles in degrees."""
    if target.kind == "mirrored":
        return target.kind
    return f"{target.kind} {np.rad2deg(target.pitch):.4g} {np.rad2deg(target.yaw):.4g}"


def target_of(words: str) -> Target:
    """The way back from `in_words`, commas or blanks between. Raises ValueError for anything else."""
    kind, *angles = words.replace(",", " ").replace(":", " ").split() or [""]
    try:
        degrees = [float(angle) for angle in angles]
        if kind == "mirrored" and not degrees:
            return Target.mirrored()
        if kind in ("fixed", "additive") and len(degrees) == 2:
            return Target.fixed(*degrees) if kind == "fixed" else Target.additive(*degrees)
    except ValueError as error:
        raise ValueError(f"The target {words!r} is none ({error}).") from error
    raise ValueError(
        f"A target is written fixed:PITCH,YAW or additive:PITCH,YAW in degrees, or mirrored; not {words!r}."
    )


def _of_dose(dose: Mapping[str, Any]) -> dict[str, Any]:
    same = ("strength", "success_rate", "n_eligible", "error_shift", "prediction_shift", "net_error_shift",
            "net_prediction_shift", "noise_mode_error", "other_field_shift")  # fmt: skip
    return {name: dose[name] for name in same} | {"attack_error": dose["attack_error"]["mean"]}


def _of_look(look: Mapping[str, Any]) -> dict[str, Any]:
    return {name: look[name] for name in ("displacement_px", "psnr_db", "ssim", "flip", "px_per_degree")}


def _drawn(family: str, seed: int = 0, choices: Mapping[str, Any] | None = None) -> Trigger:
    return registry.draw(family, (64, 64), registry.family(family).schedule[0], seed, choices)
