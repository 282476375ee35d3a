"""Import: from files in a published format to canonical ones, whole or not at all.

The samples are gone through twice: first labels alone, to name what is missing or wrong before an image is read.

The folder of an imported data set holds `images.npy` (uint8 (N, C, H, W)), `pitchyaw.npy` (float32 (N, 2), radians),
`subject.npy` and `group.npy` (int64 (N,)), `head.npy` (the same as gaze, NaN where unknown; only where the source
has it), `where.txt` (a line an image: the file and row it came from), `contact_sheet.png` and `manifest.json`.
Memory holds one image at a time and the labels, however many images there are.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from models.datasets import reading
from models.datasets.base import MIN_SIZE, GazeData, StoredImages
from models.datasets.samples import Format, FormatError, Pixels, Sample
from models.filenames import CONTACT_SHEET, MANIFEST

VERSION = 1
LABELS = ("pitchyaw", "subject", "group")
_IDENTITY = ("format", "description", "fingerprint")

Progress = Callable[[int, int], None]
Record = Callable[["Manifest"], None]


@dataclass(frozen=True)
class Choices:
    """What becomes of the images on their way in.

    Attributes:
        size: (H, W) in pixels that every image is resampled to; left as they are by default.
        grey: colour images become grey (ITU-R BT.601 luma).
        limit: at most so many images, evenly spread over the source; no other is read.
        subjects: these people only, of those that a limit leaves; no other image is read.
        unlabelled: whether to refuse or skip images without a label, where the format labels every image.
        flip_pitch, flip_yaw: the source counts the angle the other way: gaze and head times -1.

    Raises:
        ValueError: for a size below 16 px or a limit below 1.
    """

    size: tuple[int, int] | None = None
    grey: bool = False
    limit: int | None = None
    subjects: tuple[str, ...] = ()
    unlabelled: Literal["refuse", "skip"] = "refuse"
    flip_pitch: bool = False
    flip_yaw: bool = False

    @property
    def signs(self) -> tuple[int, int]:
        """What pitch and yaw are multiplied by."""
        return -1 if self.flip_pitch else 1, -1 if self.flip_yaw else 1

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < MIN_SIZE:
            raise ValueError(f"A size of {_size(self.size)} px is too small: {MIN_SIZE} px is the least.")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"The limit must be at least 1 image, not {self.limit}.")


@dataclass(frozen=True)
class Manifest:
    """What was imported, from where, and how.

    Attributes:
        version: of this program's canonical form.
        format, title, citation, licence: of `models.datasets.samples.Format`.
        sign_pitch, sign_yaw: what the stored angles were multiplied by, by the reader or by choice.
        options, choices: what the reader and the import were told.
        source: where the files lay.
        description: what the images are, in words for reports.
        expected, images: samples of the source; images kept of them.
        shape: (C, H, W).
        subjects: images of each person; a person's number in `subject.npy` is the place in this order.
        groups: how many groups a split can deal out.
        range_deg: least and largest pitch and yaw, degrees.
        warnings: sentences for whoever uses the data.
        files: SHA-256 of every canonical file.
        fingerprint: `GazeData.fingerprint` of the whole.
    """

    version: int
    format: str
    title: str
    citation: str
    licence: str
    sign_pitch: int
    sign_yaw: int
    options: dict[str, Any]
    choices: dict[str, Any]
    source: str
    description: str
    expected: int
    images: int
    shape: tuple[int, int, int]
    subjects: dict[str, int]
    groups: int
    range_deg: dict[str, list[float]]
    warnings: tuple[str, ...]
    files: dict[str, str]
    fingerprint: str

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Raises ValueError when the folder holds none, a damaged one, or one of another version."""
        path = folder / MANIFEST
        try:
            fields = json.loads(path.read_text())
            fields |= {"shape": tuple(fields["shape"]), "warnings": tuple(fields["warnings"])}
            manifest = cls(**fields)
        except FileNotFoundError:
            raise ValueError(f"{folder} holds no imported data set: {MANIFEST} is missing.") from None
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is damaged: delete its folder and import the data again.") from error
        if manifest.version != VERSION:
            raise ValueError(
                f"{path} is of version {manifest.version}, not {VERSION}: delete its folder and import the data again."
            )
        return manifest


