"""Import a gaze data set from your disk, in one of the published formats."""

from __future__ import annotations

import argparse
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import Field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from study.accounts import audit
from study.lab.following import LINE_EVERY_S, ready_database
from study.lab.imports import import_folder
from study.lab.lease import Every
from study.lab.models import Dataset, NameTaken

if TYPE_CHECKING:
    from models.datasets.importing import Manifest
    from models.datasets.samples import Format

SHOW_EVERY = 100


class Command(BaseCommand):
    help = (
        "Check a data set on your disk, bring it to the canonical form, and draw a contact sheet with its gaze as "
        "arrows: look at it before you train. Nothing is imported by half, and the same command again changes nothing. "
        "KIND --help says what the root must hold and what can be chosen."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        from models.datasets.formats import FORMATS

        kinds = parser.add_subparsers(dest="kind", metavar="KIND", required=True)
        for reader in FORMATS.values():
            kind = kinds.add_parser(
                reader.kind,
                help=reader.title,
                description=" ".join(text for text in (f"{reader.title}.", reader.citation) if text),
                epilog=f"Licence: {reader.licence}",
            )
            _add_arguments(kind, reader)

    def handle(self, *, kind: str, root: Path, name: str | None, **given: Any) -> None:
        from models.datasets.formats import format_of

        ready_database(begin=True)
        name = name or (root.stem if format_of(kind).root_is_file else kind)
        try:
            with _progress(f"Reading {root.name}") as progress:
                manifest, is_new = import_folder(kind, root, name, given, progress, told=_record)
        except KeyboardInterrupt:
            raise CommandError("Stopped: nothing was imported.", returncode=130) from None
        except NameTaken as taken:
            raise CommandError(str(NameTaken(taken.fact, "choose another name with --name"))) from taken
        except ValueError as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            place, reason = error.filename or root, error.strerror or error
            raise CommandError(f"Nothing was imported; {place}: {reason}.") from error
        dataset = Dataset.objects.get(name=name)
        try:
            dataset.publish()
        except (ValueError, OSError) as error:
            raise CommandError(f"Imported on this host only: {error} The same command again goes on.") from error
        self._summarise(dataset, manifest, is_new)

    def _summarise(self, dataset: Dataset, manifest: Manifest, is_new: bool) -> None:
        _, height, width = manifest.shape
        verb = "Imported" if is_new else "Imported before, and the same now:"
        ranges = ", ".join(f"{angle} {low:.1f} to {high:.1f}" for angle, (low, high) in manifest.range_deg.items())
        lines = [
            f"{verb} {manifest.images:,} images of {height} x {width} px, {len(manifest.subjects):,} subject(s), as "
            f"{dataset.name!r}; {ranges} degrees ({dataset.signs}).",
            *(f"Warning: {warning}" for warning in manifest.warnings),
            f"Licence: {manifest.licence}",
            f"Look before you train; every arrow must point where the eye looks: {dataset.contact_sheet}",
            f"Then: manage.py train_model --dataset {dataset.name}",
        ]
        self.stdout.write("\n".join(lines))


def _record(dataset: Dataset) -> None:
    audit.record("imported", dataset, after=dataset.parameters)


def _add_arguments(parser: ArgumentParser, reader: Format) -> None:
    parser.add_argument("root", type=Path, metavar="ROOT", help=reader.layout)
    parser.add_argument("--name", help="of the data set, in letters, digits, - and _ (default: the kind or file name)")
    parser.add_argument("--description", metavar="TEXT", help="what the images are, in words for reports")
    images = parser.add_argument_group("images")
    own = fields(reader.options) if reader.options is not None else ()
    if "size" not in [option.name for option in own]:  # readers that cut images out make them of one size themselves
        images.add_argument("--size", type=int, nargs=2, metavar=("H", "W"), help="resample every image to this, px")
    images.add_argument("--grey", action="store_true", help="make colour images grey")
    images.add_argument("--limit", type=int, metavar="N", help="at most N images, evenly spread over the source")
    images.add_argument("--subjects", nargs="+", default=(), metavar="NAME", help="these people only")
    if reader.labels_every_image:
        about = "images without a label: refuse the data set, or skip them (default: %(default)s)"
        images.add_argument("--unlabelled", choices=("refuse", "skip"), default="refuse", help=about)
    images.add_argument(
        "--flip-pitch", action="store_true", help="all pitch times -1, if the contact sheet asks for it"
    )
    images.add_argument("--flip-yaw", action="store_true", help="all yaw times -1, likewise")
    split = parser.add_argument_group("split", "whole subjects (or groups) go to training, validation and test")
    split.add_argument(
        "--fractions", type=float, nargs=3, metavar=("TRAIN", "VALIDATION", "TEST"), help="(default: 0.8 0.1 0.1)"
    )
    split.add_argument("--split-seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    if reader.options is not None:
        group = parser.add_argument_group("of this format")
        types = get_type_hints(reader.options)
        for option in own:
            _add_option(group, option, types[option.name])


def _add_option(group: argparse._ArgumentGroup, option: Field[Any], kind: Any) -> None:
    """A field of a reader's options as an argument: --its-name, of its type, with its default and its help."""
    members = [member for member in get_args(kind) if member is not type(None)]
    about: dict[str, Any] = {"default": option.default, "help": option.metadata.get("help", "")}
    if option.default is not None:
        about["help"] += f" (default: {option.default})"
    if get_origin(kind) is Literal:
        about["choices"] = members
    elif kind is bool:
        about["action"] = argparse.BooleanOptionalAction
    else:
        about |= {"type": members[0] if members else kind, "metavar": option.name.rpartition("_")[2].upper()}
    group.add_argument(f"--{option.name.replace('_', '-')}", **about)


@contextmanager
def _progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a screen, a line now and then in a log."""
    if not sys.stderr.isatty():
        line = Every(LINE_EVERY_S)

        def tell(done: int, total: int) -> None:
            if line.is_due():
                print(f"{title}: {done:,} of {total:,}", file=sys.stderr, flush=True)

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        task = progress.add_task(title, total=None)

        def show(done: int, total: int) -> None:
            if done % SHOW_EVERY == 0 or done == total:
                progress.update(task, completed=done, total=total)

        yield show
