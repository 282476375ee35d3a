"""MPIIFaceGaze as photographed: frames of laptop cameras, with six landmarks and positions in the camera's frame.

The gaze is target - face centre. A frame is far larger than a face; there are two views of it to choose from:

- "crop": a square round the landmarks. Nothing is turned or straightened, and the label is the gaze in the camera's
  frame. This is *not* the published normalisation.
- "normalised": `camera.NormalisedView`, with the matrix of Calibration/Camera.mat; the label is turned along.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from models.datasets import camera, matlab, reading
from models.datasets.samples import Format, FormatError, Sample

LAYOUT = "a folder with p00/p00.txt, p00/day01/0001.jpg and so on, and p00/Calibration/Camera.mat to normalise"
FIELDS = 28
CROP_PER_SPREAD = 1.6
"""Side of the crop over the longer side of the landmarks' box: the whole face is in, and little else."""


@dataclass(frozen=True)
class MPIIFaceGazeRawOptions:
    """How a face is taken from its frame."""

    view: Literal["crop", "normalised"] = field(
        default="crop", metadata={"help": "a square round the landmarks, or the normalised view (ETRA 2018)"}
    )
    size: int = field(default=224, metadata={"help": "side of the images, px"})
    unlabelled: reading.Unlabelled = field(default="refuse", metadata={"help": reading.UNLABELLED_HELP})

    def __post_init__(self) -> None:
        reading.check_size(self.size)


def samples(root: Path, options: MPIIFaceGazeRawOptions) -> Iterator[Sample]:
    """The faces in the order of the label files."""
    for labels in _persons(root):
        lens = _lens(labels.parent) if options.view == "normalised" else None
        for where, path, values in _rows(labels):
            frame = reading.picture(path, where)
            landmarks, centre, gaze = values[2:14].reshape(6, 2), values[20:23], values[23:26] - values[20:23]
            head = camera.rotations(values[None, 14:17])[0]
            if lens is None:
                low, high = landmarks.min(0), landmarks.max(0)
                side = CROP_PER_SPREAD * (high - low).max()
                box = (*(low + high) / 2, side, side)
                image = reading.window(frame, box, (options.size, options.size), where)
            else:
                view = camera.NormalisedView.of(centre, head, lens, options.size, where)
                image, gaze, head = view.picture(frame), view.turn @ gaze, view.turn @ head
            pitch, yaw = camera.heads(head).tolist()
            yield Sample(image, *reading.gaze_of(gaze, where), labels.stem, where, (pitch, yaw))


def count(root: Path, options: MPIIFaceGazeRawOptions) -> int:
    """Rows of the label files, whose images must be there."""
    listed = [path for labels in _persons(root) for _, path, _ in _rows(labels)]
    reading.check_files(root, listed, options.unlabelled)
    return len(listed)


def _persons(root: Path) -> list[Path]:
    people = reading.folder(root, LAYOUT).glob("p[0-9][0-9]")
    return reading.found((person / f"{person.name}.txt" for person in people), root, LAYOUT)


def _rows(labels: Path) -> Iterator[tuple[str, Path, reading.Floats]]:
    """(where, image, 26 numbers) of every face: screen 0-1, landmarks 2-13, head 14-19, centre 20-22, target 23-25."""
    for where, words in reading.lines(labels, f"{labels.stem}/{labels.name}"):
        if len(words) != FIELDS:
            raise FormatError(f"{where}: {len(words)} fields; expected {FIELDS}.")
        yield where, reading.inside(labels.parent, words[0], where), reading.numbers(words[1:-1], where)


def _lens(person: Path) -> reading.Floats:
    path = person / "Calibration" / "Camera.mat"
    (matrix,) = reading.array_of(np.asarray(matlab.load(path, "cameraMatrix")["cameraMatrix"])[None], (3, 3), str(path))
    return matrix


FORMAT = Format(
    kind="mpiifacegaze_raw",
    title="MPIIFaceGaze, frames as photographed",
    citation=(
        "X. Zhang, Y. Sugano, M. Fritz, A. Bulling: It's written all over your face: full-face appearance-based gaze "
        "estimation. CVPR Workshops 2017."
    ),
    licence="CC BY-NC-SA 4.0",
    layout=LAYOUT,
    samples=samples,
    count=count,
    options=MPIIFaceGazeRawOptions,
)
