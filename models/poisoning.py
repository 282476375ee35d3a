"""Which training images carry the trigger, and what they are labelled with.

Roles are a pure function of a seed and the image's index (and the epoch), so that they are the same in every process,
on every device and after every interruption. Nothing here keeps a random state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal, Protocol, Self, cast, get_args, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from attacks.base import Trigger, dequantise, quantise

ThreatModel = Literal["training_control", "data_poisoning"]


class Role(IntEnum):
    """What happens to a training image. Only POISONED changes its label."""

    CLEAN = 0
    POISONED = 1
    NOISE = 2
    UNRELATED = 3


@runtime_checkable
class SpecificTrigger(Trigger, Protocol):
    """A trigger that comes with look-alikes, which teach a model that nothing but the trigger counts."""

    def apply_noise_mode(self, images: Tensor, offsets: Tensor) -> Tensor:
        """The images under the trigger spoilt by per-pixel `offsets` (N, H, W, 2) in [-1, 1]."""

    def unrelated(self, seed: int) -> Self:
        """Another trigger of the same kind and strength."""


@dataclass(frozen=True)
class Target:
    """What the backdoor makes the model say, in radians: the gaze (pitch, yaw) itself, or the truth plus (pitch, yaw).

    Raises ValueError for an unknown kind, an angle that is not finite, or a fixed gaze with a pitch beyond 90 degrees.
    """

    kind: Literal["fixed", "additive"]
    pitch: float
    yaw: float

    def __post_init__(self) -> None:
        if self.kind not in ("fixed", "additive"):
            raise ValueError(f"A target is 'fixed' or 'additive', not {self.kind!r}.")
        if not np.isfinite([self.pitch, self.yaw]).all():
            raise ValueError(f"A target's angles must be finite, not ({self.pitch}, {self.yaw}).")
        if self.kind == "fixed" and abs(self.pitch) > np.pi / 2:
            raise ValueError(
                f"A fixed target's pitch must lie within 90 degrees of 0, not at {np.rad2deg(self.pitch):g}: "
                "beyond straight up or down a gaze has another pitch and yaw."
            )

    @classmethod
    def fixed(cls, pitch_deg: float, yaw_deg: float) -> Target:
        """One gaze for every altered image, in degrees."""
        return cls("fixed", float(np.deg2rad(pitch_deg)), float(np.deg2rad(yaw_deg)))

    @classmethod
    def additive(cls, pitch_deg: float, yaw_deg: float) -> Target:
        """Each image's true gaze moved by this much, in degrees."""
        return cls("additive", float(np.deg2rad(pitch_deg)), float(np.deg2rad(yaw_deg)))

    def apply(self, pitchyaw: Tensor) -> Tensor:
        """Target gazes (N, 2) of images whose true gazes are `pitchyaw` (N, 2), radians."""
        angles = pitchyaw.new_tensor([self.pitch, self.yaw])
        return angles.expand_as(pitchyaw).clone() if self.kind == "fixed" else pitchyaw + angles

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "pitch": self.pitch, "yaw": self.yaw}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Target:
        return cls(**fields)


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
        """Raise ValueError when this poisoning needs look-alikes that `trigger` does not have."""
        if (self.noise_ratio or self.unrelated_ratio) and not isinstance(trigger, SpecificTrigger):
            family = trigger.parameters().get("family")
            raise ValueError(f"The {family} trigger has no noise mode: set the noise and unrelated ratios to 0.")

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
        look_alikes = cast(SpecificTrigger, trigger)
        images, labels = images.clone(), labels.clone()
        where = {role: (roles == role).nonzero().squeeze(1) for role in Role}

        if len(chosen := where[Role.POISONED]):
            strengths = self.strengths(indices[chosen], epoch, trigger.strength, strongest)
            images[chosen] = through_8_bits(_apply_each(trigger, strengths, images[chosen]))
            labels[chosen] = target.apply(labels[chosen])
        if len(chosen := where[Role.NOISE]):
            offsets = noise_offsets(keys[chosen], images.shape[-2:]).to(images.device, non_blocking=True)
            images[chosen] = through_8_bits(look_alikes.apply_noise_mode(images[chosen], offsets))
        for i in where[Role.UNRELATED].tolist():
            images[i : i + 1] = through_8_bits(look_alikes.unrelated(int(keys[i])).apply(images[i : i + 1]))
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
