"""Every family of image triggers, by name. A new one is a module of its own and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from attacks import blended, patch, reflection, sinusoidal, wanet
from attacks.base import Family, Trigger

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        wanet.FAMILY,
        patch.FAMILY,
        blended.FAMILY,
        sinusoidal.FAMILY,
        reflection.FAMILY,
    )
}  # fmt: skip


def family(name: str) -> Family:
    """The family of this name. Raises ValueError, with the names there are, for another."""
    if name not in FAMILIES:
        raise ValueError(f"Unknown attack family {name!r}; known: {', '.join(sorted(FAMILIES))}.")
    return FAMILIES[name]


def draw(
    name: str, image_size: tuple[int, int], strength: float, seed: int = 0, choices: Mapping[str, Any] | None = None
) -> Trigger:
    """Draw the trigger of this seed for (H, W) images; `choices` are fields of the family's parameters.

    Raises ValueError for an unknown family or parameter, and for what the family refuses.
    """
    found = family(name)
    return found.draw(image_size, found.choose(choices or {}), strength, seed)


def rebuild(parameters: Mapping[str, Any], state: Mapping[str, Tensor], control_hash: str | None = None) -> Trigger:
    """The trigger that had these `parameters()` and this `state`.

    control_hash: what it had; many a trigger is drawn again from its seed, and this proves that the same came out.
    Raises ValueError for an unknown family, parameters or a state that it cannot have, or another hash.
    """
    found = family(str(parameters.get("family")))
    try:
        trigger = found.rebuild(parameters, state)
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"The record of a {found.name} trigger is damaged, or of another version ({error})."
        ) from error
    if control_hash is not None and trigger.control_hash() != control_hash:
        raise ValueError(
            f"The {parameters['family']} trigger, rebuilt, is not the one that was recorded: its control hash is "
            f"{trigger.control_hash()}, not {control_hash}."
        )
    return trigger


def family_of(trigger: Trigger) -> Family:
    """The family that a trigger belongs to."""
    return family(trigger.parameters()["family"])