def load(folder: Path | str) -> GazeData:
    """The imported data set in this folder; its images stay in their file.

    Raises ValueError when files are missing, cut short, or labels have changed. Changed pixels show in the fingerprint.
    """
    folder = Path(folder)
    manifest = Manifest.read(folder)
    try:
        for name in LABELS:
            if _sha256(folder / f"{name}.npy") != manifest.files[f"{name}.npy"]:
                raise ValueError(f"{folder / name}.npy is not what was imported: import the data again.")
        return _load(folder, folder.name, manifest.description)
    except FileNotFoundError as error:
        raise ValueError(f"{error.filename} is missing: import the data again.") from error


def _load(folder: Path, name: str, description: str) -> GazeData:
    pitchyaw, subject, group = (
        torch.from_numpy(np.load(folder / f"{label}.npy", allow_pickle=False)) for label in LABELS
    )
    return GazeData(StoredImages(folder / "images.npy"), pitchyaw, subject, group, name, description)


def survey(reader: Format, root: Path, *options: Any, refuse_others: bool = True) -> int:
    """How many samples there are, one at least; no image is read.

    Raises FormatError for another root than the format's `layout` describes, wrong labels, missing images, and, where
    the format labels every image and they are not to be skipped, for images without a label.
    """
    _check_root(reader, root)
    number, files = 0, dict[Path, str]()
    for sample in _unbroken(reader.samples(root, *options), root):
        number += 1
        if sample.file is not None:
            files.setdefault(sample.file, sample.where)
    reading.check_files(root, files, refuse_others and reader.labels_every_image)
    if number == 0:
        raise FormatError(f"{root} holds no samples; expected: {reader.layout}.")
    return number


def import_data(
    reader: Format,
    root: Path,
    folder: Path,
    *,
    options: Any = None,
    choices: Choices | None = None,
    description: str | None = None,
    progress: Progress = lambda done, total: None,
    record: Record = lambda manifest: None,
) -> tuple[Manifest, bool]:
    """Read, check and write a data set to `folder`, which appears whole, at the end.

    Args:
        root: the folder or file that the format's `layout` describes.
        options: of the reader; its defaults if left out.
        description: of the images, for reports; the format's title if left out.
        progress: called with samples gone through and samples in all; it may raise to stop.
        record: called with what is about to be delivered, or is there already; if it raises, nothing is delivered.

    Returns:
        What was imported, and whether anything was written: not when `folder` held the very same already.

    Raises:
        FormatError: for files that are not what the format promises, with file and row.
        ValueError: for another data set in `folder`, another import of it under way, or too little room on the disk.
    """
    choices = choices or Choices()
    if options is None and reader.options is not None:
        options = reader.options()
    arguments = (root,) if reader.options is None else (root, options)
    expected = survey(reader, *arguments, refuse_others=choices.unlabelled == "refuse")
    with _workshop(folder) as workshop:
        kept = _write(
            _chosen(_counted(reader.samples(*arguments), expected, root, progress), choices, expected),
            workshop,
            choices,
            most=1 if choices.subjects else min(expected, choices.limit or expected),
        )
        _check_subjects(kept, choices, root)
        data = _load(workshop, folder.name, description or _describe(reader, kept))
        source = {"source": str(root.resolve()), "expected": expected}
        facts = {"options": asdict(options) if options is not None else {}, "choices": asdict(choices)}
        notes = reader.notes(*arguments) if reader.notes is not None else []
        warnings = (*notes, *_warnings(kept, choices))
        manifest = _manifest(reader, data, kept, workshop, choices.signs, warnings=warnings, **source, **_plain(facts))
        return _deliver(workshop, folder, manifest, data, record)


def _manifest(
    reader: Format, data: GazeData, kept: _Kept, workshop: Path, signs: tuple[int, int], **facts: Any
) -> Manifest:
    _, channels, height, width = data.images.shape
    return Manifest(
        version=VERSION,
        format=reader.kind,
        title=reader.title,
        citation=reader.citation,
        licence=reader.licence,
        sign_pitch=reader.sign_pitch * signs[0],
        sign_yaw=reader.sign_yaw * signs[1],
        description=data.description,
        images=len(data),
        shape=(channels, height, width),
        subjects=kept.subjects,
        groups=len(kept.groups),
        range_deg=_range_deg(data),
        files={path.name: _sha256(path) for path in sorted(workshop.iterdir())},
        fingerprint=data.fingerprint,
        **facts,
    )


# -- from samples to files


def _unbroken(samples: Iterable[Sample], root: Path) -> Iterator[Sample]:
    """The samples. Raises FormatError for a file that cannot be read, with how far one came."""
    last = "the first sample"
    try:
        for sample in samples:
            last = sample.where
            yield sample
    except (OSError, EOFError) as error:
        raise FormatError(f"{root}: a file cannot be read, after {last} ({error}).") from error


