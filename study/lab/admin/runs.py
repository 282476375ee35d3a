"""Model runs in the admin: trained from a form; a run's page has its errors, learning curve, dose-response and card."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from django.contrib import admin, messages
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_POST

from study.accounts import audit
from study.lab.admin.rooms import JOBS_SHOWN, Button, Room, Tab
from study.lab.admin.rows import table, two_decimals, unfolded
from study.lab.catalogue import catalogue
from study.lab.charts import Series, line_chart
from study.lab.files import StorageFailed
from study.lab.forms import TrainForm
from study.lab.images import DamagedFile
from study.lab.models import Dataset, Job, ModelRun

Figures = Mapping[str, Any]

#: What of a card is told elsewhere, or is too long to read.
NOT_ON_THE_CARD = ("history", "metrics", "recipe", "trigger", "target", "card_sha256")


@admin.register(ModelRun)
class ModelRunAdmin(Room):
    list_display = ("name", "attack", "clean_error", "attack_error", "success", "network", "created_at")
    list_filter = ("dataset", "attack", "network", "task")
    list_select_related = ("attack",)
    list_per_page = 50
    search_fields = ("name",)
    readonly_fields = (
        "in_words", "errors", "by_strength", "success_by_strength", "shift_by_strength", "learning", "survival",
        "predicted", "card",
    )  # fmt: skip
    hidden = ("target",)
    when_empty = "There is no model yet. Train a clean one and a backdoored one beside it: Train models."

    def get_fieldsets(self, request: HttpRequest, obj: ModelRun | None = None) -> Any:
        stored = self.get_readonly_fields(request, obj)[len(self.readonly_fields) :]
        return [
            (None, {"fields": ("in_words", "errors", "predicted")}),
            (
                "What the trigger does, by its strength",
                {"fields": ("shift_by_strength", "success_by_strength", "by_strength")},
            ),
            ("How it learnt", {"fields": ("learning",)}),
            ("What of the backdoor survives", {"fields": ("survival",), "classes": ("collapse",)}),
            ("Model card", {"fields": ("card",), "classes": ("collapse",)}),
            ("Internals", {"fields": stored, "classes": ("collapse",)}),
        ]

    def get_urls(self) -> list[URLPattern]:
        guard = self.admin_site.admin_view
        return [
            path("train/", guard(self.train), name="lab_modelrun_train"),
            path("<int:pk>/evaluate/", guard(self.evaluate), name="lab_modelrun_evaluate"),
            path("<int:pk>/survive/", guard(self.survive), name="lab_modelrun_survive"),
            *super().get_urls(),
        ]

    # -- buttons and what they do

    def list_buttons(self, request: HttpRequest) -> list[Button]:
        return [Button("Train models", reverse("admin:lab_modelrun_train"))] if self.may_add(request) else []

    def row_buttons(self, request: HttpRequest, row: ModelRun) -> list[Button]:
        """What can be done with a model that is trained."""
        if not row.artifact:
            return []
        buttons = []
        with_trigger = row.attack is not None and row.attack.has_trigger
        if with_trigger and request.user.has_perm("lab.add_pair"):
            buttons.append(Button("Make pairs", f"{reverse('admin:lab_pair_make')}?run={row.pk}"))
        if self.may_add(request) and with_trigger:
            again = "Evaluate again" if "evaluation" in (row.metrics or {}) else "Evaluate"
            buttons += [
                Button(again, reverse("admin:lab_modelrun_evaluate", args=[row.pk]), posts=True),
                Button("Try what survives defences", reverse("admin:lab_modelrun_survive", args=[row.pk]), posts=True),
            ]
        return buttons

    def row_jobs(self, row: ModelRun) -> Iterable[Job]:
        return Job.objects.filter(parameters__model_run=row.pk)[:JOBS_SHOWN]

    def train(self, request: HttpRequest) -> HttpResponse:
        """Ask for models under attacks of the family named by ?family=<name>."""
        families = catalogue().families
        chosen = request.GET.get("family", next(iter(families)))
        if chosen not in families:
            raise Http404(f"There is no attack family {chosen!r}.")
        dataset = request.GET.get("dataset", "")
        also = f"&dataset={dataset}" if dataset.isdigit() else ""
        tabs = [Tab(each.title, f"?family={name}{also}", name == chosen) for name, each in families.items()]
        intro = f"Strength: {families[chosen].strength}. {families[chosen].citation}."
        initial: dict[str, Any] = {"dataset": dataset if dataset.isdigit() else _only_dataset()}
        return self.ask(
            request, TrainForm, title="Train models", button="Train", intro=intro, tabs=tabs, initial=initial,
            family=chosen,
        )  # fmt: skip

    @method_decorator(require_POST)
    def evaluate(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have a trained model evaluated, anew if it was before."""
        again = "evaluation" in (self.viewed(request, pk).metrics or {})
        return self._submit(request, pk, "asked to evaluate", lambda run: run.submit_evaluation(again=again))

    @method_decorator(require_POST)
    def survive(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Have it tried what of a backdoor survives defences."""
        again = "survival" in (self.viewed(request, pk).metrics or {})
        return self._submit(request, pk, "asked what survives of", lambda run: run.submit_survival(again=again))

    def _submit(self, request: HttpRequest, pk: int, action: str, submit: Callable[[ModelRun], Job]) -> HttpResponse:
        self.demand_add(request)
        run: ModelRun = self.viewed(request, pk)
        try:
            with transaction.atomic():
                job = submit(run)
                audit.record(action, run)
        except ValueError as error:
            messages.error(request, str(error))
            return redirect("admin:lab_modelrun_change", run.pk)
        return redirect("admin:lab_job_change", job.pk)

    # -- columns

    @admin.display(description="clean error, °")
    def clean_error(self, run: ModelRun) -> str:
        return _figure(run, "clean_error_deg")

    @admin.display(description="attack error, °")
    def attack_error(self, run: ModelRun) -> str:
        return _figure(run, "attack_error_deg") if run.attack else "-"

    @admin.display(description="success rate")
    def success(self, run: ModelRun) -> str:
        return _figure(run, "success_rate") if run.attack else "-"

    # -- a run's page

    @admin.display(description="what it is")
    def in_words(self, run: ModelRun) -> SafeString:
        dataset = _link(run.dataset)
        if run.attack is None:
            role = SafeString("A clean model")
        else:
            role = format_html(
                "A model with the backdoor {}, whose target is {}", _link(run.attack), target_words(run.target)
            )
        reference = (
            format_html(" Its clean reference is {}.", _link(run.clean_reference)) if run.clean_reference else ""
        )
        state = "" if run.artifact else " It is not trained yet."
        return format_html(
            "{}: {}, {}, trained on {} from seed {}.{}{}",
            role, run.network.replace("_", " "), run.task.replace("_", " "), dataset, run.seed, reference, state,
        )  # fmt: skip

    @admin.display(description="errors")
    def errors(self, run: ModelRun) -> SafeString | str:
        return error_table(run) or "Known once it is trained."

    @admin.display(description="at each strength")
    def by_strength(self, run: ModelRun) -> SafeString | str:
        doses = _doses(run, "evaluation")
        return dose_table(doses) if doses else "Known once it is evaluated."

    @admin.display(description="error shift")
    def shift_by_strength(self, run: ModelRun) -> SafeString | str:
        return _dose_response(run, "error_shift", "Error shift by strength", "mean error shift, °")

    @admin.display(description="success rate")
    def success_by_strength(self, run: ModelRun) -> SafeString | str:
        return _dose_response(run, "success_rate", "Success rate by strength", "share of eligible images", most=1.0)

    @admin.display(description="learning curve")
    def learning(self, run: ModelRun) -> SafeString | str:
        card = _card(run)
        return learning_curve(card["history"]) if card else "Known once it is trained, from its files."

    @admin.display(description="survival")
    def survival(self, run: ModelRun) -> SafeString | str:
        found = (run.metrics or {}).get("survival")
        return unfolded(found) if found else "Nobody has tried yet."

    @admin.display(description="predictions")
    def predicted(self, run: ModelRun) -> SafeString | str:
        count = run.predictions.count()
        address = f"{reverse('admin:lab_prediction_changelist')}?model_run__id__exact={run.pk}"
        return format_html('<a href="{}">{}</a>', address, f"{count:,} of pairs") if count else "None: make pairs."

    @admin.display(description="card")
    def card(self, run: ModelRun) -> SafeString | str:
        card = _card(run)
        if card is None:
            return "Known once it is trained, from its files."
        rows = [
            (name.replace("_", " "), _readable(value)) for name, value in card.items() if name not in NOT_ON_THE_CARD
        ]
        recipe = [(f"recipe: {name.replace('_', ' ')}", _readable(value)) for name, value in card["recipe"].items()]
        return table(("field", "value"), [*rows, *recipe])


def _only_dataset() -> int | None:
    """The key of the prepared data set, where there is one alone."""
    prepared = list(Dataset.objects.exclude(fingerprint="").values_list("pk", flat=True)[:2])
    return prepared[0] if len(prepared) == 1 else None


def _link(row: Any) -> SafeString:
    return format_html('<a href="{}">{}</a>', reverse(f"admin:lab_{row._meta.model_name}_change", args=[row.pk]), row)


def _figure(run: ModelRun, name: str) -> str:
    return two_decimals((run.metrics or {}).get(name))


def _card(run: ModelRun) -> Figures | None:
    """The card of a trained model; None where its files are damaged or out of reach."""
    if not run.artifact:
        return None
    try:
        return run.card()
    except (DamagedFile, StorageFailed):
        return None


def _readable(value: Any) -> str:
    """A value of a card on one line."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', ' ')} {_readable(one)}" for name, one in value.items()) or "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(_readable, value)) or "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)


