"""Pairs in the admin: their images, and what models and machine observers make of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from study.lab.admin.images import (
    ShowsImages,
    dataset_of,
    difference_picture,
    pair_difference,
    thumbnails,
    warp_picture,
)
from study.lab.admin.rooms import Button, Room
from study.lab.admin.rows import table, two_decimals
from study.lab.forms import PairsForm
from study.lab.models import BaseImage, Pair, PairJudgement, Prediction

#: Distortions of a pair by their names in the table: words with units.
DISTORTIONS = {
    "displacement_mean_px": "mean displacement, px of the image",
    "displacement_max_px": "largest displacement, px of the image",
    "displacement_percent_of_width": "mean displacement, % of the width",
    "strain": "mean strain, px per px",
    "psnr_db": "PSNR, dB",
    "ssim": "mean SSIM",
    "gmsd": "GMSD",
    "flip": "mean FLIP",
    "flip_px_per_degree": "FLIP is of so many px per degree",
    "max_level_difference": "largest difference of a pixel, levels of 255",
}


#: Of the rows that a prediction or judgement is about.
LONG = ("pair__distortions", "pair__attack__state", "pair__attack__parameters", "pair__base_image__dataset__parameters")


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
    list_display = ("__str__", "shown", "subject", "pitch", "yaw")
    list_filter = ("dataset",)
    list_select_related = ("dataset",)
    list_per_page = 25
    readonly_fields = ("shown",)
    when_empty = "There is no base image yet: they are stored when pairs are made."

    @admin.display(description="image")
    def shown(self, image: BaseImage) -> SafeString | str:
        return thumbnails(image)


class PredictionInline(admin.TabularInline):  # type: ignore[type-arg]
    model = Prediction
    extra = 0
    can_delete = False
    fields = readonly_fields = ("model_run", *SHIFTS)
    verbose_name_plural = "What models make of it"

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Pair)
class PairAdmin(ShowsImages):
    list_display = ("__str__", "shown", "strength", "displacement")
    list_filter = ("attack", "control", "strength", "gross")
    list_select_related = ("base_image__dataset", "attack")
    list_per_page = 25
    readonly_fields = ("in_words", "shown", "difference", "field", "numbers")
    inlines = (PredictionInline,)
    when_empty = "There is no pair yet. Pairs are made of a trained model with a backdoor: Make pairs."

    def get_fieldsets(self, request: HttpRequest, obj: Pair | None = None) -> Any:
        stored = self.get_readonly_fields(request, obj)[len(self.readonly_fields) :]
        return [
            (None, {"fields": self.readonly_fields}),
            ("Internals", {"fields": stored, "classes": ("collapse",)}),
        ]

    def get_urls(self) -> list[URLPattern]:
        guard = self.admin_site.admin_view
        return [
            path("make/", guard(self.make), name="lab_pair_make"),
            path("<int:pk>/difference/", guard(self.difference_image), name="lab_pair_difference"),
            *super().get_urls(),
        ]

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        return [Button("Make pairs", reverse("admin:lab_pair_make"))] if self.may_add(request) else []

    def make(self, request: HttpRequest) -> HttpResponse:
        """Ask for pairs, of the model named by ?run=<key>."""
        run = request.GET.get("run", "")
        intro = (
            "Each base image is stored with an altered one for every strength, its controls, and a gross alteration "
            "for catch trials; the models' predictions are made from the stored files."
        )
        initial = {"run": run} if run.isdigit() else {}
        return self.ask(request, PairsForm, title="Make pairs", button="Make pairs", intro=intro, initial=initial)

    def difference_image(self, request: HttpRequest, pk: int) -> HttpResponse:
        """128 + 10 (altered - clean); 403 and 404 as the images."""
        return self.png(request, pk, pair_difference)

    @admin.display(description="mean displacement, px")
    def displacement(self, pair: Pair) -> str:
        return two_decimals(pair.distortions.get("displacement_mean_px"))

    @admin.display(description="what it is")
    def in_words(self, pair: Pair) -> SafeString:
        kind = "gross alteration, for catch trials and practice" if pair.gross else pair.get_control_display()
        words = {"none": "altered", "gross alteration, for catch trials and practice": kind}.get(
            kind, f"{kind} control"
        )
        return format_html(
            '{}, under <a href="{}">{}</a> at strength {}: {}.',
            pair.base_image,
            reverse("admin:lab_attack_change", args=[pair.attack_id]),
            pair.attack,
            f"{pair.strength:g}",
            words,
        )

    @admin.display(description="clean | altered")
    def shown(self, pair: Pair) -> SafeString | str:
        return thumbnails(pair.base_image, pair)

    @admin.display(description="difference")
    def difference(self, pair: Pair) -> SafeString | str:
        return difference_picture(pair) if not dataset_of(pair).display_refusal() else "not cleared for display"

    @admin.display(description="displacement field")
    def field(self, pair: Pair) -> SafeString | str:
        attack = pair.attack
        if "control" not in attack.state or pair.control == Pair.Control.OTHER_FIELD:
            return "Its attack moves nothing." if not pair.control else "Another field for each image: none to draw."
        if pair.control in (Pair.Control.IDENTITY, Pair.Control.RESAMPLED):
            return "Nothing is moved in this control."
        return warp_picture(attack, strength=pair.strength, image=pair.base_image)

    @admin.display(description="distortions")
    def numbers(self, pair: Pair) -> SafeString:
        rows = [
            (words, f"{pair.distortions[name]:.4g}" if pair.distortions[name] is not None else "-")
            for name, words in DISTORTIONS.items()
            if name in pair.distortions
        ]
        return table(("measure", "value"), rows)


@admin.register(Prediction)
class PredictionAdmin(Room):
    list_display = ("pair", "model_run", *SHIFTS)
    list_filter = ("model_run", "pair__control")
    list_select_related = ("pair__base_image__dataset", "pair__attack", "model_run")
    list_per_page = 50
    when_empty = "There is no prediction yet: models make them when pairs are made."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Prediction]:
        """Without what is long and not shown: to sort a list, a database carries whole rows about."""
        return super().get_queryset(request).defer(*LONG, "model_run__metrics", "model_run__parameters")


@admin.register(PairJudgement)
class PairJudgementAdmin(Room):
    list_display = ("pair", "observer", "chooses", "found")
    list_filter = ("observer", "pair__control")
    list_select_related = ("pair__base_image__dataset", "pair__attack")
    list_per_page = 50
    when_empty = "There is no judgement yet: manage.py observe_pairs lets machine observers judge a study's pairs."

    def get_queryset(self, request: HttpRequest) -> QuerySet[PairJudgement]:
        """As of predictions."""
        return super().get_queryset(request).defer(*LONG)

    @admin.display(description="value", ordering="value")
    def found(self, judgement: PairJudgement) -> str:
        return f"{judgement.value:.4g}"
