"""What every image trigger has in common: parameters, strength, identity, and the way to 8 bits and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Trigger(Protocol):
    """An image transform that an attack adds, with one strength.

    Images are float tensors (N, C, H, W) in [0, 1]; `apply` returns the same shape, dtype and device.
    """

    @property
    def strength(self) -> float:
        """The one number that says how much is altered; 0 alters nothing."""

    @property
    def state(self) -> dict[str, Tensor]:
        """The tensors that, with `parameters()`, rebuild this trigger exactly."""

    def apply(self, images: Tensor) -> Tensor:
        """The altered images."""

    def at_strength(self, strength: float) -> Self:
        """The same trigger at another strength."""

    def parameters(self) -> dict[str, Any]:
        """JSON-able parameters; `parameters()["family"]` names the family in the registry."""

    def fingerprint(self) -> str:
        """SHA-256 in hex: equal for two triggers exactly when they alter every image alike."""


_FAMILIES: dict[str, Callable[[Mapping[str, Any], Mapping[str, Tensor]], Trigger]] = {}


def register(family: str, rebuild: Callable[[Mapping[str, Any], Mapping[str, Tensor]], Trigger]) -> None:
    """Make `rebuild(parameters, state)` the way back to a trigger of this family."""
    if family in _FAMILIES:
        raise ValueError(f"The attack family {family!r} is registered twice.")
    _FAMILIES[family] = rebuild


def families() -> list[str]:
    """Names of the registered attack families, sorted."""
    return sorted(_FAMILIES)


def rebuild(parameters: Mapping[str, Any], state: Mapping[str, Tensor]) -> Trigger:
    """The trigger that had these `parameters()` and this `state`.

    Raises ValueError for a family that nobody registered.
    """
    family = parameters.get("family")
    if family not in _FAMILIES:
        raise ValueError(f"Unknown attack family {family!r}; known: {', '.join(families())}.")
    return _FAMILIES[family](parameters, state)


def quantise(images: Tensor) -> Tensor:
    """Float images in [0, 1], any shape, to uint8: clamped, rounded to the nearest level (halves to even)."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def dequantise(images: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """uint8 images, any shape, to floats in [0, 1]."""
    return images.to(dtype) / 255