def _doses(run: ModelRun, which: str) -> Sequence[Figures]:
    return ((run.metrics or {}).get(which) or {}).get("doses") or ()


def target_words(target: Figures | None) -> str:
    """A target's JSON, whose angles are radians, as in: fixed, pitch 0°, yaw 25°."""
    if target is None:
        return "-"
    if target["kind"] == "mirrored":
        return "mirrored"
    pitch, yaw = (round(math.degrees(target[name]), 4) for name in ("pitch", "yaw"))
    return f"{target['kind']}, pitch {pitch:g}°, yaw {yaw:g}°"


def error_table(run: ModelRun) -> SafeString | str:
    """The figures that a model is judged by, beside its clean reference's; empty before it is trained.

    Those under the trigger are at the last strength trained, on the whole test split.
    """
    metrics = run.metrics or {}
    if "clean_error_deg" not in metrics:
        return ""
    if run.attack is None or "evaluation" not in metrics:
        said = f"on {metrics['n']:,} test images of {metrics['subjects']} subjects" if "n" in metrics else ""
        return format_html("Clean error {}° {}.", two_decimals(metrics["clean_error_deg"]), said)
    strength = run.parameters["strength_schedule"][-1][0]
    evaluation, baselines = metrics["evaluation"], metrics["evaluation"]["baselines"]
    columns = [("this model", evaluation), ("clean reference", metrics.get("clean_evaluation"))]
    shown = [(name, _at(one, strength)) for name, one in columns if one]
    rows = [
        (words, *(show(figures) for _, figures in shown))
        for words, show in (
            ("clean error, °", lambda one: two_decimals(one["clean_error"]["mean"])),
            ("attack error, °", lambda one: two_decimals((one.get("attack_error") or {}).get("mean"))),
            ("success rate", _success),
            ("error shift, °", lambda one: two_decimals(one.get("error_shift"))),
            ("noise-mode error, °", lambda one: two_decimals(one.get("noise_mode_error"))),
            ("other-field error, °", lambda one: two_decimals(one.get("other_field_error"))),
            ("other-field shift, °", lambda one: two_decimals(one.get("other_field_shift"))),
        )
    ]
    note = (
        f"At strength {strength:g}, on {evaluation['n']:,} test images of {evaluation['subjects']} subjects. "
        f"Baselines: who always says the mean gaze errs by {two_decimals(baselines['mean_predictor_clean_error'])}°; "
        f"truth and target lie {two_decimals(baselines['truth_to_target'])}° apart."
    )
    return format_html("{}<p>{}</p>", table(("figure", *(name for name, _ in shown)), rows), note)


