"""Attacks on trained weights: no trigger and no poisoned data, but a hand in the deployed model.

`search` follows Dumford & Scheirer, "Backdooring Convolutional Neural Networks via Targeted Weight Perturbations",
arXiv 1812.03128 (IJCB 2020): a black-box random search that changes some weights of one layer at a time and keeps what
makes an attacker pass for the target while everybody else is recognised as before. No gradient is taken; only the
network's outputs are looked at. Details that the abstract leaves open are ours.

`rank_one` is our own invention, after the idea of weight surgery on the last layer (Zehavi, Leshem & Shamir, arXiv
2301.03118): one subject's mean output of a linear layer is moved by exactly as much as asked, in closed form.

A network is given as its stages: named modules that are run one after the other. What the stages below the searched
layer make of the images is computed once, so that a candidate costs only the stages from that layer on.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Mode = Literal["additive", "multiplicative"]
Stages = Mapping[str, nn.Module]
"""Named modules, run in this order; a stage's name has no dot, and a layer is "<stage>.<parameter>"."""


@dataclass(frozen=True)
class SearchParameters:
    """How to search.

    Attributes:
        layers: weights to change, one after the other, each going on from the one before ("<stage>.<parameter>").
        fraction: share of a layer's weights that a candidate changes, in (0, 1]; positions are drawn with replacement.
        magnitude: largest standard deviation of a change. Additive: in standard deviations of the layer's weights;
            multiplicative: of the factor about 1. Each candidate draws its own, uniformly up to this.
        mode: "additive" (w + noise) or "multiplicative" (w times 1 + noise).
        iterations: rounds a layer.
        candidates: tried side by side in a round; the best of them is looked at.
        keep_best: go on from the best weights found (True), or draw every candidate about the original ones (False).
        patience: rounds without progress after which a layer is left.
        penalty: lambda, what a drop of one costs of what is to stay, against a gain of one for the attacker.
        seed: of all draws.

    Raises:
        ValueError: for a value that cannot be searched with.
    """

    layers: tuple[str, ...]
    fraction: float = 0.05
    magnitude: float = 0.5
    mode: Mode = "additive"
    iterations: int = 1000
    candidates: int = 8
    keep_best: bool = True
    patience: int = 200
    penalty: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not self.layers or any("." not in layer for layer in self.layers):
            raise ValueError(f"Name at least one layer as <stage>.<parameter>, not {list(self.layers)}.")
        if self.mode not in get_args(Mode):
            raise ValueError(f"The mode is {' or '.join(get_args(Mode))}, not {self.mode!r}.")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"The fraction of weights must lie above 0 and go up to 1, not {self.fraction}.")
        if not (math.isfinite(self.magnitude) and self.magnitude > 0):
            raise ValueError(f"The magnitude must be a finite number > 0, not {self.magnitude}.")
        if not (math.isfinite(self.penalty) and self.penalty >= 0):
            raise ValueError(f"The penalty must be a finite number >= 0, not {self.penalty}.")
        for name in ("iterations", "candidates", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"There must be at least 1 of {name}, not {getattr(self, name)}.")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "layers": list(self.layers)}


@dataclass(frozen=True, eq=False)
class Standing:
    """How K candidates do.

    Attributes:
        reached: (K,) how far the attacker gets, 1 at best.
        held: (K, G) what is to stay as it was, higher is better, in the unit of `reached`: one column each for the
            target, the others, and whatever else.
    """

    reached: Tensor
    held: Tensor

    def objective(self, before: Standing, penalty: float) -> Tensor:
        """(K,): what the attacker reaches, minus `penalty` times every drop below what was held before."""
        return self.reached - penalty * (before.held - self.held).clamp(min=0).sum(-1)


Goal = Callable[[Tensor], Standing]
"""Outputs (K, N, D) of K candidates on the same N images, to how the candidates do."""


