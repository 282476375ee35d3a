"""A few images of a data set to look at, with their gaze: those stored for studies, else rendered ones of the cache."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from models.datasets.eyes_config import EyesConfig
from study.lab.files import StorageFailed
from study.lab.images import DamagedFile, decode_png, encode_png
from study.lab.models import BaseImage, Dataset

#: Of a data set, at most so many, the first of as many people.
SAMPLES = 12


@dataclass(frozen=True)
class Sample:
    """Number n of a data set's samples: its gaze, radians, and (H, W)."""

    n: int
    pitch: float
    yaw: float
    image_size: tuple[int, int]


def samples(dataset: Dataset) -> list[Sample]:
    """Those there are on this host; none of data that nobody has made images of."""
    stored = _stored(dataset)
    if stored:
        size = _size_of(stored[0])
        return [Sample(n, one.pitch, one.yaw, size) for n, one in enumerate(stored)] if size else []
    rendered = _rendered(dataset)
    if rendered is None:
        return []
    images, gazes = rendered
    height, width = images.shape[-2:]
    return [Sample(n, float(pitch), float(yaw), (height, width)) for n, (pitch, yaw) in enumerate(gazes)]


def sample_png(dataset: Dataset, n: int) -> bytes | None:
    """The PNG of sample n, verified if it is a stored one; None where there is none."""
    if n >= SAMPLES:
        return None
    stored = _stored(dataset)[n : n + 1]
    if stored:
        try:
            return stored[0].obtain()
        except (DamagedFile, StorageFailed):
            return None
    rendered = _rendered(dataset)
    if rendered is None or n >= len(rendered[0]):
        return None
    return encode_png(np.ascontiguousarray(rendered[0][n].transpose(1, 2, 0)))


def _stored(dataset: Dataset) -> list[BaseImage]:
    return list(dataset.base_images.order_by("index")[:SAMPLES])


def _size_of(image: BaseImage) -> tuple[int, int] | None:
    """(H, W) of a stored image; None where it is damaged or out of reach."""
    try:
        height, width = decode_png(image.obtain()).shape[:2]
    except (DamagedFile, StorageFailed):
        return None
    return height, width


def _rendered(dataset: Dataset) -> tuple[NDArray[np.uint8], NDArray[np.float32]] | None:
    """Images (N, 3, H, W) and gazes (N, 2) of the cache's first file for training, if this host has it."""
    if dataset.kind != Dataset.Kind.SYNTHETIC_EYES:
        return None
    folder = EyesConfig(**dataset.parameters).folder(Path(settings.VAR) / "cache")
    first = next(iter(sorted(folder.glob("train-000000-*.npz"))), None)
    if first is None:
        return None
    with np.load(first, allow_pickle=False) as chunk:
        return chunk["images"][:SAMPLES], chunk["pitchyaw"][:SAMPLES]
