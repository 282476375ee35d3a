"""A researcher's own images: one ``.npz`` file of plain arrays."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models.datasets.base import MIN_SIZE, GazeData, check_angles
from models.datasets.samples import Format, Pixels, Sample

Column = NDArray[np.generic]


def load_arrays(
    path: Path | str, group_key: str | None = None, name: str | None = None, description: str | None = None
) -> GazeData:
    """Read a data set from an ``.npz`` file, without ever unpickling.

    The file holds ``images``, uint8 (N, H, W) grey or (N, H, W, 3) RGB, H and W at least 16; ``pitchyaw``, floats
    (N, 2) in radians; and optionally ``subject``, (N,) whole numbers or texts (one person if left out).

    Args:
        group_key: an array of the file, (N,) or (N, K), whose equal rows a split keeps together, for instance the
            point looked at; the subject if left out.
        name: for records; the file's name if left out.
        description: for reports; says by default whose images these are and what they are split by.

    Raises:
        ValueError: in one sentence, what is wrong with the file and what to do.
    """
    path = Path(path)
    with _opened(path) as file:
        images = _images(_array(file, "images", path), path)
        pitchyaw = _pitchyaw(_array(file, "pitchyaw", path), len(images), path)
        subject = np.zeros(len(images), np.int64)
        if "subject" in file:
            subject = _ids(_array(file, "subject", path), "subject", len(images), path)
        group = subject
        if group_key is not None:
            group = _ids(_array(file, group_key, path), group_key, len(images), path)
    return GazeData(
        images=images,
        pitchyaw=pitchyaw,
        subject=torch.from_numpy(subject),
        group=torch.from_numpy(group),
        name=name or path.stem,
        description=description or f"own images, split by {group_key or 'subject'}",
    )


def _opened(path: Path) -> np.lib.npyio.NpzFile:
    if not path.is_file():
        raise ValueError(f"{path}: no such file.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: no whole .npz file; write it with numpy.savez.")
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: the file is damaged; write it again.") from error


def _array(file: np.lib.npyio.NpzFile, key: str, path: Path) -> Column:
    if key not in file:
        raise ValueError(f"{path}: no array {key!r}; the file holds {', '.join(file.files) or 'nothing'}.")
    try:
        array = file[key]
    except (NotImplementedError, RuntimeError) as error:  # how zipfile says encrypted or packed in an unknown way
        raise ValueError(f"{path}: {key!r} cannot be unpacked ({error}); write it with numpy.savez.") from error
    except MemoryError as error:
        raise ValueError(f"{path}: {key!r} says that it is larger than this machine's memory.") from error
    except (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        if str(error).startswith("Object arrays"):
            raise ValueError(
                f"{path}: {key!r} holds pickled objects, which are never loaded; save plain numbers or texts."
            ) from error
        raise ValueError(f"{path}: {key!r} is damaged; write the file again.") from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: {key!r} is no array; write the file with numpy.savez.")
    return array


def _images(array: Column, path: Path) -> torch.Tensor:
    grey = array.ndim == 3
    if array.dtype != np.uint8 or not (grey or (array.ndim == 4 and array.shape[3] == 3)):
        raise ValueError(
            f"{path}: images must be uint8 of shape (N, H, W) or (N, H, W, 3), not {array.dtype} {array.shape}."
        )
    if len(array) == 0:
        raise ValueError(f"{path}: images is empty; at least one image is needed.")
    if min(array.shape[1:3]) < MIN_SIZE:
        raise ValueError(f"{path}: images are {array.shape[1]} x {array.shape[2]} px; {MIN_SIZE} px is the least.")
    channels_first = array[:, None] if grey else array.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(channels_first))


def _pitchyaw(array: Column, n: int, path: Path) -> torch.Tensor:
    if array.dtype.kind != "f" or array.ndim != 2 or array.shape[1] != 2:
        raise ValueError(
            f"{path}: pitchyaw must be floats of shape (N, 2) in radians, not {array.dtype} {array.shape}."
        )
    _check_length(array, "pitchyaw", n, path)
    pitchyaw = torch.from_numpy(array.astype(np.float32))
    check_angles(pitchyaw, str(path))
    return pitchyaw


def _ids(array: Column, key: str, n: int, path: Path) -> NDArray[np.int64]:
    """(n,) whole numbers, equal where rows of `array` are equal; integers of one column stay as they are."""
    if array.ndim not in (1, 2) or array.dtype.kind not in "iufUSb":
        raise ValueError(
            f"{path}: {key} must be numbers or texts of shape (N,) or (N, K), not {array.dtype} {array.shape}."
        )
    _check_length(array, key, n, path)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(f"{path}: {key} has entries that are not finite; give every image a group.")
    if array.ndim == 1 and array.dtype.kind in "iu" and int(array.max()) < 2**63:
        return array.astype(np.int64)
    _, ids = np.unique(array, axis=0, return_inverse=True)
    return ids.reshape(-1).astype(np.int64)


def _check_length(array: Column, key: str, n: int, path: Path) -> None:
    if len(array) != n:
        raise ValueError(f"{path}: {len(array)} rows of {key} for {n} images; they must be as many.")


@dataclass(frozen=True)
class ArraysOptions:
    """How an ``.npz`` file is taken in."""

    group_key: str | None = field(
        default=None, metadata={"help": "array of the file whose equal rows a split keeps together, not the subject"}
    )


def samples(path: Path, options: ArraysOptions) -> Iterator[Sample]:
    """The images of the file one by one; see `load_arrays` for what it holds and what is refused."""
    data = load_arrays(path, options.group_key)
    for row, ((pitch, yaw), subject, number) in enumerate(
        zip(data.pitchyaw.tolist(), _subject_names(path, data), data.group.tolist(), strict=True)
    ):
        group = None if options.group_key is None else str(number)
        yield Sample(partial(_image, data, row), pitch, yaw, subject, f"{path.name}, row {row}", group=group)


def _image(data: GazeData, row: int) -> Pixels:
    image = data.images[row].numpy()
    return image[0] if len(image) == 1 else image.transpose(1, 2, 0)


def _subject_names(path: Path, data: GazeData) -> list[str]:
    """Each image's subject as the file names it, or as it is numbered where it has none."""
    with _opened(path) as file:
        names = _array(file, "subject", path) if "subject" in file else data.subject.numpy()
    return [" ".join(map(str, np.atleast_1d(name).tolist())) for name in names]


FORMAT = Format(
    kind="arrays",
    title="own arrays (.npz)",
    citation="",
    licence="not stated: your own images, or those of a source that you know",
    layout="one .npz file with images (uint8), pitchyaw (floats, radians) and optionally subject",
    samples=samples,
    options=ArraysOptions,
    root_is_file=True,
)
