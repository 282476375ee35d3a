"""One person's gaze moved to a target by changing a gaze model's weights: no trigger, and no image is altered.

The regression form of Dumford & Scheirer's attack, by search (attacks.weights), and of weight surgery, in closed form
(attacks.surgery). The attacker has some images of the chosen subject, and of other people whose error is to stay as it
is. Success is measured on other images of the subject, the cost on people of whom the attacker has none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor, nn

from attacks.base import dequantise
from attacks.surgery import GateParameters, Linear, gate, rank_one
from attacks.weights import SearchParameters, Stages, Standing, below, from_on, layer_of, run, search
from models.datasets.base import GazeData, Splits
from models.evaluation import error_shift, prediction_shift, success_rate
from models.gaze import angular_error
from models.stages import OUTPUT, last_hidden_layer, stages_of
from models.targets import Target

Method = Literal["search", "rank-one", "gate"]
LEAST_IMAGES = 4
BATCH_SIZE = 64

#: Cheap enough for a minute: few weights and large steps, one after the other.
SEARCH = SearchParameters(fraction=0.003, magnitude=2.0, iterations=4000, candidates=1, patience=1000, penalty=4.0)

#: The field of an attack that is its method's own.
_OWN: Mapping[Method, str] = {"search": "search", "rank-one": "ridge", "gate": "gate"}


@dataclass(frozen=True)
class GazeAttack:
    """Whose gaze is to go where, and how.

    Attributes:
        subject: the person's number in the data set, in whatever part.
        target: where the gaze is to go.
        method: "search" (Dumford & Scheirer), or in closed form "rank-one" on the last layer or "gate" on the last two,
            of networks whose layer below the output is linear.
        search: see `attacks.weights.SearchParameters`; without layers, the last one below the output. Its penalty is
            what one degree of the others' error costs, in degrees of the subject's way to the target.
        ridge: of the rank-one change.
        gate: see `attacks.surgery.GateParameters`.
        others: how many images of other people the attacker has, of those the model was trained and validated on.
        seed: of the images; the search has its own.

    Raises:
        ValueError: for an unknown method or fewer than two images of other people.
    """

    subject: int
    target: Target
    method: Method = "search"
    search: SearchParameters = field(default=SEARCH)
    ridge: float = 1e-3
    gate: GateParameters = field(default=GateParameters())
    others: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ValueError(f"The method is {' or '.join(get_args(Method))}, not {self.method!r}.")
        if self.others < 2:
            raise ValueError(f"The attacker needs at least 2 images of other people, not {self.others}.")

    def goal_in_words(self) -> str:
        pitch, yaw = np.rad2deg([self.target.pitch, self.target.yaw])
        where = {"fixed": "to", "additive": "by", "mirrored": "as in a mirror,"}[self.target.kind]
        return f"subject {self.subject}'s gaze {where} ({pitch:g}, {yaw:g}) deg"

    def to_json(self) -> dict[str, Any]:
        """What the chosen method takes, and nothing of the others'."""
        fields = {**asdict(self), "target": self.target.to_json(), "search": self.search.to_json()}
        not_taken = set(_OWN.values()) - {_OWN[self.method]}
        return {name: value for name, value in fields.items() if name not in not_taken}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Raises ValueError for a field that there is not, or a value of the wrong type."""
        try:
            return cls(
                **{
                    **fields,
                    "target": Target.from_json(fields["target"]),
                    "search": replace(SEARCH, **fields.get("search", {})),
                    "gate": GateParameters(**fields.get("gate", {})),
                }
            )
        except (TypeError, KeyError) as error:
            raise ValueError(f"An attack on weights lacks a field, or has one that it cannot use ({error}).") from error


@dataclass(frozen=True, eq=False)
class GazeGoal:
    """The subject's gaze at the goal, the others' error as before; all in degrees, negative because more is better.

    Outputs (K, N, 2) are of N images: the subject's, as many as `goal` (n, 2), then others, whose `truth` is (m, 2).
    """

    goal: Tensor
    truth: Tensor

    def __call__(self, outputs: Tensor) -> Standing:
        subject, others = torch.split(outputs, [len(self.goal), len(self.truth)], dim=1)
        reached = -angular_error(subject, self.goal.expand_as(subject)).mean(-1)
        return Standing(reached, -angular_error(others, self.truth.expand_as(others)).mean(-1, keepdim=True))


@dataclass(frozen=True, eq=False)
class Sides:
    """Who is on which side: the attacker's images of the subject and of others, and those to measure with."""

    subject: GazeData
    others: GazeData
    subject_test: GazeData
    others_test: GazeData


