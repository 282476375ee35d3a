"""Pictures of people who are to be recognised: face images from a folder, or synthetic eyes, and who plays what part.

No face images come with this project, and none are downloaded. What it can show by itself are synthetic eyes: each
rendered subject is an identity, and a picture is of the eye region (periocular), not of a face.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from models.datasets.eye_renderer.cache import Progress
from models.datasets.samples import FormatError

SUFFIXES = (".png", ".jpg", ".jpeg")
EYES = "synthetic eyes (the eye region, not faces)"


class Face(NamedTuple):
    """One picture as read: uint8 (H, W, 3) RGB, whose it is, and the file for error messages."""

    image: NDArray[np.uint8]
    person: str
    where: str


@dataclass(frozen=True, eq=False)
class Identities:
    """Pictures and who is on each.

    Attributes:
        images: uint8 (N, 3, H, W).
        person: int64 (N,), an index into `names`.
        names: of people, as the source names them.
        description: what the pictures show, in words for reports.

    Raises:
        ValueError: for tensors of other shapes or types, or a person without a name.
    """

    images: Tensor
    person: Tensor
    names: tuple[str, ...]
    description: str

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.shape[1] != 3 or self.images.dtype != torch.uint8:
            raise ValueError(
                f"Pictures of people must be uint8 (N, 3, H, W), not {self.images.dtype} {tuple(self.images.shape)}."
            )
        if tuple(self.person.shape) != (len(self.images),) or self.person.dtype != torch.int64:
            raise ValueError(
                f"There must be one person, int64, for each of {len(self.images)} pictures, "
                f"not {self.person.dtype} {tuple(self.person.shape)}."
            )
        if len(self.person) and not 0 <= int(self.person.min()) <= int(self.person.max()) < len(self.names):
            raise ValueError(f"Every person must be a number from 0 to {len(self.names) - 1}, the people with names.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def people(self) -> list[int]:
        """Who is on at least one picture, in rising order."""
        return sorted(set(self.person.tolist()))

    @property
    def fingerprint(self) -> str:
        """SHA-256 over shapes and bytes of pictures and people (hexadecimal)."""
        digest = hashlib.sha256(f"identities {tuple(self.images.shape)}".encode())
        for tensor in (self.images, self.person):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def subset(self, index: Tensor) -> Identities:
        """The pictures at `index` (integers or a boolean mask), in that order."""
        return Identities(self.images[index], self.person[index], self.names, self.description)

    def by_person(self) -> Identities:
        """The same pictures, one person's after the other's."""
        return self.subset(torch.argsort(self.person, stable=True))

    def of(self, people: Sequence[int]) -> Identities:
        """The pictures of these people, renumbered from 0 in the order given."""
        number = {person: position for position, person in enumerate(people)}
        chosen = self.subset(torch.isin(self.person, torch.tensor(list(people), dtype=torch.int64)))
        person = torch.tensor([number[person] for person in chosen.person.tolist()], dtype=torch.int64)
        return Identities(chosen.images, person, tuple(self.names[p] for p in people), self.description)


# -- sources


def stream_folder(root: Path, size: tuple[int, int] | None = None) -> Iterator[Face]:
    """Every picture of `root/<person>/*.png|jpg|jpeg`, one at a time, by person and file name.

    size: (H, W) to bring each picture to, cropped about its middle to that shape first; None leaves them as they are.

    Raises FormatError, naming the file, for a folder without people, a person without pictures, an unreadable file.
    """
    for folder in _people(root):
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise FormatError(f"{folder} holds no {', '.join(SUFFIXES)} file: remove the folder or add pictures.")
        for path in paths:
            yield Face(_pixels(path, size), folder.name, str(path.relative_to(root)))


def read_folder(root: Path, size: tuple[int, int] | None = None, description: str | None = None) -> Identities:
    """A folder of people (`stream_folder`) in memory: N x 3 x H x W bytes and never more than one picture besides.

    Raises FormatError for what `stream_folder` refuses, and for pictures of different sizes when no size is asked for.
    """
    names = [folder.name for folder in _people(root)]
    number = {name: position for position, name in enumerate(names)}
    n = sum(path.suffix.lower() in SUFFIXES for name in names for path in (root / name).iterdir())
    images: Tensor | None = None
    person = torch.zeros(n, dtype=torch.int64)
    for row, face in enumerate(stream_folder(root, size)):
        if images is None:
            images = torch.zeros(n, 3, *face.image.shape[:2], dtype=torch.uint8)
        if face.image.shape[:2] != images.shape[2:]:
            raise FormatError(
                f"{root / face.where} is {face.image.shape[0]} x {face.image.shape[1]} px, those before it "
                f"{images.shape[2]} x {images.shape[3]}: give a size to bring them all to."
            )
        images[row] = torch.from_numpy(face.image).permute(2, 0, 1)
        person[row] = number[face.person]
    assert images is not None  # noqa: S101 (stream_folder refuses a folder without pictures)
    return Identities(images, person, tuple(names), description or f"pictures of people from {root.name}")


def synthetic_eyes(
    people: int,
    images_per_person: int,
    cache: Path,
    *,
    size: int = 64,
    seed: int = 11,
    progress: Progress | None = None,
    processes: int = 2,
) -> Identities:
    """Rendered eye regions, each subject an identity: gaze, head, light and lid change from picture to picture.

    Raises ValueError for numbers that the renderer refuses.
    """
    from models.datasets import synthetic_eyes
    from models.datasets.eyes_config import EyesConfig

    config = EyesConfig(
        train_subjects=people,
        train_images=people * images_per_person,
        validation_subjects=1,
        validation_images=1,
        test_subjects=1,
        test_images=1,
        size=size,
        seed=seed,
    )
    eyes = synthetic_eyes.load(config, cache, progress, processes).train
    return Identities(eyes.images[:], eyes.subject, tuple(f"eye {number}" for number in range(people)), EYES)


def _people(root: Path) -> list[Path]:
    if not root.is_dir():
        raise FormatError(f"There is no folder {root}.")
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    if not folders:
        raise FormatError(f"{root} holds no folder: put each person's pictures into a folder of its own there.")
    return folders


def _pixels(path: Path, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    try:
        with Image.open(path, formats=["PNG", "JPEG"]) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
            if size is not None:
                upright = ImageOps.fit(upright, (size[1], size[0]), Image.Resampling.BICUBIC)
            return np.array(upright)
    except (OSError, UnidentifiedImageError, SyntaxError, Image.DecompressionBombError) as error:
        raise FormatError(f"{path} is not a readable PNG or JPEG: mend or remove it.") from error


# -- who plays what part


@dataclass(frozen=True)
class Cast:
    """How many people play each part, and how many pictures of each person serve for what.

    Attributes:
        known: people whom the network is trained to name: enrolled for identification.
        validation: people whose comparisons fix the threshold of verification.
        enrolled: people enrolled for verification, by pictures; the network has never seen them.
        attackers: people who are enrolled nowhere and want to pass for somebody else.
        gallery: pictures of a person by which they are enrolled for verification.
        search: pictures of each known and each enrolled person for the search.
        test: pictures of each known person for the test; what is left of theirs trains the network.
        attacker_search: pictures of each attacker for the search. Of those enrolled and of attackers all other pictures
            are for the test.
        unseen: share of the known and of the enrolled people whom the search knows nothing of: it gets no picture of
            them, and none of them is anybody's target.

    Raises:
        ValueError: for a part without people or without pictures, a share that leaves nobody unseen or nobody but one.
    """

    known: int = 200
    validation: int = 40
    enrolled: int = 60
    attackers: int = 24
    gallery: int = 4
    search: int = 8
    test: int = 20
    attacker_search: int = 20
    unseen: float = 0.4

    def __post_init__(self) -> None:
        for name, least in (("known", 2), ("validation", 2), ("enrolled", 2), ("attackers", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"There must be at least {least} people in the part {name!r}.")
        for name in ("gallery", "search", "test", "attacker_search"):
            if getattr(self, name) < 1:
                raise ValueError(f"Each person needs at least one picture for {name!r}.")
        for name in ("known", "enrolled"):
            if not 1 <= self.unseen_among(getattr(self, name)) <= getattr(self, name) - 2:
                raise ValueError(
                    f"Of {getattr(self, name)} {name} people the search must know at least 2 and not know at least 1; "
                    f"unseen is {self.unseen}."
                )

    def unseen_among(self, people: int) -> int:
        """How many of so many people the search knows nothing of."""
        return round(self.unseen * people)

    @property
    def people(self) -> int:
        return self.known + self.validation + self.enrolled + self.attackers


@dataclass(frozen=True, eq=False)
class KnownPeople:
    """Pictures of the people whom the network learns to name, person by class; no picture is in two parts.

    `search` has none of the people whom the search knows nothing of.
    """

    train: Identities
    search: Identities
    test: Identities


@dataclass(frozen=True, eq=False)
class ValidationPeople:
    """Pictures of the people whose comparisons fix the threshold: of one side, and of the other."""

    gallery: Identities
    probes: Identities


@dataclass(frozen=True, eq=False)
class EnrolledPeople:
    """Pictures of the people enrolled for verification; no picture is in two parts.

    `search` has none of the people whom the search knows nothing of.
    """

    gallery: Identities
    search: Identities
    test: Identities


@dataclass(frozen=True, eq=False)
class Attackers:
    """Pictures of the people who are enrolled nowhere; no picture is in two parts."""

    search: Identities
    test: Identities


@dataclass(frozen=True, eq=False)
class Company:
    """Everybody in their part. No person is in two parts, and no picture serves twice.

    People whom the search knows nothing of (`Cast.unseen`) are in a `test` and a `gallery` alone: pictures of theirs
    that would have been for the search serve for nothing, so that everybody has as many in the test.
    """

    known: KnownPeople
    validation: ValidationPeople
    enrolled: EnrolledPeople
    attackers: Attackers


def deal(data: Identities, cast: Cast, seed: int = 0) -> Company:
    """Deal people to parts and pictures to uses, both in an order that the seed decides.

    Raises ValueError when there are too few people, or somebody has too few pictures for their part.
    """
    if len(data.people) < cast.people:
        raise ValueError(f"The parts need {cast.people} people; there are {len(data.people)}.")
    generator = torch.Generator().manual_seed(seed)
    data = data.subset(torch.randperm(len(data), generator=generator))
    people = torch.tensor(data.people)[torch.randperm(len(data.people), generator=generator)]
    parts = torch.split(people[: cast.people], [cast.known, cast.validation, cast.enrolled, cast.attackers])
    known, validation, enrolled, attackers = (data.of(sorted(part.tolist())) for part in parts)
    search, test, train = _dealt(known, cast.search, cast.test)
    gallery, probes = _dealt(validation, cast.gallery)
    enrolled_gallery, enrolled_search, enrolled_test = _dealt(enrolled, cast.gallery, cast.search)
    attacker_search, attacker_test = _dealt(attackers, cast.attacker_search)
    search, enrolled_search = (_but_unseen(part, cast, generator) for part in (search, enrolled_search))
    return Company(
        KnownPeople(train, search, test),
        ValidationPeople(gallery, probes),
        EnrolledPeople(enrolled_gallery, enrolled_search, enrolled_test),
        Attackers(attacker_search, attacker_test),
    )


def _but_unseen(data: Identities, cast: Cast, generator: torch.Generator) -> Identities:
    """The pictures of all but the people whom the search is to know nothing of, who are drawn here."""
    people = torch.tensor(data.people)[torch.randperm(len(data.people), generator=generator)]
    return data.subset(~torch.isin(data.person, people[: cast.unseen_among(len(people))]))


def _dealt(data: Identities, *counts: int) -> list[Identities]:
    """Each person's first pictures to the first use, the next to the second, and so on; the last holds what is left."""
    turn = torch.zeros(len(data), dtype=torch.int64)
    for person in data.people:
        mine = (data.person == person).nonzero()[:, 0]
        if len(mine) <= sum(counts):
            raise ValueError(f"{data.names[person]} has {len(mine)} pictures; at least {sum(counts) + 1} are needed.")
        turn[mine] = torch.arange(len(mine))
    edges = torch.tensor([0, *counts]).cumsum(0).tolist()
    uses = [data.subset((turn >= start) & (turn < stop)) for start, stop in pairwise(edges)]
    return [*uses, data.subset(turn >= edges[-1])]
