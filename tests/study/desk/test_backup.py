"""What a backup holds comes back, all of it, and nothing else passes for one."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import re
import shutil
import stat
import subprocess
import tarfile
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from models.filenames import CARD_NAME, WEIGHTS_NAME
from study.analysis.models import Analysis
from study.desk import backup, snapshots
from study.lab import files
from study.lab.images import sha256
from study.lab.models import BaseImage, Dataset, Job, ModelRun, Pair
from study.storage_url import LOCAL, storage_of
from study.trials import erasures
from study.trials.models import Answer, Session, Study
from tests.study.conftest import storage_url
from tests.study.factories import answer, answer_all, make_study, start

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.store]


def a_study(**fields: Any) -> Study:
    """An open study whose models have files."""
    study = make_study(opened=False, base_images=22, size=4, **fields)
    for run in ModelRun.objects.all():
        folder = files.path(run.artifact)
        folder.mkdir(parents=True)
        weights = run.name.encode() * 1000
        card = json.dumps({"weights_sha256": sha256(weights)}).encode()
        (folder / WEIGHTS_NAME).write_bytes(weights)
        (folder / CARD_NAME).write_bytes(card)
        ModelRun.objects.filter(pk=run.pk).update(artifact_sha256=sha256(card))
    study.open()
    return study


@pytest.fixture
def elsewhere(settings: Any, tmp_path: Path) -> Iterator[Callable[[], None]]:
    """Call it, and this installation has neither files nor a database any more, but an empty place for both."""
    usual = connection.settings_dict["NAME"]
    name = f"restored_{uuid.uuid4().hex[:8]}" if connection.vendor == "postgresql" else str(tmp_path / "restored")

    def use(database: str) -> None:
        connection.close()
        connection.settings_dict["NAME"] = database

    def lose_everything() -> None:
        if connection.vendor == "postgresql":
            execute(f"CREATE DATABASE {name}")
        use(name)
        settings.VAR = tmp_path / "elsewhere"
        settings.MEDIA_ROOT = settings.VAR / "files"

    yield lose_everything
    use(usual)
    if connection.vendor == "postgresql":
        execute(f"DROP DATABASE IF EXISTS {name}")


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


class Participant:
    """Answers over HTTP, in a thread, until told to stop; keeps what was acknowledged."""

    def __init__(self, session: Session, token: str) -> None:
        self.session, self.token = session, token
        self.acknowledged: dict[int, str] = {}
        self.stopping = threading.Event()

    def go_on(self) -> None:
        client = Client(headers={"Sec-Fetch-Site": "same-origin"})
        for index in range(self.session.trials.count() - 1):  # however slow the backup, there is one left to go on with
            if self.stopping.is_set():
                break
            said = {"client_id": str(uuid.uuid4()), "attempt": 1, "choice": "left", "rt_ms": 600}
            reply = client.put(f"/run/{self.token}/trials/{index}", said, content_type="application/json")
            if reply.status_code == 201:
                self.acknowledged[index] = said["client_id"]
        connection.close()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        thread = threading.Thread(target=self.go_on)
        thread.start()
        try:
            while not self.acknowledged:
                thread.join(0.01)
            yield
        finally:
            self.stopping.set()
            thread.join()


def test_after_the_loss_of_everything_what_was_acknowledged_before_the_backup_is_there_once_and_runs_go_on(
    elsewhere: Callable[[], None], tmp_path: Path
) -> None:
    study = a_study()
    finished, _ = start(study)
    answer_all(finished)
    finished.complete()
    participant = Participant(*start(study))
    with participant.answering():
        before = dict(participant.acknowledged)
        call_command("backup", out=tmp_path / "backup.tar")
    assert before
    elsewhere()
    call_command("restore", tmp_path / "backup.tar")
    kept = dict(Answer.objects.filter(trial__session=participant.session).values_list("trial__index", "client_id"))
    assert {index: str(client) for index, client in kept.items()}.items() >= before.items()
    assert list(kept) == list(range(len(kept)))
    assert Answer.objects.filter(trial__session=finished).count() == finished.trials.count()
    assert all(image.read() for image in BaseImage.objects.all())
    client = Client(headers={"Sec-Fetch-Site": "same-origin"})
    address = f"/run/{participant.token}/"
    assert client.get(address).status_code == 200
    plan = client.get(f"{address}plan").json()
    assert plan["next_index"] == len(kept)
    assert client.get(f"{address}i/{len(kept)}/left").status_code == 200
    answer(Session.objects.get(pk=participant.session.pk), len(kept))


def test_what_a_participant_had_erased_after_the_backup_is_erased_again(
    elsewhere: Callable[[], None], tmp_path: Path, settings: Any
) -> None:
    session, _ = start(a_study())
    answer_all(session)
    backup.make(tmp_path / "backup.tar")
    session.erase()
    told = erasures.path().read_bytes()
    elsewhere()
    settings.VAR.mkdir()
    erasures.path().write_bytes(told)
    call_command("restore", tmp_path / "backup.tar")
    assert Session.objects.get(pk=session.pk).state == Session.State.WITHDRAWN
    assert not Answer.objects.exists()


# --- what is no backup


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A backup of a small study."""
    a_study()
    out = tmp_path / "made.tar"
    backup.make(out)
    return out


