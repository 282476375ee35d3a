"""`manage.py import_dataset`: from files on the researcher's disk to a data set that can be trained on."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from models.datasets.formats import FORMATS
from models.datasets.importing import Manifest
from models.datasets.samples import Format, Pixels, Sample
from models.run import load_splits
from study.accounts.models import AuditEntry
from study.lab.models import Dataset
from study.lab.pairs import base_images
from tests.models.datasets.fixtures import eyes

pytestmark = pytest.mark.django_db


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Twelve eyes of six people as arrays."""
    samples = eyes(12, (20, 32), subjects=6)
    path = tmp_path / "six-people.npz"
    np.savez(
        path,
        images=np.stack([sample.image for sample in samples]),
        pitchyaw=np.array([(sample.pitch, sample.yaw) for sample in samples], np.float32),
        subject=np.array([sample.subject for sample in samples]),
        session=np.arange(12) // 3,
    )
    return path


@pytest.fixture(autouse=True)
def blank_sheet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.datasets.contact_sheet.draw", lambda data, manifest, path: path.write_bytes(b"sheet"))


def bring(*arguments: object) -> str:
    output = StringIO()
    call_command("import_dataset", *map(str, arguments), stdout=output)
    return output.getvalue()


def test_an_import_becomes_a_data_set_that_can_be_trained_on(archive: Path, var: Path) -> None:
    said = bring("arrays", archive)
    dataset = Dataset.objects.get(name="six-people")
    sheet = var / "datasets" / "six-people" / "contact_sheet.png"
    assert "Imported 12 images of 20 x 32 px, 6 subject(s), as 'six-people'" in said
    assert Manifest.read(var / "datasets" / "six-people").description == "own arrays (.npz), split by subject"
    assert f"every arrow must point where the eye looks: {sheet}" in said
    assert "Then: manage.py train_model --dataset six-people" in said
    assert dataset.contact_sheet == sheet
    assert dataset.image_size() == (20, 32)
    splits = load_splits({"data": dataset.source()}, lambda: False)
    assert sum(len(part) for part in (splits.train, splits.validation, splits.test)) == 12


def test_pairs_are_made_of_people_that_no_model_was_trained_on(archive: Path) -> None:
    bring("arrays", archive)
    source = Dataset.objects.get().source()
    splits = load_splits({"data": source}, lambda: False)
    images, description = base_images(source)
    assert set(images.subject.tolist()).isdisjoint(splits.train.subject.tolist())
    assert images.images[0].shape == (3, 20, 32)
    assert description["data"]["test"]["fingerprint"] == splits.test.fingerprint


def test_an_imported_data_set_carries_its_terms_and_is_not_for_participants(archive: Path) -> None:
    bring("arrays", archive)
    dataset = Dataset.objects.get()
    assert dataset.licence == FORMATS["arrays"].licence
    assert not dataset.may_display_to_participants
    assert "Nobody has cleared these images for display" in (dataset.display_refusal() or "")


def test_the_same_command_again_changes_nothing(archive: Path) -> None:
    bring("arrays", archive)
    assert "Imported before, and the same now: 12 images" in bring("arrays", archive)
    assert Dataset.objects.count() == 1


def test_an_import_is_recorded_once(archive: Path) -> None:
    for _ in range(2):
        bring("arrays", archive)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.after["images"]) == ("imported", Dataset.objects.get().parameters["images"])


def test_a_lost_row_is_made_again_from_the_same_files(archive: Path) -> None:
    bring("arrays", archive)
    Dataset.objects.all().delete()
    bring("arrays", archive)
    assert Dataset.objects.get().name == "six-people"


def test_the_name_of_another_import_is_refused(archive: Path) -> None:
    bring("arrays", archive)
    with pytest.raises(CommandError, match="with another fingerprint: choose another --name"):
        bring("arrays", archive, "--limit", 6)
    assert Dataset.objects.get().parameters["images"] == 12


def test_the_same_images_split_otherwise_need_another_name(archive: Path) -> None:
    bring("arrays", archive)
    with pytest.raises(CommandError, match="differs in parameters: choose another name with --name"):
        bring("arrays", archive, "--split-seed", 1)


def test_the_name_of_other_data_is_refused_before_anything_is_read(archive: Path, var: Path) -> None:
    Dataset.objects.synthetic_eyes("eyes")
    with pytest.raises(CommandError, match="'eyes' is there already and is no import: choose another name with --name"):
        bring("arrays", archive, "--name", "eyes")
    assert not (var / "datasets").exists()


def test_a_row_keeps_the_files_that_it_describes(archive: Path, var: Path) -> None:
    bring("arrays", archive)
    folder = var / "datasets" / "six-people"
    shutil.rmtree(folder)
    with pytest.raises(CommandError, match="differs in parameters: choose another name with --name"):
        bring("arrays", archive, "--flip-yaw")
    assert not folder.exists()
    bring("arrays", archive)
    assert Dataset.objects.get().parameters["fingerprint"] == Manifest.read(folder).fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--name", "../eyes"), "'../eyes' cannot name a data set"),
        (("--size", 8, 8), "A size of 8 x 8 px is too small"),
        (("--fractions", 0.5, 0.4, 0.2), "must be three, positive, and add up to 1"),
        (("--group-key", "day"), "no array 'day'"),
        (("--subjects", "p00", "p99"), "has no images of p99"),
    ],
)
def test_what_cannot_be_imported_is_refused_in_one_sentence(
    archive: Path, var: Path, arguments: tuple[object, ...], message: str
) -> None:
    with pytest.raises(CommandError, match=message):
        bring("arrays", archive, *arguments)
    assert not list(var.glob("datasets/*"))
    assert not Dataset.objects.exists()


