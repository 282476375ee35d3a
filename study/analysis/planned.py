"""What a study decides of a plan for it."""

from __future__ import annotations

from typing import Any

from study.trials.design import conditions_of
from study.trials.exceptions import CannotOpen
from study.trials.models import Study


def of_study(study: Study) -> dict[str, Any]:
    """The fields of `power_design.Design` that the study decides: its frozen design, or the draft as it is now.

    Raises ValueError for one that cannot be planned with proportions correct, or not yet.
    """
    if study.procedure == Study.Procedure.ADAPTIVE:
        raise ValueError(f"{study.slug} is adaptive and gives thresholds only: there is no bound to plan for.")
    if study.protocol == Study.Protocol.YES_NO:
        raise ValueError(f"{study.slug} is a yes/no study, whose claims rest on d′: plan a forced choice instead.")
    frozen = study.current_design
    try:
        design = frozen.now if frozen else study.design_json()
    except CannotOpen as error:
        raise ValueError(f"{study.slug} cannot be planned yet: {error}") from error
    conditions = conditions_of(design)
    return {
        "bound": design["bound"],
        "participants": design["participants"],
        "trials": min(conditions.values()),
        "stimuli": len(design["stimuli"]),
        "conditions": len(conditions),
    }
