"""What a reader gives back is what was written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from models.datasets.samples import Format, FormatError, Sample

JPEG_LEVELS = 3.0


def assert_same(read: Iterable[Sample], eyes: Sequence[Sample], levels: float = 0, subjects: bool = True) -> None:
    """Images equal (or on average within `levels`), gaze within 1e-5 rad, head where there is one, subject."""
    read = list(read)
    assert len(read) == len(eyes)
    for got, eye in zip(read, eyes, strict=True):
        assert got.image.dtype == np.uint8
        assert got.image.shape == eye.image.shape
        assert np.abs(got.image.astype(int) - eye.image).mean() <= levels
        assert (got.pitch, got.yaw) == pytest.approx((eye.pitch, eye.yaw), abs=1e-5)
        if got.head is not None:
            assert got.head == pytest.approx(eye.head, abs=1e-5)
        if subjects:
            assert got.subject == eye.subject
    assert len({sample.where for sample in read}) == len(read)


def refused(form: Format, root, *options) -> str:
    """The one sentence with which counting, or else reading, refuses what is there."""
    with pytest.raises(FormatError) as refusal:
        _count_and_read(form, root, *options)
    return str(refusal.value)


def _count_and_read(form: Format, root, *options) -> None:
    form.count(root, *options)
    for _ in form.samples(root, *options):
        pass
