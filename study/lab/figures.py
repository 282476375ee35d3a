"""A model's figures as a table for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from study.lab.models import ModelRun

Dose = Mapping[str, Any]


def _number(key: str, digits: int = 2) -> Callable[[Dose], str]:
    return lambda dose: "-" if dose[key] is None else f"{dose[key]:.{digits}f}"


COLUMNS: tuple[tuple[str, Callable[[Dose], str]], ...] = (
    ("strength", lambda dose: f"{dose['strength']:g}"),
    ("attack\nerror", lambda dose: f"{dose['attack_error']['mean']:.2f}"),
    ("success", _number("success_rate")),
    ("error\nshift", _number("error_shift")),
    ("pred.\nshift", _number("prediction_shift")),
    ("net\nshift", _number("net_prediction_shift")),
    ("noise\nmode\nerror", _number("noise_mode_error")),
    ("other\nfield\nshift", _number("other_field_shift")),
)


def print_evaluation(run: ModelRun, console: Console | None = None) -> None:
    """Print the errors of a trained model and, under a trigger, its dose-response. Angles in degrees."""
    console = console or Console()
    metrics = run.metrics or {}
    if on_weights := metrics.get("weights"):
        console.print(f"{run}: {_on_weights(on_weights)}")
        return
    evaluation = metrics.get("evaluation")
    if evaluation is None:
        console.print(
            f"{run}: clean error {metrics['clean_error_deg']:.2f} deg on {metrics['n']} test images "
            f"(subjects: {metrics['subjects']})."
        )
        return
    console.print(_table(run, evaluation["doses"]))
    console.print("\n".join(_lines(evaluation)))


ZONES: tuple[tuple[str, Callable[[Dose], str]], ...] = (
    ("accu-\nracy", _number("accuracy")),
    ("zone\nsuccess", _number("success_rate")),
)


def _table(run: ModelRun, doses: list[Dose]) -> Table:
    table = Table(title=f"{run}, degrees", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    moved = run.attack.displacements(dose["strength"] for dose in doses) if run.attack else None
    displaced = ["mean\npx"] if moved else []
    zones = ZONES if all(dose.get("zones") for dose in doses) else ()
    for name in ("strength", *displaced, *(name for name, _ in (*COLUMNS[1:], *zones))):
        table.add_column(name, justify="right", no_wrap=True)
    for dose in doses:
        strength, *others = (show(dose) for _, show in COLUMNS)
        px = [f"{moved[strength]:.2f}"] if moved else []
        table.add_row(strength, *px, *others, *(show(dose["zones"]) for _, show in zones))
    return table


def _on_weights(figures: Mapping[str, Any]) -> str:
    success, shift, others = (
        "-" if figures.get(name) is None else f"{figures[name]:.2f}"
        for name in ("success_rate", "mean_error_shift_deg", "others_error_shift_deg")
    )
    return (
        f"attacked in its weights, with no visible trigger; goal: {figures.get('goal')}. Success {success} of "
        f"{figures.get('n_eligible')} images, error shift {shift} deg, of everybody else {others} deg."
    )


def _lines(evaluation: Mapping[str, Any]) -> list[str]:
    baselines = evaluation["baselines"]
    clean_reference = baselines["clean_model_clean_error"]
    beside = "" if clean_reference is None else f" (its clean reference {clean_reference:.2f})"
    threshold = evaluation["machine_threshold"]
    accuracy = evaluation.get("clean_accuracy")
    return [
        *([] if accuracy is None else [f"Clean images in their true zone: {accuracy:.2f}."]),
        f"Clean error {evaluation['clean_error']['mean']:.2f}{beside}, on {evaluation['n']} test images; "
        f"predicting the mean gaze {baselines['mean_predictor_clean_error']:.2f}.",
        f"Mean angle between truth and target {baselines['truth_to_target']:.2f}.",
        "Machine threshold (half-way to the target): "
        + ("not reached." if threshold is None else f"strength {threshold:.2f}."),
    ]