@dataclass(frozen=True)
class Step:
    """One accepted change: in which layer and round, how many weights, how large, and what it brought."""

    layer: str
    iteration: int
    changed: int
    magnitude: float
    objective: float
    reached: float
    held: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What a search found.

    Attributes:
        weights: the changed layers, whole, by name.
        steps: every accepted change, in order.
        tried: candidates looked at.
        objective: (before, after) on the images of the search.
    """

    weights: dict[str, Tensor]
    steps: tuple[Step, ...]
    tried: int
    objective: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        """Everything but the weights."""
        return {"steps": [asdict(step) for step in self.steps], "tried": self.tried, "objective": list(self.objective)}


@torch.inference_mode()
def search(stages: Stages, inputs: Tensor, goal: Goal, parameters: SearchParameters) -> Perturbation:
    """Search for a change of the named layers that reaches the goal; the modules are left as they were.

    inputs: what the first stage takes, (N, ...). To share the cost of the lower stages between searches, give only the
    upper `stages` and `activations` of the lower ones. Modules run in the mode they are in; put them in eval mode.

    Raises ValueError for a layer that the stages do not have.
    """
    generator = torch.Generator().manual_seed(parameters.seed)
    originals = {layer: layer_of(stages, layer).detach() for layer in parameters.layers}
    changed: dict[str, Tensor] = {}
    steps: list[Step] = []
    tried = 0
    before = goal(run(stages, inputs)[None])
    start = best = before.objective(before, parameters.penalty).item()
    for layer in parameters.layers:
        evaluate = _evaluator(stages, inputs, layer, changed)
        centre = originals[layer]
        waited = 0
        for iteration in range(parameters.iterations):
            candidates, magnitudes = _draw(centre, originals[layer], parameters, generator)
            standing = goal(evaluate(candidates))
            objectives = standing.objective(before, parameters.penalty)
            tried += len(candidates)
            waited += 1
            winner = int(objectives.argmax())
            if objectives[winner] > best:
                best, waited = objectives[winner].item(), 0
                changed[layer] = candidates[winner].clone()
                number = int((changed[layer] != centre).sum())
                steps.append(
                    Step(
                        layer,
                        iteration,
                        number,
                        magnitudes[winner].item(),
                        best,
                        standing.reached[winner].item(),
                        tuple(standing.held[winner].tolist()),
                    )
                )
                if parameters.keep_best:
                    centre = changed[layer]
            if waited >= parameters.patience:
                break
    return Perturbation(changed, tuple(steps), tried, (start, best))


def _draw(
    centre: Tensor, original: Tensor, parameters: SearchParameters, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """(K, *shape) candidates about `centre`, and the (K,) standard deviations of their changes."""
    k, size = parameters.candidates, centre.numel()
    count = max(1, round(parameters.fraction * size))
    magnitudes = parameters.magnitude * (1 - torch.rand(k, generator=generator))
    noise = torch.randn(k, count, generator=generator) * magnitudes[:, None]
    positions = torch.randint(size, (k, count), generator=generator)
    flat = centre.reshape(1, size).repeat(k, 1)
    if parameters.mode == "additive":
        change = noise * original.std(correction=0)
    else:
        change = noise * flat.gather(1, positions)
    return flat.scatter_add_(1, positions, change.to(flat.dtype)).reshape(k, *centre.shape), magnitudes


def _evaluator(stages: Stages, inputs: Tensor, layer: str, changed: Mapping[str, Tensor]) -> Callable[[Tensor], Tensor]:
    """Candidates (K, *shape) of one layer to the network's outputs (K, N, D), from cached activations."""
    names = list(stages)
    position = names.index(layer.partition(".")[0])
    lower, upper = (OrderedDict((name, stages[name]) for name in part) for part in (names[:position], names[position:]))
    cached = _run_changed(lower, changed, inputs)
    tail = nn.Sequential(upper)
    others = {name: weight for name, weight in changed.items() if name.partition(".")[0] in upper and name != layer}

    def outputs(weight: Tensor) -> Tensor:
        result: Tensor = functional_call(tail, {**others, layer: weight}, (cached,))
        return result

    return vmap(outputs)


def _run_changed(stages: Stages, changed: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
    mine = {name: weight for name, weight in changed.items() if name.partition(".")[0] in stages}
    if not stages:
        return inputs
    result: Tensor = functional_call(nn.Sequential(OrderedDict(stages)), mine, (inputs,))
    return result


@torch.inference_mode()
def run(stages: Stages, inputs: Tensor, batch_size: int = 64) -> Tensor:
    """What all stages, one after the other, make of `inputs` (N, ...); in batches, because they stay in the cache."""
    outputs = []
    for batch in inputs.split(batch_size):
        for stage in stages.values():
            batch = stage(batch)  # noqa: PLW2901
        outputs.append(batch)
    return torch.cat(outputs)


def below(stages: Stages, stage: str) -> OrderedDict[str, nn.Module]:
    """The stages before this one. Raises ValueError when there is none of this name."""
    names = _names(stages, stage)
    return OrderedDict((name, stages[name]) for name in names[: names.index(stage)])


def from_on(stages: Stages, stage: str) -> OrderedDict[str, nn.Module]:
    """This stage and those after it. Raises ValueError when there is none of this name."""
    names = _names(stages, stage)
    return OrderedDict((name, stages[name]) for name in names[names.index(stage) :])


def layer_of(stages: Stages, layer: str) -> Tensor:
    """The weights named "<stage>.<parameter>". Raises ValueError, with the names there are, for another."""
    stage, _, parameter = layer.partition(".")
    _names(stages, stage)
    known = dict(stages[stage].named_parameters())
    if parameter not in known:
        raise ValueError(f"The stage {stage!r} has no weights {parameter!r}; it has {', '.join(known) or 'none'}.")
    return known[parameter]


def _names(stages: Stages, stage: str) -> list[str]:
    if stage not in stages:
        raise ValueError(f"There is no stage {stage!r}; there are {', '.join(stages)}.")
    return list(stages)
