"""Files that researchers upload, looked into before anything is made of them.

Nothing is unpickled, unpacked or decoded before its declared size is known to be bearable, and every refusal is a
ValidationError of one sentence, for the field that the file came by. Light enough for web processes.
"""

from __future__ import annotations

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np
from django.conf import settings
from django.core.exceptions import RequestDataTooBig, ValidationError
from django.core.files.uploadhandler import FileUploadHandler
from django.http import HttpRequest
from numpy.lib import format as npy
from numpy.typing import NDArray

MB: Final = 2**20
#: A data set of pictures packs at most so well; more is made up, or blank.
MOST_UNPACKED: Final = 8
MOST_ARRAYS: Final = 32
LONGEST_READ: Final = MB
ARRAY_NAME: Final = re.compile(r"([A-Za-z]\w{0,63})\.npy", re.ASCII)
NUMBERS_AND_TEXTS: Final = "biufUS"
SMALLEST_SIDE: Final = 16
LARGEST_SIDE: Final = 1024
IMAGE_MB: Final = 20
IMAGE_PIXELS: Final = 4096 * 4096
IMAGE_MODES: Final[Mapping[str, str]] = {"1": "L", "L": "L", "LA": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB"}
#: Of whoever is not signed in: forms, never files.
STRANGERS_MB: Final = 1


def folder() -> Path:
    """Where uploaded data sets are kept, each named by its SHA-256."""
    return Path(settings.VAR) / "uploads"


class Upload(Protocol):
    """What Django hands over of a file, of any size: a file that says how long it is."""

    size: int | None
    file: IO[bytes]


@dataclass(frozen=True)
class Array:
    """What an array of the file says of itself."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


@dataclass(frozen=True)
class GazeArrays:
    """A file of images and gaze that may be read: `n` images of (height, width) px, and the names of its columns."""

    n: int
    height: int
    width: int
    columns: tuple[str, ...]


# --- arrays of images and gaze


def check_arrays(upload: Upload) -> GazeArrays:
    """What an .npz file holds, from the headers of its arrays alone.

    It must hold `images`, uint8 (N, H, W) or (N, H, W, 3), and `pitchyaw`, floats (N, 2); every other array is a
    column of numbers or texts, (N,) or (N, K). What they say, `models.datasets.arrays` judges when it reads them.

    Raises ValidationError with one sentence.
    """
    _demand_size(upload, settings.MAX_UPLOAD_MB)
    try:
        with zipfile.ZipFile(_Bounded(upload.file)) as archive:
            return _gaze_arrays(_headers(archive))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError) as error:
        raise ValidationError("This is no whole .npz file: write it with numpy.savez, and upload it again.") from error
    finally:
        upload.file.seek(0)


class _Bounded:
    """A file of which nobody reads much at once: a list of a million entries would fill the memory."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell, self.seekable = file.seek, file.tell, file.seekable

    def read(self, n: int = -1) -> bytes:
        content = self._file.read(LONGEST_READ + 1 if n < 0 else min(n, LONGEST_READ + 1))
        if len(content) > LONGEST_READ:
            raise zipfile.BadZipFile("The list of its entries is too long.")
        return content


def _headers(archive: zipfile.ZipFile) -> dict[str, Array]:
    entries = archive.infolist()
    if len(entries) > MOST_ARRAYS:
        raise ValidationError(f"The file holds {len(entries)} arrays: at most {MOST_ARRAYS} are taken.")
    unpacked = sum(entry.file_size for entry in entries)
    most = MOST_UNPACKED * settings.MAX_UPLOAD_MB
    if unpacked > most * MB:
        raise ValidationError(f"Unpacked, the file would have {_mb(unpacked)} MB: at most {most} MB are taken.")
    found: dict[str, Array] = {}
    for entry in entries:
        match = ARRAY_NAME.fullmatch(entry.filename)
        if match is None or match[1] in found:
            raise ValidationError(
                f"The file holds {_shown(entry.filename)}: it may hold arrays only, each under a plain name and once."
            )
        found[match[1]] = _header(archive, entry, match[1])
    return found


def _header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Array:
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read is None:
            raise ValidationError(f"{name} has columns with names of their own: save plain arrays.")
        shape, _, dtype = read(file)
        if dtype.hasobject:
            raise ValidationError(f"{name} holds pickled objects, which are never loaded: save plain numbers or texts.")
        if dtype.kind not in NUMBERS_AND_TEXTS:
            raise ValidationError(f"{name} is {dtype}: save plain numbers or texts.")
        if file.tell() + math.prod(shape) * dtype.itemsize != entry.file_size or min(shape, default=0) < 0:
            raise ValidationError(f"{name} is not as long as it says: write the file again.")
    return Array(dtype, shape)


def _gaze_arrays(arrays: Mapping[str, Array]) -> GazeArrays:
    for name in ("images", "pitchyaw"):
        if name not in arrays:
            held = ", ".join(arrays) or "nothing"
            raise ValidationError(f"The file holds no array named {name}, only {held}: name it so.")
    images = arrays["images"]
    if images.dtype != np.uint8 or images.shape[3:] not in ((), (3,)) or len(images.shape) < 3:
        raise ValidationError(f"images must be uint8 of shape (N, H, W) or (N, H, W, 3), not {images}.")
    n, height, width = images.shape[:3]
    if n == 0 or not all(SMALLEST_SIDE <= side <= LARGEST_SIDE for side in (height, width)):
        raise ValidationError(
            f"images must be one at least, {SMALLEST_SIDE} to {LARGEST_SIDE} px a side, not {n} of {height} x {width}."
        )
    for name, array in arrays.items():
        if name == "pitchyaw" and (array.dtype.kind != "f" or array.shape != (n, 2)):
            raise ValidationError(f"pitchyaw must be floats of shape ({n}, 2), in radians, not {array}.")
        if name != "images" and (len(array.shape) not in (1, 2) or array.shape[0] != n):
            raise ValidationError(f"{name} must have a row for each of the {n} images, not {array}.")
    return GazeArrays(n, height, width, tuple(name for name in arrays if name not in ("images", "pitchyaw")))


# --- one image


def decode_image(upload: Upload) -> NDArray[np.uint8]:
    """The pixels of a PNG or JPEG file: (H, W) if grey, else (H, W, 3); what is transparent counts as opaque.

    Raises ValidationError with one sentence.
    """
    from PIL import Image

    _demand_size(upload, IMAGE_MB)
    try:
        with Image.open(upload.file, formats=["PNG", "JPEG"]) as image:  # which reads the header alone
            if image.width * image.height > IMAGE_PIXELS:
                raise Image.DecompressionBombError
            if image.mode not in IMAGE_MODES:
                raise ValidationError(f"The image is in mode {image.mode}: save it as 8-bit grey or RGB.")
            return np.asarray(image.convert(IMAGE_MODES[image.mode]), np.uint8)
    except Image.DecompressionBombError as error:
        raise ValidationError(
            f"The image has more than {IMAGE_PIXELS // 10**6} million pixels: scale it down."
        ) from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error) as error:
        raise ValidationError("This is no whole PNG or JPEG image: save it again.") from error


