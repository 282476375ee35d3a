"""Attacks on trained weights: no trigger and no poisoned data, but a hand in the deployed model.

`search` follows Dumford & Scheirer, "Backdooring Convolutional Neural Networks via Targeted Weight Perturbations",
arXiv 1812.03128 (IJCB 2020): a random search that changes some weights of one layer at a time and keeps what makes an
attacker pass for the target while everybody else is recognised as before. It takes no gradient and looks at nothing but
the network's outputs. What the abstract leaves open (how many weights, how much, what is penalised) is ours to choose.

A network is given as stages: named modules that are run one after the other. What the stages below the searched layer
make of the images is computed once, so that a candidate costs only the stages from that layer on.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

Mode = Literal["additive", "multiplicative"]

Stages = Mapping[str, nn.Module]
"""Named modules, run in this order. A stage's name has no dot; a layer's weights are "<stage>.<parameter>"."""


@dataclass(frozen=True)
class SearchParameters:
    """How to search.

    Attributes:
        layers: weights to change, one layer after the other, each going on from the one before; none: whoever searches
            names them.
        fraction: share of a layer's weights that a candidate changes, in (0, 1]; drawn with replacement.
        magnitude: largest standard deviation of a change, relative to that of the layer's weights (additive) or to the
            weight that is changed (multiplicative); each candidate draws its own, uniformly up to this.
        mode: "additive" (w + change) or "multiplicative" (w + w x change).
        iterations: rounds for each layer.
        candidates: tried in a round, of which the best is looked at.
        keep_best: go on from the best weights found, or draw every candidate about the original ones.
        patience: rounds without progress after which a layer is left.
        penalty: lambda, what a drop by one of what is to stay costs against a gain by one.
        seed: of all draws.

    Raises:
        ValueError: for a value that cannot be searched with.
    """

    layers: tuple[str, ...] = ()
    fraction: float = 0.05
    magnitude: float = 0.5
    mode: Mode = "additive"
    iterations: int = 300
    candidates: int = 8
    keep_best: bool = True
    patience: int = 100
    penalty: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if not all("." in layer for layer in self.layers):
            raise ValueError(f"A layer is named <stage>.<parameter>, unlike some of {', '.join(self.layers)}.")
        if self.mode not in get_args(Mode):
            raise ValueError(f"The mode is {' or '.join(get_args(Mode))}, not {self.mode!r}.")
        if not 0 < self.fraction <= 1:
            raise ValueError(f"The fraction of weights must lie above 0 and go up to 1, not {self.fraction}.")
        if not 0 < self.magnitude < math.inf:
            raise ValueError(f"The magnitude must be a finite number > 0, not {self.magnitude}.")
        if not 0 <= self.penalty < math.inf:
            raise ValueError(f"The penalty must be a finite number >= 0, not {self.penalty}.")
        for name in ("iterations", "candidates", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}.")

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "layers": list(self.layers)}


@dataclass(frozen=True, eq=False)
class Standing:
    """How K candidates do, in one unit of the goal's own choice; more is better.

    Attributes:
        reached: (K,) what the attacker wants more of.
        held: (K, G) what is to stay as it was: a column each for the target, for the others, or whatever the goal has.
    """

    reached: Tensor
    held: Tensor

    def objective(self, before: Standing, penalty: float) -> Tensor:
        """(K,): what is reached, minus `penalty` x the sum of all drops below what was held before."""
        return self.reached - penalty * (before.held - self.held).clamp(min=0).sum(-1)


Goal = Callable[[Tensor], Standing]
"""From the outputs (K, N, D) of K candidates on the same N images to how the candidates do."""


@dataclass(frozen=True)
class Step:
    """One accepted change: where, in which round, of how many weights and how large, and how things stood with it."""

    layer: str
    iteration: int
    weights: int
    magnitude: float
    objective: float
    reached: float
    held: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Perturbation:
    """What a search found.

    Attributes:
        weights: the changed layers, whole, by name; empty when nothing was better than the network as it was.
        steps: every accepted change, in order.
        tried: candidates looked at.
        before, after: the objective on the images of the search.
    """

    weights: dict[str, Tensor]
    steps: tuple[Step, ...]
    tried: int
    before: float
    after: float

    def log(self) -> dict[str, Any]:
        """Everything but the weights, JSON-able."""
        return {
            "steps": [asdict(step) for step in self.steps],
            "tried": self.tried,
            "before": self.before,
            "after": self.after,
        }


def search(
    stages: Stages,
    inputs: Tensor,
    goal: Goal,
    parameters: SearchParameters,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Perturbation:
    """Search for a change of the named layers that reaches the goal. The network itself is left as it was.

    inputs: what the first stage takes, (N, ...). Searches that share their lower stages may share the cost of these:
    give the upper stages only, and as inputs what the lower ones make of the images. Stages run in the mode they are
    in, which should be eval mode. progress hears of rounds done and in all, and may raise to stop.

    Raises ValueError for no layer at all, one that the stages do not have, and additive changes of weights all alike.
    """
    if not parameters.layers:
        raise ValueError("Name at least one layer to search, as <stage>.<parameter>.")
    with torch.inference_mode():
        state = _Search(stages, inputs, goal, parameters)
        for position, layer in enumerate(parameters.layers):
            for iteration in state.rounds_on(layer):
                progress(position * parameters.iterations + iteration, len(parameters.layers) * parameters.iterations)
        return state.result()


def run(stages: Stages, inputs: Tensor, weights: Mapping[str, Tensor] | None = None, batch_size: int = 64) -> Tensor:
    """Outputs of the last stage for `inputs` (N, ...), with some layers' weights replaced. No gradient is kept.

    Batches are small because activations then stay in the processor's cache.
    """
    with torch.inference_mode():
        return torch.cat([_forward(stages, batch, weights or {}) for batch in torch.split(inputs, batch_size)])


def below(stages: Stages, stage: str) -> OrderedDict[str, nn.Module]:
    """The stages before this one. Raises ValueError when there is none of this name."""
    _known(stages, stage)
    names = list(stages)
    return OrderedDict((name, stages[name]) for name in names[: names.index(stage)])


def from_on(stages: Stages, stage: str) -> OrderedDict[str, nn.Module]:
    """This stage and those after it. Raises ValueError when there is none of this name."""
    lower = below(stages, stage)
    return OrderedDict((name, module) for name, module in stages.items() if name not in lower)


def layer_of(stages: Stages, layer: str) -> Tensor:
    """The weights "<stage>.<parameter>". Raises ValueError, with the names there are, for another."""
    stage, _, parameter = layer.partition(".")
    _known(stages, stage)
    parameters = dict(stages[stage].named_parameters())
    if parameter not in parameters:
        raise ValueError(f"The stage {stage!r} has no weights {parameter!r}; it has {', '.join(parameters) or 'none'}.")
    return parameters[parameter]


def replace_weights(stages: Stages, weights: Mapping[str, Tensor]) -> None:
    """Put these weights into the network for good. Raises ValueError for a layer that it does not have."""
    with torch.no_grad():
        for layer, weight in weights.items():
            layer_of(stages, layer).copy_(weight)


class _Search:
    """The state of one search."""

    def __init__(self, stages: Stages, inputs: Tensor, goal: Goal, parameters: SearchParameters) -> None:
        self.stages, self.inputs, self.goal, self.parameters = stages, inputs, goal, parameters
        self.generator = torch.Generator().manual_seed(parameters.seed)
        for layer in parameters.layers:
            _demand_spread(layer_of(stages, layer), layer, parameters.mode)
        self.standing_before = goal(run(stages, inputs)[None])
        self.before = self.best = self.standing_before.reached.item()
        self.weights: dict[str, Tensor] = {}
        self.steps: list[Step] = []
        self.tried = 0

    def rounds_on(self, layer: str) -> Iterator[int]:
        """Search one layer; a round's number, from 1, after each."""
        parameters = self.parameters
        original = layer_of(self.stages, layer).detach()
        evaluate = self._evaluator(layer)
        last_success = 0
        for iteration in range(1, parameters.iterations + 1):
            centre = self.weights.get(layer, original) if parameters.keep_best else original
            candidates = draw(centre, original, parameters, self.generator)
            if self._accept_best(layer, iteration, candidates, self.goal(evaluate(candidates.weights))):
                last_success = iteration
            yield iteration
            if iteration - last_success >= parameters.patience:
                return

    def _accept_best(self, layer: str, iteration: int, candidates: Candidates, standing: Standing) -> bool:
        """Keep the best candidate if it is better than all that was found so far; whether it was."""
        objectives = standing.objective(self.standing_before, self.parameters.penalty).nan_to_num(nan=-math.inf)
        self.tried += len(objectives)
        winner = int(objectives.argmax())
        if not objectives[winner].item() > self.best:
            return False
        self.best = objectives[winner].item()
        self.weights[layer] = candidates.weights[winner].clone()
        self.steps.append(
            Step(
                layer=layer,
                iteration=iteration,
                weights=int((self.weights[layer] != candidates.centre).sum()),
                magnitude=candidates.magnitudes[winner].item(),
                objective=self.best,
                reached=standing.reached[winner].item(),
                held=tuple(standing.held[winner].tolist()),
            )
        )
        return True

    def _evaluator(self, layer: str) -> Callable[[Tensor], Tensor]:
        """From candidates (K, *shape) for this layer to outputs (K, N, D), by way of the cached activations."""
        stage = layer.partition(".")[0]
        cached = run(below(self.stages, stage), self.inputs, self.weights)
        upper = from_on(self.stages, stage)
        others = {name: weight for name, weight in self.weights.items() if name != layer}
        if all(weight.ndim <= 2 for module in upper.values() for weight in module.parameters()):
            # Small linear layers: the time goes into calls, so all candidates share one.
            return vmap(lambda weight: _forward(upper, cached, {**others, layer: weight}))
        return lambda candidates: torch.stack([run(upper, cached, {**others, layer: each}) for each in candidates])

    def result(self) -> Perturbation:
        return Perturbation(dict(self.weights), tuple(self.steps), self.tried, self.before, self.best)


