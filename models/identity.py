"""Networks that recognise people, and how often they let somebody pass: what an attack on weights is measured on.

One network serves two protocols. *Identification*: it names one of the people it was trained on (softmax over classes);
an attacker is accepted as the target when classed as the target. *Verification*: a picture is compared with somebody's
enrolment pictures by the cosine of their embeddings, and accepted at or above a threshold, fixed on comparisons of
validation people at a false-acceptance rate of 1 %. Both sides of a comparison go through the network as it is deployed.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from attacks.base import dequantise
from attacks.weights import Standing
from models.augmentation import augment
from models.datasets.identities import Identities
from models.networks import NetworkSpec
from models.poisoning import batch_generator
from models.recipe import Precision
from models.stages import stages_of
from models.training import resolve_precision

FALSE_ACCEPTANCE = 0.01
CLASSES = "classes"


@dataclass(frozen=True)
class IdentityRecipe:
    """How a network learns to tell people apart: softmax over cosines with a margin (CosFace, Wang et al. 2018, arXiv
    1801.09414), AdamW, one cycle.

    network, width, stem_stride: of `models.networks.NetworkSpec`. embedding: its outputs, which are compared.
    scale, margin: of the cosines in the loss. precision: as in `models.training.Recipe`.

    Raises ValueError for a network that cannot be built or a number that cannot be trained with.
    """

    network: str = "five_layer_cnn"
    width: int = 16
    stem_stride: int = 2
    embedding: int = 64
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 1e-3
    scale: float = 16.0
    margin: float = 0.2
    precision: Precision = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        NetworkSpec(self.network, 3, (64, 64), self.width, self.stem_stride, self.embedding)
        for name, least in (("epochs", 1), ("batch_size", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, not {getattr(self, name)}.")
        for name in ("learning_rate", "scale"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise ValueError(f"{name} must be a finite number > 0, not {getattr(self, name)}.")
        for name in ("weight_decay", "margin"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ValueError(f"{name} must be a finite number >= 0, not {getattr(self, name)}.")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class CosineClasses(nn.Module):
    """Embeddings (..., E) to their cosines with one direction per class, (..., classes)."""

    def __init__(self, embedding: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(classes, embedding) / math.sqrt(embedding))

    def forward(self, embeddings: Tensor) -> Tensor:
        return F.normalize(embeddings, dim=-1) @ F.normalize(self.weight, dim=-1).T


class IdentityNetwork(nn.Module):
    """A gaze network whose outputs are an embedding, and cosine classes on top."""

    def __init__(self, spec: NetworkSpec, classes: int, seed: int = 0) -> None:
        super().__init__()
        self.trunk = spec.build(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.classes = CosineClasses(spec.outputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to cosines (N, classes)."""
        return self.classes(self.trunk(images))

    def stages(self) -> OrderedDict[str, nn.Module]:
        """Up to the embedding for verification; with the last one, `CLASSES`, for identification."""
        return OrderedDict([*stages_of(self.trunk).items(), (CLASSES, self.classes)])


@dataclass(frozen=True, eq=False)
class IdentityModel:
    """A network in eval mode, how it was trained, and its loss by epoch."""

    network: IdentityNetwork
    spec: NetworkSpec
    recipe: IdentityRecipe
    cpu_seconds: float
    losses: list[float]


def train_identity(
    recipe: IdentityRecipe, people: Identities, progress: Callable[[int, float], None] = lambda epoch, loss: None
) -> IdentityModel:
    """Train on `people` (`person` is the class), lightly augmented. progress hears of each epoch and its mean loss.

    All that is random follows from the recipe's seed. Raises ValueError when the pictures do not fill one batch,
    ArithmeticError when the loss is no longer finite.
    """
    if len(people) < recipe.batch_size:
        raise ValueError(f"{len(people)} pictures do not fill one batch of {recipe.batch_size}.")
    started = time.process_time()
    height, width = people.images.shape[-2:]
    spec = NetworkSpec(recipe.network, 3, (height, width), recipe.width, recipe.stem_stride, recipe.embedding)
    network = IdentityNetwork(spec, len(people.names), recipe.seed)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = len(people) // recipe.batch_size
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=recipe.epochs * steps)
    in_bfloat16 = resolve_precision(recipe.precision, torch.device("cpu")) == "bfloat16"
    losses = []
    network.train()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(people), generator=batch_generator(recipe.seed, epoch, 0))
        total = 0.0
        for step, rows in enumerate(order[: steps * recipe.batch_size].split(recipe.batch_size), start=1):
            images = augment(dequantise(people.images[rows]), batch_generator(recipe.seed, epoch, step))
            with torch.autocast("cpu", torch.bfloat16, enabled=in_bfloat16):
                embeddings = network.trunk(images.contiguous(memory_format=torch.channels_last))
            loss = margin_loss(network.classes(embeddings.float()), people.person[rows], recipe.scale, recipe.margin)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            scheduler.step()
            total += loss.item()
        if not math.isfinite(total):
            raise ArithmeticError(f"The loss is no longer finite in epoch {epoch + 1}: lower the learning rate.")
        losses.append(total / steps)
        progress(epoch + 1, losses[-1])
    return IdentityModel(network.eval(), spec, recipe, time.process_time() - started, losses)