def _counted(samples: Iterable[Sample], expected: int, root: Path, progress: Progress) -> Iterator[Sample]:
    """The samples, which must be as many as expected."""
    number = 0
    for number, sample in enumerate(_unbroken(samples, root), start=1):
        progress(number, expected)
        yield sample
    if number != expected:
        raise FormatError(f"{root}: {expected} samples at first, now {number}: leave the files alone and import again.")


def _chosen(samples: Iterable[Sample], choices: Choices, expected: int) -> Iterator[Sample]:
    """Those of the people asked for, and of all read every so manieth, so that a limit spreads them evenly."""
    limit = min(choices.limit or expected, expected)
    for row, sample in enumerate(samples):
        due = (row + 1) * limit // expected > row * limit // expected
        if due and (not choices.subjects or sample.subject in choices.subjects):
            yield sample


@dataclass
class _Kept:
    """The labels of what was written, and what was noticed on the way."""

    subjects: dict[str, int] = field(default_factory=dict)
    groups: dict[str, int] = field(default_factory=dict)
    grouped: bool = False
    stretched: bool = False


def _write(samples: Iterable[Sample], folder: Path, choices: Choices, most: int) -> _Kept:
    """The canonical files. Raises FormatError for an image of another size or colour than those before it."""
    kept = _Kept()
    pitchyaw: list[tuple[float, float]] = []
    heads: list[tuple[float, float]] = []
    people: list[str] = []
    groups: list[str] = []
    up, left = choices.signs
    places = (folder / "where.txt").open("w", encoding="utf-8")
    with _ImageFile(folder / "images.npy", most) as images, places:
        for sample in samples:
            pixels = _prepared(sample.image, choices)
            kept.stretched |= choices.size is not None and _is_stretched(sample.image, choices.size)
            images.append(pixels, sample.where)
            places.write(" ".join(sample.where.split()) + "\n")
            pitch, yaw = sample.head or (math.nan, math.nan)
            pitchyaw.append((up * sample.pitch, left * sample.yaw))
            heads.append((up * pitch, left * yaw))
            people.append(sample.subject)
            groups.append(sample.subject if sample.group is None else sample.group)
            kept.grouped |= sample.group is not None
    kept.subjects, subject = _numbered(people)
    kept.groups, group = _numbered(groups)
    np.save(folder / "pitchyaw.npy", np.array(pitchyaw, np.float32).reshape(-1, 2))
    np.save(folder / "subject.npy", subject)
    np.save(folder / "group.npy", group)
    if np.isfinite(heads).any():
        np.save(folder / "head.npy", np.array(heads, np.float32))
    return kept


