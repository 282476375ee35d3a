"""Attacks in the admin: what each was told, and what it does as a picture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from study.lab.admin.images import difference_picture, warp_picture
from study.lab.admin.rooms import Button, Room
from study.lab.admin.rows import table
from study.lab.catalogue import Family, catalogue
from study.lab.models import Attack, BaseImage, Job, Pair

#: Parameters that are told elsewhere on the page.
TOLD = ("family", "image_size", "seed", "strength")


@admin.register(Attack)
class AttackAdmin(Room):
    list_display = ("name", "family", "seed", "threat_model", "short_hash", "created_at")
    list_filter = ("family", "threat_model")
    search_fields = ("name",)
    list_per_page = 50
    hidden = (
        "state",
        "name",
        "parameters",
        "created_at",
        "controls",
        "gross_strength",
        "seed",
        "family",
        "threat_model",
    )
    readonly_fields = ("in_words", "chosen", "picture", "drawn_at", "usable_controls")
    when_empty = "There is no attack yet. Attacks are drawn when models are trained under them: train models."

    def get_fieldsets(self, request: HttpRequest, obj: Attack | None = None) -> Any:
        return [
            (None, {"fields": ("in_words", "chosen", "picture")}),
            ("Internals", {"fields": ("control_hash", "usable_controls", "drawn_at"), "classes": ("collapse",)}),
        ]

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        return train_button(request)

    def row_jobs(self, row: Attack) -> Iterable[Job]:
        return Job.objects.filter(kind__in=[Job.Kind.PAIRS, Job.Kind.OBSERVE], parameters__attack=row.pk)[:5]

    @admin.display(description="control hash")
    def short_hash(self, attack: Attack) -> str:
        return attack.control_hash[:12] or "-"

    @admin.display(description="drawn at")
    def drawn_at(self, attack: Attack) -> str:
        return f"{attack.created_at:%Y-%m-%d %H:%M %Z}"

    @admin.display(description="controls that it can have")
    def usable_controls(self, attack: Attack) -> str:
        return ", ".join(["identity", *(str(Pair.Control(one).label) for one in attack.controls)])

    @admin.display(description="what it is")
    def in_words(self, attack: Attack) -> SafeString:
        family = _family(attack)
        size = attack.parameters.get("image_size")
        images = f" for images of {size[0]} x {size[1]} px" if size else ""
        runs = attack.model_runs.count()
        words = (
            f"{family.title if family else attack.family}, drawn from seed {attack.seed}{images}. "
            f"Threat model: {attack.get_threat_model_display()}."
        )
        address = f"{reverse('admin:lab_modelrun_changelist')}?attack__id__exact={attack.pk}"
        models = f"{runs} model run{'' if runs == 1 else 's'}"
        cited = f" {family.citation}." if family else ""
        return format_html('{} <a href="{}">{}</a>.{}', words, address, models, cited)

    @admin.display(description="parameters")
    def chosen(self, attack: Attack) -> SafeString:
        family = _family(attack)
        known = {one.name: one.help for one in family.parameters} if family else {}
        rows = [
            (name.replace("_", " "), "drawn from the seed" if value is None else value, known.get(name, ""))
            for name, value in attack.parameters.items()
            if name not in TOLD
        ]
        strength = family.strength if family else ""
        return table(("parameter", "value", "what it is"), [*rows, ("strength", "chosen for each pair", strength)])

    @admin.display(description="what it does")
    def picture(self, attack: Attack) -> SafeString | str:
        if "control" in attack.state and "image_size" in attack.parameters:
            return warp_picture(attack, strength=1.0, image=example_image(attack))
        pair = example_pair(attack)
        if pair is None:
            return "Seen here once pairs have been made of it, of a data set that is cleared for display."
        return difference_picture(pair)


def train_button(request: HttpRequest) -> list[Button]:
    """Where new attacks and models come from, for who may make them."""
    if not request.user.has_perm("lab.add_modelrun"):
        return []
    return [Button("Train models", reverse("admin:lab_modelrun_train"))]


def _family(attack: Attack) -> Family | None:
    return catalogue().families.get(attack.family)


def example_image(attack: Attack) -> BaseImage | None:
    """A clean image to draw the attack on: of a data set with pairs or models of it that is cleared for display."""
    pair = example_pair(attack)
    if pair is not None:
        return pair.base_image
    datasets = attack.model_runs.filter(dataset__may_display_to_participants=True).values("dataset")
    return BaseImage.objects.filter(dataset__in=datasets).select_related("dataset").order_by("pk").first()


def example_pair(attack: Attack) -> Pair | None:
    """A pair that shows the attack itself at its gross strength, of a data set that is cleared for display."""
    cleared = attack.pairs.filter(base_image__dataset__may_display_to_participants=True, control=Pair.Control.NONE)
    return cleared.select_related("base_image__dataset", "attack").order_by("-gross", "pk").first()
