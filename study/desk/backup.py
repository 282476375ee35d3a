"""Backups: the database at one moment, and exactly the files that it names at that moment.

A backup holds personal data (answers, recruiters' ids, the accounts of researchers) and the key that signs sessions:
keep it as safe as the installation itself.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder

from models.filenames import CARD_NAME, MANIFEST
from study import health, processes
from study.analysis.models import Analysis
from study.desk import archive, planning, snapshots
from study.desk.archive import Contents
from study.lab import disk, files
from study.lab.files import StoredFile
from study.lab.images import DamagedFile, sha256
from study.lab.models import BaseImage, Dataset, ModelRun, Pair
from study.lab.models.datasets import IMPORTS
from study.lab.models.runs import artifact_files
from study.trials import erasures
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


def made() -> list[tuple[Path, datetime]]:
    """The backups in the usual place of this host and when each was made, the oldest first. Copies elsewhere are not
    known.
    """
    found = default_name().parent.glob("*.tar")
    return sorted(((path, datetime.fromtimestamp(path.stat().st_mtime, UTC)) for path in found), key=lambda f: f[1])


# -- making one


def make(
    out: Path, *, imports: bool = False, leave_out_damaged: bool = False, announce: Announce = _silent
) -> Contents:
    """Write a backup to `out` while participants answer and workers work.

    imports: with the imported data sets, which may be large and can be imported again. leave_out_damaged: without the
    images, models and data sets that are missing or damaged, which the manifest then names: answers are not kept
    waiting for a model. Raises ArchiveError, SnapshotError, DamagedFile or StorageFailed, or OSError; then there is no
    file.
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
            pieces = _pieces(imports=imports)
        kept, lacking = _found(pieces, leave_out_damaged, announce("Finding", len(pieces)))
        disk.require_space(out.parent, database.stat().st_size + _size(kept))
        advance = announce("Files", len(kept))
        writer.add(DATABASE, database)
        for file in kept:
            _add(writer, file)
            advance()
        if _has_own_key():
            writer.add(KEY, Path(settings.VAR) / KEY)
        return writer.finish({**about, "left_out": lacking})


def left_out(contents: Contents) -> Mapping[str, str]:
    """The images, models and data sets that the rows name and the backup has not: why, by name."""
    return dict(contents.about.get("left_out", {}))


@dataclass(frozen=True)
class _File:
    """A member, where it is on this host, and the SHA-256 in hex that it must have."""

    member: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class _Piece:
    """What is of use as a whole alone: an image, a model, a report, a power plan, an imported data set.

    name: of its member, or of the folder of its members. find: brings it to this host; raises DamagedFile or
    StorageFailed.
    """

    name: str
    find: Callable[[], list[_File]]


def _pieces(*, imports: bool) -> list[_Piece]:
    """All that the rows name."""
    images, plans = _images(), planning.plans()
    reports = Analysis.objects.exclude(folder="").order_by("pk")
    runs = ModelRun.objects.exclude(artifact="").order_by("pk")
    datasets = Dataset.objects.filter(kind=Dataset.Kind.IMPORTED).order_by("pk") if imports else Dataset.objects.none()
    return [
        *(_Piece(f"{FILES}/{image.name}", partial(_image, image)) for image in images),
        *(_Piece(f"{FILES}/{run.artifact}", partial(_artifact, run)) for run in runs),
        *(_Piece(f"{FILES}/{report.folder}", partial(_shelved, report.stored)) for report in reports),
        *(_Piece(f"{FILES}/{planning.folder_of(job)}", partial(_shelved, planning.files_of(job))) for job in plans),
        *(_Piece(f"{IMPORTS}/{dataset.name}", partial(_import, dataset)) for dataset in datasets),
    ]


def _found(pieces: Sequence[_Piece], leave_out_damaged: bool, advance: Advance) -> tuple[list[_File], dict[str, str]]:
    """The files of the pieces, brought to this host, and why some pieces are left out, by name."""
    _bring_images()
    found: list[_File] = []
    lacking = {}
    for piece in pieces:
        try:
            of_piece = piece.find()
            if leave_out_damaged:  # else it is told of as it is copied
                _require_right(of_piece)
            found += of_piece
        except DamagedFile as fault:
            if not leave_out_damaged:
                raise
            lacking[piece.name] = str(fault)
        advance()
    return found, lacking


def _require_right(found: Iterable[_File]) -> None:
    for file in found:
        if not files.is_right(file.path, file.sha256):
            raise DamagedFile(f"{file.path} is missing or is not what was stored.")


def _add(writer: archive.Writer, file: _File) -> None:
    try:
        writer.add(file.member, file.path, file.sha256)
    except FileNotFoundError:
        raise DamagedFile(f"{file.path} is missing: `manage.py verify` names everything that is.") from None


def _images() -> list[StoredFile]:
    """Each image once: pairs without an alteration share theirs."""
    found = {
        name: StoredFile(name, digest)
        for rows in (BaseImage, Pair)
        for name, digest in rows._default_manager.values_list("file", "sha256").iterator(chunk_size=2000)
    }
    return sorted(found.values(), key=lambda file: file.name)


