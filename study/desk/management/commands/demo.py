"""The whole loop in a few minutes, on this machine, with simulated participants."""

import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.table import Table

from study.desk import demonstration
from study.desk.installation import prepare
from study.desk.simulation import SimulationError
from study.lab.following import JobFailed
from study.processes import ServiceError, services
from study.trials.exceptions import TrialsError


class Command(BaseCommand):
    help = (
        "Run the whole loop: render eyes, train a clean and a backdoored gaze model, make image pairs, open a study, "
        "send simulated participants through its pages and analyse their answers. Needs nothing but this machine."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--fresh", action="store_true", help="use nothing of former demonstrations")
        parser.add_argument(
            "--participants", type=int, default=40, metavar="N", help="simulated (default: %(default)s)"
        )
        parser.add_argument("--seed", type=int, default=0, help="of models and participants (default: %(default)s)")

    def handle(self, *, fresh: bool, participants: int, seed: int, **options: Any) -> None:
        if participants < 1:
            raise CommandError("--participants must be at least 1.")
        started = time.monotonic()
        prepare()
        demo = demonstration.latest(fresh=fresh, participants=participants, seed=seed)
        try:
            with services(web=True) as running:
                evaluation, report = demo.run(running.web or "", self._announce)
        except (JobFailed, ServiceError, SimulationError, TrialsError) as error:
            raise CommandError(str(error)) from error
        except ValueError as error:
            raise CommandError(f"{error} Or start anew: make demo DEMO=--fresh") from error
        show_models(evaluation)
        show_detection(report)
        self.stdout.write(f"\nThe participants were simulated: this says nothing about people. ({seconds(started)})")
        self.stdout.write(f"Models: {demo.folder / 'evaluation.json'}")
        self.stdout.write(f"Report: {demo.folder / 'report' / 'report.html'}")
        self.stdout.write("See the study in a browser with: make serve")

    def _announce(self, title: str) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING(f"• {title}"))
        self.stdout.flush()


def show_models(evaluation: dict[str, Any]) -> None:
    """Print what the two models do."""
    strengths = {figures["strength"] for figures in evaluation["models"].values()}
    strength = strengths.pop()
    px = evaluation["displacement_px"][f"{strength:g}"]
    table = Table(
        title=f"Gaze models on unseen subjects; trigger at s = {strength:g} ({px:.2f} px)", title_justify="left"
    )
    for column in ("model", "clean error", "noise-mode error", "attack error", "success rate", "other fields' shift"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for name, figures in evaluation["models"].items():
        table.add_row(
            name, *(degrees(figures[f"{key}_deg"]) for key in ("clean_error", "noise_mode_error", "attack_error")),
            share(figures["success_rate"]), degrees(figures["other_field_shift_deg"]),
        )  # fmt: skip
    Console().print(table)
    baselines = evaluation["baselines"]
    print(
        f"For comparison: predicting the mean gaze gives {degrees(baselines['mean_predictor_clean_error'])}; "
        f"truth and target are {degrees(baselines['truth_to_target'])} apart."
    )


def show_detection(report: dict[str, Any]) -> None:
    """Print what the participants detected, beside what the model did."""
    shifts = {(row["attack"], row["strength"]): row for row in report.get("frontier", [])}
    table = Table(title="Detection by SIMULATED participants", title_justify="left")
    for column in ("strength", "px", "n", "proportion correct", "95 % interval", "d'", "mean error shift", "verdict"):
        table.add_column(column, justify="left" if column == "verdict" else "right")
    for row in report["conditions"]:
        machine = shifts.get((row["attack"], row["strength"]), {})
        table.add_row(
            f"{row['strength']:g}", number(machine.get("displacement_px")), str(row["n"]),
            share(row["proportion_correct"]), f"{share(row['two_way_low'])} to {share(row['two_way_high'])}",
            number(row["dprime"]), degrees(machine.get("mean_error_shift_deg")), row["verdict"] or "-",
        )  # fmt: skip
    Console().print(table)


def degrees(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}°"


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}".lstrip("0") if value < 1 else f"{value:.2f}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def seconds(started: float) -> str:
    return f"{time.monotonic() - started:.0f} s"
