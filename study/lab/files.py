"""The files that rows name, each with the SHA-256 of what it must contain, and the way between hosts and the storage.

Names are relative to MEDIA_ROOT. Without STORAGE_URL that folder is all there is, and nothing here has anything to do.
With it, a bucket holds the truth, and MEDIA_ROOT of each host is a verified copy of what it has needed so far: what is
shown to participants is read from there alone, because the time that a bucket takes would tell images apart.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar, cast

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, storages

from study.lab.images import RESTORE, DamagedFile

if TYPE_CHECKING:
    from study.lab.bucket import Bucket

Found = TypeVar("Found")

AT_ONCE = 8
LOOK_EVERY_S = 30.0
READ_ONLY = 0o444
#: s: how long a request waits for another that fetches. While the storage is away, each would take half a minute, one
#: after the other, and no thread would be left to store an answer.
PATIENCE_S = 2.0


class StorageFailed(OSError):  # noqa: N818 (a fact about the storage)
    """The storage cannot be reached, refuses, or keeps something else than it was given. Another try may succeed."""


@dataclass(frozen=True)
class StoredFile:
    """A name relative to MEDIA_ROOT, and what it must contain: SHA-256 in hex."""

    name: str
    sha256: str


class HasFiles(Protocol):
    """A study, as far as this module is concerned."""

    pk: Any

    def files(self) -> Collection[StoredFile]: ...


def bucket() -> Bucket | None:
    """The storage that hosts share; None when the files of this host are all there is."""
    storage = storages["default"]
    return None if isinstance(storage, FileSystemStorage) else cast("Bucket", storage)


def path(name: str) -> Path:
    """Where a file lies on this host, if it is there."""
    return Path(settings.MEDIA_ROOT) / name


def is_right(here: Path, sha256: str) -> bool:
    """Whether the file is there and contains what it must."""
    try:
        with here.open("rb") as file:
            return _digest(file) == sha256
    except FileNotFoundError:
        return False


# -- between this host and the storage


def fetch(files: Iterable[StoredFile], *, anew: bool = False, folder: Path | None = None) -> int:
    """Bring files to this host: those that are missing or damaged here, or, `anew`, all of them. Returns how many.

    folder: what the names are relative to, by default MEDIA_ROOT. Every file is compared with its SHA-256 before it
    gets its name. Raises DamagedFile for the first that the storage does not have or has with other content, once all
    others are here; StorageFailed when the storage cannot be reached.
    """
    storage, root = bucket(), folder or Path(settings.MEDIA_ROOT)
    if storage is None:
        return 0
    wanted = [file for file in dict.fromkeys(files) if anew or not is_right(root / file.name, file.sha256)]
    faults = _all_at_once(lambda file: _fault(storage, file, root / file.name), wanted)
    if fault := next(filter(None, faults), None):
        raise fault
    return len(wanted)


def publish(files: Iterable[StoredFile], *, folder: Path | None = None) -> int:
    """Bring files of this host to the storage, and read there what arrived. Returns how many were missing there.

    Again does nothing. Raises DamagedFile for one that is not here or not right here, StorageFailed when the storage
    cannot be reached or keeps something else.
    """
    storage, root = bucket(), folder or Path(settings.MEDIA_ROOT)
    if storage is None:
        return 0
    return sum(_all_at_once(lambda file: _upload(storage, file, root / file.name), dict.fromkeys(files)))


def read(name: str) -> bytes:
    """What the storage has under this name, for a file whose hash is told by its content.

    Raises DamagedFile when it has none, StorageFailed when it cannot be reached.
    """
    with _opened(bucket() or storages["default"], name) as file:
        return bytes(file.read())


def stored_bytes(files: Iterable[StoredFile]) -> int:
    """How large these files are in the storage. Raises StorageFailed, as for a file that it does not have."""
    storage, total = storages["default"], 0
    for file in files:
        with asking(storage, file.name):
            total += storage.size(file.name)
    return total


def _all_at_once(act: Callable[[StoredFile], Found], files: Iterable[StoredFile]) -> list[Found]:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(act, files))


def _fault(storage: Bucket, file: StoredFile, here: Path) -> DamagedFile | None:
    """What was wrong with the file that should be here now."""
    try:
        _download(storage, file, here)
    except DamagedFile as fault:
        return fault
    return None


def _download(storage: Bucket, file: StoredFile, here: Path) -> None:
    with _arriving(here) as temporary:
        with _opened(storage, file.name) as source:
            shutil.copyfileobj(source, temporary)
        temporary.seek(0)
        if _digest(temporary) != file.sha256:
            raise DamagedFile(f"{file.name} in the storage is not what was stored: its SHA-256 differs. {RESTORE}")


def _upload(storage: Bucket, file: StoredFile, here: Path) -> bool:
    """Whether there was anything to do."""
    if _stored_digest(storage, file.name) == file.sha256:
        return False
    if not is_right(here, file.sha256):
        raise DamagedFile(f"{here} is missing or not what was made: it is not put into the storage.")
    with asking(storage, file.name), here.open("rb") as content:
        storage.save(file.name, File(content))
    if _stored_digest(storage, file.name) != file.sha256:
        raise StorageFailed(f"The storage keeps {file.name} with other content than it was given.")
    return True


def _stored_digest(storage: Bucket, name: str) -> str | None:
    try:
        with _opened(storage, name) as file:
            return _digest(file)
    except DamagedFile:
        return None


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


@contextmanager
def _arriving(path: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name, read-only, once the block is through; until then a temporary one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as temporary:
        try:
            yield cast(IO[bytes], temporary)
            temporary.flush()
            os.fchmod(temporary.fileno(), READ_ONLY)
            os.replace(temporary.name, path)
        except BaseException:
            os.unlink(temporary.name)
            raise


@contextmanager
def _opened(storage: Any, name: str) -> Iterator[IO[bytes]]:
    with asking(storage, name):
        try:
            content = storage.open(name)
        except FileNotFoundError:
            raise DamagedFile(f"{name} is missing from the storage. {RESTORE}") from None
        with content:
            yield content


@contextmanager
def asking(storage: Any, name: str) -> Iterator[None]:
    """Raises StorageFailed, naming the file, for whatever the storage's client raises."""
    try:
        yield
    except getattr(storage, "failures", ()) as error:
        raise StorageFailed(f"The storage failed at {name}: {' '.join(str(error).split())}") from error


