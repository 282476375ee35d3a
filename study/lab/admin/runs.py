"""Model runs in the admin."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString

from study.lab.admin.rows import MadeByWorkers, table, two_decimals
from study.lab.models import ModelRun


@admin.register(ModelRun)
class ModelRunAdmin(MadeByWorkers):
    list_display = ("name", "attack", "clean_error", "attack_error", "success", "network", "created_at")
    list_filter = ("dataset", "attack", "network", "task")
    list_select_related = ("attack",)
    readonly_fields = ("goal", "by_strength")
    hidden = ("target",)

    @admin.display(description="clean error, °")
    def clean_error(self, run: ModelRun) -> str:
        return _figure(run, "clean_error_deg")

    @admin.display(description="attack error, °")
    def attack_error(self, run: ModelRun) -> str:
        return _figure(run, "attack_error_deg") if run.attack else "-"

    @admin.display(description="success rate")
    def success(self, run: ModelRun) -> str:
        return _figure(run, "success_rate") if run.attack else "-"

    @admin.display(description="target")
    def goal(self, run: ModelRun) -> str:
        return target_words(run.target) if run.attack else "-"

    @admin.display(description="by strength of the trigger")
    def by_strength(self, run: ModelRun) -> SafeString | str:
        doses = ((run.metrics or {}).get("evaluation") or {}).get("doses")
        return dose_table(doses) if doses else "-"


def _figure(run: ModelRun, name: str) -> str:
    return two_decimals((run.metrics or {}).get(name))


def target_words(target: Mapping[str, Any] | None) -> str:
    """A target's JSON, whose angles are radians, as in: fixed, pitch 0°, yaw 25°."""
    if target is None:
        return "-"
    if target["kind"] == "mirrored":
        return "mirrored"
    pitch, yaw = (round(math.degrees(target[name]), 4) for name in ("pitch", "yaw"))
    return f"{target['kind']}, pitch {pitch:g}°, yaw {yaw:g}°"


def dose_table(doses: Sequence[Mapping[str, Any]]) -> SafeString:
    """What a model does at each strength, on the whole test split."""
    heads = ("s", "error shift, °", "attack error, °", "success rate", "noise-mode error, °", "other fields' shift, °")
    rows = [
        (
            f"{dose['strength']:g}",
            two_decimals(dose.get("error_shift")),
            two_decimals((dose.get("attack_error") or {}).get("mean")),
            two_decimals(dose.get("success_rate")),
            two_decimals(dose.get("noise_mode_error")),
            two_decimals(dose.get("other_field_shift")),
        )
        for dose in doses
    ]
    return table(heads, rows)
