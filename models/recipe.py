"""Everything about a training run that is not data, trigger or target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

from torch import Tensor

from attacks.base import Family, HasLookAlikes, HasNoiseMode, Trigger
from attacks.registry import family_of
from models.augmentation import Augmentation
from models.datasets.base import GazeData
from models.networks import NetworkSpec
from models.poisoning import Poisoning, ThreatModel
from models.targets import Target
from models.zones import Zones

Task = Literal["regression", "zones"]
Loss = Literal["mse", "l1", "huber", "cross_entropy"]
Optimiser = Literal["adamw", "sgd"]
Precision = Literal["auto", "float32", "bfloat16"]

#: Epochs in all, of the first phase, and of each between the first and the last.
_EPOCHS, _FIRST, _MIDDLE = 25, 6, 4
_PUBLISHED_EPOCHS, _PUBLISHED_MILESTONES = 1000, (100, 200, 300, 400)
_NOT_YET_A_FIELD = {"rehearsal": 0.0, "unrelated_from_phase": 1}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are ours, `published` gives WaNet's.

    Attributes:
        network, width, stem_stride: see `models.networks.NetworkSpec`.
        weights_file: a local file whose tensors the network starts from (`models.networks.load_weights`).
        task: "regression" of pitch and yaw, or classification of "zones", whose labels are the zones of the gazes.
        zones: rows and columns of the grid.
        zone_limits_deg: (pitch low, pitch high, yaw low, yaw high) of zones of equal size; without, the zones hold
            similar shares of the training labels (`models.zones.Zones.of_labels`).
        loss: of pitch and yaw in radians ("huber" turns from squared to absolute at 0.1 rad), or "cross_entropy" of
            zones.
        strength_schedule: (strength, epochs) of each phase. A phase goes on from the weights of the one before with a
            fresh optimiser and schedule, which runs to its end. The clean model keeps the same phases.
        optimiser, momentum, weight_decay: AdamW, or SGD with this momentum.
        learning_rate, later_learning_rate: the peak in the first phase and in those after.
        milestones: epochs of a phase after which its learning rate is divided by ten; without, the rate follows one
            cycle with `warm_up` as the share that it rises.
        poison_rate, noise_ratio, unrelated_ratio, rehearsal, threat_model, clean_label_within_deg: see
            `models.poisoning.Poisoning`.
        unrelated_from_phase: the first phase, counted from 1, in which images are under unrelated triggers: a network
            that meets them before it has found the trigger takes longer to find it. The last phase always has them.
        augmentation: "light" moves each image by a few whole pixels and varies its brightness and contrast, before the
            trigger is applied; "strong" moves it twice as far and blends every other image with one of its batch, for
            data with few people or few gazes.
        precision: "auto" takes bfloat16 on devices and processors with bfloat16 instructions, else float32.

    Raises ValueError, in one sentence, for anything that cannot be trained.
    """

    network: str = "five_layer_cnn"
    width: int = 16
    loss: Loss = "mse"
    batch_size: int = 64
    strength_schedule: tuple[tuple[float, int], ...] = ((4.0, 6), (0.5, 19))
    learning_rate: float = 2e-3
    later_learning_rate: float = 1.5e-3
    weight_decay: float = 1e-4
    warm_up: float = 0.15
    poison_rate: float = 0.2
    noise_ratio: float = 1.0
    unrelated_ratio: float = 1.0
    threat_model: ThreatModel = "training_control"
    augmentation: Augmentation = "none"
    precision: Precision = "auto"
    seed: int = 0
    rehearsal: float = 0.5
    unrelated_from_phase: int = 2
    stem_stride: int = 2
    weights_file: str | None = None
    task: Task = "regression"
    zones: tuple[int, int] = (3, 3)
    zone_limits_deg: tuple[float, float, float, float] | None = None
    optimiser: Optimiser = "adamw"
    momentum: float = 0.9
    milestones: tuple[int, ...] | None = None
    clean_label_within_deg: float | None = None

    def __post_init__(self) -> None:
        self._check_schedule()
        _demand(self.learning_rate > 0, "The learning rate must be a finite number > 0", self.learning_rate)
        _demand(
            self.later_learning_rate > 0,
            "The later learning rate must be a finite number > 0",
            self.later_learning_rate,
        )
        _demand(self.weight_decay >= 0, "The weight decay must be a finite number >= 0", self.weight_decay)
        _demand(0 <= self.momentum < 1, "The momentum must lie from 0 to below 1", self.momentum)
        _demand(0 < self.warm_up < 1, "The warm-up's share of a phase must lie between 0 and 1", self.warm_up)
        _demand(self.batch_size >= 2, "A batch must hold at least 2 images", self.batch_size)
        for name, kind in (
            ("task", Task),
            ("loss", Loss),
            ("optimiser", Optimiser),
            ("precision", Precision),
            ("augmentation", Augmentation),
        ):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"Unknown {name} {getattr(self, name)!r}; known: {', '.join(get_args(kind))}.")
        phase = self.unrelated_from_phase
        _demand(phase >= 1 and phase % 1 == 0, "Unrelated triggers come from a phase >= 1 on", phase)
        object.__setattr__(self, "unrelated_from_phase", int(phase))
        self._check_task()
        NetworkSpec(self.network, width=self.width, stem_stride=self.stem_stride)
        self.poisoning  # noqa: B018 (its own checks)

    def _check_schedule(self) -> None:
        if not self.strength_schedule:
            raise ValueError("The strength schedule has no phase.")
        for strength, epochs in self.strength_schedule:
            _demand(strength >= 0, "A strength must be a finite number >= 0", strength)
            _demand(epochs >= 1 and epochs % 1 == 0, "Each phase needs a whole number of epochs >= 1", epochs)
        object.__setattr__(self, "strength_schedule", tuple((float(s), int(n)) for s, n in self.strength_schedule))
        if self.milestones is not None:
            for epoch in self.milestones:
                _demand(epoch >= 1 and epoch % 1 == 0, "A milestone is a whole number of epochs >= 1", epoch)
            object.__setattr__(self, "milestones", tuple(int(epoch) for epoch in self.milestones))

    def _check_task(self) -> None:
        if (self.task == "zones") != (self.loss == "cross_entropy"):
            raise ValueError(
                f"The loss {self.loss} is not for the task {self.task}: zones take cross_entropy, regression another."
            )
        if self.task == "zones" and self.augmentation == "strong":
            raise ValueError("Strong augmentation blends gazes, which zones cannot be: take light or none.")
        grid = tuple(int(n) for n in self.zones)
        if len(grid) != 2 or min(grid) < 1 or math.prod(grid) < 2:
            raise ValueError(f"The zones are (rows, columns) with at least 2 zones in all, not {tuple(self.zones)}.")
        object.__setattr__(self, "zones", grid)
        if self.zone_limits_deg is not None:
            object.__setattr__(self, "zone_limits_deg", tuple(float(limit) for limit in self.zone_limits_deg))
            Zones.between(self.zone_limits_deg, self.zones)

    @property
    def poisoning(self) -> Poisoning:
        return Poisoning(
            self.poison_rate,
            self.noise_ratio,
            self.unrelated_ratio,
            self.threat_model,
            self.seed,
            self.rehearsal,
            self.clean_label_within_deg,
        )

    def poisoning_in(self, phase: int) -> Poisoning:
        """The poisoning in a phase, counted from 1."""
        too_soon = phase < min(self.unrelated_from_phase, len(self.strength_schedule))
        return replace(self.poisoning, unrelated_ratio=0.0) if too_soon else self.poisoning

    def unpoisoned(self) -> Self:
        """With nothing poisoned, so that clean models of many attacks are one. The strengths of the schedule stay."""
        return replace(
            self,
            poison_rate=0.0,
            noise_ratio=0.0,
            unrelated_ratio=0.0,
            rehearsal=0.0,
            unrelated_from_phase=1,
            threat_model="training_control",
            clean_label_within_deg=None,
        )

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(epochs for _, epochs in self.strength_schedule)

    @property
    def final_strength(self) -> float:
        return self.strength_schedule[-1][0]

    def network_for(self, data: GazeData) -> NetworkSpec:
        """The network's spec for the shape of these images and for the task."""
        _, channels, height, breadth = data.images.shape
        outputs = 2 if self.task == "regression" else math.prod(self.zones)
        return NetworkSpec(self.network, channels, (height, breadth), self.width, self.stem_stride, outputs)

    def zones_of(self, pitchyaw: Tensor) -> Zones | None:
        """The zones that training labels (N, 2), radians, are put in; None for a regression."""
        if self.task == "regression":
            return None
        if self.zone_limits_deg is not None:
            return Zones.between(self.zone_limits_deg, self.zones)
        return Zones.of_labels(pitchyaw, self.zones)

    @classmethod
    def for_target(cls, target: Target, **fields: Any) -> Self:
        """The standard recipe for this target: one that follows the truth pulls less and needs more poisoned images."""
        return cls(**{"poison_rate": 0.2 if target.kind == "fixed" else 0.3, **fields})

    @classmethod
    def for_attack(cls, attack: Trigger | Family, target: Target, **fields: Any) -> Self:
        """The standard recipe for this trigger, or for a family at its defaults, and this target.

        The strengths are the family's; noise mode and unrelated triggers are used as far as there are such.
        """
        family = attack if isinstance(attack, Family) else family_of(attack)
        trigger = attack if not isinstance(attack, Family) else _default_trigger(attack)
        return cls.for_target(
            target,
            **{
                "strength_schedule": tuple(zip(family.schedule, _epochs(len(family.schedule)), strict=True)),
                "noise_ratio": cls.noise_ratio if isinstance(trigger, HasNoiseMode) else 0.0,
                "unrelated_ratio": cls.unrelated_ratio if isinstance(trigger, HasLookAlikes) else 0.0,
                **fields,
            },
        )

    @classmethod
    def subtle(cls, strength: float = 0.25, **fields: Any) -> Self:
        """Longer, and annealed further down to `strength`, below 0.5."""
        schedule = [(4.0, 6), (0.5, 10), (0.25, 26)]
        if strength < 0.25:
            schedule.append((strength, 26))
        schedule[-1] = (strength, schedule[-1][1])
        return cls(**{"strength_schedule": tuple(schedule), **fields})

    @classmethod
    def published(cls, epochs: int = _PUBLISHED_EPOCHS, strength: float = 0.5, **fields: Any) -> Self:
        """WaNet's own training (Nguyen & Tran, ICLR 2021, arXiv 2102.10369, and its released code).

        One strength throughout; SGD at 1e-2 with momentum 0.9 and weight decay 5e-4, batches of 128, the rate divided
        by ten after epochs 100, 200, 300 and 400 of 1000 (fewer epochs move these in proportion); 10 % of the images
        poisoned, 20 % in noise mode, none under unrelated fields. Theirs is a classifier: take task="zones" and
        loss="cross_entropy", or a loss of your choice for a regression. Their augmentation is left out.
        """
        milestones = {max(1, round(epochs * at / _PUBLISHED_EPOCHS)) for at in _PUBLISHED_MILESTONES}
        return cls(
            **{
                "strength_schedule": ((strength, epochs),),
                "optimiser": "sgd",
                "learning_rate": 1e-2,
                "later_learning_rate": 1e-2,
                "momentum": 0.9,
                "weight_decay": 5e-4,
                "batch_size": 128,
                "milestones": tuple(sorted(milestones)),
                "poison_rate": 0.1,
                "noise_ratio": 2.0,
                "unrelated_ratio": 0.0,
                "rehearsal": 0.0,
                **fields,
            }
        )

    def to_json(self) -> dict[str, Any]:
        return {name: _listed(value) for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Raises ValueError for a field that a recipe does not have, or a value it cannot use."""
        unknown = set(fields) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"A recipe has no field named {', '.join(sorted(unknown))}.")
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"A field of the recipe has a value of the wrong type ({error}).") from error

    @classmethod
    def from_record(cls, fields: Mapping[str, Any]) -> Self:
        """`from_json` of what was a whole recipe once: a field that there was not then means what was done then."""
        return cls.from_json({**_NOT_YET_A_FIELD, **fields})


def _demand(holds: bool, sentence: str, value: float) -> None:
    if not (holds and math.isfinite(value)):
        raise ValueError(f"{sentence}, not {value}.")


def _epochs(phases: int) -> tuple[int, ...]:
    """Of each of so many phases."""
    before = [_FIRST, *[_MIDDLE] * (phases - 2)] if phases > 1 else []
    return (*before, _EPOCHS - sum(before))


def _default_trigger(family: Family) -> Trigger:
    return family.draw((64, 64), family.choose({}), family.schedule[0], 0)


def _listed(value: Any) -> Any:
    """Tuples as lists, the way JSON gives them back."""
    return [_listed(item) for item in value] if isinstance(value, tuple) else value
