"""Networks that recognise people: five-layer CNN or ResNet, one training, two ways of use.

*Identification*: the network names one of the people it was trained on. *Verification*: a picture is compared with
somebody's enrolment pictures by the cosine of their embeddings, and accepted from a threshold on; the network need not
have seen either. The threshold is fixed on comparisons of validation people.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from attacks.base import dequantise
from attacks.weights import run
from models.augmentation import augment
from models.checkpoints import read_tensors, write_tensors
from models.datasets.identities import Identities
from models.devices import resolve_precision
from models.networks import NetworkSpec
from models.poisoning import batch_generator
from models.recipe import Precision
from models.stages import stages_of

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
            torch.default_generator.manual_seed(seed)
            self.classes = CosineClasses(spec.outputs, classes)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [0, 1] to cosines (N, classes)."""
        return self.classes(self.trunk(images))

    def stages(self) -> OrderedDict[str, nn.Module]:
        """Up to the embedding for verification; with the last one, `CLASSES`, for identification."""
        return OrderedDict([*stages_of(self.trunk).items(), (CLASSES, self.classes)])


@dataclass(frozen=True, eq=False)
class IdentityModel:
    """A network in eval mode, how it was trained, and the mean loss of each epoch."""

    network: IdentityNetwork
    spec: NetworkSpec
    recipe: IdentityRecipe
    classes: int
    cpu_seconds: float
    losses: list[float] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write tensors and record as one file, atomically."""
        record = {
            "spec": self.spec.to_json(),
            "recipe": self.recipe.to_json(),
            "classes": self.classes,
            "cpu_seconds": self.cpu_seconds,
            "losses": self.losses,
        }
        write_tensors(path, self.network.state_dict(), record)

    @classmethod
    def load(cls, path: Path) -> IdentityModel:
        """The way back from `save`. Raises ValueError for a file that is not one, or has changed."""
        tensors, record = read_tensors(path)
        spec, recipe = NetworkSpec.from_json(record["spec"]), IdentityRecipe(**record["recipe"])
        network = IdentityNetwork(spec, record["classes"])
        network.load_state_dict(tensors)
        return cls(network.eval(), spec, recipe, record["classes"], record["cpu_seconds"], record["losses"])


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
        for step, rows in enumerate(torch.split(order[: steps * recipe.batch_size], recipe.batch_size), start=1):
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
    return IdentityModel(
        network.eval(), spec, recipe, len(people.names), cpu_seconds=time.process_time() - started, losses=losses
    )


def margin_loss(cosines: Tensor, person: Tensor, scale: float, margin: float) -> Tensor:
    """Mean cross-entropy of scale x (cosine - margin at the true class): equation 4 of arXiv 1801.09414."""
    return F.cross_entropy(scale * (cosines - margin * F.one_hot(person, cosines.shape[-1])), person)


def outputs_of(stages: Mapping[str, nn.Module], people: Identities, batch_size: int = 64) -> Tensor:
    """What these stages, from the first on, make of pictures (N, ...)."""
    return torch.cat(
        [
            run(stages, dequantise(batch).contiguous(memory_format=torch.channels_last))
            for batch in torch.split(people.images, batch_size)
        ]
    )


def templates(enrolment: Tensor, people: int) -> Tensor:
    """(..., people, E) unit vectors: each person's mean direction over `enrolment` (..., people x pictures, E), whose
    rows are by person, as many for each.
    """
    shape = (*enrolment.shape[:-2], people, -1, enrolment.shape[-1])
    return F.normalize(F.normalize(enrolment, dim=-1).reshape(shape).mean(-2), dim=-1)


def similarity(embeddings: Tensor, people: Tensor) -> Tensor:
    """(..., N, people): cosines of embeddings (..., N, E) with templates (..., people, E)."""
    return F.normalize(embeddings, dim=-1) @ people.transpose(-1, -2)


def threshold_at(impostors: Tensor, false_acceptance: float) -> float:
    """A threshold at or above which at most this share of impostors' similarities (N,) lies: midway between the last
    that passes and the first that does not. Equal similarities pass together or not at all.

    Raises ValueError when there are too few comparisons to tell, fewer than ten in that share, or they are all alike.
    """
    above = int(false_acceptance * len(impostors))
    if above < 10:
        raise ValueError(
            f"{len(impostors)} impostor comparisons cannot fix a threshold at a false-acceptance rate of "
            f"{false_acceptance:g}: at least ten must lie above it."
        )
    ranked = impostors.double().sort(descending=True).values
    passing = ranked[:above][ranked[:above] > ranked[above]]
    if not len(passing):
        raise ValueError("The highest similarities of impostors are all alike: no threshold parts them.")
    return ((passing[-1] + ranked[above]) / 2).item()
