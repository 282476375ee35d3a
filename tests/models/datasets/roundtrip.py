"""What a reader gives back is what was written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from models.datasets.importing import survey
from models.datasets.samples import Format, FormatError, Sample

JPEG_LEVELS = 3.0


def assert_same(read: Iterable[Sample], eyes: Sequence[Sample], levels: float = 0, subjects: bool = True) -> None:
    """Images equal (or on average within `levels`), gaze within 1e-5 rad, head where there is one, subject."""
    wheres = set()
    for got, eye in zip(read, eyes, strict=True):  # one by one: an image is there until the next is asked for
        assert got.image.dtype == np.uint8
        assert got.image.shape == eye.image.shape
        assert np.abs(got.image.astype(int) - eye.image).mean() <= levels
        assert (got.pitch, got.yaw) == pytest.approx((eye.pitch, eye.yaw), abs=1e-5)
        if got.head is not None:
            assert got.head == pytest.approx(eye.head, abs=1e-5)
        if subjects:
            assert got.subject == eye.subject
        wheres.add(got.where)
    assert len(wheres) == len(eyes)


def refused(form: Format, root, *options) -> str:
    """The one sentence with which going through the labels, or else reading the images, refuses what is there."""
    with pytest.raises(FormatError) as refusal:
        _survey_and_read(form, root, *options)
    return str(refusal.value)


def _survey_and_read(form: Format, root, *options) -> None:
    survey(form, root, *options)
    for sample in form.samples(root, *options):
        _ = sample.image
