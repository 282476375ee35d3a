"""A small network in a participant's place: two pictures of one scene, which one has been altered?

It is a reference for what the pictures contain, not a model of human vision. It is trained on pairs of other people's
pictures than those that it judges, every pair of the attack included and no control, so that what it makes of a control
says what it goes by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from attacks.base import dequantise

Floats = npt.NDArray[np.float64]
Progress = Callable[[float], None]

_REPORT_EVERY = 20


@dataclass(frozen=True)
class ObserverRecipe:
    """How the networks are trained, one for each fold, in so many `updates` whatever the number of pairs.

    Raises ValueError for what cannot be trained.
    """

    seed: int = 0
    folds: int = 5
    updates: int = 80
    batch_size: int = 32
    width: int = 8
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3

    def __post_init__(self) -> None:
        for name, least in (("folds", 2), ("updates", 1), ("batch_size", 1), ("width", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"An observer's {name} must be at least {least}, not {getattr(self, name)}.")
        if not 0 <= self.seed < 2**63:
            raise ValueError(f"An observer's seed must be a whole number from 0 of at most 63 bits, not {self.seed}.")


class PairObserver(nn.Module):
    """Evidence that the first of two pictures is the altered one, from their mean and their difference.

    Four convolutions, the first at full resolution, whose responses are averaged over the picture. Exchanging the
    pictures changes the sign and nothing else; two equal pictures give exactly 0.
    """

    def __init__(self, channels: int, width: int = 8) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(2 * channels, width, 5, padding=2), nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
            nn.Conv2d(2 * width, 2 * width, 3, stride=2, padding=1), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(2 * width, 1, bias=False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """(N, C, H, W) twice, in [0, 1], to (N,) log odds."""
        mean, difference = (first + second) * 2 - 2, (first - second) * 8
        one, other = (self._score(torch.cat([mean, sign * difference], dim=1)) for sign in (1, -1))
        return one - other

    def _score(self, both: Tensor) -> Tensor:
        return self.head(self.features(both).mean(dim=(2, 3)))[:, 0]


def judge(
    clean: Tensor,
    altered: Tensor,
    group: npt.ArrayLike,
    trains: npt.ArrayLike,
    *,
    recipe: ObserverRecipe | None = None,
    progress: Progress = lambda share: None,
) -> Floats:
    """Evidence (N,) for the altered picture of every pair, from a network that was trained on no pair of its group.

    Args:
        clean, altered: (N, C, H, W) uint8.
        group: (N,) whom the pictures show; groups are dealt to folds, whole.
        trains: (N,) whether a pair may be trained on.
        progress: told the share of the work that is done.

    Returns log odds: above 0 the altered picture is chosen, 0 is a tie. The same seed gives the same bits on the CPU
    with one thread. Raises ValueError with fewer than two groups, or nothing to train on outside a fold.
    """
    recipe = recipe or ObserverRecipe()
    groups, may_train = np.asarray(group), np.asarray(trains, dtype=bool)
    evidence = np.zeros(len(clean))
    folds = list(_folds(groups, recipe))
    for n, held_out in enumerate(folds):
        chosen = torch.from_numpy(np.flatnonzero(may_train & ~held_out))
        if len(chosen) == 0:
            raise ValueError("There is no altered pair of other people to train an observer on: make more pairs.")

        def report(share: float, done: int = n) -> None:
            progress((done + share) / len(folds))

        network = _trained(clean[chosen], altered[chosen], recipe, n, report)
        judged = torch.from_numpy(np.flatnonzero(held_out))
        evidence[held_out] = _evidence(network, clean[judged], altered[judged], recipe.batch_size)
    if not np.isfinite(evidence).all():
        raise ValueError(f"The observer of seed {recipe.seed} did not learn anything finite: choose another seed.")
    return evidence


def _folds(groups: npt.NDArray[Any], recipe: ObserverRecipe) -> Iterator[npt.NDArray[np.bool_]]:
    """(N,) masks of the pairs that are held out together; each pair is in one of them."""
    names = np.unique(groups)
    if len(names) < 2:
        raise ValueError("An observer needs pictures of at least two people: it judges nobody that it was trained on.")
    dealt = np.random.default_rng([recipe.seed, 0x0B5]).permutation(names)
    for part in np.array_split(dealt, min(recipe.folds, len(names))):
        yield np.isin(groups, part)


def _trained(clean: Tensor, altered: Tensor, recipe: ObserverRecipe, fold: int, report: Progress) -> PairObserver:
    """A network that has learned which of these pictures are altered."""
    generator = torch.Generator().manual_seed((recipe.seed * 1009 + fold) % 2**63)
    network = _initialised(clean.shape[1], recipe, generator)
    optimiser = torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, recipe.learning_rate, total_steps=recipe.updates)
    for done, indices in enumerate(_batches(len(clean), recipe, generator), start=1):
        loss = F.softplus(-network(dequantise(altered[indices]), dequantise(clean[indices]))).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if done % _REPORT_EVERY == 0 or done == recipe.updates:
            report(done / recipe.updates)
    return network.eval()


def _batches(n: int, recipe: ObserverRecipe, generator: torch.Generator) -> Iterator[Tensor]:
    """Indices below `n` for every update: all of them in a random order before any comes again."""
    wanted = recipe.updates * recipe.batch_size
    order = torch.cat([torch.randperm(n, generator=generator) for _ in range(-(-wanted // n))])
    yield from torch.split(order[:wanted], recipe.batch_size)


def _initialised(channels: int, recipe: ObserverRecipe, generator: torch.Generator) -> PairObserver:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        return PairObserver(channels, recipe.width).to(memory_format=torch.channels_last)  # faster on the CPU


@torch.inference_mode()
def _evidence(network: PairObserver, clean: Tensor, altered: Tensor, batch_size: int) -> Floats:
    batches = zip(torch.split(altered, batch_size), torch.split(clean, batch_size), strict=True)
    evidence = torch.cat([network(dequantise(first), dequantise(second)) for first, second in batches])
    return evidence.double().numpy()
