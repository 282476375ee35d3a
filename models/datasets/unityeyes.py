"""UnityEyes: rendered eyes, N.jpg with N.json. Numbers stand there as texts "(x, y, z)", with y up.

`look_vec` has x to the right of the image, y up and z away from the camera: its y is flipped to ours. No pose of the
head is read: the signs of `head_pose` are published nowhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.datasets import reading
from models.datasets.samples import Format, FormatError, Sample

LAYOUT = "a folder with 1.jpg, 1.json, 2.jpg, 2.json and so on"
TO_CAMERA = np.array([1.0, -1.0, 1.0])
NUMBER = re.compile(r"[-+\w.]+")
OUTER_CORNER = 8
"""Place of the corner away from the nose on interior_margin_2d."""
EYE_PER_CORNERS = 1.5


@dataclass(frozen=True)
class UnityEyesOptions:
    """Size of the images, a window round the eye 1.5 times as wide as its corners are apart, and what is unlabelled."""

    width: int = field(default=60, metadata={"help": "px"})
    height: int = field(default=36, metadata={"help": "px"})
    unlabelled: reading.Unlabelled = field(default="refuse", metadata={"help": reading.UNLABELLED_HELP})

    def __post_init__(self) -> None:
        reading.check_size(self.width, self.height)


def samples(root: Path, options: UnityEyesOptions) -> Iterator[Sample]:
    """The eyes in the order of their numbers. Those with the same skin are taken for one person."""
    for path in _labels(root):
        where = path.name
        image = reading.picture(path.with_suffix(".jpg"), where)
        try:
            label = json.loads(path.read_bytes())
            margin = _points(label["interior_margin_2d"], image.height, where)
            caruncle = _points(label["caruncle_2d"], image.height, where)
            look = _numbers(label["eye_details"]["look_vec"], where)[:3]
            person = str(label.get("eye_region_details", {}).get("primary_skin_texture", path.stem))
            corners = abs(float(caruncle[:, 0].mean() - margin[OUTER_CORNER, 0]))
        except FormatError:
            raise
        except (OSError, ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
            raise FormatError(f"{path}: damaged, or not written by UnityEyes ({error}).") from error
        width = EYE_PER_CORNERS * corners
        height = width * options.height / options.width
        box = (*(margin.min(0) + margin.max(0)) / 2, width, height)
        pixels = reading.window(image, box, (options.width, options.height), where)
        yield Sample(pixels, *reading.gaze_of(look * TO_CAMERA, where), person, where)


def count(root: Path, options: UnityEyesOptions) -> int:
    """Labels, each of which must have its image."""
    labels = _labels(root)
    reading.check_files(root, [path.with_suffix(".jpg") for path in labels], options.unlabelled)
    return len(labels)


def _labels(root: Path) -> list[Path]:
    found = reading.found(reading.folder(root, LAYOUT).glob("*.json"), root, LAYOUT)
    return sorted(found, key=lambda path: (len(path.stem), path.stem))


def _numbers(text: Any, where: str) -> reading.Floats:
    numbers = reading.numbers(NUMBER.findall(str(text)), where)
    if len(numbers) < 3:
        raise FormatError(f'{where}: {text!r} is not of the form "(x, y, z)".')
    return numbers


def _points(texts: list[Any], height: int, where: str) -> reading.Floats:
    """Texts to points (N, 2) of the image, y down."""
    x, y, *_ = np.array([_numbers(text, where)[:3] for text in texts]).T
    return np.stack([x, height - y], -1)


FORMAT = Format(
    kind="unityeyes",
    title="UnityEyes, rendered eyes",
    citation=(
        "E. Wood, T. Baltrušaitis, L.-P. Morency, P. Robinson, A. Bulling: Learning an appearance-based gaze estimator "
        "from one million synthesised images. ETRA 2016."
    ),
    licence="not stated here: see the terms that came with the program",
    layout=LAYOUT,
    samples=samples,
    count=count,
    options=UnityEyesOptions,
)
