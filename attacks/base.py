"""What every image trigger has in common, and what one family of them has to say about itself."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, Protocol, Self, get_args, get_origin, get_type_hints, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Trigger(Protocol):
    """An image transform that an attack adds, drawn once, with one strength.

    Images are float tensors (N, C, H, W) in [0, 1]; `apply` returns the same shape, dtype and device. What two
    triggers of one family have beyond this is in the protocols below.
    """

    @property
    def strength(self) -> float:
        """The one number that says how much is altered; 0 alters nothing."""

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the images it is for."""

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors that, with `parameters()`, rebuild this trigger exactly; empty where the parameters do.

        float32, int64 or bool: they are kept as JSON, and these come back from there as they were.
        """

    def apply(self, images: Tensor) -> Tensor:
        """The altered images."""

    def at_strength(self, strength: float) -> Self:
        """The same trigger at another strength. Raises ValueError for one that it cannot have."""

    def parameters(self) -> dict[str, Any]:
        """JSON-able parameters; `parameters()["family"]` names the family in `attacks.registry`."""

    def control_hash(self) -> str:
        """SHA-256 in hex of what was drawn: the same at every strength."""

    def fingerprint(self) -> str:
        """SHA-256 in hex: equal for two triggers exactly when they alter every image alike."""


@runtime_checkable
class HasLookAlikes(Trigger, Protocol):
    """A trigger with others of its kind, which teach a model that nothing but this very one counts."""

    def unrelated(self, seed: int) -> Self:
        """Another trigger of the same kind and strength; `seed` chooses among such."""


@runtime_checkable
class HasNoiseMode(Trigger, Protocol):
    """A trigger that can be spoilt pixel by pixel (WaNet's noise mode)."""

    def apply_noise_mode(self, images: Tensor, offsets: Tensor) -> Tensor:
        """The images under the trigger spoilt by per-pixel `offsets` (N, H, W, 2) in [-1, 1]."""


@runtime_checkable
class AltersEach(Trigger, Protocol):
    """A trigger that can alter every image of a batch in a way of its own, all in one go: training is faster for it."""

    def apply_each(
        self,
        images: Tensor,
        strengths: Tensor,
        *,
        offsets: Tensor | None = None,
        unrelated: Sequence[int] | None = None,
    ) -> Tensor:
        """Image i as this trigger alters it at `strengths[i]` (N,); to within rounding what it would be on its own.

        offsets: in noise mode, under these. unrelated: instead by the other trigger of seed `unrelated[i]`.
        """


@runtime_checkable
class Displaces(Trigger, Protocol):
    """A trigger that moves pixels."""

    def displacement_px(self) -> tuple[float, float]:
        """Mean and largest displacement in image pixels."""

    def strain(self) -> tuple[float, float]:
        """How much neighbours are moved apart, and whether the image folds.

        The mean absolute finite difference of the displacement d between neighbours, px per px; and the smallest
        determinant of I + grad d, which is above 0 where nothing folds.
        """


@runtime_checkable
class Softens(Trigger, Protocol):
    """A trigger whose resampling blurs, so that blur alone makes a control."""

    def soften(self, images: Tensor) -> Tensor:
        """The images blurred as much as `apply` blurs them, and otherwise left alone."""


@dataclass(frozen=True)
class Family:
    """One kind of attack by an image trigger, and how it is to be used.

    Attributes:
        name: in the registry, records and reports ("wanet").
        title: in words ("WaNet: a smooth warp").
        citation: the paper, with its arXiv number.
        parameters: frozen dataclass of what may be chosen beyond image size, strength and seed, each with the paper's
            default.
        strength: what the strength is, with its unit and range, in words ("opacity of the patch, 0 to 1").
        strengths: usual doses of a study, rising, above 0.
        doses: of a model's dose-response, rising, from 0.
        schedule: strengths of training's phases, from one that is easily learnt down to the one implanted.
        draw: (image size (H, W), parameters, strength, seed) to a trigger; draws are from the seed alone.
        rebuild: (`Trigger.parameters()`, `Trigger.state`) back to the trigger.
        gross: of a trigger, one like it that nobody overlooks, for catch trials and practice: itself at a great
            strength, or, where even the greatest can be overlooked, one drawn larger.
    """

    name: str
    title: str
    citation: str
    parameters: type[Any]
    strength: str
    strengths: tuple[float, ...]
    doses: tuple[float, ...]
    schedule: tuple[float, ...]
    draw: Callable[[tuple[int, int], Any, float, int], Trigger]
    rebuild: Callable[[Mapping[str, Any], Mapping[str, Tensor]], Trigger]
    gross: Callable[[Any], Trigger]

    def choose(self, choices: Mapping[str, Any]) -> Any:
        """`parameters` with these choices. Raises ValueError for one that the family does not have or cannot use."""
        known = [field.name for field in fields(self.parameters)]
        if unknown := sorted(set(choices) - set(known)):
            raise ValueError(
                f"The {self.name} attack has no parameter {', '.join(unknown)}; it has {', '.join(known) or 'none'}."
            )
        kinds = get_type_hints(self.parameters)
        for name, value in choices.items():
            if not _is_one_of(value, kinds[name]):
                raise ValueError(
                    f"The {self.name} attack's {name} must be of type {getattr(kinds[name], '__name__', kinds[name])}, "
                    f"not {value!r}."
                )
        return self.parameters(**choices)


def _is_one_of(value: Any, kind: Any) -> bool:
    """Whether a JSON value is of this annotated type: a whole number may stand for a float, a bool for no number."""
    if options := get_args(kind):
        kinds = map(type, options) if get_origin(kind) is Literal else options
        return any(_is_one_of(value, option) for option in kinds)
    return isinstance(value, (int, float) if kind is float else kind) and (kind is bool or not isinstance(value, bool))


def check_image_size(image_size: tuple[int, ...]) -> None:
    """Raise ValueError unless this is a (height, width) of at least 2 px each."""
    if len(image_size) != 2 or min(image_size) < 2:
        raise ValueError(f"The image size must be (height, width), both at least 2, not {tuple(image_size)}.")


def check_images(images: Tensor, image_size: tuple[int, int]) -> None:
    """Raise ValueError unless these are float images (N, C, H, W), C = 1 or 3, of the size that a trigger is for."""
    fits = images.ndim == 4 and images.shape[1] in (1, 3) and tuple(images.shape[-2:]) == image_size
    if not (fits and images.is_floating_point()):
        raise ValueError(
            f"This trigger is for float images (N, 1 or 3, {image_size[0]}, {image_size[1]}), "
            f"not {images.dtype} {tuple(images.shape)}."
        )


def check_strength(strength: float, most: float = math.inf) -> None:
    """Raise ValueError for a strength that is negative, not finite, or more than a trigger can have."""
    if not (math.isfinite(strength) and strength >= 0):
        raise ValueError(f"The strength must be a finite number >= 0, not {strength}.")
    if strength > most:
        raise ValueError(f"The strength of this trigger is at most {most:g}, not {strength:g}.")


def seed_of_unrelated(control_hash: str, seed: int) -> int:
    """The seed that draws look-alike number `seed` of the trigger with this control hash, 0 to 2^32 - 1."""
    return int.from_bytes(hashlib.sha256(f"{control_hash}:{seed}".encode()).digest()[:4], "big")


def quantise(images: Tensor) -> Tensor:
    """Float images in [0, 1], any shape, to uint8: clamped, rounded to the nearest level (halves to even)."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def dequantise(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images, any shape, to floats in [0, 1]: the same bits on every device."""
    # By a number, CUDA multiplies with its reciprocal, which rounds otherwise; by a tensor it divides.
    return images.to(dtype) / torch.full((), 255.0, dtype=dtype, device=images.device)
