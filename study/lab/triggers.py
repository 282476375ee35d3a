"""The trigger of a stored attack: proved to be the one that was drawn, and which control pairs it can have."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from attacks import registry
from attacks.base import HasLookAlikes, Softens, Trigger

IDENTITY, RESAMPLED, OTHER_FIELD = "identity", "resampled", "other_field"
#: Kinds of controls that not every trigger has: what a trigger needs for them, and what it lacks without.
NEEDS: dict[str, tuple[type, str]] = {
    RESAMPLED: (Softens, "resamples nothing, so that there is nothing to soften"),
    OTHER_FIELD: (HasLookAlikes, "has no others of its kind"),
}


def stored_trigger(attack: Mapping[str, Any], strength: float) -> Trigger:
    """The trigger of an `Attack.to_json()` at this strength. Raises ValueError when it is not what was drawn."""
    state = {name: torch.tensor(values) for name, values in attack["state"].items()}
    try:
        trigger = registry.rebuild(attack["parameters"], state, attack["control_hash"])
    except ValueError as error:
        raise ValueError(f"The stored trigger of {attack['name']!r} is not the one that was drawn. {error}") from error
    return trigger.at_strength(strength)


def possible_controls(trigger: Trigger) -> list[str]:
    """The kinds of controls that this trigger can have, beside identity, which every one has."""
    return [control for control, (protocol, _) in NEEDS.items() if isinstance(trigger, protocol)]


def pair_strengths(trigger: Trigger, wanted: Mapping[str, Sequence[float] | None]) -> dict[str, list[float]]:
    """Strengths of the pairs to make, rising, by kind: "" the attack itself, "resampled" and "other_field".

    Where none are wanted (None): the attack at those of its family's usual strengths that are weaker than its gross
    alteration (a warp of a small image becomes gross sooner), and those controls that the trigger can have, at the
    second strongest of these. Raises ValueError for a strength that the trigger cannot have or that is not above 0, one
    of the attack itself that is as strong as its gross alteration, and a control that it cannot have.
    """
    family = registry.family_of(trigger)
    gross = gross_strength(trigger) or math.inf
    usual = [strength for strength in family.strengths if strength < gross]
    possible = possible_controls(trigger)
    chosen: dict[str, Sequence[float]] = {"": usual}
    for control in NEEDS:
        chosen[control] = usual[-2:][:1] if control in possible else ()
    chosen |= {kind: strengths for kind, strengths in wanted.items() if strengths is not None}
    for strength in (strength for strengths in chosen.values() for strength in strengths):
        if not 0 < strength < float("inf"):
            raise ValueError(f"A strength must be a finite number > 0, not {strength}.")
        trigger.at_strength(strength)
    if (strongest := max(chosen[""], default=0.0)) >= gross:
        raise ValueError(
            f"Strength {strongest:g} is no weaker than the gross alteration of the catch trials, {gross:g}."
        )
    for control, (_, lack) in NEEDS.items():
        if chosen[control] and control not in possible:
            raise ValueError(f"There are no {control.replace('_', ' ')} controls of a {family.name} attack: it {lack}.")
    return {kind: sorted({float(strength) for strength in strengths}) for kind, strengths in chosen.items()}


def gross_strength(trigger: Trigger) -> float | None:
    """From where on the trigger is as strong as its gross alteration; None where that is another, drawn larger."""
    gross = registry.family_of(trigger).gross(trigger)
    return gross.strength if gross.control_hash() == trigger.control_hash() else None