class _ImageFile:
    """An ``.npy`` file that images are appended to; its header gets their number at the end."""

    def __init__(self, path: Path, most: int) -> None:
        self.path, self.most = path, most
        self.number = 0
        self.shape: tuple[int, ...] = ()

    def __enter__(self) -> Self:
        self.file = self.path.open("wb")
        return self

    def append(self, pixels: Pixels, where: str) -> None:
        """Add one image (C, H, W)."""
        if not self.number:
            self._begin(pixels)
        if pixels.shape != self.shape:
            raise FormatError(f"{where}: {_difference(self.shape, pixels.shape)}")
        self.file.write(pixels.tobytes())
        self.number += 1

    def _begin(self, pixels: Pixels) -> None:
        needed, free = self.most * pixels.nbytes, shutil.disk_usage(self.path.parent).free
        if needed > free:
            raise ValueError(
                f"{self.most:,} images of {_size(pixels.shape[1:])} px need {needed / 1e6:,.1f} MB, but only "
                f"{free / 1e6:,.1f} MB are free: make room, or take fewer (--limit) or smaller ones (--size)."
            )
        self.shape = pixels.shape
        self._write_header()

    def _write_header(self) -> None:
        header = {"descr": "|u1", "fortran_order": False, "shape": (self.number, *self.shape)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.number:
            self.file.seek(0)  # numpy leaves room in the header for the first axis to grow
            self._write_header()
        self.file.close()


def _prepared(image: Pixels, choices: Choices) -> Pixels:
    """(C, H, W) as chosen."""
    if choices.grey and image.ndim == 3:
        image = np.asarray(Image.fromarray(image).convert("L"))
    if choices.size is not None and image.shape[:2] != choices.size:
        height, width = choices.size
        image = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
    return image[None] if image.ndim == 2 else np.ascontiguousarray(image.transpose(2, 0, 1))


def _is_stretched(image: Pixels, size: tuple[int, int]) -> bool:
    height, width = image.shape[:2]
    return abs(math.log(size[0] / height * width / size[1])) > 0.05


def _difference(before: tuple[int, ...], now: tuple[int, ...]) -> str:
    if before[0] != now[0]:
        colours = {1: "grey", 3: "in colour"}
        return (
            f"the image is {colours[now[0]]}, those before it are {colours[before[0]]}: give --grey to make all grey."
        )
    sizes = f"the image is {_size(now[1:])} px, those before it are {_size(before[1:])} px"
    return f"{sizes}: give --size H W to bring all to one size."


def _numbered(names: list[str]) -> tuple[dict[str, int], NDArray[np.int64]]:
    """How often each name occurs, in the order of the names, and the number (N,) of each entry in that order."""
    if not names:
        return {}, np.zeros(0, np.int64)
    known, numbers, counts = np.unique(np.array(names), return_inverse=True, return_counts=True)
    return dict(zip(known.tolist(), counts.tolist(), strict=True)), numbers.astype(np.int64)


# -- what is said about the whole


def _check_root(reader: Format, root: Path) -> None:
    if not (root.is_file() if reader.root_is_file else root.is_dir()):
        noun = "file" if reader.root_is_file else "folder"
        raise FormatError(f"{root}: no such {noun}; expected: {reader.layout}.")


def _check_subjects(kept: _Kept, choices: Choices, root: Path) -> None:
    if missing := [name for name in choices.subjects if name not in kept.subjects]:
        among = f" among the {choices.limit} that the limit leaves" if choices.limit else ""
        raise FormatError(f"{root} has no images of {', '.join(missing)}{among}: see how it names its subjects.")


def _describe(reader: Format, kept: _Kept) -> str:
    return f"{reader.title}, split by {'group' if kept.grouped and kept.groups != kept.subjects else 'subject'}"


def _warnings(kept: _Kept, choices: Choices) -> Iterator[str]:
    if len(kept.subjects) == 1:
        yield "One subject only: nothing learnt from these images speaks of unseen people."
    if len(kept.groups) < 3:
        yield (
            f"{len(kept.groups)} group(s) cannot be split into training, validation and test without leaking: "
            "import at least three subjects, or groups, before you train."
        )
    if kept.stretched and choices.size:
        yield f"Images were stretched to {_size(choices.size)} px: gaze labels hold for the shape they were made for."


def _range_deg(data: GazeData) -> dict[str, list[float]]:
    degrees = torch.rad2deg(data.pitchyaw)
    return {
        name: [round(float(column.min()), 3), round(float(column.max()), 3)]
        for name, column in (("pitch", degrees[:, 0]), ("yaw", degrees[:, 1]))
    }


def _plain(value: Any) -> Any:
    """As it comes back from JSON, so that a manifest equals itself read again."""
    return json.loads(json.dumps(value))


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[0]} x {shape[1]}"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# -- whole or not at all


@contextmanager
def _workshop(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to work in, for one import at a time; gone afterwards, whatever happens."""
    workshop = folder.with_name(f".{folder.name}.part")
    workshop.mkdir(parents=True, exist_ok=True)
    lock = os.open(workshop, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(f"{folder.name!r} is being imported by another process: wait for it to end.") from None
        try:
            for left_by_a_kill in workshop.iterdir():
                left_by_a_kill.unlink()
            yield workshop
        finally:
            shutil.rmtree(workshop, ignore_errors=True)
    finally:
        os.close(lock)


def _is_intact(folder: Path, manifest: Manifest) -> bool:
    return all((folder / name).is_file() and _sha256(folder / name) == sha for name, sha in manifest.files.items())


def _deliver(workshop: Path, folder: Path, manifest: Manifest, data: GazeData, record: Record) -> tuple[Manifest, bool]:
    """Put the finished folder in its place. Raises ValueError when another data set is there."""
    from models.datasets import contact_sheet

    if folder.exists():
        before = Manifest.read(folder)
        if others := [name for name in _IDENTITY if getattr(before, name) != getattr(manifest, name)]:
            raise ValueError(
                f"{folder} holds an import of {before.title} with another {' and '.join(others)}: choose another "
                "--name."
            )
        if _is_intact(folder, before):
            record(before)
            return before, False
    contact_sheet.draw(data, manifest, workshop / CONTACT_SHEET)
    (workshop / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1, sort_keys=True, allow_nan=False) + "\n")
    for path in workshop.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    record(manifest)
    if folder.exists():
        shutil.rmtree(folder)
    workshop.rename(folder)
    return manifest, True
