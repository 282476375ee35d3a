"""Opening what published data sets are made of: pictures, HDF5 files, lists of labels.

Whatever is missing or damaged becomes one FormatError that names the file, and the row where there is one. Nothing is
ever unpickled or evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.datasets.base import MIN_SIZE
from models.datasets.samples import FormatError, Pixels
from models.gaze import vector_to_pitchyaw

Floats = NDArray[np.float64]
Size = tuple[int, int]

PICTURE_FORMATS = ("JPEG", "PNG", "BMP")
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
NAMED_AT_MOST = 5
BLOCK_BYTES = 1 << 25
"""Enough images at once to hide what a call costs, little beside the memory of any machine."""

# Found by cutting and flipping bytes of good files some ten thousand times; the tests do it again, less often.
_BAD_PICTURE = (OSError, SyntaxError, ValueError, MemoryError, Image.DecompressionBombError)
_BAD_HDF5 = (OSError, RuntimeError, KeyError, TypeError, ValueError, MemoryError)


def check_size(*pixels: int) -> None:
    """Raise ValueError for images that are asked for in too small a size."""
    if min(pixels) < MIN_SIZE:
        raise ValueError(f"The size of the images must be at least {MIN_SIZE} px, not {min(pixels)}.")


def inside(root: Path, name: str, where: str) -> Path:
    """The file that a label names, below `root`; back slashes separate folders too."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if not relative.name or relative.is_absolute() or ".." in relative.parts or "\0" in name:
        raise FormatError(f"{where}: {name!r} does not name a file inside {root}.")
    return root / relative


def check_files(root: Path, listed: Mapping[Path, str], refuse_others: bool = False) -> None:
    """Raise FormatError for files that are listed, each with the place where it is named, but missing; if need be also
    for pictures beside them that are not listed.
    """
    here = {path: {entry.name for entry in path.iterdir()} for path in {p.parent for p in listed} if path.is_dir()}
    if missing := [path for path in listed if path.name not in here.get(path.parent, ())]:
        raise FormatError(
            f"{root}: {len(missing)} labelled file(s) missing, the first in {listed[missing[0]]}; fetch them: "
            f"{the_first(missing, root)}."
        )
    beside = (path / name for path, names in sorted(here.items()) for name in sorted(names)) if refuse_others else ()
    if extra := [path for path in beside if path.suffix.lower() in PICTURE_SUFFIXES and path not in listed]:
        raise FormatError(
            f"{root}: {len(extra)} image file(s) without a label; remove them, or give --unlabelled skip: "
            f"{the_first(extra, root)}."
        )


def the_first(paths: Sequence[Path], root: Path) -> str:
    """The first few of the paths, as seen from `root`, and how many there are beside."""
    more = f" and {len(paths) - NAMED_AT_MOST} more" if len(paths) > NAMED_AT_MOST else ""
    return ", ".join(str(path.relative_to(root)) for path in paths[:NAMED_AT_MOST]) + more


def picture(path: Path, at_least: Size | None = None) -> Image.Image:
    """The picture, grey ("L") or "RGB". `at_least` (width, height) lets a large JPEG be decoded at a fraction."""
    if not path.is_file():
        raise FormatError(f"the image {path} is missing.")
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            if at_least is not None:
                image.draft("RGB", at_least)
            image.load()
            if image.mode[0] in "IF":
                raise FormatError(f"{path.name} has more than 8 bits a colour; save it with 8.")
            return image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")
    except FormatError:
        raise
    except _BAD_PICTURE as error:
        raise FormatError(f"the image {path} is damaged or of another kind ({error}).") from error


def window(image: Image.Image, box: Sequence[float], size: Size) -> Pixels:
    """The window `box`, (centre x, centre y, width, height) in px, resampled to `size` (width, height).

    Its borders are rounded to whole pixels; beyond the edge of the image it is black.
    """
    x, y, width, height = (float(value) for value in box)
    far = max(map(abs, box)) > 2 * max(image.size) or width * height > 4 * image.width * image.height
    if not all(map(math.isfinite, box)) or min(width, height) < 1 or far:
        raise FormatError(
            f"a window of {width:.4g} x {height:.4g} px round ({x:.4g}, {y:.4g}) does not fit an image of "
            f"{image.width} x {image.height} px."
        )
    left, top = round(x - width / 2), round(y - height / 2)
    cut = image.crop((left, top, left + round(width), top + round(height)))
    return pixels(cut if cut.size == size else cut.resize(size, Image.Resampling.BILINEAR))


def pixels(image: Image.Image) -> Pixels:
    """(H, W) or (H, W, 3)."""
    return np.array(image, np.uint8)


def shown(path: Path, view: Callable[[Image.Image], Pixels] = pixels) -> Pixels:
    """The picture, or what `view` makes of it."""
    return view(picture(path))