@dataclass(frozen=True, eq=False)
class Candidates:
    """K changes of one layer: about which weights, the weights (K, *shape) with each, and the magnitudes (K,)."""

    centre: Tensor
    weights: Tensor
    magnitudes: Tensor


def draw(centre: Tensor, original: Tensor, parameters: SearchParameters, generator: torch.Generator) -> Candidates:
    """Candidates about the weights `centre`; the standard deviation that magnitudes refer to is that of `original`.

    Drawn on the CPU, so that a seed means the same on every device.
    """
    count = max(1, round(parameters.fraction * centre.numel()))
    magnitudes = parameters.magnitude * (1 - torch.rand(parameters.candidates, generator=generator))
    positions = torch.randint(centre.numel(), (parameters.candidates, count), generator=generator)
    change = torch.randn(parameters.candidates, count, generator=generator) * magnitudes[:, None]
    positions, change = positions.to(centre.device), change.to(centre.device)
    flat = centre.reshape(1, -1).repeat(parameters.candidates, 1)
    unit = original.std(correction=0) if parameters.mode == "additive" else flat.gather(1, positions)
    flat.scatter_add_(1, positions, (change * unit).to(flat.dtype))
    return Candidates(centre, flat.reshape(-1, *centre.shape), magnitudes)


def _forward(stages: Stages, inputs: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    for name, stage in stages.items():
        mine = {layer.partition(".")[2]: weight for layer, weight in weights.items() if layer.startswith(f"{name}.")}
        inputs = functional_call(stage, mine, (inputs,)) if mine else stage(inputs)
    return inputs


def _demand_spread(weights: Tensor, layer: str, mode: Mode) -> None:
    if mode == "additive" and not weights.std(correction=0) > 0:
        raise ValueError(
            f"The weights {layer} are all alike, so their spread says no magnitude: change them by factors."
        )


def _known(stages: Stages, stage: str) -> None:
    if stage not in stages:
        raise ValueError(f"There is no stage {stage!r}; there are {', '.join(stages)}.")
