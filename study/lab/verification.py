"""Checks that what is stored is what was stored, and that altered images can be made again from what they came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db.models import QuerySet

from study.lab import files
from study.lab.images import DamagedFile
from study.lab.models import BaseImage, ModelRun, Pair, StoredImage

KINDS = ("base images", "pairs", "models")


@dataclass(frozen=True)
class Check:
    """One check: the kind and name of a thing, and what raises ValueError or OSError when it is not as it was."""

    kind: str
    name: str
    run: Callable[[], Any]

    def fault(self) -> str | None:
        """What is wrong, in one sentence; None when nothing is. Raises StorageFailed when nobody can tell."""
        try:
            self.run()
        except files.StorageFailed:
            raise
        except (ValueError, OSError) as error:
            return f"{self.name}: {error}"
        return None


#: Functions that give further checks; apps above this one append theirs.
MORE_CHECKS: list[Callable[[], list[Check]]] = []


def checks(*, local: bool = False) -> list[Check]:
    """A check of every base image, pair and trained model, and what other apps have to check.

    Of files that hosts share, the storage's are read; `local`: this host's copies.
    """
    of_the_lab = checks_of(BaseImage.objects.all(), Pair.objects.all(), ModelRun.objects.all(), local=local)
    return [*of_the_lab, *(check for more in MORE_CHECKS for check in more())]


def checks_of(
    images: QuerySet[BaseImage], altered: QuerySet[Pair], runs: QuerySet[ModelRun], *, local: bool = False
) -> list[Check]:
    """A check of each of these base images, pairs and trained models."""
    base_images, pairs, models = KINDS
    images = images.select_related("dataset").order_by("pk")
    altered = altered.select_related("base_image__dataset", "attack").order_by("pk")
    return [
        *(Check(base_images, f"base image {image}", partial(_read, image, local)) for image in images),
        *(Check(pairs, f"pair {pair}", partial(_rebuild, pair, local)) for pair in altered),
        *(
            Check(models, f"model {run}", partial(_load, run, local))
            for run in runs.exclude(artifact="").order_by("pk")
        ),
    ]


def _read(image: StoredImage, local: bool) -> bytes:
    if not local:
        files.fetch([image.stored], anew=True)
    return image.read()


def _rebuild(pair: Pair, local: bool) -> None:
    from study.lab.pairs import Condition, alter, applied_trigger, from_png, to_png

    stored = _read(pair, local)
    base = from_png(pair.base_image.read() if local else pair.base_image.obtain())
    condition = Condition(pair.control, pair.strength, pair.gross)
    applied = applied_trigger(pair.attack.trigger(strength=1.0), condition, pair.base_image.index)
    if applied.fingerprint() != pair.field_fingerprint or applied.strength != pair.strength:
        raise ValueError("The trigger is not the one that altered it: its fingerprint differs.")
    if to_png(alter(base, applied, pair.control)) != stored:
        raise DamagedFile("Made again from base image, trigger and strength, it comes out different.")


def _load(run: ModelRun, local: bool) -> None:
    from models import artifacts

    if not local:
        run.fetch(anew=True)
    artifacts.load(run.artifact_path, run.artifact_sha256)