def test_reports_and_power_plans_come_back(elsewhere: Callable[[], None], tmp_path: Path) -> None:
    study = a_study()
    made = {name: files.path(name) for name in ("reports/a/1/report.html", "plans/b/1/power.svg")}
    for name, path in made.items():
        path.parent.mkdir(parents=True)
        path.write_text(name)
    report, plan = ({path.name: sha256(path.read_bytes())} for path in made.values())
    Analysis.objects.create(study=study, folder="reports/a/1", files=report)
    result = {"folder": "plans/b/1", "files": plan}
    Job.objects.create(kind=Job.Kind.PLAN, state=Job.State.SUCCEEDED, idempotency_key="b", result=result)
    call_command("backup", out=tmp_path / "backup.tar")
    elsewhere()
    call_command("restore", tmp_path / "backup.tar")
    assert {name: files.path(name).read_text() for name in made} == {name: name for name in made}


def test_a_backup_is_for_its_owner_only_and_leaves_nothing_beside_it(made: Path) -> None:
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    assert [path.name for path in made.parent.iterdir() if "made" in path.name] == ["made.tar"]


def test_a_backup_that_was_cut_short_or_changed_is_named_as_such_and_restores_nothing(
    made: Path, elsewhere: Callable[[], None], settings: Any
) -> None:
    whole = made.read_bytes()
    with tarfile.open(made) as tar:
        image = next(member for member in tar if member.name.endswith(".png"))
    changed = bytearray(whole)
    changed[image.offset_data + 20] ^= 1
    elsewhere()
    for content, fault in ((whole[: len(whole) // 2], "not a whole backup"), (bytes(changed), f"{image.name} is not")):
        made.write_bytes(content)
        for act in (lambda: call_command("backup", verify=made), lambda: call_command("restore", made)):
            with pytest.raises(CommandError, match=fault):
                act()
    assert not snapshots.holds_anything()
    assert not settings.VAR.exists()


def test_what_is_there_is_replaced_only_when_told_to(made: Path, elsewhere: Callable[[], None], settings: Any) -> None:
    images = BaseImage.objects.count()
    elsewhere()
    settings.MEDIA_ROOT.mkdir(parents=True)
    (settings.MEDIA_ROOT / "other").write_text("of another installation")
    with pytest.raises(CommandError, match=r"holds files.*--replace"):
        call_command("restore", made)
    call_command("restore", made, replace=True)
    assert BaseImage.objects.count() == images
    assert not (settings.MEDIA_ROOT / "other").exists()
    with pytest.raises(CommandError, match=r"database holds something.*--replace"):
        call_command("restore", made)
    call_command("restore", made, replace=True)
    assert BaseImage.objects.count() == images


def test_a_restore_that_fails_half_way_leaves_an_empty_database(
    made: Path, elsewhere: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere()

    def fail(*_: object) -> None:
        raise OSError("The disk was pulled out.")

    with monkeypatch.context() as patched:
        patched.setattr(snapshots, "load", fail)
        with pytest.raises(CommandError, match="pulled out"):
            call_command("restore", made)
    assert not snapshots.holds_anything()
    call_command("restore", made, replace=True)
    assert snapshots.holds_anything()


def test_a_database_on_another_disk_than_the_files_comes_back(
    made: Path, elsewhere: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(source: Any, target: Any) -> None:
        if Path(source).parent != Path(target).parent:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        shutil.copyfile(source, target)

    elsewhere()
    monkeypatch.setattr(snapshots.os, "rename", rename)
    monkeypatch.setattr(snapshots.os, "replace", rename)
    call_command("restore", made)
    assert all(image.read() for image in BaseImage.objects.all())


def test_a_backup_of_a_newer_version_is_refused(tmp_path: Path, elsewhere: Callable[[], None]) -> None:
    row = MigrationRecorder.Migration.objects.create(app="trials", name="0999_of_the_future")
    try:
        backup.make(tmp_path / "newer.tar")
    finally:
        row.delete()
    elsewhere()
    with pytest.raises(CommandError, match=r"newer version .*trials 0999_of_the_future"):
        call_command("restore", tmp_path / "newer.tar")


def test_a_damaged_image_stops_a_backup_and_leaves_no_file(tmp_path: Path) -> None:
    a_study()
    image = BaseImage.objects.all()[3]
    image.path.chmod(0o644)
    image.path.write_bytes(image.path.read_bytes()[:-1] + b"x")
    with pytest.raises(CommandError, match=f"{image.file} is not what was stored"):
        call_command("backup", out=tmp_path / "backup.tar")
    image.path.unlink()
    with pytest.raises(CommandError, match=f"{image.file} is missing"):
        call_command("backup", out=tmp_path / "backup.tar")
    assert not [path for path in tmp_path.iterdir() if "backup" in path.name]


def lacking(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the terminal said was left out."""
    return re.findall(r"^Not in it: (\S+)\. ", capsys.readouterr().err, re.MULTILINE)


def test_what_is_damaged_is_left_out_when_told_to_and_named_wherever_the_backup_is_met(
    tmp_path: Path, elsewhere: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    study = a_study()
    finished, _ = start(study)
    answer_all(finished)
    image = BaseImage.objects.all()[3]
    image.path.unlink()
    weights, card = ModelRun.objects.order_by("pk")[:2]
    (weights.artifact_path / WEIGHTS_NAME).write_bytes(b"damaged")
    (card.artifact_path / CARD_NAME).write_bytes(b"damaged")
    out = tmp_path / "backup.tar"
    with pytest.raises(CommandError, match="missing or damaged"):
        call_command("backup", out=out)
    call_command("backup", out=out, leave_out_damaged=True)
    names = [f"files/{image.file}", f"files/{weights.artifact}", f"files/{card.artifact}"]
    told = [lacking(capsys)]
    call_command("backup", verify=out)
    told.append(lacking(capsys))
    elsewhere()
    call_command("restore", out)
    told.append(lacking(capsys))
    assert told == [names] * 3
    with tarfile.open(out) as tar:
        assert not any(member.startswith(tuple(names)) for member in tar.getnames())
    assert Answer.objects.filter(trial__session=finished).count() == finished.trials.count()
    assert not image.path.exists()
    assert BaseImage.objects.all()[4].read()


def an_import() -> Dataset:
    """A data set whose files came from elsewhere."""
    dataset = Dataset.objects.create(name="faces", kind=Dataset.Kind.IMPORTED, parameters={"fingerprint": "f"})
    dataset.folder.mkdir(parents=True)
    (dataset.folder / "images.bin").write_bytes(b"faces")
    manifest = {"fingerprint": "f", "files": {"images.bin": sha256(b"faces")}}
    (dataset.folder / "manifest.json").write_text(json.dumps(manifest))
    return dataset


def share(settings: Any, storage: dict[str, Any]) -> None:
    settings.STORAGES = {**settings.STORAGES, "default": storage}


@pytest.mark.parametrize("before", ["local", "shared"])
def test_a_backup_moves_files_and_imports_between_one_host_and_a_bucket(
    before: str, elsewhere: Callable[[], None], settings: Any, bucket_server: str, tmp_path: Path
) -> None:
    bucket = storage_of(storage_url(bucket_server, uuid.uuid4().hex))
    make_study(opened=False, base_images=2, size=4)
    ModelRun.objects.update(artifact="")
    dataset, images = an_import(), [image.stored for image in (*BaseImage.objects.all(), *Pair.objects.all())]
    if before == "shared":
        share(settings, bucket)
        files.publish(images)
        dataset.publish()
        shutil.rmtree(settings.MEDIA_ROOT)
        shutil.rmtree(dataset.folder)
    backup.make(tmp_path / "backup.tar", imports=True)
    elsewhere()
    share(settings, dict(LOCAL) if before == "shared" else bucket)
    backup.restore(tmp_path / "backup.tar")
    if before == "local":
        shutil.rmtree(settings.VAR)  # a cache of the bucket
        dataset.fetch()
        assert files.fetch(images) == len(set(images))
    assert (dataset.folder / "images.bin").read_bytes() == b"faces"
    assert all(image.read() for image in BaseImage.objects.all())


def test_a_running_installation_is_not_replaced(made: Path, elsewhere: Callable[[], None], settings: Any) -> None:
    elsewhere()
    held = settings.VAR / "run" / "lock"
    held.parent.mkdir(parents=True)
    with held.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(CommandError, match="is running its workers"):
            call_command("restore", made)
    call_command("restore", made)


def test_what_cannot_be_loaded_here_costs_nothing_of_what_is_there(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        return  # SQLite needs no program
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CommandError, match="pg_restore is missing"):
        call_command("restore", made, replace=True)
    assert all(image.read() for image in BaseImage.objects.all())


def test_the_key_in_var_goes_along_unless_it_comes_from_the_environment(settings: Any, tmp_path: Path) -> None:
    settings.VAR.mkdir(exist_ok=True)
    (settings.VAR / "secret_key").write_text("another")
    assert backup.KEY not in backup.make(tmp_path / "without.tar").members
    (settings.VAR / "secret_key").write_text(str(settings.SECRET_KEY))
    assert backup.KEY in backup.make(tmp_path / "with.tar").members


def test_a_place_that_cannot_be_read_or_written_is_told_of_in_a_sentence(tmp_path: Path) -> None:
    nowhere = tmp_path / "nosuch.tar"
    for command, options in (("backup", {"verify": nowhere}), ("backup", {"verify": tmp_path}), ("restore", {})):
        with pytest.raises(CommandError, match=r"cannot be read \(.*\): name the file that a backup wrote\."):
            call_command(command, *([] if options else [nowhere]), **options)
    with pytest.raises(CommandError, match=r"/proc cannot be written \(.*\): choose another folder\."):
        call_command("backup", out=Path("/proc/nope.tar"))


def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    with tarfile.open(tmp_path / "bad.tar", "w") as tar:
        tar.add(tmp_path / "secret", arcname="files/../../secret")
    with pytest.raises(CommandError, match="which no backup has"):
        call_command("backup", verify=tmp_path / "bad.tar")


@pytest.mark.parametrize(
    ("said", "sentence"), [(None, "pg_dump is missing"), ("pg_dump (PostgreSQL) 9.6.1", "version 9 and the server")]
)
def test_a_missing_or_older_pg_dump_is_told_of_in_a_sentence(
    said: str | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "postgresql":
        return  # SQLite needs no program
    folder = tmp_path / "bin"
    folder.mkdir()
    if said:
        (folder / "pg_dump").write_text(f"#!/bin/sh\necho '{said}'\n")
        (folder / "pg_dump").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(CommandError, match=sentence):
        call_command("backup", out=tmp_path / "backup.tar")


def test_the_manifest_tells_size_and_hash_of_every_member_and_the_rows_of_every_table(made: Path) -> None:
    with tarfile.open(made) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert names[-1] == "manifest.json"
    assert list(manifest["members"]) == names[:-1]
    sums = subprocess.run(["tar", "xOf", made, names[1]], capture_output=True, check=True).stdout
    assert manifest["members"][names[1]]["size"] == len(sums)
    assert manifest["about"]["rows"]["lab_baseimage"] == BaseImage.objects.count() > 0
