"""MPIIGaze.h5 and MPIIFaceGaze.h5 as the scripts of hysts/pytorch_mpiigaze write them.

Eyes are arrays of a person, mirrored already; faces are one array each, blue first.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import repeat
from pathlib import Path
from typing import Any

from models.datasets import reading
from models.datasets.samples import Format, Sample

COLUMNS = ("image", "gaze", "pose")


def samples(path: Path) -> Iterator[Sample]:
    """The images person by person."""
    with reading.hdf5(path) as file:
        for person in sorted(name for name in file if set(COLUMNS) <= set(file[name])):
            rows = _eyes(file, person) if hasattr(file[person]["gaze"], "shape") else _faces(file, person)
            for row, (read, (pitch, yaw), head) in enumerate(rows):
                yield Sample(read, pitch, yaw, person, f"{path.name}, {person}, row {row}", tuple(head))


def _eyes(file: Any, person: str) -> Iterator[tuple[Any, Any, Any]]:
    eyes = reading.dataset(file, f"{person}/image", (None, None, None))
    gaze, pose = (reading.dataset(file, f"{person}/{name}", (len(eyes), 2)) for name in COLUMNS[1:])
    reads = map(partial, repeat(reading.images(eyes)), range(len(eyes)))
    return zip(reads, gaze[:].astype(float).tolist(), pose[:].astype(float).tolist(), strict=True)


def _faces(file: Any, person: str) -> Iterator[tuple[Any, Any, Any]]:
    for key in sorted(set().union(*(file[person][name] for name in COLUMNS))):
        face = reading.dataset(file, f"{person}/image/{key}", (None, None, 3))
        gaze, pose = (reading.dataset(file, f"{person}/{name}/{key}", (2,)) for name in COLUMNS[1:])
        yield partial(reading.image, face), gaze[:].astype(float).tolist(), pose[:].astype(float).tolist()


FORMAT = Format(
    kind="pytorch_mpiigaze",
    title="MPIIGaze.h5 or MPIIFaceGaze.h5 of pytorch_mpiigaze",
    citation="As for mpiigaze and mpiifacegaze.",
    licence="CC BY-NC-SA 4.0, that of MPIIGaze and MPIIFaceGaze",
    layout="one file, MPIIGaze.h5 or MPIIFaceGaze.h5, with p00/image, p00/gaze, p00/pose and so on",
    samples=samples,
    root_is_file=True,
)