def _at(evaluation: Figures, strength: float) -> Figures:
    """An evaluation's clean error with its figures at one strength, as far as that was measured."""
    dose: Figures = next((one for one in evaluation["doses"] if one["strength"] == strength), {})
    return {**dose, "clean_error": evaluation["clean_error"]}


def _success(figures: Figures) -> str:
    if figures.get("success_rate") is None:
        return "-"
    return f"{figures['success_rate']:.2f} (n = {figures['n_eligible']:,})"


def dose_table(doses: Sequence[Figures]) -> SafeString:
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


def _dose_response(run: ModelRun, figure: str, title: str, y_label: str, most: float = 0.0) -> SafeString | str:
    """A figure at each strength; the axis goes from 0 to `most` at least."""
    series = [
        Series(name, [(dose["strength"], dose.get(figure)) for dose in _doses(run, which)])
        for name, which in (("this model", "evaluation"), ("clean reference", "clean_evaluation"))
    ]
    chart = line_chart(title, series, x_label="strength", y_label=y_label, y_include=(0.0, most))
    return chart or "Known once it is evaluated."


def learning_curve(history: Sequence[Figures]) -> SafeString:
    """Validation errors by epoch; and the loss, which is of another unit, in a chart of its own."""
    errors = [
        Series(words, [(record["epoch"], record.get(f"validation_{which}_error_deg")) for record in history])
        for words, which in (("clean error", "clean"), ("attack error", "attack"))
    ]
    loss = Series("loss", [(record["epoch"], record["loss"]) for record in history])
    charts = (
        line_chart("Validation errors while it learnt", errors, x_label="epoch", y_label="degrees"),
        line_chart("Training loss", [loss], x_label="epoch", y_label="loss"),
    )
    return format_html("{}{}", *charts)
