"""Synthetic eyes for tests to write in the published formats: nothing of anybody else's is needed or committed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from models.datasets.eye_renderer import Framing, render_eyes
from models.datasets.samples import Pixels, Sample

MPIIGAZE_SPAN_MM = 37.5


def held(image: Pixels) -> Callable[[], Pixels]:
    """Reads an image that is in memory already."""
    return lambda: image


@lru_cache
def _rendered(n: int, size: tuple[int, int], grey: bool, subjects: int) -> tuple[Sample, ...]:
    height, width = size
    index = np.arange(n)
    subject = index * subjects // n
    eyes = render_eyes(Framing(width, height, MPIIGAZE_SPAN_MM, 0.0), 7, "fixture", index, subject)
    images = np.ascontiguousarray(eyes.images.transpose(0, 2, 3, 1))
    if grey:
        images = np.round(images @ [0.299, 0.587, 0.114]).astype(np.uint8)
    images.setflags(write=False)
    return tuple(
        Sample(
            held(image),
            float(pitch),
            float(yaw),
            f"p{person:02d}",
            f"fixture, row {row}",
            (float(head[0]), float(head[1])),
        )
        for row, (image, (pitch, yaw), person, head) in enumerate(
            zip(images, eyes.pitchyaw, subject, eyes.head, strict=True)
        )
    )


def eyes(n: int = 24, size: tuple[int, int] = (36, 60), grey: bool = False, subjects: int = 3) -> list[Sample]:
    """`n` left eyes of (H, W) px, RGB or grey, of `p00`, `p01`, ... one after another; rendered once a session.

    Gaze and head are those rendered, float32. Pixels are shared by all callers and cannot be written to: copy first.
    """
    return list(_rendered(n, size, grey, subjects))