def test_a_place_that_cannot_be_written_to_is_named(archive: Path, var: Path) -> None:
    (var / "datasets").write_bytes(b"")
    with pytest.raises(CommandError, match=r"^Nothing was imported; .*datasets/\.six-people\.part: Not a directory\.$"):
        bring("arrays", archive)
    assert not Dataset.objects.exists()


def test_a_stopped_import_leaves_neither_files_nor_row(
    archive: Path, var: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> Pixels:
        raise KeyboardInterrupt

    first, *others = eyes(3, (20, 32))
    samples = [first, *(replace(eye, read=interrupt) for eye in others)]
    interrupted = replace(FORMATS["arrays"], samples=lambda root, options: iter(samples))
    monkeypatch.setitem(FORMATS, "arrays", interrupted)
    with pytest.raises(CommandError, match=r"Stopped: nothing was imported\.") as stopped:
        bring("arrays", archive)
    assert stopped.value.returncode == 130
    assert list((var / "datasets").iterdir()) == []
    assert not Dataset.objects.exists()


def test_a_split_is_kept_with_the_data_set(archive: Path) -> None:
    bring("arrays", archive, "--group-key", "session", "--fractions", 0.5, 0.25, 0.25, "--split-seed", 2)
    source = Dataset.objects.get().source()
    assert (source["fractions"], source["seed"]) == ([0.5, 0.25, 0.25], 2)
    assert len(load_splits({"data": source}, lambda: False).train) == 6


@dataclass(frozen=True)
class Options:
    eye: Literal["left", "right"] = field(default="left", metadata={"help": "which eye"})
    size: int = field(default=3, metadata={"help": "side of the images, px"})
    mirrored: bool = field(default=False, metadata={"help": "mirror every image"})
    split: str | None = field(default=None, metadata={"help": "part of the data set"})


def test_the_options_of_a_format_are_options_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []

    def samples(root: Path, options: Options) -> Iterator[Sample]:
        seen.append(options)
        yield from eyes(6, (20, 32))

    reader = Format("made_up", "Made-up eyes", "", "ours", "a folder", samples)
    monkeypatch.setitem(FORMATS, "made_up", replace(reader, options=Options))
    bring("made_up", tmp_path, "--name", "default")
    bring("made_up", tmp_path, "--eye", "right", "--size", "5", "--mirrored", "--split", "test")
    assert seen == [Options()] * 2 + [Options("right", 5, True, "test")] * 2  # labels first, then images
    assert Manifest.read(Path(Dataset.objects.get(name="made_up").root)).options["size"] == 5
    with pytest.raises(CommandError, match="invalid choice: 'both'"):
        bring("made_up", tmp_path, "--eye", "both")


@pytest.mark.parametrize("kind", FORMATS)
def test_help_on_a_format_says_what_its_root_must_hold(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bring(kind, "--help")
    said = "".join(capsys.readouterr().out.split())
    assert "".join(FORMATS[kind].layout.split()) in said
    assert "".join(FORMATS[kind].licence.split()) in said


def test_a_bar_is_shown_on_a_screen(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert "Imported 12 images" in bring("arrays", archive)


def sheet_of(dataset: Dataset) -> str:
    return reverse("admin:lab_dataset_contact_sheet", args=[dataset.pk])


def test_the_admin_says_where_the_contact_sheet_is_and_shows_it_once_cleared(
    archive: Path, admin_client: Client
) -> None:
    bring("arrays", archive)
    dataset = Dataset.objects.get()
    page = reverse("admin:lab_dataset_change", args=[dataset.pk])
    assert str(dataset.contact_sheet) in admin_client.get(page).content.decode()
    assert admin_client.get(sheet_of(dataset)).status_code == 403
    Dataset.objects.update(may_display_to_participants=True)
    assert f'src="{sheet_of(dataset)}"' in admin_client.get(page).content.decode()
    assert admin_client.get(sheet_of(dataset)).content == b"sheet"


def test_the_signs_that_angles_were_read_with_are_kept_and_shown(archive: Path, admin_client: Client) -> None:
    said = bring("arrays", archive, "--flip-yaw")
    dataset = Dataset.objects.get()
    assert (dataset.parameters["sign_pitch"], dataset.parameters["sign_yaw"]) == (1, -1)
    assert "(stored pitch times +1, stored yaw times -1)" in said
    page = admin_client.get(reverse("admin:lab_dataset_change", args=[dataset.pk]))
    assert "stored pitch times +1, stored yaw times -1" in page.content.decode()


def test_a_data_set_that_was_not_imported_has_no_contact_sheet(admin_client: Client) -> None:
    dataset = Dataset.objects.synthetic_eyes()
    assert dataset.contact_sheet is None
    assert not dataset.signs
    assert admin_client.get(sheet_of(dataset)).status_code == 404
