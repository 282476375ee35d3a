"""MPIIGaze.h5 and MPIIFaceGaze.h5 as the scripts of hysts/pytorch_mpiigaze write them.

Eyes are arrays of a person, mirrored already; faces are one array each, blue first.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.datasets import reading
from models.datasets.samples import Format, FormatError, Sample

LAYOUT = "one file, MPIIGaze.h5 or MPIIFaceGaze.h5, with p00/image, p00/gaze, p00/pose and so on"


def samples(path: Path) -> Iterator[Sample]:
    """The images person by person."""
    with reading.hdf5(path) as file:
        for person in _people(file):
            where = reading.row_of(f"{path.name}, {person}")
            images, gaze, head = _columns(file, person)
            for row, (image, (pitch, yaw), pose) in enumerate(zip(images, gaze.tolist(), head.tolist(), strict=True)):
                pixels = image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])
                yield Sample(pixels, pitch, yaw, person, where(row), tuple(pose))


def count(path: Path) -> int:
    """Images of all people, by their headers."""
    with reading.hdf5(path) as file:
        return sum(len(file[person]["gaze"]) for person in _people(file))


def _people(file: Any) -> list[str]:
    people = sorted(name for name in file if {"image", "gaze", "pose"} <= set(file[name]))
    if not people:
        raise FormatError(f"{file.filename}: nothing of this format in it; expected {LAYOUT}.")
    return people


def _columns(file: Any, person: str) -> tuple[Iterator[Any], Any, Any]:
    """Images, gazes (N, 2) and poses (N, 2)."""
    if hasattr(file[person]["gaze"], "shape"):
        images = reading.dataset(file, f"{person}/image", (None, None, None))
        labels = (reading.dataset(file, f"{person}/{key}", (len(images), 2)) for key in ("gaze", "pose"))
        return reading.rows(images), *(label[:].astype(float) for label in labels)
    keys = sorted(file[person]["gaze"])
    if odd := set(keys) ^ set(file[person]["image"]) | set(keys) ^ set(file[person]["pose"]):
        raise FormatError(f"{file.filename}, {person}: {sorted(odd)[0]} lacks its image, gaze or pose.")
    faces = (reading.dataset(file, f"{person}/image/{key}", (None, None, 3)) for key in keys)
    labels = (
        np.array([reading.dataset(file, f"{person}/{column}/{key}", (2,))[:] for key in keys], float)
        for column in ("gaze", "pose")
    )
    return (reading.as_bytes(face[:], f"{file.filename}, {face.name}") for face in faces), *labels


FORMAT = Format(
    kind="pytorch_mpiigaze",
    title="MPIIGaze.h5 or MPIIFaceGaze.h5 of pytorch_mpiigaze",
    citation="As for mpiigaze and mpiifacegaze.",
    licence="CC BY-NC-SA 4.0, that of MPIIGaze and MPIIFaceGaze",
    layout=LAYOUT,
    samples=samples,
    count=count,
    root_is_file=True,
)
