"""Synthetic eyes: a data set of procedurally rendered eye regions with exact labels and no real person in it.

Subjects never cross from one part to another. Every image depends on the renderer's version, the seed, its part and its
index alone, so that asking for more images adds to a data set without changing it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from models.datasets.base import GazeData, Splits
from models.datasets.eye_renderer.cache import Chunk, ChunkImages, Progress, chunks_of, load_chunks
from models.datasets.eyes_config import EyesConfig

NAME = "synthetic_eyes"
DESCRIPTION = "synthetic eyes"


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
