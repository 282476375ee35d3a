"""Other people's tables, made again with our method and set beside what they published."""

from __future__ import annotations

import csv
import io
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from study.desk.management.commands.sweep_attacks import add_data, name_failures, recipes, report
from study.desk.sweep_table import write
from study.lab import sweeps
from study.lab.following import JobFailed, ready_database, workers
from study.lab.model_plans import SYNTHETIC, dataset_of
from study.lab.models import Dataset
from study.processes import ServiceError

if TYPE_CHECKING:
    from models.thesis import Cell

#: Clean error; attack error's mean, median, 95th percentile and shares below 1, 2 and 5 degrees; prediction shift.
HEADS = ("k", "s", "whose", "clean", "attack", "median", "p95", "< 1", "< 2", "< 5", "shift")
TITLE = "Clean error; attack error: mean, median, p95, % below 1, 2, 5 deg; prediction shift. Degrees"
METHOD_HEADS = ("", "thesis", "here")
SHORT = {"planar": "planar", "3-D angle": "3-D"}
IMAGES = 4000
THESIS = "thesis"
Row = tuple[str, ...]


class Command(BaseCommand):
    help = (
        "Run the seed thesis's grid of control sizes and strengths with one fixed field and unseen subjects, and print "
        "its published figures beside ours; or recompute its table from its per-image predictions. The same command "
        "again does only what is missing."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("what", nargs="?", metavar=THESIS, help="what to reproduce, before any option")
        parser.add_argument(
            "--predictions",
            nargs="+",
            type=Path,
            metavar="FILE",
            help="recompute from its CSV files: predictions on clean images and, if given, on altered images; or a "
            "folder of such files, named as in its repository",
        )
        parser.add_argument(
            "--columns",
            nargs="+",
            default=[],
            metavar="ROLE=NAME",
            help="columns of those files: predicted_pitch, predicted_yaw, actual_pitch, actual_yaw (default: guessed)",
        )
        parser.add_argument("--degrees", action="store_true", help="those files hold degrees, not radians")
        grid = parser.add_argument_group("the grid")
        grid.add_argument("--controls", nargs="+", type=int, metavar="K", help="of its control sizes (default: all)")
        grid.add_argument("--strengths", nargs="+", type=float, metavar="S", help="of its strengths (default: all)")
        grid.add_argument("--field", type=int, default=0, metavar="N", help="seed of the fields (default: 0)")
        grid.add_argument("--seed", type=int, default=0, help="of networks and batches (default: 0)")
        grid.add_argument("--network", default="five_layer_cnn", metavar="NAME", help="(default: %(default)s)")
        grid.add_argument("--target", default="fixed:0,25", help="(default: %(default)s degrees)")
        add_data(parser)
        parser.add_argument("--recipe", default="standard", help="standard, quick, or a JSON file of recipe fields")
        grid.add_argument("--images", type=int, help=f"training images of synthetic eyes (default: {IMAGES})")
        grid.add_argument(
            "--epochs", type=int, default=32, help="of each model, a quarter of them at s = 4 (default: %(default)s)"
        )
        parser.add_argument("--out", type=Path, metavar="DIR", help="write thesis.csv and thesis.md there")

    def handle(self, *, what: str | None, predictions: list[Path] | None, out: Path | None, **options: Any) -> None:
        swept = None
        try:
            _check(what, predictions, options)
            if predictions:
                rows = recomputed(predictions, options)
            else:
                ready_database(begin=True)
                swept, rows = trained(options)
                if out:
                    write(swept, out)
            self._print(rows)
            if out:
                save(rows, out)
        except (ValueError, OSError, JobFailed, ServiceError) as error:
            raise CommandError(str(error)) from error
        if swept and out:
            report(swept, out, self.stdout)
        elif swept:
            name_failures(swept)

    def _print(self, rows: Sequence[Row]) -> None:
        from models.thesis import METHOD

        console = Console()
        console.print(_table(TITLE, HEADS, rows))
        if shows(rows, "ours"):
            console.print(_table("What differs in method", METHOD_HEADS, METHOD))
        for note in notes(rows):
            console.print(note)


def recomputed(paths: Sequence[Path], options: Mapping[str, Any]) -> list[Row]:
    """Rows from files of predictions, by both measures, beside what was published of the same model."""
    from models import thesis

    reading = {"names": _named_columns(options["columns"]), "degrees": options["degrees"]}
    if len(paths) == 1 and paths[0].is_dir():
        found = list(thesis.prediction_files(paths[0]))
    elif len(paths) <= 2:
        found = [(None, None, paths[0], paths[1] if len(paths) == 2 else None)]
    else:
        raise ValueError("--predictions takes one file, two (clean and altered images), or one folder.")
    rows = []
    for k, s, clean, altered in found:
        if paths[0].is_dir():
            rows += _published(k, s)
        for measure in thesis.MEASURES:
            rows.append(_row(k, s, f"redone, {SHORT[measure]}", thesis.recomputed(clean, altered, measure, **reading)))
    return rows


def trained(options: Mapping[str, Any]) -> tuple[sweeps.Swept, list[Row]]:
    """Train what is missing of the grid; its tidy rows, and the table's. Raises ValueError for cells there are not."""
    from models.sweeps import Grid, target_of
    from models.thesis import MEASURES, attacks, cell_from_json, cell_of_evaluation, grid

    wanted = [(k, s) for k, s in grid() if k in (options["controls"] or [k]) and s in (options["strengths"] or [s])]
    if not wanted:
        raise ValueError(f"The thesis has no such cell; it has {', '.join(f'k = {k} s = {s:g}' for k, s in grid())}.")
    if options["epochs"] < 2:
        raise ValueError(f"--epochs must be at least 2, for two phases, not {options['epochs']}.")
    cells = Grid(
        attacks=attacks(wanted, options["epochs"]),
        recipe_for=recipes(options["recipe"]),
        field_seeds=(options["field"],),
        networks=(options["network"],),
        network_seeds=(options["seed"],),
        targets=(target_of(options["target"]),),
    ).cells()
    planned = sweeps.plan(_dataset(options), cells)
    with workers():
        swept = sweeps.carry_out(planned)
    ours = {each.run.name: swept.metrics.get(each.run.name) for each in planned}
    rows = _published(None, None)
    for (k, s), each in zip(wanted, planned, strict=True):
        rows += _published(k, s)
        if metrics := ours[each.run.name]:
            (found,) = metrics["thesis"]
            rows += [_row(k, s, f"ours, {SHORT[measure]}", cell_from_json(found[measure])) for measure in MEASURES]
            rows.append(_row(k, s, "our clean, 3-D", cell_of_evaluation(metrics["clean_evaluation"], s)))
    return swept, rows


def _dataset(options: Mapping[str, Any]) -> Dataset:
    """Synthetic eyes come in a size of their own here, so that the grid fits a small machine."""
    if options["dataset"] != SYNTHETIC:
        if options["images"] is not None:
            raise ValueError(
                f"--images is for synthetic eyes: of {options['dataset']} all images are used; leave it out."
            )
        return dataset_of(options["dataset"], options)
    n, size = options["images"] if options["images"] is not None else IMAGES, options["size"]
    if n < 100:
        raise ValueError(f"--images must be at least 100, not {n}.")
    return Dataset.objects.synthetic_eyes(
        f"thesis-eyes-{size}-{n}", size=size, train_images=n, validation_images=max(100, n // 8), test_images=600
    )


def _published(k: int | None, s: float | None) -> list[Row]:
    from models.thesis import PUBLISHED

    return [
        _row(k, s, "thesis, planar" + ("*" if row.remark else ""), row.cell)
        for row in PUBLISHED
        if (row.k, row.s) == (k, s)
    ]


def _row(k: int | None, s: float | None, whose: str, cell: Cell) -> Row:
    attack = cell.attack
    degrees = [cell.clean.mean, *((attack.mean, attack.median, attack.p95) if attack else (None,) * 3)]
    shares = (attack.below_1, attack.below_2, attack.below_5) if attack else (None,) * 3
    return (
        "-" if k is None else str(k),
        "-" if s is None else f"{s:g}",
        whose,
        *("-" if value is None else f"{value:.2f}" for value in degrees),
        *("-" if share is None else f"{100 * share:.1f}" for share in shares),
        "-" if cell.mean_shift is None else f"{cell.mean_shift:.2f}",
    )


def _check(what: str | None, predictions: Sequence[Path] | None, options: Mapping[str, Any]) -> None:
    """Raise ValueError for a name that is missing or wrong: an option of several words swallows one behind it, and a
    word too many is taken for one. So too for columns that are wrong or of no file, before anything is trained.
    """
    _named_columns(options["columns"])
    if what != THESIS:
        found = f"not {what!r}" if what else "before any option"
        raise ValueError(f"Name the table to reproduce first, {found}: `manage.py reproduce {THESIS} ...`.")
    if not predictions and (options["columns"] or options["degrees"]):
        raise ValueError("--columns and --degrees are about files of predictions: name these with --predictions.")


def _named_columns(given: Iterable[str]) -> dict[str, str]:
    columns = {}
    for words in given:
        role, found, name = words.partition("=")
        if not found:
            raise ValueError(f"--columns {words} is not ROLE=NAME, such as predicted_pitch=pitch.")
        columns[role] = name
    return columns


def save(rows: Sequence[Row], folder: Path) -> None:
    """Write thesis.csv and thesis.md, the table and, where figures of ours are in it, what differs in method."""
    from models.durable import write_bytes
    from models.thesis import METHOD

    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([HEADS, *rows])
    write_bytes(folder / "thesis.csv", text.getvalue().encode())
    parts = [f"{TITLE}.\n", _markdown(HEADS, rows)]
    if shows(rows, "ours"):
        parts.append(_markdown(METHOD_HEADS, METHOD))
    parts.append("".join(f"- {note}\n" for note in notes(rows)))
    write_bytes(folder / "thesis.md", "\n".join(parts).encode())


def shows(rows: Sequence[Row], whose: str) -> bool:
    """Whether there are figures of "ours", or of the "thesis", in the table."""
    return any(row[HEADS.index("whose")].startswith(whose) for row in rows)


def notes(rows: Sequence[Row]) -> list[str]:
    """What sets some of the published rows in the table apart, and where these are from."""
    from models.thesis import PUBLISHED, SOURCE

    remarks = [
        f"* {'clean model' if row.k is None else f'k = {row.k}, s = {row.s:g}'}: {row.remark}."
        for row in PUBLISHED
        if row.remark and set(_published(row.k, row.s)) & set(rows)
    ]
    return [*remarks, f"Source: {SOURCE}"] if shows(rows, "thesis") else []


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, no_wrap=len(heads) > 3)
    for row in rows:
        table.add_row(*row)
    return table
