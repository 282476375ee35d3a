"""Backups: the database at one moment, and exactly the files that it names at that moment.

A backup holds personal data (answers, recruiters' ids, the accounts of researchers) and the key that signs sessions:
keep it as safe as the installation itself.
"""

from __future__ import annotations

import itertools
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from models.filenames import MANIFEST
from study.desk import archive, snapshots
from study.desk.archive import Contents
from study.lab import disk, files
from study.lab.files import StoredFile
from study.lab.images import DamagedFile, sha256
from study.lab.models import BaseImage, Dataset, ModelRun, Pair
from study.lab.models.datasets import IMPORTS
from study.lab.models.runs import artifact_files
from study.trials.design import code_version

FORMAT = 1
DATABASE, FILES, KEY = "database", "files", "secret_key"
AT_ONCE = 64

Advance = Callable[[], None]
Announce = Callable[[str, int], Advance]


class CannotRestore(ValueError):  # noqa: N818 (a fact about a backup and a place)
    """A backup cannot be restored here; the message is a sentence."""


def _silent(what: str, total: int) -> Advance:
    return lambda: None


def default_name() -> Path:
    """Below var/, by date and time."""
    return Path(settings.VAR) / "backups" / f"blindspot-{datetime.now(UTC):%Y%m%d-%H%M%S}.tar"


# -- making one


def make(out: Path, *, imports: bool = False, announce: Announce = _silent) -> Contents:
    """Write a backup to `out` while participants answer and workers work.

    imports: with the imported data sets, which may be large and can be imported again. Raises ArchiveError,
    SnapshotError, DamagedFile or StorageFailed, or OSError; then there is no file.
    """
    with archive.writing(out) as (writer, folder):
        database = folder / DATABASE
        with snapshots.snapshot():
            snapshots.dump(database)
            about = {
                "format": FORMAT,
                "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
                "code": code_version(),
                "database": connection.vendor,
                "migrations": sorted(MigrationRecorder(connection).applied_migrations()),
                "rows": snapshots.row_counts(),
            }
            named = _images()
            runs = list(ModelRun.objects.exclude(artifact="").order_by("pk"))
            datasets = list(Dataset.objects.filter(kind=Dataset.Kind.IMPORTED)) if imports else []
        named += [file for run in runs for file in _artifact(run)]
        kept = list(itertools.chain.from_iterable(_import_files(dataset) for dataset in datasets))
        disk.require_space(out.parent, database.stat().st_size + _size(named, files.path) + _size(kept, _in_var))
        advance = announce("Files", len(named) + len(kept))
        writer.add(DATABASE, database)
        for batch in _batches(named):
            files.fetch(batch)
            for file in batch:
                _add(writer, f"{FILES}/{file.name}", files.path(file.name), file.sha256)
                advance()
        for file in kept:
            _add(writer, file.name, _in_var(file.name), file.sha256)
            advance()
        if _has_own_key():
            writer.add(KEY, Path(settings.VAR) / KEY)
        return writer.finish(about)


def _add(writer: archive.Writer, name: str, path: Path, digest: str) -> None:
    try:
        writer.add(name, path, digest)
    except FileNotFoundError:
        raise DamagedFile(f"{path} is missing: `manage.py verify` names everything that is.") from None


def _images() -> list[StoredFile]:
    """Each image once: pairs without an alteration share theirs."""
    found = {
        name: StoredFile(name, digest)
        for rows in (BaseImage, Pair)
        for name, digest in rows._default_manager.values_list("file", "sha256").iterator(chunk_size=2000)
    }
    return sorted(found.values(), key=lambda file: file.name)


def _artifact(run: ModelRun) -> list[StoredFile]:
    try:
        run.fetch()
        return list(artifact_files(run.artifact_path, run.artifact_sha256))
    except FileNotFoundError:
        raise DamagedFile(f"The model {run} is missing from {run.artifact_path}: train it again first.") from None


def _import_files(dataset: Dataset) -> Iterator[StoredFile]:
    """Of an imported data set, relative to VAR."""
    dataset.fetch()
    content = (dataset.folder / MANIFEST).read_bytes()
    listed = {**json.loads(content)["files"], MANIFEST: sha256(content)}
    for name, digest in sorted(listed.items()):
        yield StoredFile(f"{IMPORTS}/{dataset.name}/{name}", digest)


def _in_var(name: str) -> Path:
    return Path(settings.VAR) / name


