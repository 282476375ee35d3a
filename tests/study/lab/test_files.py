"""Files of several hosts: what arrives is what was sent, and what is shown comes from this host alone."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import CommandError, call_command
from django.test import Client

from study.lab import files, kinds, verification
from study.lab.bucket import Bucket
from study.lab.files import DamagedFile, StorageFailed, StoredFile
from study.lab.images import decode_png, read_verified, sha256, write_once
from study.lab.models import Dataset, Job, ModelRun
from study.trials.exceptions import CannotOpen
from study.trials.models import Session, Study
from tests.study.factories import make_study, start

MoveToHost = Callable[[str], Path]


def make(name: str, content: bytes = b"content") -> StoredFile:
    write_once(files.path(name), content)
    return StoredFile(name, sha256(content))


def put(name: str, content: bytes) -> None:
    """Have the storage keep this."""
    storages["default"].save(name, ContentFile(content))


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the storage is never reached."""

    storage = storages["default"]

    def fail(*_: object, **__: object) -> None:
        raise storage.failures[0]

    for name in ("_open", "_save", "listdir", "size", "exists"):
        monkeypatch.setattr(type(storage), name, fail)


@pytest.fixture(params=["local", "shared"])
def either_storage(request: pytest.FixtureRequest) -> str:
    if request.param == "shared":
        request.getfixturevalue("shared")
    return str(request.param)


# -- whichever the storage


@pytest.mark.usefixtures("either_storage")
def test_what_was_published_is_here_and_stays_as_it_is() -> None:
    file = make("images/a.png")
    files.publish([file])
    assert files.fetch([file]) == 0
    assert read_verified(files.path(file.name), file.sha256) == b"content"
    assert [path.name for path in files.path("images").iterdir()] == ["a.png"]


@pytest.mark.django_db
@pytest.mark.usefixtures("either_storage")
def test_an_image_that_is_damaged_here_is_never_read() -> None:
    image = make_study(opened=False).dataset.base_images.get(index=0)
    damage(image.path)
    with pytest.raises(DamagedFile, match="SHA-256 differs"):
        image.read()


def test_without_a_storage_to_share_nothing_is_even_looked_at() -> None:
    def never() -> Iterator[StoredFile]:
        raise AssertionError
        yield

    assert (files.publish(never()), files.fetch(never())) == (0, 0)


# -- between hosts


@pytest.mark.usefixtures("shared")
def test_another_host_gets_the_same_bytes_read_only(move_to_host: MoveToHost) -> None:
    file = make("models/disc/1/weights.safetensors", bytes(range(256)) * 100)
    assert files.publish([file]) == 1
    move_to_host("b")
    assert files.fetch([file]) == 1
    here = files.path(file.name)
    assert read_verified(here, file.sha256) == bytes(range(256)) * 100
    assert stat.S_IMODE(here.stat().st_mode) == 0o444
    assert [path.name for path in here.parent.iterdir()] == ["weights.safetensors"]


@pytest.mark.usefixtures("shared")
def test_publishing_again_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    file = make("images/a.png")
    files.publish([file])
    monkeypatch.setattr(Bucket, "_save", lambda *_: pytest.fail("written again"))
    assert files.publish([file]) == 0


@pytest.mark.usefixtures("shared")
def test_what_is_damaged_here_is_fetched_again() -> None:
    file = make("images/a.png")
    files.publish([file])
    damage(files.path(file.name))
    assert files.fetch([file]) == 1
    assert files.is_right(files.path(file.name), file.sha256)


@pytest.mark.usefixtures("shared")
def test_what_is_damaged_in_the_storage_takes_the_place_of_nothing() -> None:
    file = make("images/a.png")
    put(file.name, b"c0ntent")
    with pytest.raises(DamagedFile, match=r"images/a\.png in the storage is not what was stored"):
        files.fetch([file], anew=True)
    assert files.is_right(files.path(file.name), file.sha256)
    assert [path.name for path in files.path("images").iterdir()] == ["a.png"]


@pytest.mark.usefixtures("shared_in_memory")
def test_what_is_damaged_in_the_storage_keeps_no_other_file_from_coming(move_to_host: MoveToHost) -> None:
    wanted = [make(f"images/{name}.png", name.encode()) for name in "abc"]
    files.publish(wanted[1:])
    put("images/a.png", b"damaged")
    move_to_host("b")
    with pytest.raises(DamagedFile, match=r"images/a\.png in the storage"):
        files.fetch(wanted)
    assert [files.path(file.name).is_file() for file in wanted] == [False, True, True]