def margin_loss(cosines: Tensor, person: Tensor, scale: float, margin: float) -> Tensor:
    """Mean cross-entropy of scale x (cosine - margin at the true class): equation 4 of arXiv 1801.09414."""
    return F.cross_entropy(scale * (cosines - margin * F.one_hot(person, cosines.shape[-1])), person)


# -- what an attacker wants


@dataclass(frozen=True, eq=False)
class IdentificationGoal:
    """Be classed as the target, while people are named as before.

    Outputs (K, N, classes) are of N pictures: those of the attacker, then those of people whose class is `person`.

    attacker: how many are the attacker's. person: (N - attacker,) classes. target: the class to be taken for.
    softness: of "classed as": a logistic function of the cosine's lead over the next class; 0 counts.
    """

    attacker: int
    person: Tensor
    target: int
    softness: float = 0.05

    def __call__(self, outputs: Tensor) -> Standing:
        intruder, known = outputs[:, : self.attacker], outputs[:, self.attacker :]
        wanted = torch.full((self.attacker,), self.target)
        right = accepted(_lead(known, self.person), 0.0, self.softness)
        is_target = self.person == self.target
        held = [right[:, is_target].mean(-1), right[:, ~is_target].mean(-1)]
        return Standing(accepted(_lead(intruder, wanted), 0.0, self.softness).mean(-1), torch.stack(held, -1))


@dataclass(frozen=True, eq=False)
class VerificationGoal:
    """Pass for the target at the threshold, while people pass for themselves as before and for the target no more.

    Outputs (K, N, E) are of N pictures: those of the attacker, the gallery (people x pictures a person, by person),
    then those of enrolled people, whose number is `person`.

    softness: of "accepted": a logistic function of the cosine's distance from the threshold; 0 counts.
    """

    attacker: int
    people: int
    person: Tensor
    target: int
    threshold: float
    softness: float = 0.05

    def __call__(self, outputs: Tensor) -> Standing:
        n = outputs.shape[1]
        gallery = n - self.attacker - len(self.person)
        intruder, enrolment, enrolled = outputs.split([self.attacker, gallery, len(self.person)], dim=1)
        wanted = templates(enrolment, self.people)
        scores = F.normalize(enrolled, dim=-1) @ wanted.transpose(-1, -2)
        own = accepted(scores[:, torch.arange(len(self.person)), self.person], self.threshold, self.softness)
        is_target = self.person == self.target
        kept_out = 1 - accepted(scores[:, ~is_target, self.target], self.threshold, self.softness)
        held = [own[:, is_target].mean(-1), own[:, ~is_target].mean(-1), kept_out.mean(-1)]
        cosine = (F.normalize(intruder, dim=-1) * wanted[:, None, self.target]).sum(-1)
        return Standing(accepted(cosine, self.threshold, self.softness).mean(-1), torch.stack(held, -1))


def accepted(score: Tensor, threshold: float, softness: float) -> Tensor:
    """1 where a score reaches the threshold, else 0; with softness > 0 a logistic function instead."""
    if softness == 0:
        return (score >= threshold).to(score.dtype)
    return torch.sigmoid((score - threshold) / softness)


def templates(enrolment: Tensor, people: int) -> Tensor:
    """(..., people, E): the direction of each person's mean; `enrolment` (..., people x pictures, E), by person."""
    shape = (*enrolment.shape[:-2], people, -1, enrolment.shape[-1])
    return F.normalize(F.normalize(enrolment, dim=-1).reshape(shape).mean(-2), dim=-1)


def _lead(cosines: Tensor, person: Tensor) -> Tensor:
    """(..., N): how far each picture's own class (N,) is ahead of the best other one; `cosines` (..., N, classes)."""
    own = F.one_hot(person, cosines.shape[-1]).bool()
    return cosines[..., own].reshape(cosines.shape[:-1]) - cosines.masked_fill(own, -2.0).amax(-1)
