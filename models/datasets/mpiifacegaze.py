"""MPIIFaceGaze, normalised: one MATLAB 7.3 file per person, which is HDF5, with faces of 448 x 448 px."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.datasets import reading
from models.datasets.samples import Format, FormatError, Sample

LAYOUT = "a folder with p00.mat, p01.mat and so on"


def samples(root: Path) -> Iterator[Sample]:
    """The faces person by person."""
    for path in _persons(root):
        with reading.hdf5(path) as file:
            images, labels = _arrays(file)
            angles = labels[:, :4].astype(float).tolist()
            for row, (image, (pitch, yaw, *head)) in enumerate(zip(reading.rows(images), angles, strict=True)):
                rgb = np.ascontiguousarray(image.transpose(1, 2, 0)[..., ::-1])  # stored as planes, blue first
                yield Sample(rgb, pitch, yaw, path.stem, f"{path.name}, row {row}", tuple(head))


def count(root: Path) -> int:
    """Rows of the files, by their headers."""
    return reading.rows_in(_persons(root), _arrays)


def _persons(root: Path) -> list[Path]:
    return reading.found(reading.folder(root, LAYOUT).glob("p[0-9][0-9].mat"), root, LAYOUT)


def _arrays(file: Any) -> tuple[Any, Any]:
    images = reading.dataset(file, "Data/data", (None, 3, None, None))
    labels = reading.dataset(file, "Data/label", (len(images), None))
    if labels.shape[1] < 4:
        raise FormatError(f"{file.filename}: Data/label has {labels.shape[1]} columns; expected 16.")
    return images, labels


FORMAT = Format(
    kind="mpiifacegaze",
    title="MPIIFaceGaze, normalised faces (.mat, version 7.3)",
    citation=(
        "X. Zhang, Y. Sugano, M. Fritz, A. Bulling: It's written all over your face: full-face appearance-based gaze "
        "estimation. CVPR Workshops 2017."
    ),
    licence="CC BY-NC-SA 4.0",
    layout=LAYOUT,
    samples=samples,
    count=count,
)
