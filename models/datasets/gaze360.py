"""Gaze360: crops of heads from a panorama camera, with metadata.mat or the lists of the authors' code.

The published frame has x to the left, y up and z away from the camera: both first axes are flipped to ours. A person
may have several identities within a recording, so a split keeps whole recordings together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from models.datasets import matlab, reading
from models.datasets.samples import Format, FormatError, Pixels, Sample

LISTS = {"train": "train.txt", "val": "validation.txt", "test": "test.txt"}
SPLITS = (*LISTS, "unused")
TO_CAMERA = np.array([-1.0, -1.0, 1.0])
COLUMNS = {"recording": (), "person_identity": (), "frame": (), "split": (), "gaze_dir": (3,)}
BOXES = {"person_head_bbox": (4,), "person_face_bbox": (4,)}
WHOLE = np.array([0.0, 0.0, 1.0, 1.0])

Frame = tuple[str, str, reading.Floats, reading.Floats]
"""Where, file, direction, and what is cut out of the file: (x, y, width, height) as shares of it."""


@dataclass(frozen=True)
class Gaze360Options:
    """Which frames are read, and what is cut out of them."""

    split: Literal["used", "train", "val", "test", "unused"] = field(
        default="used", metadata={"help": "one of the published parts, or used: train, val and test together"}
    )
    crop: Literal["head", "face"] = field(
        default="head", metadata={"help": "the whole head, or the face where one was detected (needs metadata.mat)"}
    )
    size: int = field(default=224, metadata={"help": "side of the images, px"})

    def __post_init__(self) -> None:
        reading.check_size(self.size)


def samples(root: Path, options: Gaze360Options) -> Iterator[Sample]:
    """The frames in the order of metadata.mat or of the lists."""
    splits = tuple(LISTS) if options.split == "used" else (options.split,)
    has_metadata = options.crop == "face" or (root / "metadata.mat").is_file()
    frames = _of_metadata(root / "metadata.mat", splits, options.crop) if has_metadata else _of_lists(root, splits)
    for where, name, direction, box in frames:
        path = reading.inside(root / "imgs", name, where)
        recording, _, person, _ = Path(name).parts
        pitch, yaw = reading.pitchyaw(direction * TO_CAMERA).tolist()
        read = partial(_cut, path, box, options)
        yield Sample(read, pitch, yaw, f"{recording}/{person}", where, group=recording, file=path)


def _of_lists(root: Path, splits: tuple[str, ...]) -> Iterator[Frame]:
    lists = sorted(root / LISTS[split] for split in splits if split in LISTS)
    for path in lists if any(path.is_file() for path in lists) else ():
        for where, words in reading.lines(path, path.name):
            if len(words) != 4 or len(Path(words[0]).parts) != 4:
                raise FormatError(f'{where}: expected "rec_000/head/000000/000131.jpg x y z".')
            yield where, words[0], reading.numbers(words[1:], where), WHOLE


def _of_metadata(path: Path, splits: tuple[str, ...], crop: str) -> Iterator[Frame]:
    shapes = COLUMNS | (BOXES if crop == "face" else {})
    content = matlab.load(path, "recordings", *shapes)
    names = [content["recordings"]] if isinstance(content["recordings"], str) else list(content["recordings"])
    wanted = [SPLITS.index(split) for split in splits]
    columns = reading.columns(content, shapes, path)
    for row, (recording, person, frame, split, gaze, *boxes) in enumerate(zip(*columns, strict=True)):
        where = f"{path.name}, row {row}"
        if split not in wanted or (boxes and (boxes[1] == -1).all()):
            continue
        if not (0 <= recording < len(names) and person >= 0 and frame >= 0):
            raise FormatError(f"{where}: recording {recording:g}, person {person:g}, frame {frame:g}: no such image.")
        name = f"{names[int(recording)]}/head/{int(person):06d}/{int(frame):06d}.jpg"
        yield where, name, gaze, _within(*boxes) if boxes else WHOLE


def _within(head: reading.Floats, face: reading.Floats) -> reading.Floats:
    """The face's box as shares of the head's; both are (x, y, width, height) as shares of the frame."""
    return np.concatenate([face[:2] - head[:2], face[2:]]) / np.tile(head[2:], 2)


def _cut(path: Path, box: reading.Floats, options: Gaze360Options) -> Pixels:
    """The head, or a square round the face."""
    head = reading.picture(path)
    x, y, width, height = box * np.tile(head.size, 2)
    shown = (width, height) if options.crop == "head" else (max(width, height),) * 2
    return reading.window(head, (x + width / 2, y + height / 2, *shown), (options.size, options.size))


FORMAT = Format(
    kind="gaze360",
    title="Gaze360, heads or faces",
    citation=(
        "P. Kellnhofer, A. Recasens, S. Stent, W. Matusik, A. Torralba: Gaze360: physically unconstrained gaze "
        "estimation in the wild. ICCV 2019."
    ),
    licence="research licence of Gaze360: not transferable, within one institution, never copied or distributed",
    layout="a folder with imgs/rec_000/head/... and metadata.mat, or train.txt, validation.txt and test.txt",
    samples=samples,
    options=Gaze360Options,
)
