"""Which training images carry the trigger, and what they are labelled with.

Roles are a pure function of a seed and the image's index (and the epoch), so that they are the same in every process,
on every device and after every interruption. Nothing here keeps a random state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor

from attacks.base import AltersEach, HasLookAlikes, HasNoiseMode, Trigger, dequantise
from models.gaze import angular_error
from models.targets import Target

ThreatModel = Literal["training_control", "data_poisoning"]

_AT_ONCE = 16  # images, on the CPU: their floats are to stay in its cache. A CUDA device is to be called seldom.


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
    rehearsal: share of the treated images, whatever their role, that keep a greater strength alive while a weaker one
        is trained: theirs is log-uniform between the two. Without it a network annealed to a small strength can lose
        the large ones.
    threat_model: *training_control* draws the roles afresh in every epoch, as WaNet's training loop does;
        *data_poisoning* fixes them once: the attacker only hands over a data set.
    clean_label_within_deg: clean-label poisoning. Every label stays true; of the images drawn for poisoning only those
        whose truth lies within so many degrees of the target carry the trigger, the others stay as they are.

    Raises ValueError when a share is negative, not finite, or all of them together exceed the data.
    """

    rate: float = 0.2
    noise_ratio: float = 1.0
    unrelated_ratio: float = 0.0
    threat_model: ThreatModel = "training_control"
    seed: int = 0
    rehearsal: float = 0.0
    clean_label_within_deg: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("noise", self.noise_ratio), ("unrelated", self.unrelated_ratio)):
            if not (np.isfinite(value) and value >= 0):
                raise ValueError(f"The poisoning's {name} share must be a finite number >= 0, not {value}.")
        if sum(self.shares) > 1:
            raise ValueError(
                f"Poisoned, noise and unrelated images make {sum(self.shares):g} of the data, more than 1."
            )
        if not 0 <= self.rehearsal <= 1:
            raise ValueError(f"The share of treated images that rehearse must lie in [0, 1], not {self.rehearsal}.")
        within = self.clean_label_within_deg
        if within is not None and not (np.isfinite(within) and within > 0):
            raise ValueError(
                f"Clean labels must lie within a finite number of degrees > 0 of the target, not {within}."
            )
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

    def strengths(self, indices: Tensor, epoch: int, strength: float, strongest: float) -> Tensor:
        """The strength (N,) float64 that each image of `indices` (N,) is treated at: `strength`, or more."""
        if not self.rehearses(strength, strongest):
            return torch.full((len(indices),), strength, dtype=torch.float64)
        draw = _unit_interval(self._keys(indices, epoch, salt=1)) / self.rehearsal
        return torch.from_numpy(strength * (strongest / strength) ** np.where(draw < 1, draw, 0.0))

    def rehearses(self, strength: float, strongest: float) -> bool:
        """Whether there is a greater strength to rehearse while this one is trained."""
        return self.rehearsal > 0 and 0 < strength < strongest

    def check(self, trigger: Trigger, target: Target, pitchyaw: Tensor) -> None:
        """Raise ValueError when trigger, target or training labels (N, 2) lack what this poisoning needs of them."""
        family = trigger.parameters().get("family")
        if self.noise_ratio and not isinstance(trigger, HasNoiseMode):
            raise ValueError(f"The {family} trigger has no noise mode: set the noise ratio to 0.")
        if self.unrelated_ratio and not isinstance(trigger, HasLookAlikes):
            raise ValueError(f"There is no unrelated {family} trigger: set the unrelated ratio to 0.")
        if self.clean_label_within_deg is not None:
            if target.kind != "fixed":
                raise ValueError(f"Clean labels need a fixed target, not one that is {target.kind}.")
            if (angular_error(pitchyaw, target.apply(pitchyaw)) > self.clean_label_within_deg).all():
                raise ValueError(
                    f"No training image looks within {self.clean_label_within_deg:g} degrees of the target: "
                    "nothing would be poisoned."
                )

    def poison_(
        self,
        images: Tensor,
        labels: Tensor,
        indices: Tensor,
        epoch: int,
        *,
        trigger: Trigger,
        target: Target,
        strongest: float = 0.0,
    ) -> Tensor:
        """Treat uint8 images (N, C, H, W) in place, each as its role says; return the labels (N, 2) they now have.

        An image is treated alike whatever stands beside it, and many at once cost less than many times a few.
        strongest: the greatest strength that treated images rehearse, if they do.
        """
        roles = self.roles(indices, epoch)
        goal = target.apply(labels)
        if self.clean_label_within_deg is not None:
            far = (angular_error(labels, goal) > self.clean_label_within_deg).cpu()
            roles[far & (roles == Role.POISONED)] = Role.CLEAN
        else:
            labels = torch.where((roles == Role.POISONED)[:, None].to(labels.device), goal, labels)

        each, rehearses = _each_of(trigger), self.rehearses(trigger.strength, strongest)
        strengths = self.strengths(indices, epoch, trigger.strength, strongest)
        keys = torch.from_numpy(self._keys(indices, epoch).view(np.int64))
        for role, alter in _ALTERATIONS.items():
            for chosen in _members(roles, role, _AT_ONCE if images.device.type == "cpu" else len(images)):
                floats = dequantise(images.index_select(0, chosen.to(images.device)))
                own = strengths[chosen] if rehearses else None
                altered = alter(trigger, each, floats, own, keys[chosen])
                _store(altered, images, chosen)
        return labels

    def _keys(self, indices: Tensor, epoch: int, salt: int = 0) -> np.ndarray[Any, np.dtype[np.uint64]]:
        """One hash per image (and epoch, when the roles change); another salt, another hash."""
        turn = epoch + 1 if self.threat_model == "training_control" else 0
        return hash_indices(self.seed + (salt << 32), turn, indices)


