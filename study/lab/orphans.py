"""Files that nothing names any more: what killed writers, late attempts and deleted rows left behind."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.files.storage import FileSystemStorage
from django.utils import timezone

from study.lab import files, uploads
from study.lab.images import IMAGES
from study.lab.kinds import MODELS, working_folders
from study.lab.models import BaseImage, Dataset, Job, ModelRun, Pair

STORAGE, HERE, JOBS, UPLOADS = "the storage", "this host", "jobs that are over", "uploads"


@dataclass(frozen=True)
class Shelf:
    """A folder under MEDIA_ROOT that jobs of this kind write to, each to a folder of its own.

    named: the folders, relative to MEDIA_ROOT, that rows name.
    """

    folder: str
    kind: str
    named: Callable[[], Iterable[str]]


#: Beside images and models; apps above this one append theirs.
SHELVES: list[Shelf] = []


@dataclass(frozen=True)
class Orphan:
    """A file, or the working folder of a job that is over.

    place: STORAGE, HERE, JOBS or UPLOADS. name: relative to MEDIA_ROOT; of a folder, its job; of an upload, its own.
    size in bytes; modified: when it was last written.
    """

    place: str
    name: str
    size: int
    modified: datetime


def orphans(older_than: timedelta) -> list[Orphan]:
    """Files that no row names, of images, models, shelves and uploads, and folders of jobs that are over, written
    before this long ago.

    Files are listed before rows are read, so that what is named meanwhile is no orphan. What a job that is not over
    could be writing, or be about to name, is left alone however old it is; imported data sets are never looked at.
    Raises `study.lab.files.StorageFailed`.
    """
    listed = [(place, name) for place, storage in _storages().items() for name in _made(storage)]
    wanted = _Wanted.now()
    found = [_described(place, name) for place, name in listed if not wanted.has(name)]
    latest = timezone.now() - older_than
    return [orphan for orphan in (*found, *_folders(), *_uploads()) if orphan.modified < latest]


def remove(found: Iterable[Orphan]) -> list[Orphan]:
    """Delete those that are orphans still, and return them. Raises `study.lab.files.StorageFailed`."""
    wanted, storages = _Wanted.now(), _storages()
    removed = []
    for orphan in found:
        if orphan.place == JOBS:
            if _is_needed(orphan.name):
                continue
            shutil.rmtree(working_folders() / orphan.name)
        elif orphan.place == UPLOADS:
            upload = uploads.folder() / orphan.name
            if _is_a_data_set(upload):
                continue
            upload.unlink(missing_ok=True)
        else:
            if wanted.has(orphan.name):
                continue
            with files.asking(storages[orphan.place], orphan.name):
                storages[orphan.place].delete(orphan.name)
        removed.append(orphan)
    return removed


def anything_is_named() -> bool:
    """Whether any row names a file. A database that names none is new, or not the one that these files belong to."""
    return any(rows.exists() for rows in (BaseImage.objects, Pair.objects, ModelRun.objects.exclude(artifact="")))


def _storages() -> dict[str, Any]:
    """Where files are: on this host, and in the storage that hosts share, if they do."""
    shared = files.bucket()
    return {HERE: FileSystemStorage()} | ({STORAGE: shared} if shared else {})


def _made(storage: Any) -> Iterator[str]:
    """The names of all files under the folders that jobs write to."""
    for folder in (IMAGES, MODELS, *(shelf.folder for shelf in SHELVES)):
        with files.asking(storage, folder):
            yield from _within(storage, folder)


def _within(storage: Any, folder: str) -> Iterator[str]:
    try:
        folders, names = storage.listdir(folder)
    except FileNotFoundError:
        return
    yield from (f"{folder}/{name}" for name in sorted(names))
    for inner in sorted(folders):
        yield from _within(storage, f"{folder}/{inner}")


def _described(place: str, name: str) -> Orphan:
    storage = _storages()[place]
    with files.asking(storage, name):
        return Orphan(place, name, storage.size(name), storage.get_modified_time(name))


@dataclass(frozen=True)
class _Wanted:
    """What must stay: names, and beginnings of names."""

    names: frozenset[str]
    beginnings: tuple[str, ...]

    @classmethod
    def now(cls) -> _Wanted:
        images = (rows.objects.values_list("file", flat=True) for rows in (BaseImage, Pair))
        artifacts = ModelRun.objects.exclude(artifact="").values_list("artifact", flat=True)
        beginnings = [f"{artifact}/" for artifact in artifacts]
        beginnings += [f"{folder}/" for shelf in SHELVES for folder in shelf.named()]
        for job in Job.objects.filter(state__in=[Job.State.QUEUED, Job.State.RUNNING]):
            if job.kind == Job.Kind.PAIRS:
                beginnings.append(f"{IMAGES}/")
            beginnings += [f"{shelf.folder}/{job.pk}/" for shelf in SHELVES if job.kind == shelf.kind]
            run = ModelRun.objects.filter(pk=job.parameters.get("model_run")).first()
            if run is not None:
                beginnings.append(f"{MODELS}/{run.name}/")
        return cls(frozenset(name for names in images for name in names), tuple(beginnings))

    def has(self, name: str) -> bool:
        return name in self.names or name.startswith(self.beginnings)


def _folders() -> Iterator[Orphan]:
    root = working_folders()
    for folder in sorted(root.iterdir()) if root.is_dir() else ():
        if folder.is_dir() and not _is_needed(folder.name):
            stats = [path.stat() for path in (folder, *folder.rglob("*"))]
            modified = datetime.fromtimestamp(max(stat.st_mtime for stat in stats), UTC)
            yield Orphan(JOBS, folder.name, _bytes(folder), modified)


def _uploads() -> Iterator[Orphan]:
    root = uploads.folder()
    for file in sorted(root.iterdir()) if root.is_dir() else ():
        if not _is_a_data_set(file):
            stat = file.stat()
            yield Orphan(UPLOADS, file.name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))


def _is_a_data_set(upload: Path) -> bool:
    return Dataset.objects.filter(root=str(upload.resolve())).exists()


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _is_needed(pk: str) -> bool:
    """Whether the job is not over, or whether the folder is none of a job's."""
    try:
        job = Job.objects.filter(pk=pk).first()
    except ValidationError:
        return True
    return job is not None and not job.is_over