@pytest.mark.usefixtures("shared")
def test_what_is_damaged_in_the_storage_is_mended_by_a_host_that_has_it() -> None:
    file = make("images/a.png")
    put(file.name, b"c0ntent")
    assert files.publish([file]) == 1
    assert files.read(file.name) == b"content"


@pytest.mark.usefixtures("shared")
def test_what_the_storage_does_not_have_is_named() -> None:
    with pytest.raises(DamagedFile, match=r"images/gone\.png is missing from the storage"):
        files.fetch([StoredFile("images/gone.png", "0" * 64)])


@pytest.mark.usefixtures("shared")
def test_what_is_damaged_here_never_gets_into_the_storage() -> None:
    file = make("images/a.png")
    damage(files.path(file.name))
    with pytest.raises(DamagedFile, match="not what was made"):
        files.publish([file])
    assert not storages["default"].exists(file.name)


@pytest.mark.usefixtures("shared")
def test_what_arrives_is_read_again_and_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    save = Bucket._save
    monkeypatch.setattr(Bucket, "_save", lambda self, name, _: save(self, name, ContentFile(b"c0ntent")))
    with pytest.raises(StorageFailed, match="other content than it was given"):
        files.publish([make("images/a.png")])


@pytest.mark.usefixtures("shared")
def test_a_storage_out_of_reach_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    file = make("images/a.png")
    cut_off(monkeypatch)
    with pytest.raises(StorageFailed, match=r"^The storage failed at images/a\.png: \w") as failure:
        files.publish([file])
    assert "\n" not in str(failure.value)


# -- jobs


def make_artifact(run: ModelRun, folder: str) -> str:
    """An artifact as far as its files go; returns its SHA-256."""
    weights = make(f"{folder}/weights.safetensors", b"weights")
    data = {part: {"fingerprint": part} for part in ("train", "validation", "test")}
    card = json.dumps({"weights_sha256": weights.sha256, "data": data}).encode()
    make(f"{folder}/responses-0.safetensors", b"can be made again")
    return make(f"{folder}/card.json", card).sha256


@pytest.mark.usefixtures("shared")
def test_a_model_trained_on_one_host_is_evaluated_on_another(
    runs: tuple[ModelRun, ModelRun], move_to_host: MoveToHost
) -> None:
    for run in runs:
        job = Job.objects.create(
            kind=Job.Kind.TRAIN, parameters={"model_run": run.pk}, idempotency_key=run.name, attempt=1
        )
        training = kinds.training(job, kinds.working_folder(job))
        result = {"sha256": make_artifact(run, f"models/{run.name}/1"), "metrics": {}}
        training.publish(result)
        training.record(result)
    move_to_host("b")
    job = ModelRun.objects.get(pk=runs[1].pk).submit_evaluation()
    specification = kinds.evaluation(job, kinds.working_folder(job)).specification
    for name in ("artifact", "clean_artifact"):
        folder = Path(specification[name])
        assert sorted(path.name for path in folder.iterdir()) == ["card.json", "weights.safetensors"]
        assert folder.is_relative_to(files.path("models"))
        read_verified(folder / "card.json", specification[f"{name}_sha256"])


@pytest.mark.usefixtures("shared")
def test_what_a_pair_process_made_is_published(runs: tuple[ModelRun, ModelRun], tmp_path: Path) -> None:
    base, altered = make("images/aa/a.png", b"base"), make("images/bb/b.png", b"altered")
    rows = [{"file": file.name, "sha256": file.sha256} for file in (base, altered)]
    (tmp_path / "manifest.json").write_text(json.dumps({"base_images": rows[:1], "pairs": rows[1:]}))
    parameters = {"dataset": runs[1].dataset_id, "attack": runs[1].attack_id, "model_runs": []}
    kinds.pair_making(Job(kind=Job.Kind.PAIRS, parameters=parameters), tmp_path).publish({})
    assert [files.read(file.name) for file in (base, altered)] == [b"base", b"altered"]


@pytest.mark.django_db
@pytest.mark.usefixtures("shared_in_memory")
def test_observers_find_the_pairs_on_their_host(move_to_host: MoveToHost) -> None:
    study = published(make_study(opened=False))
    move_to_host("b")
    parameters = {"dataset": study.dataset_id, "attack": study.model_run.attack_id, "seed": 0, "px_per_degree": 30.0}
    work = kinds.observing(Job(kind=Job.Kind.OBSERVE, parameters=parameters), Path("unused"))
    assert work.specification["pairs"]
    for pair in work.specification["pairs"]:
        for image in (pair["clean"], pair["altered"]):
            read_verified(Path(work.specification["folder"]) / image["file"], image["sha256"])


