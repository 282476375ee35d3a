"""Trigger inversion in the manner of Neural Cleanse (Wang et al., S&P 2019); its form for regression is ours.

Neural Cleanse searches, for every class, the smallest mask and pattern that turn all images into that class, and
suspects a class whose mask is exceptionally small. A regressor has no classes to enumerate. Here a grid of candidate
gazes stands for them, an image counts as turned when its gaze comes within some degrees of the candidate, and besides
mask and pattern a smooth displacement is searched, since no small mask is a warp.

What the original lacks and a regressor demands: gazes far from the mean need larger changes in *any* model, so that the
sizes must be read beside those of a clean model, which a defender does not have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from attacks.base import dequantise
from models.gaze import angular_error
from models.survival.heads import Precision, differentiable_gazes
from models.survival.outcomes import evenly

Kind = Literal["mask", "warp"]
Gazes = Callable[[Tensor], Tensor]
KINDS: tuple[Kind, ...] = ("mask", "warp")

#: SD of a normal distribution per median absolute deviation, and where Neural Cleanse suspects.
_SD_PER_MAD = 1.4826
SUSPECT_ABOVE = 2.0


@dataclass(frozen=True)
class InversionSetting:
    """How a trigger is searched.

    pitches_deg, yaws_deg: the grid of candidates. within_deg, reached_share: a candidate is reached when so many images
    come that near to it. images: clean ones that the search sees, all in every step. control_size: of the displacement.
    """

    pitches_deg: tuple[float, ...] = (-15.0, 0.0, 15.0)
    yaws_deg: tuple[float, ...] = (-30.0, -10.0, 10.0, 30.0)
    within_deg: float = 5.0
    reached_share: float = 0.75
    images: int = 32
    steps: int = 120
    control_size: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.candidates()) < 3:
            raise ValueError("An anomaly needs at least 3 candidate gazes.")
        if self.images < 1 or self.steps < 1 or not 0 < self.reached_share <= 1 or not self.within_deg > 0:
            raise ValueError("An inversion needs images, steps, a tolerance above 0 and a share above 0 and up to 1.")

    def candidates(self) -> list[tuple[float, float]]:
        """(pitch, yaw) in degrees."""
        return [(pitch, yaw) for pitch in self.pitches_deg for yaw in self.yaws_deg]


@dataclass(frozen=True)
class Candidate:
    """What it takes to make a model look at one gaze.

    size: smallest found that reaches it; of a mask its mean over the image (1: all of it), of a warp the mean
    displacement in image px; None when none reached it. reached: share of the images that the last attempt turned.
    anomaly: deviations below (positive) or above the median of the grid's candidates, of the MAD taken as an SD; None
    where fewer than half of them were reached.
    """

    pitch_deg: float
    yaw_deg: float
    size: float | None
    reached: float
    anomaly: float | None = None


@dataclass(frozen=True)
class Inversion:
    """One kind of search on one model.

    candidates: of the grid. at_target: the same search at the true target, which a defender does not know; its anomaly
    is taken against the grid. target_offset_deg: angle between the true target and the nearest candidate.
    suspected: the candidate of the greatest anomaly above 2, as (pitch, yaw) in degrees, None for none;
    suspected_offset_deg: its angle to the true target.
    """

    kind: Kind
    candidates: tuple[Candidate, ...]
    at_target: Candidate | None
    target_offset_deg: float | None
    suspected: tuple[float, float] | None
    suspected_offset_deg: float | None


class _Search(Protocol):
    """A family of changes with free parameters, and how large the present one is."""

    rate: float
    first_price: float

    def parameters(self) -> list[Tensor]: ...

    def apply(self, images: Tensor) -> Tensor: ...

    def size(self) -> Tensor: ...


class _Mask:
    """x' = (1 - m) x + m p, one m for all channels."""

    rate, first_price = 0.2, 1e-2

    def __init__(self, images: Tensor, setting: InversionSetting) -> None:
        generator = torch.Generator().manual_seed(setting.seed)
        _, channels, height, width = images.shape
        mask = torch.randn(1, 1, height, width, generator=generator) * 0.1 - 1
        pattern = torch.randn(1, channels, height, width, generator=generator)
        self.mask, self.pattern = (free.to(images.device).requires_grad_() for free in (mask, pattern))

    def parameters(self) -> list[Tensor]:
        return [self.mask, self.pattern]

    def apply(self, images: Tensor) -> Tensor:
        return torch.lerp(images, torch.sigmoid(self.pattern).expand_as(images), torch.sigmoid(self.mask))

    def size(self) -> Tensor:
        return torch.sigmoid(self.mask).mean()


class _Warp:
    """Bilinear sampling at a smooth displacement, bicubic between the points of a control grid, in pixels."""

    rate, first_price = 0.6, 1e-3

    def __init__(self, images: Tensor, setting: InversionSetting) -> None:
        generator = torch.Generator().manual_seed(setting.seed)
        control = torch.randn(1, 2, setting.control_size, setting.control_size, generator=generator) * 0.05
        self.control = control.to(images.device).requires_grad_()
        height, width = self.image_size = (images.shape[-2], images.shape[-1])
        y, x = (torch.linspace(-1, 1, side, device=images.device) for side in self.image_size)
        self.identity = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None]
        self.per_pixel = torch.tensor([2 / (width - 1), 2 / (height - 1)], device=images.device)

    def parameters(self) -> list[Tensor]:
        return [self.control]

    def _displacement(self) -> Tensor:
        field = F.interpolate(self.control, size=self.image_size, mode="bicubic", align_corners=True)
        return field.permute(0, 2, 3, 1)

    def apply(self, images: Tensor) -> Tensor:
        grid = (self.identity + self._displacement() * self.per_pixel).expand(len(images), -1, -1, -1)
        return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)

    def size(self) -> Tensor:
        return (self._displacement().square().sum(-1) + 1e-8).sqrt().mean()  # the root's slope is finite at 0