def _members(roles: Tensor, role: Role, at_once: int) -> list[Tensor]:
    """Where the images of this role are, so many at a time."""
    return [few for few in torch.split((roles == role).nonzero().squeeze(1), at_once) if len(few)]


def _store(altered: Tensor, images: Tensor, where: Tensor) -> None:
    """Write `altered`, float, to `images[where]`, uint8, as `quantise` would round it; `altered` is used up."""
    levels = altered.clamp_(0, 1).mul_(255).round_()
    if images.device.type == "cpu":
        images.numpy()[where.numpy()] = levels.numpy()  # torch takes seven times as long
    else:
        images[where.to(images.device)] = levels.to(torch.uint8)


_Each = Callable[..., Tensor]  # `AltersEach.apply_each`


def _each_of(trigger: Trigger) -> _Each:
    """How to alter every image in a way of its own: as the trigger does it, or else one image after the other."""
    return trigger.apply_each if isinstance(trigger, AltersEach) else partial(_one_by_one, trigger)


def _one_by_one(
    trigger: Trigger,
    images: Tensor,
    strengths: Tensor,
    *,
    offsets: Tensor | None = None,
    unrelated: Sequence[int] | None = None,
) -> Tensor:
    altered = []
    for i, strength in enumerate(strengths.tolist()):
        own = trigger if unrelated is None else cast(HasLookAlikes, trigger).unrelated(unrelated[i])
        own, image = own.at_strength(strength), images[i : i + 1]
        if offsets is None:
            altered.append(own.apply(image))
        else:
            altered.append(cast(HasNoiseMode, own).apply_noise_mode(image, offsets[i : i + 1]))
    return torch.cat(altered)


# What each role does to images (N, C, H, W), at the trigger's own strength or each at its own of `strengths` (N,). What
# is random follows from the images' keys (N,) int64.


def _triggered(trigger: Trigger, each: _Each, images: Tensor, strengths: Tensor | None, keys: Tensor) -> Tensor:
    return trigger.apply(images) if strengths is None else each(images, strengths)


def _in_noise_mode(trigger: Trigger, each: _Each, images: Tensor, strengths: Tensor | None, keys: Tensor) -> Tensor:
    offsets = noise_offsets(keys.to(images.device), images.shape[-2:])
    if strengths is None:
        return cast(HasNoiseMode, trigger).apply_noise_mode(images, offsets)
    return each(images, strengths, offsets=offsets)


