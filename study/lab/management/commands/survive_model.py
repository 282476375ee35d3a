"""What is left of a backdoor after treatments of the images and of the model."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from study.lab.asking import ask
from study.lab.following import JobFailed, follow, ready_database, workers
from study.lab.models import ModelRun
from study.processes import ServiceError


class Command(BaseCommand):
    help = (
        "Treat a backdoored model and its images as a defender or a camera might (JPEG, crops, fine-tuning, pruning, "
        "trigger inversion), beside its clean reference, and print what is left of the backdoor."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("run", help="the backdoored model run's name")
        parser.add_argument(
            "--strength", type=float, metavar="S", help="of the trigger (default: the last one trained)"
        )
        parser.add_argument("--again", action="store_true", help="measure again what is there already")
        parser.add_argument("--out", type=Path, metavar="DIR", help="write the tables there, as CSV and Markdown")

    def handle(self, *, run: str, strength: float | None, again: bool, out: Path | None, **options: Any) -> None:
        ready_database()
        found = ModelRun.objects.filter(name=run).select_related("clean_reference", "attack").first()
        if found is None:
            names = ", ".join(ModelRun.objects.exclude(attack=None).values_list("name", flat=True)) or "none yet"
            raise CommandError(f"There is no model run named {run!r}; backdoored are: {names}.")
        try:
            [job] = ask(lambda: [found.submit_survival(strength=strength, again=again)])
            if not job.is_over:
                with workers():
                    follow({f"Survival of {found}": job})
        except (ValueError, JobFailed, ServiceError) as error:
            raise CommandError(str(error)) from error
        job.refresh_from_db()
        survival = (job.result or {})["survival"]
        print_survival(survival)
        if out:
            write_tables(survival, out)
            self.stdout.write(f"Tables: {out}")


def print_survival(survival: dict[str, Any], console: Console | None = None) -> None:
    """Print every table of `Survival.to_json`, and what inversion and blending say."""
    from models.survival.tables import sentences, tables

    console = console or Console()
    for table in tables(survival).values():
        shown = Table(title=table.title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for i, column in enumerate(table.columns):
            shown.add_column(column, justify="right" if i else "left")
        for row in table.shown():
            shown.add_row(*row)
        console.print(shown)
    console.print("\n".join(sentences(survival)))
    console.print(
        f"On {survival['n']} test images, {survival['n_eligible']} of them eligible for success; "
        f"{survival['cpu_seconds']:.0f} CPU-seconds."
    )


def write_tables(survival: dict[str, Any], folder: Path) -> None:
    """Write the tables as survival.md, and each as a CSV of its own."""
    from models.durable import write_bytes
    from models.survival.tables import markdown, tables

    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / "survival.md", markdown(survival).encode())
    for name, table in tables(survival).items():
        write_bytes(folder / f"{name}.csv", table.csv().encode())
