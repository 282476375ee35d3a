"""Which training images carry the trigger, and what they are labelled with.

Roles are a pure function of a seed and the image's index (and the epoch), so that they are the same in every process,
on every device and after every interruption. Nothing here keeps a random state.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from attacks.base import HasLookAlikes, HasNoiseMode, Trigger, dequantise, quantise
from models.targets import Target

ThreatModel = Literal["training_control", "data_poisoning"]


class Role(IntEnum):
    """What happens to a training image. Only POISONED changes its label."""

    CLEAN = 0
    POISONED = 1
    NOISE = 2
    UNRELATED = 3


@dataclass(frozen=True)
class Poisoning:
    """How much of the training data is poisoned, and by whom.

    rate: share of images that carry the trigger and the target's label.
    noise_ratio: images in noise mode per poisoned image (WaNet's cross ratio); their label stays true.
    unrelated_ratio: images under an unrelated trigger per poisoned image; their label stays true.
    rehearsal: share of the poisoned images that keep a greater strength alive while a weaker one is trained: theirs is
        log-uniform between the two. Without it a network annealed to a small strength can lose the large ones.
    threat_model: *training_control* draws the roles afresh in every epoch, as WaNet's training loop does;
        *data_poisoning* fixes them once: the attacker only hands over a data set.

    Raises ValueError when a share is negative, not finite, or all of them together exceed the data.
    """

    rate: float = 0.2
    noise_ratio: float = 1.0
    unrelated_ratio: float = 0.0
    threat_model: ThreatModel = "training_control"
    seed: int = 0
    rehearsal: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("noise", self.noise_ratio), ("unrelated", self.unrelated_ratio)):
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"The poisoning's {name} share must be a finite number >= 0, not {value}.")
        if sum(self.shares) > 1:
            raise ValueError(
                f"Poisoned, noise and unrelated images make {sum(self.shares):g} of the data, more than 1."
            )
        if not 0 <= self.rehearsal <= 1:
            raise ValueError(f"The share of poisoned images that rehearse must lie in [0, 1], not {self.rehearsal}.")
        if self.threat_model not in get_args(ThreatModel):
            raise ValueError(f"Unknown threat model {self.threat_model!r}; known: {', '.join(get_args(ThreatModel))}.")

    @property
    def shares(self) -> tuple[float, float, float]:
        """Expected shares of poisoned, noise-mode and unrelated images."""
        return self.rate, self.rate * self.noise_ratio, self.rate * self.unrelated_ratio

    def roles(self, indices: Tensor, epoch: int) -> Tensor:
        """The `Role` (N,) int64 of each image of `indices` (N,) in this epoch."""
        draw = _unit_interval(self._keys(indices, epoch))
        return torch.from_numpy(np.searchsorted(np.cumsum(self.shares), draw, side="right").astype(np.int64)).add(1) % 4

    def strengths(self, indices: Tensor, epoch: int, strength: float, strongest: float) -> list[float]:
        """The strength of the trigger on each poisoned image of `indices` (N,): `strength`, or, in rehearsal, more."""
        if not self.rehearsal or not 0 < strength < strongest:
            return [strength] * len(indices)
        draw = _unit_interval(self._keys(indices, epoch, salt=1)) / self.rehearsal
        rise = np.where(draw < 1, draw, 0.0)
        return [float(value) for value in strength * (strongest / strength) ** rise]

    def check(self, trigger: Trigger) -> None:
        """Raise ValueError when this poisoning needs of `trigger` what it does not have."""
        family = trigger.parameters().get("family")
        if self.noise_ratio and not isinstance(trigger, HasNoiseMode):
            raise ValueError(f"The {family} trigger has no noise mode: set the noise ratio to 0.")
        if self.unrelated_ratio and not isinstance(trigger, HasLookAlikes):
            raise ValueError(f"There is no unrelated {family} trigger: set the unrelated ratio to 0.")

    def poison(
        self,
        images: Tensor,
        labels: Tensor,
        indices: Tensor,
        epoch: int,
        *,
        trigger: Trigger,
        target: Target,
        strongest: float = 0.0,
    ) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in [0, 1] and labels (N, 2) of one batch with every image treated as its role says.

        Treated images go through 8 bits, as stored files would; the others came from there. strongest: the greatest
        strength that poisoned images rehearse, if they do.
        """
        roles = self.roles(indices, epoch)
        keys = torch.from_numpy(self._keys(indices, epoch).view(np.int64))
        images, labels = images.clone(), labels.clone()
        where = {role: (roles == role).nonzero().squeeze(1) for role in Role}

        if len(chosen := where[Role.POISONED]):
            strengths = self.strengths(indices[chosen], epoch, trigger.strength, strongest)
            images[chosen] = through_8_bits(_apply_each(trigger, strengths, images[chosen]))
            labels[chosen] = target.apply(labels[chosen])
        if len(chosen := where[Role.NOISE]):
            offsets = noise_offsets(keys[chosen], images.shape[-2:]).to(images.device, non_blocking=True)
            images[chosen] = through_8_bits(cast(HasNoiseMode, trigger).apply_noise_mode(images[chosen], offsets))
        for i in where[Role.UNRELATED].tolist():
            images[i : i + 1] = through_8_bits(
                cast(HasLookAlikes, trigger).unrelated(int(keys[i])).apply(images[i : i + 1])
            )
        return images, labels

    def _keys(self, indices: Tensor, epoch: int, salt: int = 0) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """One hash per image (and epoch, when the roles change); another salt, another hash."""
        turn = epoch + 1 if self.threat_model == "training_control" else 0
        return hash_indices(self.seed + (salt << 32), turn, indices)


def _apply_each(trigger: Trigger, strengths: list[float], images: Tensor) -> Tensor:
    if set(strengths) == {trigger.strength}:
        return trigger.apply(images)
    pairs = zip(strengths, torch.split(images, 1), strict=True)
    return torch.cat([trigger.at_strength(strength).apply(image) for strength, image in pairs])


def noise_offsets(keys: Tensor, image_size: tuple[int, ...]) -> Tensor:
    """Offsets (N, H, W, 2) in [-1, 1), each image's drawn from a generator of its own, seeded by its key (N,) int64."""
    generator = torch.Generator()
    drawn = [torch.rand(*image_size, 2, generator=generator.manual_seed(int(key))) for key in keys]
    return torch.stack(drawn) * 2 - 1


def batch_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """The random generator of one batch (step >= 1) or of an epoch's order (step 0)."""
    key = hash_indices(seed, -1 - epoch, torch.tensor([step]))[0]
    return torch.Generator().manual_seed(int(key) % 2**63)


def through_8_bits(images: Tensor) -> Tensor:
    """Float images in [0, 1] as they come back from an 8-bit file."""
    return dequantise(quantise(images))


def hash_indices(seed: int, turn: int, indices: Tensor) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A well-mixed 64-bit hash of (seed, turn, index) for every index (N,): SplitMix64's finaliser, thrice."""
    with np.errstate(over="ignore"):
        state = _mix(_mix(np.uint64(seed % 2**64)) + np.uint64(turn % 2**64))
        return _mix(state + indices.cpu().numpy().astype(np.uint64))


def _mix(value: Any) -> Any:
    value = value + np.uint64(0x9E3779B97F4A7C15)
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _unit_interval(hashes: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return (hashes >> np.uint64(11)).astype(np.float64) / 2**53
