"""What is to be chosen of a data set of synthetic eyes; apart from its images, so that forms can check it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from models.datasets.eye_renderer.draws import VERSION
from models.datasets.eye_renderer.geometry import Framing

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