_SEARCHES: dict[Kind, Callable[[Tensor, InversionSetting], _Search]] = {"mask": _Mask, "warp": _Warp}
_LOOK_EVERY = 5


def invert(
    network: nn.Module,
    images: Tensor,
    kind: Kind,
    setting: InversionSetting,
    target: tuple[float, float] | None,
    *,
    precision: Precision = "float32",
    progress: Callable[[], None] = lambda: None,
) -> Inversion:
    """Search a trigger for every candidate gaze and, knowing it, for the true target.

    Args:
        network: the suspect, a gaze model.
        images: clean uint8 (N, C, H, W); `setting.images` of them are used, evenly spread.
        target: the true one, (pitch, yaw) in degrees; None when it differs from image to image.
        precision: of the network's passes.
        progress: called after each candidate.
    """
    chosen = images[evenly(len(images), setting.images)]
    floats = dequantise(chosen.to(next(network.parameters()).device))
    network.eval()

    def gazes(images: Tensor) -> Tensor:
        return differentiable_gazes(network, images, precision)

    def smallest(gaze: tuple[float, float]) -> Candidate:
        candidate = _smallest(gazes, floats, _SEARCHES[kind](floats, setting), gaze, setting)
        progress()
        return candidate

    found = [smallest(gaze) for gaze in setting.candidates()]
    return summarise(kind, found, smallest(target) if target is not None else None)


def summarise(kind: Kind, found: Sequence[Candidate], at_target: Candidate | None) -> Inversion:
    """The search's result with anomalies, and the candidate that they point at."""
    index = anomaly_index([candidate.size for candidate in found])
    grid = [Candidate(c.pitch_deg, c.yaw_deg, c.size, c.reached, index(c.size)) for c in found]
    target = None
    if at_target is not None:
        target = Candidate(
            at_target.pitch_deg, at_target.yaw_deg, at_target.size, at_target.reached, index(at_target.size)
        )
    worst = max(grid, key=lambda c: -math.inf if c.anomaly is None else c.anomaly)
    suspected = worst if worst.anomaly is not None and worst.anomaly > SUSPECT_ABOVE else None
    return Inversion(
        kind=kind,
        candidates=tuple(grid),
        at_target=target,
        target_offset_deg=min(_angle(c, target) for c in grid) if target else None,
        suspected=(suspected.pitch_deg, suspected.yaw_deg) if suspected else None,
        suspected_offset_deg=_angle(suspected, target) if suspected and target else None,
    )


def anomaly_index(sizes: Sequence[float | None]) -> Callable[[float | None], float | None]:
    """A size to how many deviations it lies below the median of `sizes`: (median - size) / (1.4826 MAD).

    None in `sizes` is a candidate that nothing reached: it counts as larger than all others. The index is None for such
    a size, and for every one when half or more were not reached or more than half are equal.
    """
    values = [math.inf if size is None else size for size in sizes]
    middle = median(values)
    deviation = median([abs(value - middle) for value in values]) if math.isfinite(middle) else math.nan

    def index(size: float | None) -> float | None:
        if size is None or not (math.isfinite(deviation) and deviation > 0):
            return None
        return (middle - size) / (_SD_PER_MAD * deviation)

    return index


def _smallest(
    gazes: Gazes, images: Tensor, search: _Search, gaze: tuple[float, float], setting: InversionSetting
) -> Candidate:
    """The smallest change found that turns enough of the images (N, C, H, W) in [0, 1] to this gaze in degrees."""
    smallest, reached = math.inf, 0.0
    for size, reached in _steps(gazes, images, search, torch.deg2rad(torch.tensor(gaze)), setting):
        if reached >= setting.reached_share:
            smallest = min(smallest, size)
    return Candidate(*gaze, smallest if math.isfinite(smallest) else None, reached)


def _steps(
    gazes: Gazes, images: Tensor, search: _Search, gaze: Tensor, setting: InversionSetting
) -> Iterator[tuple[float, float]]:
    """Size of the change and share of images turned, before every step. The price of size follows success, as in
    Neural Cleanse: dearer while enough images are turned, cheaper while they are not.
    """
    goal = gaze.to(images.device).expand(len(images), 2)
    optimiser = torch.optim.Adam(search.parameters(), lr=search.rate, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, setting.steps, eta_min=search.rate / 30)
    price = search.first_price
    for step in range(setting.steps):
        predicted = gazes(search.apply(images))
        size = search.size()
        share = float((angular_error(predicted.detach(), goal) < setting.within_deg).float().mean())
        yield size.item(), share
        loss = F.mse_loss(predicted, goal) + price * size
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=search.parameters())
        optimiser.step()
        schedule.step()
        if step % _LOOK_EVERY == 0:
            price *= 1.5 if share >= setting.reached_share else 1 / 1.5


def _angle(one: Candidate, other: Candidate) -> float:
    a, b = (torch.deg2rad(torch.tensor([c.pitch_deg, c.yaw_deg], dtype=torch.float64)) for c in (one, other))
    return float(angular_error(a, b))
