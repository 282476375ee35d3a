"""What the altered image of a pair has more or less than the clean one, as a picture."""

from __future__ import annotations

import numpy as np

from study.lab.images import DamagedFile, decode_png, encode_png

#: Grey level of no difference, and by how much differences are multiplied.
MIDDLE, GAIN = 128, 10


def difference_png(clean: bytes, altered: bytes) -> bytes:
    """A PNG of 128 + 10 (altered - clean), each channel clipped to 0..255, from two PNGs of one shape.

    Raises DamagedFile for what is no such pair.
    """
    before, after = (decode_png(content).astype(np.int16) for content in (clean, altered))
    if before.shape != after.shape:
        raise DamagedFile(f"The images are of different shapes, {before.shape} and {after.shape}.")
    return encode_png((MIDDLE + GAIN * (after - before)).clip(0, 255).astype(np.uint8))
