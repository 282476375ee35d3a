"""A tar file that says of itself what it must hold: the manifest, with size and SHA-256 of every member, comes last."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

MANIFEST = "manifest.json"
BLOCK = 1 << 20
OWNER_ONLY = 0o600


class ArchiveError(ValueError):
    """A file is not the archive that was written; the message is a sentence."""


@dataclass(frozen=True)
class Member:
    """What a member must be: its bytes, and their SHA-256 in hex."""

    size: int
    sha256: str


@dataclass(frozen=True)
class Contents:
    """What an archive holds: `about` as its writer told it, and the members by name."""

    about: Mapping[str, Any]
    members: Mapping[str, Member]

    @property
    def size(self) -> int:
        """Bytes of all members."""
        return sum(member.size for member in self.members.values())


class Writer:
    """An archive in the making. Members are copied block by block, whatever their size."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self.tar = tar
        self.members: dict[str, Member] = {}

    def add(self, name: str, path: Path, sha256: str | None = None) -> None:
        """Copy a file. Raises ArchiveError when its bytes are not those of `sha256`, OSError when it cannot be read."""
        with path.open("rb") as source:
            hashing = _Hashing(source)
            size = os.fstat(source.fileno()).st_size
            self.tar.addfile(_entry(name, size), hashing)
        digest = hashing.sha256.hexdigest()
        if sha256 not in (None, digest):
            raise ArchiveError(f"{path} is not what was stored: its SHA-256 differs. Find the fault with `verify`.")
        self.members[name] = Member(size, digest)

    def finish(self, about: Mapping[str, Any]) -> Contents:
        """Write the manifest, without which it is no archive."""
        contents = Contents(about, self.members)
        manifest = json.dumps(asdict(contents), indent=1, allow_nan=False).encode()
        self.tar.addfile(_entry(MANIFEST, len(manifest)), io.BytesIO(manifest))
        return contents


@contextlib.contextmanager
def writing(out: Path) -> Iterator[tuple[Writer, Path]]:
    """An archive that gets its name once the block is through, and a folder for what belongs to it meanwhile.

    Readable by its owner only. Raises ArchiveError when there is such a file already.
    """
    if out.exists():
        raise ArchiveError(f"{out} is there already: choose another name, or remove it first.")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        beside = tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.")
    except OSError as error:
        raise ArchiveError(f"{out.parent} cannot be written ({error.strerror}): choose another folder.") from error
    with beside as folder:
        temporary = Path(folder) / "archive"
        temporary.touch(mode=OWNER_ONLY)
        with temporary.open("wb") as file:
            with tarfile.open(fileobj=file, mode="w:", format=tarfile.PAX_FORMAT) as tar:
                yield Writer(tar), Path(folder)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, out)


def verified(path: Path, advance: Callable[[], None] = lambda: None) -> Contents:
    """What the archive holds, after every byte of it was read; `advance` is called after each member.

    Raises ArchiveError, in a sentence, for anything else than what was written; OSError when it cannot be read.
    """
    contents, found = None, {}
    with _reading(path) as entries:
        for entry, source in entries:
            if entry.name == MANIFEST:
                contents = _contents(path, source.read())
                continue
            hashing = _Hashing(source)
            while hashing.read(BLOCK):
                pass
            found[entry.name] = Member(entry.size, hashing.sha256.hexdigest())
            advance()
    if contents is None:
        raise ArchiveError(f"{path} is not a whole backup: it ends before its manifest.")
    for name in sorted({*contents.members, *found}):
        if contents.members.get(name) != found.get(name):
            raise ArchiveError(f"{path} is damaged: {name} is not what was put in. Take another backup.")
    return contents


def extract(path: Path, contents: Contents, folder: Path, advance: Callable[[], None] = lambda: None) -> None:
    """Write the members below a folder, each compared with its SHA-256. Raises as `verified`."""
    with _reading(path) as entries:
        for entry, source in entries:
            if entry.name != MANIFEST:
                here = folder / entry.name
                here.parent.mkdir(parents=True, exist_ok=True)
                hashing = _Hashing(source)
                with here.open("xb") as target:
                    shutil.copyfileobj(hashing, target, BLOCK)
                if Member(here.stat().st_size, hashing.sha256.hexdigest()) != contents.members.get(entry.name):
                    raise ArchiveError(f"{path} is damaged: {entry.name} is not what was put in. Take another backup.")
                advance()
    os.sync()


def _entry(name: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, OWNER_ONLY, int(time.time())
    return entry


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[Iterator[tuple[tarfile.TarInfo, IO[bytes]]]]:
    """Its members, all of them files below the folder that they are extracted to. Raises ArchiveError for others."""
    try:
        with tarfile.open(path, "r:") as tar:
            yield ((entry, _source(path, tar, entry)) for entry in tar)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise ArchiveError(f"{path} cannot be read ({error.strerror}): name the file that a backup wrote.") from error
    except tarfile.TarError as error:
        raise ArchiveError(f"{path} is not a whole backup: {error}.") from error


def _source(path: Path, tar: tarfile.TarFile, entry: tarfile.TarInfo) -> IO[bytes]:
    name = PurePosixPath(entry.name)
    source = None if name.is_absolute() or ".." in name.parts or not entry.isreg() else tar.extractfile(entry)
    if source is None:
        raise ArchiveError(f"{path} holds {entry.name!r}, which no backup has: it is not from here.")
    return source


def _contents(path: Path, manifest: bytes) -> Contents:
    try:
        read = json.loads(manifest)
        members = {name: Member(**member) for name, member in read["members"].items()}
        return Contents(read["about"], members)
    except (ValueError, TypeError, KeyError) as error:
        raise ArchiveError(f"{path} has a manifest that cannot be read: it is not a backup of Blindspot.") from error


class _Hashing:
    """A source that is hashed while it is read."""

    def __init__(self, source: IO[bytes]) -> None:
        self.source = source
        self.sha256 = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        block = self.source.read(size)
        self.sha256.update(block)
        return block
