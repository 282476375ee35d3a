"""What every gaze data set looks like once it is loaded, and how it is split without leaking."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FINGERPRINT_VERSION = 1
BYTES_AT_ONCE = 1 << 26
MIN_SIZE = 16
MOST_RADIANS = (math.pi / 2 + 1e-5, math.pi + 1e-5)
"""Of pitch and yaw, either way; float32 may round a right angle up."""

Index = int | slice | Tensor | Sequence[int]


class StoredImages:
    """uint8 images (N, C, H, W) that stay in their ``.npy`` file; indexed like a tensor, they are read as tensors.

    Rows are read, not mapped: memory holds what was asked for and nothing else, and a file that has been cut short is
    an error of this program's, not a signal that kills it.

    Raises:
        ValueError: if the file is no whole ``.npy`` file of uint8 (N, C, H, W).
    """

    dtype = torch.uint8
    ndim = 4

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("rb")
        try:
            version = np.lib.format.read_magic(self._file)
            if version != (1, 0):
                raise ValueError(f"version {version}")
            shape, in_columns, dtype = np.lib.format.read_array_header_1_0(self._file)
        except ValueError as error:
            raise ValueError(
                f"{path} is not an .npy file as this program writes them: import the data again."
            ) from error
        self._start = self._file.tell()
        size = os.fstat(self._file.fileno()).st_size
        if in_columns or dtype != np.uint8 or len(shape) != self.ndim or size != self._start + math.prod(shape):
            raise ValueError(f"{path} does not hold whole uint8 images (N, C, H, W): import the data again.")
        self._image = tuple(shape[1:])
        self._rows = torch.arange(shape[0])

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self._rows), *self._image))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Index) -> Tensor:
        """One image (C, H, W), or those of a slice, of whole numbers or of a mask (n, C, H, W), read now."""
        rows = self._rows[index]
        pixels = torch.empty((rows.numel(), *self._image), dtype=self.dtype)
        self._read(rows.reshape(-1), pixels.numpy().reshape(-1).data)
        return pixels.reshape(*rows.shape, *self._image)

    def subset(self, index: Index) -> StoredImages:
        """These images, in that order, still in their file."""
        chosen = object.__new__(StoredImages)
        chosen.__dict__ |= self.__dict__ | {"_rows": self._rows[index]}
        return chosen

    def chunks(self) -> Iterator[Tensor]:
        """All images in their order, as many at once as fit in 64 MiB."""
        step = max(1, BYTES_AT_ONCE // math.prod(self._image))
        for start in range(0, len(self), step):
            yield self[start : start + step]

    def _read(self, rows: Tensor, pixels: memoryview) -> None:
        """The images in these rows of the file; neighbours are read at one go."""
        size = math.prod(self._image)
        edges = ((rows.diff() != 1).nonzero().reshape(-1) + 1).tolist()
        for first, last in pairwise([0, *edges, len(rows)] if len(rows) else []):
            place, stop = first * size, last * size
            offset = self._start + (int(rows[first]) - first) * size
            while place < stop:
                read = os.preadv(self._file.fileno(), [pixels[place:stop]], offset + place)
                if not read:
                    raise OSError(f"{self.path} has been cut short since it was opened: import the data again.")
                place += read


Images = Tensor | StoredImages


@dataclass(frozen=True, eq=False)
class GazeData:
    """Images of eyes or faces with their gaze labels.

    Attributes:
        images: uint8 (N, C, H, W), C = 1 (grey) or 3 (RGB); a tensor, or images that stay in a file.
        pitchyaw: float32 (N, 2), radians, in the convention of ``models.gaze``: pitch > 0 looks up,
            yaw > 0 looks to the left of the image.
        subject: int64 (N,), the person on each image.
        group: int64 (N,), what a split keeps together: the subject, unless told otherwise.
        name: short name of the data set, for records.
        description: what the images are, in words for reports ("synthetic eyes").

    Raises:
        ValueError: if a tensor has the wrong shape or type, or an angle is not finite or out of range.
    """

    images: Images
    pitchyaw: Tensor
    subject: Tensor
    group: Tensor
    name: str
    description: str

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[1] not in (1, 3) or self.images.dtype != torch.uint8:
            raise ValueError(
                f"{self.name}: images must be uint8 (N, C, H, W) with C = 1 or 3, "
                f"not {self.images.dtype} {tuple(self.images.shape)}."
            )
        n = len(self.images)
        for field, shape, dtype in (
            ("pitchyaw", (n, 2), torch.float32),
            ("subject", (n,), torch.int64),
            ("group", (n,), torch.int64),
        ):
            value: Tensor = getattr(self, field)
            if tuple(value.shape) != shape or value.dtype != dtype:
                raise ValueError(
                    f"{self.name}: {field} must be {dtype} {shape} for {n} images, "
                    f"not {value.dtype} {tuple(value.shape)}."
                )
        check_angles(self.pitchyaw, self.name)

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, index: Tensor | Sequence[int]) -> GazeData:
        """The images at `index` (integers or a boolean mask), in that order; stored images stay in their file."""
        index = torch.as_tensor(index)
        if index.dtype != torch.bool:
            index = index.long()
        return GazeData(
            images=self.images.subset(index) if isinstance(self.images, StoredImages) else self.images[index],
            pitchyaw=self.pitchyaw[index],
            subject=self.subject[index],
            group=self.group[index],
            name=self.name,
            description=self.description,
        )

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over format version, shapes and bytes of images, labels, subjects and groups (hexadecimal)."""
        digest = hashlib.sha256(f"gaze data {FINGERPRINT_VERSION}".encode())
        for values in (self.images, self.pitchyaw, self.subject, self.group):
            digest.update(f"{values.dtype} {tuple(values.shape)}".encode())
            for chunk in values.chunks() if isinstance(values, StoredImages) else [values]:
                digest.update(chunk.contiguous().numpy().data)
        return digest.hexdigest()