# --- sizes


class SizeGate(FileUploadHandler):
    """First of the upload handlers: a request that is larger than it may be is not read at all."""

    def handle_raw_input(
        self,
        input_data: Any,
        META: Any,  # noqa: N803 (Django's name)
        content_length: int,
        boundary: Any,
        encoding: Any = None,
    ) -> None:
        most = settings.MAX_UPLOAD_MB if _is_signed_in(self.request) else STRANGERS_MB
        if content_length > (most + 1) * MB:  # what stands around the file is not counted
            raise RequestDataTooBig(f"An upload of {_mb(content_length)} MB: at most {most} MB are taken.")

    def receive_data_chunk(self, raw_data: bytes, start: int) -> bytes:
        return raw_data

    def file_complete(self, file_size: int) -> None:
        return None


def _is_signed_in(request: HttpRequest | None) -> bool:
    return bool(getattr(getattr(request, "user", None), "is_staff", False))


def _demand_size(upload: Upload, most_mb: int) -> None:
    if not upload.size:
        raise ValidationError("The file is empty: choose another.")
    if upload.size > most_mb * MB:
        raise ValidationError(f"The file has {_mb(upload.size)} MB: at most {most_mb} MB are taken.")


def _mb(n: int) -> int:
    return math.ceil(n / MB)


def _shown(name: str) -> str:
    """A name that somebody else chose, short and printable."""
    return repr(name if len(name) <= 40 else f"{name[:40]}…")