def imported(var: Path, fingerprint: str = "f" * 64) -> Dataset:
    """A data set as an import leaves it, as far as its files go."""
    row = Dataset.objects.create(
        name="eyes", kind=Dataset.Kind.IMPORTED, parameters={"fingerprint": "f" * 64, "split_seed": 0}
    )
    folder = var / "datasets" / "eyes"
    listed = {"images.npy": b"pixels", "pitchyaw.npy": b"labels"}
    for name, content in listed.items():
        write_once(folder / name, content)
    manifest = {"fingerprint": fingerprint, "files": {name: sha256(content) for name, content in listed.items()}}
    write_once(folder / "manifest.json", json.dumps(manifest).encode())
    return row


@pytest.mark.django_db
@pytest.mark.usefixtures("shared")
def test_an_import_comes_to_a_host_that_needs_it(var: Path, move_to_host: MoveToHost) -> None:
    dataset = imported(var)
    assert (dataset.publish(), dataset.publish()) == (3, 0)
    other = move_to_host("b")
    dataset.fetch()
    folder = Path(dataset.source()["folder"])
    assert folder == other / "datasets" / "eyes"
    assert {path.name: path.read_bytes() for path in folder.glob("*.npy")} == {
        "images.npy": b"pixels",
        "pitchyaw.npy": b"labels",
    }
    assert (folder / "manifest.json").is_file()


@pytest.mark.django_db
@pytest.mark.usefixtures("shared")
def test_other_data_of_the_same_name_are_not_taken_for_the_import(var: Path, move_to_host: MoveToHost) -> None:
    dataset = imported(var, fingerprint="0" * 64)
    dataset.publish()
    other = move_to_host("b")
    with pytest.raises(DamagedFile, match="other data under 'eyes'"):
        dataset.fetch()
    assert not (other / "datasets").exists()


def test_own_arrays_must_lie_on_the_host_that_works_with_them(dataset: Dataset) -> None:
    dataset.fetch()
    Path(dataset.root).unlink()
    with pytest.raises(ValueError, match=r"read from .*blobs\.npz, which .* does not have: put a copy there"):
        dataset.fetch()


# -- what participants are shown


def published(study: Study) -> Study:
    pairs = study.model_run.attack.pairs.select_related("base_image")
    files.publish(image.stored for pair in pairs for image in (pair, pair.base_image))
    return study


@pytest.fixture
def open_study(db: None, shared_in_memory: None) -> Study:
    """Open, its images made here and shared."""
    study = published(make_study(opened=False))
    study.open()
    return study


def images_of(session: Session, token: str) -> Iterator[tuple[Any, Any]]:
    """Every image of a session: the reply and the row that it should show."""
    for trial in session.trials.select_related("pair__base_image"):
        for side in ("left", "right"):
            yield Client().get(f"/run/{token}/i/{trial.index}/{side}"), trial.image(side)


