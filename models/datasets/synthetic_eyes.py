"""Synthetic eyes: a data set of procedurally rendered eye regions with exact labels and no real person in it.

Subjects never cross from one part to another. Every image depends on the renderer's version, the seed, its part and its
index alone, so that asking for more images adds to a data set without changing it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from models.datasets.base import GazeData, Splits
from models.datasets.eye_renderer.cache import Chunk, ChunkImages, Progress, chunks_of, load_chunks
from models.datasets.eye_renderer.draws import VERSION
from models.datasets.eye_renderer.geometry import Framing

NAME = "synthetic_eyes"
DESCRIPTION = "synthetic eyes"
SIZE_RANGE = (16, 224)


@dataclass(frozen=True)
class EyesConfig:
    """A data set of synthetic eyes.

    Attributes:
        train_subjects, validation_subjects, test_subjects: how many people are in each part.
        train_images, validation_images, test_images: how many images; subjects take turns.
        size: width in pixels, 16 to 224.
        height: height in pixels if not square: fewer rows show less above and below, at the same scale.
        span: width of the window in mm. 37.5 with 60 x 36 pixels is the framing of MPIIGaze.
        eye_below_centre: how far below the middle of the picture the eye stands, mm.
        eye: "left" (inner corner on the left of the picture) or "right", its mirror image.
        seed: of subjects and images.

    Raises:
        ValueError: if a value is out of range, or a part has fewer images than subjects.
    """

    train_subjects: int = 40
    validation_subjects: int = 12
    test_subjects: int = 80
    train_images: int = 8000
    validation_images: int = 800
    test_images: int = 1200
    size: int = 64
    height: int | None = None
    span: float = 46.0
    eye_below_centre: float = 4.0
    eye: str = "left"
    seed: int = 1

    def __post_init__(self) -> None:
        for part in ("train", "validation", "test"):
            subjects, images = getattr(self, f"{part}_subjects"), getattr(self, f"{part}_images")
            if not isinstance(subjects, int) or subjects < 1:
                raise ValueError(f"{part}_subjects must be a whole number of at least 1, not {subjects!r}.")
            if not isinstance(images, int) or images < subjects:
                raise ValueError(
                    f"{part}_images must be a whole number of at least {part}_subjects ({subjects}), not {images!r}."
                )
        low, high = SIZE_RANGE
        for name, pixels in (("size", self.size), ("height", self.framing.height)):
            if not isinstance(pixels, int) or not low <= pixels <= high:
                raise ValueError(f"{name} must be a whole number from {low} to {high} px, not {pixels!r}.")
        if not 20 <= self.span <= 80:
            raise ValueError(f"span must be from 20 to 80 mm, not {self.span!r}.")
        if not -15 <= self.eye_below_centre <= 15:
            raise ValueError(f"eye_below_centre must be from -15 to 15 mm, not {self.eye_below_centre!r}.")
        if self.eye not in ("left", "right"):
            raise ValueError(f'eye must be "left" or "right", not {self.eye!r}.')
        if not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed must be a whole number of at least 0, not {self.seed!r}.")

    @property
    def framing(self) -> Framing:
        """The renderer's window."""
        height = self.size if self.height is None else self.height
        return Framing(self.size, height, self.span, self.eye_below_centre)

    def folder(self, cache_dir: Path) -> Path:
        """Where the images are kept: one folder for all that changes a picture."""
        subjects = (self.train_subjects, self.validation_subjects, self.test_subjects)
        identity = f"{VERSION} {self.framing} {self.eye} {self.seed} {subjects}"
        key = hashlib.sha256(identity.encode()).hexdigest()[:12]
        return Path(cache_dir) / f"eyes-v{VERSION}-{self.framing.width}x{self.framing.height}-{key}"


def load(config: EyesConfig, cache_dir: Path, progress: Progress | None = None, processes: int = 2) -> Splits:
    """The data set, rendering what the cache does not hold yet; an interrupted call is taken up where it stopped.

    Args:
        cache_dir: where rendered images are kept; damaged files are rendered again with a warning.
        progress: called with (images ready, images in all); it may raise to stop, what is rendered is kept.
        processes: how many processes render.

    Returns:
        Splits whose subjects have ids unique over the three parts: train from 0, then validation, then test.
    """
    parts = {
        "train": _chunks(config, cache_dir, "train", config.train_images),
        "validation": _chunks(config, cache_dir, "validation", config.validation_images),
        "test": _chunks(config, cache_dir, "test", config.test_images),
    }
    contents = iter(load_chunks([chunk for chunks in parts.values() for chunk in chunks], processes, progress))
    return Splits(**{part: _gaze_data([next(contents) for _ in chunks]) for part, chunks in parts.items()})


def study_images(config: EyesConfig, cache_dir: Path, progress: Progress | None = None, processes: int = 2) -> GazeData:
    """One image of each test subject to show to people: base images of a study.

    They come from a stream of their own, so none is among the evaluation images. Gazes are spread evenly over
    -10 to 20 deg pitch and +-30 deg yaw, and heads stay nearly upright, so that the eyes are open.
    """
    return _gaze_data(load_chunks(_chunks(config, cache_dir, "study", config.test_subjects), processes, progress))


def _chunks(config: EyesConfig, cache_dir: Path, stream: str, images: int) -> list[Chunk]:
    first_subject, subjects = {
        "train": (0, config.train_subjects),
        "validation": (config.train_subjects, config.validation_subjects),
        "test": (config.train_subjects + config.validation_subjects, config.test_subjects),
    }["test" if stream == "study" else stream]
    first = Chunk(
        folder=config.folder(cache_dir),
        framing=config.framing,
        seed=config.seed,
        stream=stream,
        first_subject=first_subject,
        subjects=subjects,
        start=0,
        stop=0,
        mirrored=config.eye == "right",
    )
    return chunks_of(first, images)


def _gaze_data(contents: Sequence[ChunkImages]) -> GazeData:
    subject = torch.from_numpy(np.concatenate([content.subject for content in contents]))
    return GazeData(
        images=torch.from_numpy(np.concatenate([content.images for content in contents])),
        pitchyaw=torch.from_numpy(np.concatenate([content.pitchyaw for content in contents])),
        subject=subject,
        group=subject,
        name=NAME,
        description=DESCRIPTION,
    )