# -- what participants are shown

_fetching = threading.Lock()
_seen_complete: dict[tuple[Path, Any], float] = {}


def missing_locally(study: HasFiles) -> int:
    """How many of a study's files are not on this host. Looks for names only, and rarely once all are there."""
    seen = (Path(settings.MEDIA_ROOT), study.pk)
    if time.monotonic() - _seen_complete.get(seen, -LOOK_EVERY_S) < LOOK_EVERY_S:
        return 0
    missing = sum(not path(file.name).is_file() for file in study.files())
    if not missing:
        _seen_complete[seen] = time.monotonic()
    return missing


def bring(study: HasFiles) -> int:
    """Have every file of a study here before anybody is shown the first: all at once, or, if all are here, none.

    Returns how many were fetched. Raises as `fetch`.
    """
    if bucket() is None or not missing_locally(study):
        return 0
    return mend(study)


def mend(study: HasFiles) -> int:
    """Compare every file of a study on this host with its SHA-256 and fetch what is missing or damaged, all at once:
    never one image because it was asked for. Returns how many were fetched; 0 where there is no storage to ask.
    Raises as `fetch`, and StorageFailed where others of this process have been fetching for PATIENCE_S.
    """
    if bucket() is None:
        return 0
    if not _fetching.acquire(timeout=PATIENCE_S):
        raise StorageFailed("Images are being fetched from the storage already.")
    try:
        return fetch(study.files())
    finally:
        _fetching.release()
