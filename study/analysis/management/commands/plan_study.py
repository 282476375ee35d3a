"""What a study of this size could show, before anybody is asked to take part."""

from __future__ import annotations

import dataclasses
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.core.management.base import BaseCommand, CommandError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from study.analysis import planned
from study.trials.models import Study

if TYPE_CHECKING:
    from study.analysis.power import Power
    from study.analysis.power_design import Claim, Design

#: Options by the field of `power.Design` that they set: how to read them, and what they are.
OPTIONS: Final[dict[str, tuple[Any, str]]] = {
    "bound": (float, "proportion correct that claims are tested against, .60 or .55"),
    "participants": (int, "people"),
    "trials": (int, "trials of each person in one condition"),
    "stimuli": (int, "base images that a condition is shown on"),
    "conditions": (int, "strengths above 0, the family of Holm's adjustment"),
    "participant_sd": (float, "SD between people on the logit scale"),
    "stimulus_sd": (float, "SD between images on the logit scale"),
    "pc": (float, "true proportion correct for the claim below the bound"),
    "detectable_pc": (float, "true proportion correct for the claim of being detectable"),
    "studies": (int, "simulated studies for each entry of the table"),
    "seed": (int, "of the simulation"),
}


class Command(BaseCommand):
    help = (
        "Power and sample size by simulation: how often could a study of this size claim that an alteration is below "
        "the bound, or detectable? Tries the planned design and a table of others, and says what it cannot support."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        from study.analysis.power_design import Design

        parser.add_argument("slug", nargs="?", metavar="SLUG", help="take the numbers of this study; options win")
        default = Design()
        for name, (kind, what) in OPTIONS.items():
            value = getattr(default, name)
            shown = "the bound" if value is None else f"{value:g}"
            parser.add_argument(
                f"--{name.replace('_', '-')}", type=kind, metavar="N", help=f"{what} (default: {shown})"
            )
        for name, what in (("participants", "numbers of people"), ("trials", "numbers of trials")):
            parser.add_argument(
                f"--try-{name}",
                dest=f"grid_{name}",
                type=_numbers,
                metavar="N,N,...",
                help=f"{what} of the table (default: {','.join(map(str, getattr(default, f'grid_{name}')))})",
            )
        parser.add_argument("--out", type=Path, metavar="DIR", help="write power.json, and power.svg, .png and .csv")

    def handle(self, *, slug: str | None, out: Path | None, **options: Any) -> None:
        # One thread: the matrices are small, and threads that wait for each other cost more than they save.
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        from study.analysis import power, power_figure
        from study.analysis.power_design import Design

        if out and out.exists() and not out.is_dir():
            raise CommandError(f"--out {out} is a file; name a folder.")
        given = {field.name: options.get(field.name) for field in dataclasses.fields(Design)}
        chosen = {name: value for name, value in given.items() if value is not None}
        try:
            design = Design(**{**(of_study(slug) if slug else {}), **chosen})
            with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
                task = progress.add_task("simulating studies")
                answer = power.plan(design, lambda done, total: progress.update(task, completed=done, total=total))
            show(answer, Console(width=None if sys.stdout.isatty() else 110))
            if out:
                power_figure.write(answer, out)
        except (ValueError, OSError) as error:
            raise CommandError(str(error)) from error
        if out:
            self.stdout.write(str(out / "power.json"))


def of_study(slug: str) -> dict[str, Any]:
    """What a study decides. Raises ValueError as `planned.of_study`, and CommandError where there is no such study."""
    study = Study.objects.filter(slug=slug).first()
    if study is None:
        known = ", ".join(Study.objects.order_by("slug").values_list("slug", flat=True)) or "none yet"
        raise CommandError(f"There is no study {slug}; studies: {known}.")
    return planned.of_study(study)


def show(answer: Power, console: Console) -> None:
    """Print the planned design, one table of power for each claim, the smallest designs and the warnings."""
    from study.analysis.power_design import CLAIMS

    design, planned = answer.design, answer.planned
    console.print(
        f"[bold]{design.participants} participants × {design.trials} trials per condition[/bold], {design.stimuli}"
        f" stimuli, {design.conditions} conditions; SD {design.participant_sd:g} between people,"
        f" {design.stimulus_sd:g} between images (logit)",
        highlight=False,
    )
    for what, share in (
        (_title(design, "below the bound"), planned.below),
        ("    the two one-sided tests pass", planned.equivalence),
        ("    people differ no more than chance allows", planned.alike),
        ("    wrongly claimed where 1 in 8 people is right at .9 and 1 in 8 wrong", planned.hidden),
        (_title(design, "detectable"), planned.detectable),
    ):
        console.print(f"  {what}: {100 * share.share:.1f} % (± {100 * share.error:.1f})", highlight=False)
    for claim in CLAIMS:
        console.print(_table(answer, claim))
    console.print("Smallest design tried, participants × trials per condition:")
    for smallest in answer.smallest:
        least = f", {smallest.least_trials} trials or more" if smallest.least_trials > 1 else ""
        console.print(f"  {smallest.claim}, power {100 * smallest.power:.0f} %{least}: {smallest}", highlight=False)
    for warning in answer.warnings:
        console.print(f"[bold yellow]![/bold yellow] {warning}", highlight=False)


def _table(answer: Power, claim: Claim) -> Table:
    design = answer.design
    error = max(cell.power(claim).error for cell in answer.grid)
    table = Table(
        title=f"Power in %: {_title(design, claim)}",
        caption=f"{design.studies} simulated studies each, Monte-Carlo error at most {100 * error:.1f}; [ ] = planned",
        box=SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )
    trials = sorted({cell.trials for cell in answer.grid})
    table.add_column("participants", justify="right")
    for n in trials:
        table.add_column(f"{n} trials", justify="right")
    cells = {(cell.participants, cell.trials): cell for cell in answer.grid}
    for people in sorted({cell.participants for cell in answer.grid}):
        shares = [(cells[people, n] is answer.planned, cells[people, n].power(claim).share) for n in trials]
        table.add_row(str(people), *(_percent(share, planned) for planned, share in shares))
    return table


def _percent(share: float, planned: bool) -> str:
    words = f"{100 * share:.0f}"
    words = rf"\[{words}]" if planned else f"{words} "
    return f"[bold green]{words}[/bold green]" if share >= 0.8 else words


def _title(design: Design, claim: Claim) -> str:
    if claim == "below the bound":
        return f"claimed below {design.bound:.2f} at a true PC of {design.pc:.2f}"
    return f"claimed detectable at a true PC of {design.truly_detectable:.2f}"


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no list of whole numbers; write for example 20,40,80") from error
