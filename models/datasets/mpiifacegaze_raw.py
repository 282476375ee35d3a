"""MPIIFaceGaze as photographed: frames of laptop cameras, with six landmarks and positions in the camera's frame.

The gaze is target - face centre. A frame is far larger than a face; there are two views of it to choose from:

- "crop": a square round the landmarks. Nothing is turned or straightened, and the label is the gaze in the camera's
  frame. This is *not* the published normalisation.
- "normalised": `camera.NormalisedView`, with the matrix of Calibration/Camera.mat; the label is turned along.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from models.datasets import camera, matlab, mpiifacegaze, reading
from models.datasets.samples import Format, FormatError, Pixels, Sample

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

    def __post_init__(self) -> None:
        reading.check_size(self.size)


def samples(root: Path, options: MPIIFaceGazeRawOptions) -> Iterator[Sample]:
    """The faces in the order of the label files."""
    for person in sorted(root.glob("p[0-9][0-9]")):
        lens = _lens(person / "Calibration" / "Camera.mat") if options.view == "normalised" else None
        for where, words in reading.lines(person / f"{person.name}.txt", f"{person.name}/{person.name}.txt"):
            if len(words) != FIELDS:
                raise FormatError(f"{where}: {len(words)} fields; expected {FIELDS}.")
            path = reading.inside(person, words[0], where)
            # screen 0-1, landmarks 2-13, head 14-19, face centre 20-22, target 23-25
            values = reading.numbers(words[1:-1], where)
            centre, gaze, head = values[20:23], values[23:26] - values[20:23], camera.rotations(values[14:17])
            read = partial(_crop, path, values[2:14].reshape(6, 2), options.size)
            if lens is not None:
                view = camera.NormalisedView.of(centre, head, lens, options.size, where)
                read, gaze, head = partial(reading.shown, path, view.picture), view.turn @ gaze, view.turn @ head
            (pitch, yaw), pose = reading.pitchyaw(gaze).tolist(), tuple(camera.heads(head).tolist())
            yield Sample(read, pitch, yaw, person.name, where, pose, file=path)


def _lens(path: Path) -> reading.Floats:
    (matrix,) = reading.columns(matlab.load(path, "cameraMatrix"), {"cameraMatrix": (3,)}, path, rows=3)
    return matrix


def _crop(path: Path, landmarks: reading.Floats, size: int) -> Pixels:
    low, high = landmarks.min(0), landmarks.max(0)
    side = CROP_PER_SPREAD * (high - low).max()
    return reading.window(reading.picture(path), (*(low + high) / 2, side, side), (size, size))


FORMAT = Format(
    kind="mpiifacegaze_raw",
    title="MPIIFaceGaze, frames as photographed",
    citation=mpiifacegaze.FORMAT.citation,
    licence=mpiifacegaze.FORMAT.licence,
    layout="a folder with p00/p00.txt, p00/day01/0001.jpg and so on, and p00/Calibration/Camera.mat to normalise",
    samples=samples,
    options=MPIIFaceGazeRawOptions,
    labels_every_image=True,
)