def _unrelated(trigger: Trigger, each: _Each, images: Tensor, strengths: Tensor | None, keys: Tensor) -> Tensor:
    if strengths is None:
        strengths = torch.full((len(images),), trigger.strength, dtype=torch.float64)
    return each(images, strengths, unrelated=keys.tolist())


_ALTERATIONS: dict[Role, Callable[[Trigger, _Each, Tensor, Tensor | None, Tensor], Tensor]] = {
    Role.POISONED: _triggered,
    Role.NOISE: _in_noise_mode,
    Role.UNRELATED: _unrelated,
}


def noise_offsets(keys: Tensor, image_size: tuple[int, ...]) -> Tensor:
    """Offsets (N, H, W, 2) float32 in [-1, 1), each image's from its key (N,) int64 alone: multiples of 2^-15.

    SplitMix64 in counter mode (Steele, Lea & Flood 2014), four offsets from each of its 64-bit words. They are drawn on
    the keys' device, the same bits on every one.
    """
    height, width = image_size
    count = height * width * 2
    draw = _words if keys.device.type == "cpu" else _words_on_device
    quarters = draw(keys, -(-count // 4)).view(torch.int16)
    return quarters[:, :count].float().mul_(2**-15).view(-1, 2, height, width).permute(0, 2, 3, 1)


def _words(keys: Tensor, n: int) -> Tensor:
    """SplitMix64's words 1 to n (N, n) int64 of every key (N,) int64."""
    counters = np.arange(1, n + 1, dtype=np.uint64) * _GAMMA
    return torch.from_numpy(_finalise(keys.numpy().view(np.uint64)[:, None] + counters).view(np.int64))


def _words_on_device(keys: Tensor, n: int) -> Tensor:
    """The same by torch, which has no unsigned words: on the CPU it takes 1.7 times as long as numpy."""
    words = keys[:, None] + torch.arange(1, n + 1, device=keys.device) * _signed(_GAMMA)
    for bits, factor in _ROUNDS:
        words ^= (words >> bits) & (2 ** (64 - bits) - 1)
        words *= _signed(factor)
    return words ^ ((words >> _LAST_BITS) & (2 ** (64 - _LAST_BITS) - 1))


def batch_generator(seed: int, epoch: int, step: int) -> torch.Generator:
    """The random generator of one batch (step >= 1) or of an epoch's order (step 0)."""
    key = hash_indices(seed, -1 - epoch, torch.tensor([step]))[0]
    return torch.Generator().manual_seed(int(key) % 2**63)


def hash_indices(seed: int, turn: int, indices: Tensor) -> np.ndarray[Any, np.dtype[np.uint64]]:
    """A well-mixed 64-bit hash of (seed, turn, index) for every index (N,): SplitMix64's finaliser, thrice."""
    with np.errstate(over="ignore"):
        state = _mix(_mix(np.uint64(seed % 2**64)) + np.uint64(turn % 2**64))
        return _mix(state + indices.cpu().numpy().astype(np.uint64))


_GAMMA = np.uint64(0x9E3779B97F4A7C15)
#: Of the finaliser: bits to shift by and the factor of each round, and the last shift.
_ROUNDS = ((30, np.uint64(0xBF58476D1CE4E5B9)), (27, np.uint64(0x94D049BB133111EB)))
_LAST_BITS = 31


def _mix(value: Any) -> Any:
    return _finalise(value + _GAMMA)


def _finalise(value: Any) -> Any:
    """SplitMix64's finaliser; an array is overwritten."""
    for bits, factor in _ROUNDS:
        value ^= value >> np.uint64(bits)
        value *= factor
    value ^= value >> np.uint64(_LAST_BITS)
    return value


def _signed(word: np.uint64) -> int:
    """The int64 of the same bits."""
    return int(word.astype(np.int64))


def _unit_interval(hashes: np.ndarray[Any, np.dtype[np.uint64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return (hashes >> np.uint64(11)).astype(np.float64) / 2**53
