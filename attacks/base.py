"""What every image trigger has in common, and what one family of them has to say about itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self, runtime_checkable

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
        """The tensors that, with `parameters()`, rebuild this trigger exactly; empty where the parameters do."""

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
class Displaces(Trigger, Protocol):
    """A trigger that moves pixels."""

    def displacement_px(self) -> tuple[float, float]:
        """Mean and largest displacement in image pixels."""


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
        gross_strength: of a trigger, the strength that nobody overlooks: for catch trials and practice.
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
    gross_strength: Callable[[Any], float]

    def choose(self, choices: Mapping[str, Any]) -> Any:
        """`parameters` with these choices. Raises ValueError for one that the family does not have or cannot use."""
        known = [field.name for field in fields(self.parameters)]
        if unknown := sorted(set(choices) - set(known)):
            raise ValueError(
                f"The {self.name} attack has no parameter {', '.join(unknown)}; it has {', '.join(known) or 'none'}."
            )
        try:
            return self.parameters(**choices)
        except TypeError as error:
            raise ValueError(f"A {self.name} parameter has a value of the wrong type ({error}).") from error


def quantise(images: Tensor) -> Tensor:
    """Float images in [0, 1], any shape, to uint8: clamped, rounded to the nearest level (halves to even)."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def dequantise(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images, any shape, to floats in [0, 1]."""
    return images.to(dtype) / 255
