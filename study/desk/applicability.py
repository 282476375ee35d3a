"""Which settings of a study are of use only beside others: said once, for its form and for what is written of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: In place of values: any that is given.
GIVEN: Final[tuple[str, ...]] = ()
#: A setting, the one that decides, and the values of that with which it is of use.
ONLY_FOR: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "trials_per_strength": ("procedure", ("constant",)),
    "adaptive_trials": ("procedure", ("adaptive",)),
    "adaptive_minimum": ("procedure", ("adaptive",)),
    "adaptive_sd": ("procedure", ("adaptive",)),
    "gap_ms": ("protocol", ("ifc",)),
    "flicker_ms": ("protocol", ("flicker",)),
    "mask_ms": ("exposure_ms", GIVEN),
    "distance": ("calibration", ("card",)),
    "recruiter_parameters": ("recruiter", ("custom",)),
    "retention": ("retain_until", GIVEN),
}


def is_of_use(setting: str, settings: Mapping[str, Any]) -> bool:
    """Whether it makes a difference with these settings; True for one that always does."""
    if setting not in ONLY_FOR:
        return True
    decider, values = ONLY_FOR[setting]
    given = settings.get(decider)
    return given in values if values else given not in (None, "")
