"""Opening what published data sets are made of: pictures, HDF5 files, lists of labels.

Whatever is missing or damaged becomes one FormatError that names the file, and the row where there is one. Nothing is
ever unpickled or evaluated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.datasets.base import MIN_SIZE
from models.datasets.samples import FormatError
from models.gaze import vector_to_pitchyaw

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Size = tuple[int, int]
Where = Callable[[int], str]
"""Names a row of a file, for errors."""
Unlabelled = Literal["refuse", "skip"]
UNLABELLED_HELP = "images that no row names: refuse the data set, or skip them"

PICTURE_FORMATS = ("JPEG", "PNG", "BMP")
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


def folder(path: Path, layout: str) -> Path:
    """The folder itself. Raises FormatError, with the layout that is expected, if there is none."""
    if not path.is_dir():
        raise FormatError(f"{path}: no such folder; expected {layout}.")
    return path


def found(paths: Iterable[Path], root: Path, layout: str) -> list[Path]:
    """The paths in order. Raises FormatError, with the layout that is expected, if there are none."""
    if not (ordered := sorted(paths)):
        raise FormatError(f"{root}: nothing of this format here; expected {layout}.")
    return ordered


def inside(root: Path, name: str, where: str) -> Path:
    """The file that a label names, below `root`; back slashes separate folders too."""
    relative = PurePosixPath(name.replace("\\", "/"))
    if not relative.name or relative.is_absolute() or ".." in relative.parts or "\0" in name:
        raise FormatError(f"{where}: {name!r} does not name a file inside {root}.")
    return root / relative


def check_files(root: Path, listed: Sequence[Path], unlabelled: Unlabelled = "skip") -> None:
    """Raise FormatError for listed images that are missing, and for images beside them that are not listed."""
    here = {path: {entry.name for entry in path.iterdir()} for path in {p.parent for p in listed} if path.is_dir()}
    _complain(root, [p for p in listed if p.name not in here.get(p.parent, ())], "labelled", "missing; fetch them")
    if unlabelled == "refuse":
        known = set(listed)
        beside = (path / name for path, names in sorted(here.items()) for name in sorted(names))
        extra = [path for path in beside if path.suffix.lower() in (".jpg", ".jpeg", ".png") and path not in known]
        _complain(root, extra, "image", "without a label; remove them, or give --unlabelled skip")


def _complain(root: Path, paths: Sequence[Path], what: str, wrong: str) -> None:
    if paths:
        raise FormatError(f"{root}: {len(paths)} {what} file(s) {wrong}: {the_first(paths, root)}.")


def the_first(paths: Sequence[Path], root: Path) -> str:
    """The first few of the paths, as seen from `root`, and how many there are beside."""
    more = f" and {len(paths) - NAMED_AT_MOST} more" if len(paths) > NAMED_AT_MOST else ""
    return ", ".join(str(path.relative_to(root)) for path in paths[:NAMED_AT_MOST]) + more


def picture(path: Path, where: str, at_least: Size | None = None) -> Image.Image:
    """The picture, grey ("L") or "RGB". `at_least` (width, height) lets a large JPEG be decoded at a fraction."""
    if not path.is_file():
        raise FormatError(f"{where}: the image {path} is missing.")
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            if at_least is not None:
                image.draft("RGB", at_least)
            image.load()
            if image.mode[0] in "IF":
                raise FormatError(f"{where}: {path.name} has more than 8 bits a colour; save it with 8.")
            return image.copy() if image.mode in ("L", "RGB") else image.convert("RGB")
    except FormatError:
        raise
    except _BAD_PICTURE as error:
        raise FormatError(f"{where}: the image {path} is damaged or of another kind ({error}).") from error


def window(image: Image.Image, box: Sequence[float], size: Size, where: str) -> Pixels:
    """The window `box`, (centre x, centre y, width, height) in px, resampled to `size` (width, height).

    Its borders are rounded to whole pixels; beyond the edge of the image it is black.
    """
    x, y, width, height = (float(value) for value in box)
    far = max(map(abs, box)) > 2 * max(image.size) or width * height > 4 * image.width * image.height
    if not all(map(math.isfinite, box)) or min(width, height) < 1 or far:
        raise FormatError(
            f"{where}: a window of {width:.4g} x {height:.4g} px round ({x:.4g}, {y:.4g}) does not fit an image of "
            f"{image.width} x {image.height} px."
        )
    left, top = round(x - width / 2), round(y - height / 2)
    cut = image.crop((left, top, left + round(width), top + round(height)))
    return pixels(cut if cut.size == size else cut.resize(size, Image.Resampling.BILINEAR))


def pixels(image: Image.Image) -> Pixels:
    """(H, W) or (H, W, 3)."""
    return np.array(image, np.uint8)


@contextmanager
def hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file to read from; what fails on it inside the block is a FormatError."""
    import h5py

    if not path.is_file():
        raise FormatError(f"{path}: no such file.")
    try:
        with h5py.File(path, "r") as file:
            yield file
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