def _size(named: Iterable[StoredFile], path: Callable[[str], Path]) -> int:
    """Bytes of those that are here; one that is missing is told of when it is its turn."""
    return sum(here.stat().st_size for file in named if (here := path(file.name)).is_file())


def _batches(named: Sequence[StoredFile]) -> Iterator[Sequence[StoredFile]]:
    for start in range(0, len(named), AT_ONCE):
        yield named[start : start + AT_ONCE]


def _has_own_key() -> bool:
    """Whether the key is kept in var/, and not in the environment."""
    path = Path(settings.VAR) / KEY
    return path.is_file() and path.read_text() == settings.SECRET_KEY


# -- restoring one


def restore(path: Path, *, replace: bool = False, announce: Announce = _silent) -> Contents:
    """Make the database and the files of this installation what the backup holds, then bring the tables up to date.

    Everything is verified and lies beside its place before anything is touched. The database comes last: until then
    there is none, so whatever interrupts this leaves nothing that looks whole. Raises ArchiveError, CannotRestore,
    SnapshotError, DamagedFile or StorageFailed, or OSError.
    """
    contents = read(path, announce=announce)
    _require_known(contents)
    _require_place(replace=replace)
    var = Path(settings.VAR)
    var.mkdir(parents=True, exist_ok=True)
    disk.require_space(var, contents.size)
    with tempfile.TemporaryDirectory(dir=var, prefix=".restoring.") as folder:
        staged = Path(folder)
        archive.extract(path, contents, staged, announce("Unpacking", len(contents.members)))
        (staged / FILES).mkdir(exist_ok=True)  # also where there were none: what lies there now goes
        if (staged / KEY).exists():
            (staged / KEY).chmod(archive.OWNER_ONLY)
        snapshots.clear()
        for name, place in ((FILES, Path(settings.MEDIA_ROOT)), (IMPORTS, var / IMPORTS), (KEY, var / KEY)):
            _put(staged / name, place, aside=staged / f"replaced {name}")
        snapshots.load(staged / DATABASE)
    _require_rows(contents)
    call_command("migrate", interactive=False, verbosity=0)
    _verify_files(announce)
    return contents


def read(path: Path, *, announce: Announce = _silent) -> Contents:
    """What a backup holds, every byte verified. Raises ArchiveError or OSError."""
    contents = archive.verified(path, announce("Verifying", 0))
    if contents.about.get("format") != FORMAT:
        raise archive.ArchiveError(f"{path} is a backup of another format, made by a newer version: restore it there.")
    return contents


def _require_known(contents: Contents) -> None:
    made_with, here = contents.about["database"], connection.vendor
    if made_with != here:
        raise CannotRestore(f"The backup is of a {made_with} database, and DATABASE_URL names one of {here}.")
    known = MigrationLoader(None).disk_migrations or {}
    unknown = [" ".join(name) for name in contents.about["migrations"] if tuple(name) not in known]
    if unknown:
        raise CannotRestore(
            f"The backup was made by a newer version (this one does not know {unknown[-1]}): restore it with that one."
        )


def _require_place(*, replace: bool) -> None:
    if snapshots.others_connected():
        raise CannotRestore("Other processes use the database: stop web server and workers first.")
    if replace:
        return
    if snapshots.holds_anything():
        raise CannotRestore("The database holds something: restore into an empty one, or give --replace.")
    media = Path(settings.MEDIA_ROOT)
    if media.is_dir() and any(media.iterdir()):
        raise CannotRestore(f"{media} holds files: restore into an empty folder, or give --replace.")


def _put(staged: Path, place: Path, *, aside: Path) -> None:
    """Give what was unpacked its place; what was there goes with the temporary folder."""
    if not staged.exists():
        return
    if place.exists():
        shutil.move(place, aside)
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(staged, place)


def _require_rows(contents: Contents) -> None:
    found = snapshots.row_counts()
    for table, rows in contents.about["rows"].items():
        if found.get(table) != rows:
            raise CannotRestore(f"{table} came back with {found.get(table)} rows instead of {rows}: restore again.")


def _verify_files(announce: Announce) -> None:
    """Every file that a row names is here with its SHA-256, and in the storage that hosts share."""
    named = [*_images(), *(file for run in ModelRun.objects.exclude(artifact="") for file in _artifact(run))]
    advance = announce("Files", len(named))
    for batch in _batches(named):
        for file in batch:
            if not files.is_right(files.path(file.name), file.sha256):
                raise DamagedFile(f"{files.path(file.name)} is not what was stored: restore again.")
            advance()
        files.publish(batch)
