"""Importing a data set from a disk, for the command and for the form alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction

from study.lab.models import Dataset

if TYPE_CHECKING:
    from models.datasets.importing import Manifest


def import_folder(
    kind: str,
    root: Path,
    name: str,
    given: Mapping[str, Any],
    progress: Callable[[int, int], None],
    *,
    told: Callable[[Dataset], None] = lambda dataset: None,
) -> tuple[Manifest, bool]:
    """Import what lies at `root` as the data set `name`; returns what it is, and whether anything was written.

    given: fields of `models.datasets.importing.Choices` and of the format's options, `description`, `split_seed` and
    `fractions`; what is left out keeps its default. progress: told samples gone through and samples in all.
    told: hears of a new data set in the transaction that makes its row.
    Raises ValueError, one sentence, for what cannot be imported; NameTaken for a name that stands for other data.
    """
    from models.datasets.base import check_fractions
    from models.datasets.formats import format_of
    from models.datasets.importing import import_data

    reader = format_of(kind)
    folder = Dataset.objects.folder_for_import(name)
    if given.get("fractions"):
        check_fractions(given["fractions"])
    split: dict[str, Any] = {"split_seed": given.get("split_seed", 0), "fractions": given.get("fractions")}

    def record(manifest: Manifest) -> None:
        is_known = Dataset.objects.filter(name=name).exists()
        with transaction.atomic():
            dataset = Dataset.objects.imported(name, manifest, **split)
            if not is_known:
                told(dataset)

    return import_data(
        reader,
        root,
        folder,
        options=_options(reader.options, given),
        choices=_choices(given, reader.options),
        description=given.get("description"),
        progress=progress,
        record=record,
    )


def _options(kind: type[Any] | None, given: Mapping[str, Any]) -> Any:
    if kind is None:
        return None
    return kind(**{option.name: given[option.name] for option in fields(kind) if option.name in given})


def _choices(given: Mapping[str, Any], options: type[Any] | None) -> Any:
    """What becomes of the images; a size that is an option of the format's is the format's affair."""
    from models.datasets.importing import Choices

    own = {option.name for option in fields(options)} if options is not None else set()
    chosen = {one.name: given[one.name] for one in fields(Choices) if one.name in given and one.name not in own}
    size = tuple(chosen["size"]) if chosen.get("size") else None
    return Choices(**{**chosen, "size": size, "subjects": tuple(chosen.get("subjects", ()))})