def test_once_the_plan_is_read_no_image_asks_the_storage(
    open_study: Study, move_to_host: MoveToHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_to_host("b")
    session, token = start(open_study)
    assert files.missing_locally(open_study) == len(open_study.files()) > 40
    assert Client().get(f"/run/{token}/plan").status_code == 200
    assert files.missing_locally(open_study) == 0
    cut_off(monkeypatch)
    shown = list(images_of(session, token))
    assert len(shown) == 44
    for reply, image in shown:
        assert np.array_equal(decode_png(reply.content), decode_png(image.read()))


def test_a_host_that_lacks_images_fetches_all_of_them_whichever_is_asked_for(
    open_study: Study, move_to_host: MoveToHost
) -> None:
    session, token = start(open_study)
    move_to_host("b")
    reply, image = next(images_of(session, token))
    assert np.array_equal(decode_png(reply.content), decode_png(image.read()))
    assert files.missing_locally(open_study) == 0


def test_a_byte_damaged_on_this_host_is_never_served_and_is_mended(open_study: Study) -> None:
    session, token = start(open_study)
    trial = session.trials.get(index=5)
    damage(trial.pair.path)
    reply = Client().get(f"/run/{token}/i/5/{trial.altered_side}")
    assert reply.status_code == 200
    assert np.array_equal(decode_png(reply.content), decode_png(trial.pair.read()))


def test_a_byte_damaged_on_this_host_is_not_served_while_the_storage_is_away(
    open_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, token = start(open_study)
    trial = session.trials.get(index=5)
    damage(trial.pair.path)
    cut_off(monkeypatch)
    reply = Client().get(f"/run/{token}/i/5/{trial.altered_side}")
    assert (reply.status_code, reply.json()["error"]) == (500, "damaged_image")


def test_nobody_begins_where_the_images_cannot_be_had(
    open_study: Study, move_to_host: MoveToHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_to_host("b")
    session, token = start(open_study)
    cut_off(monkeypatch)
    reply = Client().get(f"/run/{token}/plan")
    assert (reply.status_code, reply.json()["error"]) == (503, "images_missing")
    before, session = session.attempt, Session.objects.get(pk=session.pk)
    assert session.attempt == before


def test_while_one_request_waits_for_the_storage_others_are_refused(
    open_study: Study, move_to_host: MoveToHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_to_host("b")
    monkeypatch.setattr(files, "PATIENCE_S", 0.01)
    with files._fetching, pytest.raises(StorageFailed, match="being fetched"):
        files.bring(open_study)
    assert files.bring(open_study) > 0


def test_once_all_images_are_here_they_are_looked_for_rarely(
    open_study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert files.missing_locally(open_study) == 0
    monkeypatch.setattr(Path, "is_file", lambda _: pytest.fail("looked again"))
    assert files.missing_locally(open_study) == 0


@pytest.mark.django_db
@pytest.mark.usefixtures("shared_in_memory")
def test_a_study_opens_only_when_the_storage_has_every_image_and_right() -> None:
    study = make_study(opened=False)
    with pytest.raises(CannotOpen, match="missing from the storage"):
        study.open()
    published(study)
    image = study.dataset.base_images.get(index=0)
    put(image.file, b"something else")
    with pytest.raises(CannotOpen, match="in the storage is not what was stored"):
        study.open()
    published(study)
    assert study.open().n == 1


def test_fetch_files_brings_open_studies_to_this_host(
    open_study: Study, move_to_host: MoveToHost, capsys: pytest.CaptureFixture[str]
) -> None:
    move_to_host("b")
    call_command("fetch_files")
    number = len(open_study.files())
    assert f"Study {open_study.slug}: {number} images are here and right, {number} of them" in capsys.readouterr().out
    assert files.missing_locally(open_study) == 0


def test_fetch_files_names_the_study_and_what_is_missing(open_study: Study, move_to_host: MoveToHost) -> None:
    gone = open_study.files()[0]
    storages["default"].delete(gone.name)
    move_to_host("b")
    with pytest.raises(CommandError, match=f"Study {open_study.slug}: {gone.name} is missing from the storage"):
        call_command("fetch_files", open_study.slug)


@pytest.mark.parametrize("command", ["fetch_files", "verify"])
def test_a_storage_that_cannot_be_asked_is_not_taken_for_a_loss(
    command: str, open_study: Study, move_to_host: MoveToHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    move_to_host("b")
    cut_off(monkeypatch)
    with pytest.raises(CommandError, match=r"torage cannot be asked \(STORAGE_URL\).*: The storage failed at"):
        call_command(command)


def test_verifying_stops_at_the_first_file_that_the_storage_cannot_be_asked_for(
    open_study: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def away(name: str) -> None:
        asked.append(name)
        raise ConnectionError("refused")

    monkeypatch.setattr(storages["default"], "open", away)
    with pytest.raises(CommandError, match="says nothing about the files"):
        call_command("verify")
    assert len(asked) == 1
    assert capsys.readouterr().out == ""


@pytest.mark.django_db
def test_fetch_files_has_nothing_to_do_where_nothing_is_shared(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("fetch_files")
    assert "nothing to fetch" in capsys.readouterr().out


# -- verification


def faults(*, local: bool) -> list[str]:
    planned = [check for check in verification.checks(local=local) if check.kind == "base images"]
    return [fault for check in planned if (fault := check.fault())]


def test_verification_reads_the_storage_and_on_request_this_host(open_study: Study) -> None:
    first, second = open_study.dataset.base_images.order_by("index")[:2]
    put(first.file, b"something else")
    damage(second.path)
    (stored,) = faults(local=False)
    assert first.file in stored
    damage(second.path)
    (here,) = faults(local=True)
    assert second.file in here
