"""MPIIFaceGaze, normalised: one MATLAB 7.3 file per person, which is HDF5, with faces of 448 x 448 px."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from models.datasets import reading
from models.datasets.samples import Format, FormatError, Sample


def samples(root: Path) -> Iterator[Sample]:
    """The faces person by person."""
    for path in sorted(root.glob("p[0-9][0-9].mat")):
        with reading.hdf5(path) as file:
            faces = reading.dataset(file, "Data/data", (None, 3, None, None))
            labels = reading.dataset(file, "Data/label", (len(faces), None))
            if labels.shape[1] < 4:
                raise FormatError(f"{path}: Data/label has {labels.shape[1]} columns; expected 16.")
            image = reading.images(faces, planes=True)
            for row, (pitch, yaw, *head) in enumerate(labels[:, :4].astype(float).tolist()):
                yield Sample(partial(image, row), pitch, yaw, path.stem, f"{path.name}, row {row}", tuple(head))


FORMAT = Format(
    kind="mpiifacegaze",
    title="MPIIFaceGaze, normalised faces (.mat, version 7.3)",
    citation=(
        "X. Zhang, Y. Sugano, M. Fritz, A. Bulling: It's written all over your face: full-face appearance-based gaze "
        "estimation. CVPR Workshops 2017."
    ),
    licence="CC BY-NC-SA 4.0",
    layout="a folder with p00.mat, p01.mat and so on",
    samples=samples,
)
