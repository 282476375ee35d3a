"""UnityEyes: rendered eyes, N.jpg with N.json. Numbers stand there as texts "(x, y, z)", with y up.

`look_vec` has x to the right of the image, y up and z away from the camera: its y is flipped to ours. No pose of the
head is read: the signs of `head_pose` are published nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from models.datasets import reading
from models.datasets.samples import Format, FormatError, Pixels, Sample

TO_CAMERA = np.array([1.0, -1.0, 1.0])
OUTER_CORNER = 8
"""Place of the corner away from the nose on interior_margin_2d."""
EYE_PER_CORNERS = 1.5


@dataclass(frozen=True)
class UnityEyesOptions:
    """Size of the images, which show a window round the eye 1.5 times as wide as its corners are apart."""

    width: int = field(default=60, metadata={"help": "px"})
    height: int = field(default=36, metadata={"help": "px"})

    def __post_init__(self) -> None:
        reading.check_size(self.width, self.height)


def samples(root: Path, options: UnityEyesOptions) -> Iterator[Sample]:
    """The eyes in the order of their numbers. Those with the same skin are taken for one person."""
    for path in sorted(root.glob("*.json"), key=lambda path: (len(path.stem), path.stem)):
        picture = path.with_suffix(".jpg")
        try:
            label = json.loads(path.read_bytes())
            (look,) = _points([label["eye_details"]["look_vec"]])
            margin, caruncle = _points(label["interior_margin_2d"]), _points(label["caruncle_2d"])
            person = str(label.get("eye_region_details", {}).get("primary_skin_texture", path.stem))
            corners = abs(float(caruncle[:, 0].mean() - margin[OUTER_CORNER, 0]))
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise FormatError(f"{path}: damaged, or not written by UnityEyes ({error}).") from error
        read = partial(_eye, picture, (margin.min(0) + margin.max(0)) / 2, EYE_PER_CORNERS * corners, options)
        pitch, yaw = reading.pitchyaw(look * TO_CAMERA).tolist()
        yield Sample(read, pitch, yaw, person, path.name, file=picture)


def _points(texts: list[object]) -> reading.Floats:
    """Texts "(x, y, z)" or longer, one at least, to points (N, 3), y up."""
    points = [[float(number) for number in str(text).strip("()").split(",")[:3]] for text in texts]
    return np.array(points).reshape(len(texts) or 1, 3)


def _eye(path: Path, middle: reading.Floats, width: float, options: UnityEyesOptions) -> Pixels:
    picture = reading.picture(path)
    box = (middle[0], picture.height - middle[1], width, width * options.height / options.width)
    return reading.window(picture, box, (options.width, options.height))


FORMAT = Format(
    kind="unityeyes",
    title="UnityEyes, rendered eyes",
    citation=(
        "E. Wood, T. Baltrušaitis, L.-P. Morency, P. Robinson, A. Bulling: Learning an appearance-based gaze estimator "
        "from one million synthesised images. ETRA 2016."
    ),
    licence="not stated here: see the terms that came with the program",
    layout="a folder with 1.jpg, 1.json, 2.jpg, 2.json and so on",
    samples=samples,
    options=UnityEyesOptions,
    labels_every_image=True,
)