def rows_in(paths: Iterable[Path], arrays: Callable[[Any], Sequence[Any]]) -> int:
    """Rows of these HDF5 files in all, by the header of the first of their `arrays`."""
    total = 0
    for path in paths:
        with hdf5(path) as file:
            total += len(arrays(file)[0])
    return total


def rows(array: Any) -> Iterator[Pixels]:
    """The images of an HDF5 array one by one, read a few at a time along the borders of its chunks."""
    most = max(1, BLOCK_BYTES // max(1, math.prod(array.shape[1:]) * array.dtype.itemsize))
    step = min(most, array.chunks[0] if array.chunks else most)
    for start in range(0, len(array), step):
        yield from as_bytes(array[start : start + step], f"{array.file.filename}, rows from {start}")


def as_bytes(values: Any, where: str) -> Pixels:
    """`values` as uint8, if they are whole numbers from 0 to 255, which MATLAB may have written as doubles."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "uif" or not ((values >= 0) & (values <= 255) & (values == np.floor(values))).all():
        raise FormatError(f"{where}: no 8-bit images.")
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


def numbers(words: Sequence[str], where: str) -> Floats:
    """The numbers that are written there, finite."""
    try:
        values = np.array([float(word) for word in words])
    except ValueError as error:
        raise FormatError(f"{where}: {error}; expected numbers.") from error
    if not np.isfinite(values).all():
        raise FormatError(f"{where}: {' '.join(words)} is not finite; remove the row.")
    return values


def row_of(name: str, note: str = "") -> Where:
    """Names the rows of the file `name`, counted from 0."""
    return lambda row: f"{name}, row {row}{note}"


def only(where: str) -> Where:
    """Names the one row that is at stake."""
    return lambda _: where


def array_of(values: Any, shape: Sequence[int], what: str) -> Floats:
    """`values` as floats, if they are numbers (N, *shape)."""
    array = values if isinstance(values, np.ndarray) else np.asarray(None)
    if array.dtype.kind not in "uif" or array.ndim == 0 or array.shape[1:] != tuple(shape):
        raise FormatError(f"{what}: expected numbers of shape {('N', *shape)}, not {array.dtype} {array.shape}.")
    return array.astype(np.float64)


def finite(values: Floats, where: Where, what: str) -> Floats:
    """`values` (N, K) as they are, if all are finite."""
    if (bad := ~np.isfinite(values).all(1)).any():
        row = int(bad.argmax())
        raise FormatError(f"{where(row)}: the {what} {values[row].tolist()} is not finite; remove the row.")
    return values


def gazes(vectors: Floats, where: Where) -> Floats:
    """Camera-frame vectors (N, 3) of any length to (N, 2) pitch and yaw; `where` names a row for errors."""
    none = ~finite(vectors, where, "gaze").any(1)
    if none.any():
        raise FormatError(f"{where(int(none.argmax()))}: the gaze is 0 0 0, which is no direction; remove the row.")
    return vector_to_pitchyaw(vectors)


def gaze_of(vector: Floats, where: str) -> tuple[float, float]:
    """One camera-frame vector (3,) to pitch and yaw."""
    ((pitch, yaw),) = gazes(vector[None], only(where)).tolist()
    return pitch, yaw
