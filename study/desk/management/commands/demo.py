"""The whole loop in a few minutes, on this machine, with simulated participants."""

import shutil
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.box import SIMPLE_HEAD
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
        self.stdout.write(f"Warp and patch compared: {demo.folder / 'attacks' / 'figure.png'}")
        self.stdout.write(f"Report: {demo.folder / 'report' / 'report.html'}")
        self.stdout.write("See the study in a browser with: make serve")

    def _announce(self, stage: str) -> None:
        self.stdout.write(self.style.MIGRATE_HEADING(f"• {demonstration.STAGES[stage]}"))
        self.stdout.flush()


def show_models(evaluation: dict[str, Any]) -> None:
    """Print what the two models do."""
    strength = next(figures["strength"] for figures in evaluation["models"].values())
    px = evaluation["displacement_px"][f"{strength:g}"]
    table = _table(
        f"Gaze models on unseen subjects: errors; trigger at s = {strength:g}, {px:.2f} px",
        ("clean", "noise mode", "attack", "success rate", "shift by other fields"),
        first="model",
    )
    for name, figures in evaluation["models"].items():
        table.add_row(
            name, *(degrees(figures[f"{key}_error_deg"]) for key in ("clean", "noise_mode", "attack")),
            share(figures["success_rate"]), degrees(figures["other_field_shift_deg"]),
        )  # fmt: skip
    _console().print(table)
    baselines = evaluation["baselines"]
    print(
        f"For comparison: the mean gaze has a clean error of {degrees(baselines['mean_predictor_clean_error'])} and an "
        f"attack error of {degrees(baselines['mean_predictor_attack_error'])}."
    )


def show_detection(report: dict[str, Any]) -> None:
    """Print what the participants detected, beside what the model did."""
    machine = {(row["attack"], row["strength"]): row for row in report.get("frontier", [])}
    table = _table(
        "Detection by SIMULATED participants (PC = proportion correct, chance .5)",
        ("px", "n", "PC", "95 % interval", "d'", "error shift", "verdict"),
        first="s",
    )
    for row in report["conditions"]:
        model = machine.get((row["attack"], row["strength"]), {})
        table.add_row(
            f"{row['strength']:g}", number(model.get("displacement_px")), str(row["n"]),
            share(row["proportion_correct"]), f"{share(row['two_way_low'])} to {share(row['two_way_high'])}",
            number(row["dprime"]), degrees(model.get("mean_error_shift_deg")), row["verdict"] or "-",
        )  # fmt: skip
    _console().print(table)


def _table(title: str, columns: Sequence[str], first: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="left" if column == "verdict" else "right", no_wrap=True)
    return table


def _console() -> Console:
    return Console(width=max(100, shutil.get_terminal_size().columns))


def degrees(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}°"


def share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}".lstrip("0") if value < 1 else f"{value:.2f}"


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def seconds(started: float) -> str:
    return f"{time.monotonic() - started:.0f} s"
