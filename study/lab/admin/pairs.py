"""Pairs in the admin: their images, and what models and machine observers make of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.safestring import SafeString

from study.lab.admin.images import ShowsImages, thumbnails
from study.lab.admin.rows import MadeByWorkers, two_decimals
from study.lab.models import BaseImage, Pair, PairJudgement, Prediction


def _rounded(name: str) -> Callable[[Any], str]:
    """A column of degrees with two decimals, to be sorted by."""

    @admin.display(description=f"{name.replace('_', ' ')}, °", ordering=name)
    def shown(row: Any) -> str:
        return two_decimals(getattr(row, name))

    return shown


#: What one model makes of one pair.
SHIFTS: tuple[Any, ...] = tuple(_rounded(name) for name in ("error_shift", "prediction_shift", "attack_error"))


@admin.register(BaseImage)
class BaseImageAdmin(ShowsImages):
    list_display = ("__str__", "subject", "pitch", "yaw", "shown")
    list_filter = ("dataset",)
    list_select_related = ("dataset",)
    list_per_page = 25
    readonly_fields = ("shown",)

    @admin.display(description="image")
    def shown(self, image: BaseImage) -> SafeString | str:
        return thumbnails(image)


class PredictionInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Prediction
    extra = 0
    can_delete = False
    fields = readonly_fields = ("model_run", *SHIFTS)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Pair)
class PairAdmin(ShowsImages):
    list_display = ("__str__", "strength", "displacement", "shown")
    list_filter = ("attack", "control", "strength", "gross")
    list_select_related = ("base_image__dataset", "attack")
    list_per_page = 25
    readonly_fields = ("shown",)
    inlines = (PredictionInline,)

    @admin.display(description="mean displacement, px")
    def displacement(self, pair: Pair) -> str:
        return two_decimals(pair.distortions.get("displacement_mean_px"))

    @admin.display(description="clean | altered")
    def shown(self, pair: Pair) -> SafeString | str:
        return thumbnails(pair.base_image, pair)


@admin.register(Prediction)
class PredictionAdmin(MadeByWorkers):
    list_display = ("pair", "model_run", *SHIFTS)
    list_filter = ("model_run", "pair__control", "pair__strength")
    list_select_related = ("pair__base_image__dataset", "pair__attack", "model_run")


@admin.register(PairJudgement)
class PairJudgementAdmin(MadeByWorkers):
    list_display = ("pair", "observer", "chooses", "found")
    list_filter = ("observer", "pair__control", "pair__strength")
    list_select_related = ("pair__base_image__dataset", "pair__attack")

    @admin.display(description="value", ordering="value")
    def found(self, judgement: PairJudgement) -> str:
        return f"{judgement.value:.4g}"
