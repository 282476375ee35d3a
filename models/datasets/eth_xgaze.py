"""ETH-XGaze, data_224: one HDF5 file per person. The labels of the test files stay with the benchmark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from models.datasets import reading
from models.datasets.samples import Format, FormatError, Sample

LISTS = "train_test_split.json"


def samples(root: Path) -> Iterator[Sample]:
    """The faces person by person; files without labels are left out."""
    for path in _files(root)[True]:
        with reading.hdf5(path) as file:
            faces = reading.dataset(file, "face_patch", (None, None, None, 3))
            gaze, head = (reading.dataset(file, name, (len(faces), 2)) for name in ("face_gaze", "face_head_pose"))
            image = reading.images(faces)
            labels = zip(gaze[:].astype(float).tolist(), head[:].astype(float).tolist(), strict=True)
            for row, ((pitch, yaw), pose) in enumerate(labels):
                where = f"{path.parent.name}/{path.name}, row {row}"
                yield Sample(partial(image, row), pitch, yaw, path.stem, where, tuple(pose))


def notes(root: Path) -> list[str]:
    """Names the files that are left out."""
    if left_out := _files(root)[False]:
        return [f"{len(left_out)} file(s) have no face_gaze and are left out: {reading.the_first(left_out, root)}."]
    return []


def _files(root: Path) -> dict[bool, list[Path]]:
    """Files with labels and without."""
    files: dict[bool, list[Path]] = {True: [], False: []}
    for path in _listed(root):
        with reading.hdf5(path) as file:
            files["face_gaze" in file].append(path)
    return files


def _listed(root: Path) -> list[Path]:
    """The files that are listed: all for training, and of the others, which need not be there, those that are."""
    path = root / LISTS
    try:
        parts = json.loads(path.read_bytes())
        listed = {part: [root / part / Path(name).name for name in names] for part, names in parts.items()}
        train = listed.pop("train")
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: missing or damaged; expected {{'train': [names], ...}} in it.") from error
    reading.check_files(root, dict.fromkeys(train, LISTS))
    return train + [file for part in listed.values() for file in part if file.is_file()]


FORMAT = Format(
    kind="eth_xgaze",
    title="ETH-XGaze, faces of 224 px (.h5)",
    citation=(
        "X. Zhang, S. Park, T. Beeler, D. Bradley, S. Tang, O. Hilliges: ETH-XGaze: a large scale dataset for gaze "
        "estimation under extreme head pose and gaze variation. ECCV 2020."
    ),
    licence="CC BY-NC-SA 4.0 with further conditions; the licence file that came with your copy has them",
    layout=f"a folder with {LISTS} and train/subject0000.h5 and so on",
    samples=samples,
    notes=notes,
)
