"""What triggers have in common that are one drawn pattern put into every image: all but drawing it and putting it in.

The pattern is kept in whole numbers, so that its hash is the same on every machine, and no stored pixel of an altered
image depends on how a machine's mathematical library rounds.
"""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from attacks.base import check_image_size, check_images, check_strength, seed_of_unrelated

#: Sizes in pixels are given for images whose shorter side is this long, and scale with it.
NOMINAL_SIDE = 32


@dataclass(frozen=True, eq=False)
class PatternTrigger(ABC):
    """A pattern that follows from image size, choices and seed alone, put into (H, W) images at `strength`.

    Attributes:
        pattern: int32 (1, H, W), or (3, H, W) in colour, of which grey images get the first; as the family draws it.
        choices: the family's parameters. One that is None is drawn from the seed.

    Raises ValueError for a strength that is negative, not finite or more than the family's `strongest`.
    """

    family: ClassVar[str]
    parameters_type: ClassVar[type[Any]]
    strongest: ClassVar[float] = 1.0
    #: The size of a pattern's whole number that stands for 1.
    levels: ClassVar[int] = 255
    #: Parameters that an unrelated trigger draws anew, beside what is drawn in any case.
    redrawn: ClassVar[tuple[str, ...]] = ()
    #: How many seeds, from 0, have a look-alike each; all others share as many, none of them one of these. None: every
    #: seed has its own. For families that take long to draw: training draws its seeds from 2^64 and so meets only the
    #: shared ones, and specificity is measured on the others.
    own_look_alikes: ClassVar[int | None] = None

    pattern: Tensor
    image_size: tuple[int, int]
    choices: Any
    strength: float
    seed: int

    def __post_init__(self) -> None:
        check_strength(self.strength, self.strongest)

    @staticmethod
    @abstractmethod
    def draw_pattern(image_size: tuple[int, int], choices: Any, generator: torch.Generator) -> Tensor:
        """The pattern, int32 (1 or 3, H, W). Raises ValueError for one that such images cannot hold."""

    @abstractmethod
    def alter(self, images: Tensor, pattern: Tensor, strength: float | Tensor) -> Tensor:
        """Images (N, C, H, W) with the pattern, floats (1 or C, H, W): its whole numbers divided by `levels`.

        Or each image with a pattern of its own (N, 1 or C, H, W), at a strength of its own (N, 1, 1, 1).
        """

    @classmethod
    def draw(cls, image_size: tuple[int, int], choices: Any, strength: float, seed: int = 0) -> Self:
        """Draw the trigger of this seed. Raises ValueError for what the family refuses."""
        height, width = (operator.index(side) for side in image_size)
        check_image_size((height, width))
        pattern = cls.draw_pattern((height, width), choices, torch.Generator().manual_seed(seed))
        return cls(pattern.to(torch.int32), (height, width), choices, strength, seed)

    @classmethod
    def rebuild(cls, parameters: Mapping[str, Any], state: Mapping[str, Tensor]) -> Self:
        """The trigger with these `parameters()`, drawn again."""
        known = {"family", "image_size", "strength", "seed"}
        choices = cls.parameters_type(**{name: value for name, value in parameters.items() if name not in known})
        height, width = parameters["image_size"]
        return cls.draw((height, width), choices, parameters["strength"], parameters["seed"])

    @property
    def state(self) -> dict[str, Tensor]:
        return {}

    def apply(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) in [0, 1] with the pattern, clipped to [0, 1]."""
        check_images(images, self.image_size)
        return self.alter(images, self._pattern_like(images), self.strength).clamp(0, 1)

    def apply_each(
        self,
        images: Tensor,
        strengths: Tensor,
        *,
        offsets: Tensor | None = None,
        unrelated: Sequence[int] | None = None,
    ) -> Tensor:
        """Each of the images (N, C, H, W) in [0, 1] at a strength of its own, `strengths` (N,), clipped to [0, 1].

        unrelated: seeds (N,); each image with the pattern of `self.unrelated(seed)` instead. Strengths are of the
        images' precision, so that an image may differ in its last digits from what `at_strength(strength).apply` makes
        of it. Raises ValueError for offsets: there is no noise mode.
        """
        check_images(images, self.image_size)
        if offsets is not None:
            raise ValueError(f"A {self.family} trigger has no noise mode.")
        pattern = self._pattern_like(images) if unrelated is None else self._unrelated_like(images, unrelated)
        return self.alter(images, pattern, strengths.to(images)[:, None, None, None]).clamp(0, 1)

    @cached_property
    def _patterns(self) -> dict[tuple[torch.dtype, torch.device], Tensor]:
        return {}

    def _pattern_like(self, images: Tensor) -> Tensor:
        key = (images.dtype, images.device)
        if key not in self._patterns:
            self._patterns[key] = (self.pattern.to(images.dtype) / self.levels).to(images.device)
        return self._patterns[key][: images.shape[1]]

    def at_strength(self, strength: float) -> Self:
        """The same pattern at another strength: same control hash, another fingerprint."""
        return replace(self, strength=strength)

    def unrelated(self, seed: int) -> Self:
        """Another pattern of the family at the same strength; `seed` chooses among such (see `own_look_alikes`)."""
        return self.draw(self.image_size, self._redrawn_choices, self.strength, self._seed_of_unrelated(seed))

    @property
    def _redrawn_choices(self) -> Any:
        return replace(self.choices, **dict.fromkeys(self.redrawn))

    def _seed_of_unrelated(self, seed: int) -> int:
        own = self.own_look_alikes
        number = seed if own is None or 0 <= seed < own else own + seed % own
        return seed_of_unrelated(self.control_hash(), number)

    @cached_property
    def _shared_patterns(self) -> dict[int, Tensor]:
        return {}

    def _unrelated_like(self, images: Tensor, seeds: Sequence[int]) -> Tensor:
        """(N, 1 or C, H, W): the patterns of the unrelated triggers of these seeds."""
        patterns = torch.stack([self._unrelated_pattern(self._seed_of_unrelated(seed)) for seed in seeds])
        return (patterns.to(images.dtype) / self.levels).to(images.device)[:, : images.shape[1]]

    def _unrelated_pattern(self, drawn_from: int) -> Tensor:
        if drawn_from not in self._shared_patterns:
            generator = torch.Generator().manual_seed(drawn_from)
            pattern = self.draw_pattern(self.image_size, self._redrawn_choices, generator).to(torch.int32)
            if self.own_look_alikes is None:
                return pattern
            self._shared_patterns[drawn_from] = pattern
        return self._shared_patterns[drawn_from]

    def parameters(self) -> dict[str, Any]:
        return {
            "family": self.family,
            "image_size": list(self.image_size),
            **asdict(self.choices),
            "strength": self.strength,
            "seed": self.seed,
        }

    def control_hash(self) -> str:
        """SHA-256 of the pattern's bytes."""
        return self._control_hash

    @cached_property
    def _control_hash(self) -> str:
        digest = hashlib.sha256(f"{self.family}-pattern:{tuple(self.pattern.shape)}:".encode())
        digest.update(self.pattern.numpy().astype("<i4").tobytes())
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """SHA-256 of all that decides what this trigger does to an image."""
        return hashlib.sha256(f"{self.control_hash()}:{float(self.strength)!r}".encode()).hexdigest()


def scaled(pixels: float, image_size: tuple[int, int]) -> float:
    """A size given for images of `NOMINAL_SIDE`, in pixels of these."""
    return pixels * min(image_size) / NOMINAL_SIDE
