"""Image files: the one way into a PNG and back, written whole or not at all, and read only when their hash agrees."""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from models.durable import write_bytes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The folder under MEDIA_ROOT.
IMAGES = "images"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _RGB = 0, 2
RESTORE = "Restore it from a backup, or make it again with manage.py make_pairs --again."


class DamagedFile(ValueError):  # noqa: N818 (a fact about the file)
    """A stored file is missing or is not what was stored."""


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG of uint8 pixels (H, W) or (H, W, 3), without metadata.

    The deflate is stored, not compressed: all images of one shape have one length, whatever they show. A warped image
    compresses better than its original, and its length would give it away.
    """
    if str(pixels.dtype) != "uint8" or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] != 3):
        raise ValueError(f"A PNG is made from uint8 (H, W) or (H, W, 3), not {pixels.dtype} {pixels.shape}.")
    height, width = pixels.shape[:2]
    colour_type = _GREY if pixels.ndim == 2 else _RGB
    unfiltered = b"".join(b"\0" + row.tobytes() for row in pixels)
    return b"".join(
        [
            PNG_SIGNATURE,
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)),
            _chunk(b"IDAT", zlib.compress(unfiltered, level=0)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def decode_png(content: bytes) -> NDArray[np.uint8]:
    """Pixels (H, W) or (H, W, 3) of a grey or RGB PNG. Raises DamagedFile when it is not one."""
    import numpy as np
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            if image.mode not in ("L", "RGB"):
                raise DamagedFile(f"The image is in mode {image.mode}, neither grey nor RGB.")
            return np.array(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DamagedFile(f"The file is not a whole PNG image ({error}).") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write_once(path: Path, content: bytes) -> None:
    """Put `content` at `path`: a crash leaves the whole file or none; one that is right already is left alone."""
    if path.is_file() and path.read_bytes() == content:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def read_verified(path: Path, expected_sha256: str) -> bytes:
    """The file's content. Raises DamagedFile when it is missing or its SHA-256 is another."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DamagedFile(f"{path} is missing. {RESTORE}") from None
    if sha256(content) != expected_sha256:
        raise DamagedFile(f"{path} is not what was stored: its SHA-256 differs. {RESTORE}")
    return content