def check_angles(pitchyaw: Tensor, name: str) -> None:
    """Raise ValueError unless every angle is finite, |pitch| <= pi/2 and |yaw| <= pi."""
    if not torch.isfinite(pitchyaw).all():
        row = int((~torch.isfinite(pitchyaw)).any(1).nonzero()[0])
        raise ValueError(f"{name}: pitchyaw row {row} is not finite; remove unlabelled images first.")
    outside = (pitchyaw.abs() > torch.tensor(MOST_RADIANS)).any(1)
    if outside.any():
        row = int(outside.nonzero()[0])
        pitch, yaw = pitchyaw[row].tolist()
        raise ValueError(
            f"{name}: pitchyaw row {row} is ({pitch:.4g}, {yaw:.4g}), beyond +-pi/2 and +-pi: "
            "angles must be radians, these look like degrees."
        )


@dataclass(frozen=True, eq=False)
class Splits:
    """Training, validation and test images with no group in common.

    Raises:
        ValueError: if a part is empty or two parts share a group.
    """

    train: GazeData
    validation: GazeData
    test: GazeData

    def __post_init__(self) -> None:
        groups = {part: set(getattr(self, part).group.tolist()) for part in ("train", "validation", "test")}
        for part, members in groups.items():
            if not members:
                raise ValueError(f"The {part} part of the split has no images.")
        for first, second in (("train", "validation"), ("train", "test"), ("validation", "test")):
            shared = groups[first] & groups[second]
            if shared:
                raise ValueError(
                    f"Group {min(shared)} is in both the {first} and the {second} part: "
                    "split by whole groups, or errors on unseen people come out too small."
                )


def split_by_group(
    data: GazeData,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
    counts: tuple[int, int, int] | None = None,
    seed: int = 0,
) -> Splits:
    """Deal whole groups out to training, validation and test.

    Args:
        data: the images; `data.group` says which belong together.
        fractions: shares of the *groups* (not of the images) for each part; they add up to 1.
        counts: numbers of groups for each part instead of fractions; they add up to the number of groups.
        seed: decides which groups go where; images keep their order within a part.

    Raises:
        ValueError: if there are fewer than three groups, or the fractions or counts do not add up.
    """
    groups = torch.tensor(sorted(set(data.group.tolist())))
    if len(groups) < 3:
        raise ValueError(
            f"{data.name}: {len(groups)} group(s) cannot be split three ways, and a random split would leak "
            "near-duplicates: take images of at least three people (an array file names them in `subject`), or split "
            "by another array, named with group_key."
        )
    if counts is None:
        counts = _counts(len(groups), fractions)
    if min(counts) < 1 or sum(counts) != len(groups):
        raise ValueError(f"{data.name}: group counts {counts} must be at least 1 each and add up to {len(groups)}.")
    order = groups[torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))]
    first, second = counts[0], counts[0] + counts[1]
    members = (order[:first], order[first:second], order[second:])
    return Splits(*(data.subset(torch.isin(data.group, part)) for part in members))


def check_fractions(fractions: Sequence[float]) -> None:
    """Raise ValueError unless the shares of training, validation and test are positive and add up to 1."""
    if len(fractions) != 3 or not min(fractions) > 0 or not math.isclose(sum(fractions), 1, abs_tol=1e-6):
        raise ValueError(f"Split fractions {tuple(fractions)} must be three, positive, and add up to 1.")


def _counts(n: int, fractions: tuple[float, float, float]) -> tuple[int, int, int]:
    check_fractions(fractions)
    validation = max(1, round(fractions[1] * n))
    test = max(1, round(fractions[2] * n))
    return n - validation - test, validation, test