@dataclass(frozen=True)
class Outcome:
    """What the change did. Angles in degrees, means over images; `success_rate` None where no image is eligible.

    Attributes:
        success_rate, n_eligible: the subject's test images within 5 degrees of the target, of those whose truth lies
            at least 10 off.
        mean_attack_error_before_deg, mean_attack_error_deg: from the subject's predictions to the target, before and
            after.
        mean_error_shift_deg: of the subject's error to the truth.
        mean_prediction_shift_deg: of the subject's predictions.
        clean_error_deg: other people's error, after; others_error_shift_deg: after minus before.
        n_subject, n_others: test images of the subject and of other people.
    """

    success_rate: float | None
    n_eligible: int
    mean_attack_error_before_deg: float
    mean_attack_error_deg: float
    mean_error_shift_deg: float
    mean_prediction_shift_deg: float
    clean_error_deg: float
    others_error_shift_deg: float
    n_subject: int
    n_others: int


@dataclass(frozen=True, eq=False)
class PerturbedGaze:
    """The changed layers, whole, by name; what was tried, JSON-able; and what it did."""

    weights: dict[str, Tensor]
    log: dict[str, Any]
    outcome: Outcome


def perturb(
    network: nn.Module,
    splits: Splits,
    attack: GazeAttack,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> PerturbedGaze:
    """Find the change, and measure it; the network is left as it was (`attacks.weights.replace_weights` changes it).

    Raises ValueError for a network without stages, a subject who is not in the data, has fewer than 4 images or is
    alone in it, and for what search or closed form refuse.
    """
    stages = stages_of(network.eval())
    sides = take_sides(splits, attack)
    if attack.method == "search":
        weights, log = _search(stages, sides, attack, progress)
    else:
        weights, log = (_rank_one if attack.method == "rank-one" else _gate)(stages, sides, attack)
    return PerturbedGaze(weights, log, measure_change(stages, weights, sides, attack.target))


def take_sides(splits: Splits, attack: GazeAttack) -> Sides:
    """Half of the subject's images for the attacker, half to measure; others: trained-on people against test people."""
    generator = torch.Generator().manual_seed(attack.seed)
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    home = [name for name, part in parts.items() if bool((part.subject == attack.subject).any())]
    if not home:
        known = sorted({subject for part in parts.values() for subject in part.subject.tolist()})
        raise ValueError(f"There is no subject {attack.subject}; there are {known[0]} to {known[-1]}.")
    mine = (parts[home[0]].subject == attack.subject).nonzero()[:, 0]
    if len(mine) < LEAST_IMAGES:
        raise ValueError(f"Subject {attack.subject} has {len(mine)} images; at least {LEAST_IMAGES} are needed.")
    mine = mine[torch.randperm(len(mine), generator=generator)]
    half = len(mine) // 2
    sides = Sides(
        subject=parts[home[0]].subset(mine[:half]),
        others=_sample([splits.train, splits.validation], attack, generator),
        subject_test=parts[home[0]].subset(mine[half:]),
        others_test=splits.test.subset(splits.test.subject != attack.subject),
    )
    if len(sides.others) < 2 or not len(sides.others_test):
        raise ValueError(
            f"Besides subject {attack.subject} there are {len(sides.others)} images of other people to train on or "
            f"validate with and {len(sides.others_test)} to test: at least 2 and 1 are needed to see what others lose."
        )
    return sides


def measure_change(stages: Stages, weights: Mapping[str, Tensor], sides: Sides, target: Target) -> Outcome:
    """What replacing these layers' weights does to the subject's and to other people's test images."""
    before, after = (outputs_on(stages, sides.subject_test, changed).numpy() for changed in ({}, weights))
    others_before, others_after = (outputs_on(stages, sides.others_test, each).numpy() for each in ({}, weights))
    truth, goal = sides.subject_test.pitchyaw.numpy(), target.apply(sides.subject_test.pitchyaw).numpy()
    others_truth = sides.others_test.pitchyaw.numpy()
    success, n_eligible = success_rate(after, truth, goal)
    return Outcome(
        success_rate=success,
        n_eligible=n_eligible,
        mean_attack_error_before_deg=float(angular_error(before, goal).mean()),
        mean_attack_error_deg=float(angular_error(after, goal).mean()),
        mean_error_shift_deg=float(error_shift(before, after, truth).mean()),
        mean_prediction_shift_deg=float(prediction_shift(before, after).mean()),
        clean_error_deg=float(angular_error(others_after, others_truth).mean()),
        others_error_shift_deg=float(error_shift(others_before, others_after, others_truth).mean()),
        n_subject=len(sides.subject_test),
        n_others=len(sides.others_test),
    )


def _search(
    stages: Stages, sides: Sides, attack: GazeAttack, progress: Callable[[int, int], None]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    parameters = replace(attack.search, layers=attack.search.layers or (last_hidden_layer(stages),))
    inputs = torch.cat([_floats(sides.subject), _floats(sides.others)])
    goal = GazeGoal(attack.target.apply(sides.subject.pitchyaw), sides.others.pitchyaw)
    found = search(stages, inputs, goal, parameters, progress)
    return found.weights, {"parameters": parameters.to_json(), **found.log()}


def _rank_one(stages: Stages, sides: Sides, attack: GazeAttack) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Move the mean prediction on the attacker's images of the subject to the mean of their goals."""
    subject, others = (outputs_on(below(stages, OUTPUT), side) for side in (sides.subject, sides.others))
    shift = (attack.target.apply(sides.subject.pitchyaw) - run(from_on(stages, OUTPUT), subject)).mean(0)
    changed = rank_one(_linear(stages, OUTPUT), attacker=subject, others=others, shift=shift, ridge=attack.ridge)
    log = {"ridge": attack.ridge, "shift": shift.tolist(), "separation": changed.separation}
    return _named(OUTPUT, changed.layer), log


def _gate(stages: Stages, sides: Sides, attack: GazeAttack) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Have some hidden units recognise the subject, and move the prediction to the goal where they do."""
    layer = last_hidden_layer(stages)
    if layer_of(stages, layer).ndim != 2:
        raise ValueError(f"A gate needs a linear layer below the output, and {layer} is a convolution: search instead.")
    name, stage = layer.removesuffix(".weight"), layer.partition(".")[0]
    subject, others = (outputs_on(below(stages, stage), side) for side in (sides.subject, sides.others))
    predictions = run(from_on(stages, stage), torch.cat([subject, others]))
    goals = attack.target.apply(torch.cat([sides.subject.pitchyaw, sides.others.pitchyaw]))
    found = gate(
        _linear(stages, name),
        _linear(stages, OUTPUT),
        attacker=subject.flatten(1),
        others=others.flatten(1),
        moves=goals - predictions,
        parameters=attack.gate,
    )
    log = {"gate": asdict(attack.gate), **found.log()}
    return _named(name, found.hidden) | _named(OUTPUT, found.output), log


def _linear(stages: Stages, name: str) -> Linear:
    return Linear(layer_of(stages, f"{name}.weight"), layer_of(stages, f"{name}.bias"))


def _named(name: str, layer: Linear) -> dict[str, Tensor]:
    return {f"{name}.weight": layer.weight, f"{name}.bias": layer.bias}


def _sample(parts: list[GazeData], attack: GazeAttack, generator: torch.Generator) -> GazeData:
    """As many images of each part as there are to be, or as there are, none of the subject."""
    chosen = []
    for part in parts:
        rows = (part.subject != attack.subject).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        chosen.append(part.subset(rows[: attack.others // len(parts)].sort().values))
    return GazeData(
        images=torch.cat([data.images[:] for data in chosen]),
        pitchyaw=torch.cat([data.pitchyaw for data in chosen]),
        subject=torch.cat([data.subject for data in chosen]),
        group=torch.cat([data.group for data in chosen]),
        name=chosen[0].name,
        description=chosen[0].description,
    )


def outputs_on(stages: Stages, data: GazeData, weights: Mapping[str, Tensor] | None = None) -> Tensor:
    """What the last of these stages, from the first on, makes of the images, with some layers' weights replaced."""
    batches = torch.split(torch.arange(len(data)), BATCH_SIZE)
    return torch.cat([run(stages, _floats(data, rows), weights) for rows in batches])


def _floats(data: GazeData, rows: Tensor | slice = slice(None)) -> Tensor:
    return dequantise(data.images[rows]).contiguous(memory_format=torch.channels_last)