@contextmanager
def hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file to read from; what fails on it inside the block is a FormatError."""
    import h5py

    if not path.is_file():
        raise FormatError(f"{path}: no such file.")
    with _hdf5_errors(path), h5py.File(path, "r") as file:
        yield file


@contextmanager
def _hdf5_errors(path: Path | str) -> Iterator[None]:
    try:
        yield
    except FormatError:
        raise
    except _BAD_HDF5 as error:
        raise FormatError(f"{path}: the file is damaged or no HDF5 file; fetch it again.") from error


def dataset(file: Any, name: str, shape: Sequence[int | None]) -> Any:
    """The array `name` of an HDF5 file, unread. `shape`: None stands for any length."""
    import h5py

    if not isinstance(array := file.get(name), h5py.Dataset):
        raise FormatError(f"{file.filename}: no array {name!r}.")
    if len(array.shape) != len(shape) or any(b not in (None, a) for a, b in zip(array.shape, shape, strict=True)):
        wanted = " x ".join("N" if length is None else str(length) for length in shape)
        raise FormatError(f"{file.filename}: {name!r} is of shape {array.shape}, not {wanted}.")
    return array


def images(array: Any, planes: bool = False) -> Callable[[int], Pixels]:
    """What reads a row of an HDF5 array (N, H, W) or (N, H, W, 3), or with `planes` (N, 3, H, W), as grey or RGB.

    Colours are stored blue first. A few images are read at a time, along the borders of the array's chunks.
    """
    most = max(1, BLOCK_BYTES // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))
    step = min(most, array.chunks[0] if array.chunks else most)

    @lru_cache(maxsize=1)
    def block(number: int) -> Pixels:
        with _hdf5_errors(array.file.filename):
            return as_bytes(array[number * step : (number + 1) * step])

    def read(row: int) -> Pixels:
        number, place = divmod(row, step)
        stored = block(number)[place]
        return _rgb(stored.transpose(1, 2, 0) if planes else stored)

    return read


def image(array: Any) -> Pixels:
    """An HDF5 array (H, W, 3), blue first, as RGB."""
    with _hdf5_errors(array.file.filename):
        return _rgb(as_bytes(array[:]))


def _rgb(image: Pixels) -> Pixels:
    return image if image.ndim == 2 else np.ascontiguousarray(image[..., ::-1])


def as_bytes(values: Any) -> Pixels:
    """`values` as uint8, if they are whole numbers from 0 to 255, which MATLAB may have written as doubles."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "uif" or not ((values >= 0) & (values <= 255) & (values == np.floor(values))).all():
        raise FormatError(f"no 8-bit images, but {values.dtype}.")
    return values.astype(np.uint8)


def lines(path: Path, name: str) -> Iterator[tuple[str, list[str]]]:
    """(where, words) of the lines that hold something; `name` is how errors call the file."""
    if not path.is_file():
        raise FormatError(f"{path}: no such file.")
    try:
        with path.open(encoding="utf-8") as text:
            for number, line in enumerate(text, start=1):
                if words := line.split():
                    yield f"{name}, line {number}", words
    except (OSError, UnicodeDecodeError) as error:
        raise FormatError(f"{path}: not a text file; fetch it again.") from error


def table(path: Path, name: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, words by column) of the lines below the first, which names the columns."""
    rows = lines(path, name)
    _, columns = next(rows, ("", []))
    if not columns:
        raise FormatError(f"{path}: empty; its first line must name the columns.")
    for where, words in rows:
        if len(words) != len(columns):
            raise FormatError(f"{where}: {len(words)} fields; expected {len(columns)}, as the first line has.")
        yield where, dict(zip(columns, words, strict=True))


def numbers(words: Sequence[str], where: str) -> Floats:
    """The numbers that are written there, finite."""
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise FormatError(f"{where}: {error}; expected numbers.") from error
    if not np.isfinite(values).all():
        raise FormatError(f"{where}: {' '.join(words)} is not finite; remove the row.")
    return values


def columns(
    content: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], path: Path, rows: int | None = None
) -> list[NDArray[Any]]:
    """Variables of a MATLAB file that are columns of one table: numbers (N, *shape) as stored, N = `rows` if given.

    A single row may have lost its first axis, and single numbers may lie in a row or a column.
    """
    arrays = []
    for name, shape in shapes.items():
        array = np.asarray(None if isinstance(content[name], list) else content[name])
        if array.dtype.kind not in "uif" or (shape and array.shape not in (shape, (*array.shape[:1], *shape))):
            raise FormatError(
                f"{path}: {name} must be numbers of shape {('N', *shape)}, not {array.dtype} {array.shape}."
            )
        arrays.append(array.reshape(-1, *shape))
        rows = len(arrays[-1]) if rows is None else rows
        if len(arrays[-1]) != rows:
            raise FormatError(
                f"{path}: {name} has {len(arrays[-1])} rows where there should be {rows}; fetch the file again."
            )
    return arrays


def pitchyaw(vectors: NDArray[Any]) -> Floats:
    """Camera-frame vectors (..., 3) to (..., 2); NaN, which no `Sample` takes, for 0 0 0 and what is not finite."""
    vectors = vectors.astype(np.float64)
    has_direction = np.isfinite(vectors).all(-1, keepdims=True) & vectors.any(-1, keepdims=True)
    return vector_to_pitchyaw(np.where(has_direction, vectors, np.nan))