def _bring_images() -> None:
    """Many at once, where hosts share them. What is damaged is told of when it is its turn."""
    for batch in _batches(_images()) if files.bucket() else ():
        with contextlib.suppress(DamagedFile):
            files.fetch(batch)


def _image(image: StoredFile) -> list[_File]:
    files.fetch([image])
    return [_media(image)]


def _artifact(run: ModelRun) -> list[_File]:
    run.fetch()
    if not files.is_right(run.artifact_path / CARD_NAME, run.artifact_sha256):
        raise DamagedFile(
            f"The model {run} in {run.artifact_path} is missing or damaged: restore its files from an older backup."
        )
    return [_media(file) for file in artifact_files(run.artifact_path, run.artifact_sha256)]


def _shelved(stored: Iterable[StoredFile]) -> list[_File]:
    found = list(stored)
    files.fetch(found)
    return [_media(file) for file in found]


def _import(dataset: Dataset) -> list[_File]:
    dataset.fetch()
    try:
        content = (dataset.folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise DamagedFile(f"The data set {dataset} is not in {dataset.folder}: import it again.") from None
    listed = {**json.loads(content)["files"], MANIFEST: sha256(content)}
    return [
        _File(f"{IMPORTS}/{dataset.name}/{name}", dataset.folder / name, digest)
        for name, digest in sorted(listed.items())
    ]


def _media(file: StoredFile) -> _File:
    return _File(f"{FILES}/{file.name}", files.path(file.name), file.sha256)


def _size(found: Iterable[_File]) -> int:
    """Bytes of those that are here; one that is missing is told of when it is its turn."""
    return sum(file.path.stat().st_size for file in found if file.path.is_file())


def _batches(named: Sequence[StoredFile]) -> Iterator[Sequence[StoredFile]]:
    for start in range(0, len(named), AT_ONCE):
        yield named[start : start + AT_ONCE]


def _has_own_key() -> bool:
    """Whether the key is kept in var/, and not in the environment."""
    key, path = str(settings.SECRET_KEY), Path(settings.VAR) / KEY  # the key is made now, if nothing needed it before
    return path.is_file() and path.read_text() == key


# -- restoring one


def restore(path: Path, *, replace: bool = False, announce: Announce = _silent) -> Contents:
    """Make the database and the files of this installation what the backup holds, then bring the tables up to date.

    What people had erased since the backup is erased again, as far as this var/ tells of it (`study.trials.erasures`).
    Everything is verified and lies beside its place before anything is touched. The database comes last: until then
    there is none, so whatever interrupts this leaves nothing that looks whole. Raises ArchiveError, CannotRestore,
    SnapshotError, DamagedFile or StorageFailed, or OSError.
    """
    contents = read(path, announce=announce)
    _require_known(contents)
    with processes.ours_alone():
        _require_place(replace=replace)
        _put_in_place(path, contents, announce)
        _require_rows(contents)
        call_command("migrate", interactive=False, verbosity=0)
        _erase_again(announce)
        _verify_files(contents, announce)
    return contents


def _put_in_place(path: Path, contents: Contents, announce: Announce) -> None:
    var = Path(settings.VAR)
    disk.require_space(var, contents.size)
    with tempfile.TemporaryDirectory(dir=var, prefix=".restoring.") as folder:
        staged = Path(folder)
        archive.extract(path, contents, staged, announce("Unpacking", len(contents.members)))
        (staged / FILES).mkdir(exist_ok=True)  # also where there were none: what lies there now goes
        if (staged / KEY).exists():
            (staged / KEY).chmod(archive.OWNER_ONLY)
        snapshots.require_loadable(staged / DATABASE)  # as long as what is there is there
        snapshots.clear()
        for name, place in ((FILES, Path(settings.MEDIA_ROOT)), (IMPORTS, var / IMPORTS), (KEY, var / KEY)):
            _put(staged / name, place, aside=staged / f"replaced {name}")
        snapshots.load(staged / DATABASE)


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
    known = health.migrations_of_this_code()
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


def _erase_again(announce: Announce) -> None:
    if not (todo := erasures.undone()):
        return
    advance = announce("Erasing again", len(todo))
    for session, what in todo:
        erasures.repeat(session, what)
        advance()


def _verify_files(contents: Contents, announce: Announce) -> None:
    """Every file that a row names is here with its SHA-256, and in the storage that hosts share, if the backup has it.

    Data sets that it has were verified as they were unpacked.
    """
    lacking = left_out(contents)
    pieces = [piece for piece in _pieces(imports=False) if piece.name not in lacking]
    advance = announce("Files", len(pieces))
    for piece in pieces:
        _require_right(piece.find())
        advance()
    names = [name.removeprefix(f"{FILES}/") for name in contents.members if name.startswith(f"{FILES}/")]
    files.publish(StoredFile(name, contents.members[f"{FILES}/{name}"].sha256) for name in names)
    for dataset in Dataset.objects.filter(kind=Dataset.Kind.IMPORTED):
        if f"{IMPORTS}/{dataset.name}/{MANIFEST}" in contents.members:
            dataset.publish()
