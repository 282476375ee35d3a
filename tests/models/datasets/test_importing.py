import fcntl
import json
import math
import os
import shutil
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.datasets import importing
from models.datasets.base import GazeData, StoredImages
from models.datasets.importing import Choices, Manifest, import_data, load
from models.datasets.samples import Format, FormatError
from models.run import load_splits
from tests.models.datasets.fixtures import eyes, held

SIZE = (20, 32)


def source(samples):
    """A format whose samples are these; an exception among them is raised in its place."""

    def read(root):
        for sample in samples:
            if isinstance(sample, Exception):
                raise sample
            yield sample

    return Format(
        kind="made_up",
        title="Made-up eyes",
        citation="Nobody 2026.",
        licence="ours",
        layout="any folder",
        samples=read,
        sign_yaw=-1,
    )


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "imported" / "eyes"


@pytest.fixture
def bring(root, folder, monkeypatch):
    """Import samples to `folder`, with a blank page for a contact sheet."""
    monkeypatch.setattr("models.datasets.contact_sheet.draw", lambda data, manifest, path: path.write_bytes(b"sheet"))

    def bring(samples, choices=None, **arguments):
        return import_data(source(samples), root, folder, choices=choices, **arguments)

    return bring


def left_behind(folder):
    return sorted(path.name for path in folder.parent.iterdir()) if folder.parent.exists() else []


def with_row(row, **changes):
    samples = eyes(12, SIZE)
    samples[row] = replace(samples[row], **changes)
    return samples


# -- what comes out is what went in


@pytest.mark.parametrize("grey", [False, True])
def test_what_is_loaded_is_what_was_imported(bring, folder, grey):
    samples = eyes(12, SIZE, grey=grey)
    bring(samples)
    data = load(folder)
    images = np.stack([np.atleast_3d(sample.image).transpose(2, 0, 1) for sample in samples])
    assert isinstance(data.images, StoredImages)
    assert torch.equal(data.images[:], torch.from_numpy(images))
    assert data.pitchyaw.tolist() == [[sample.pitch, sample.yaw] for sample in samples]
    assert data.subject.tolist() == data.group.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    assert np.load(folder / "head.npy").tolist() == [list(sample.head) for sample in samples]
    assert (folder / "where.txt").read_text().splitlines() == [sample.where for sample in samples]
    assert (data.name, data.description) == ("eyes", "Made-up eyes, split by subject")


def test_the_manifest_says_what_was_imported_and_is_read_back(bring, folder):
    manifest, is_new = bring(eyes(12, SIZE), description="eyes of nobody")
    assert is_new
    assert manifest == Manifest.read(folder)
    assert manifest.images == manifest.expected == 12
    assert manifest.shape == (3, *SIZE)
    assert manifest.subjects == {"p00": 4, "p01": 4, "p02": 4}
    assert (manifest.licence, manifest.citation, manifest.sign_yaw) == ("ours", "Nobody 2026.", -1)
    assert manifest.description == load(folder).description == "eyes of nobody"
    pitch = [math.degrees(sample.pitch) for sample in eyes(12, SIZE)]
    assert manifest.range_deg["pitch"] == pytest.approx([min(pitch), max(pitch)], abs=1e-3)
    assert not manifest.warnings


def test_the_fingerprint_is_that_of_the_same_images_in_memory(bring, folder):
    manifest, _ = bring(eyes(12, SIZE))
    data = load(folder)
    in_memory = GazeData(data.images[:], data.pitchyaw, data.subject, data.group, "other", "the same")
    assert manifest.fingerprint == data.fingerprint == in_memory.fingerprint


def test_heads_are_left_out_where_the_source_has_none(bring, folder):
    bring([replace(sample, head=None) for sample in eyes(12, SIZE)])
    assert not (folder / "head.npy").exists()


def test_groups_of_the_source_are_what_a_split_keeps_together(bring, folder):
    manifest, _ = bring([replace(s, group=f"day {row // 2}") for row, s in enumerate(eyes(12, SIZE))])
    assert load(folder).group.tolist() == [row // 2 for row in range(12)]
    assert manifest.groups == 6
    assert manifest.description == "Made-up eyes, split by group"


def test_an_import_can_be_trained_on(bring, folder):
    bring(eyes(12, SIZE))
    data = {"kind": "imported", "folder": str(folder), "fractions": [0.4, 0.3, 0.3], "seed": 1}
    splits = load_splits({"data": data}, lambda: False)
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [4, 4, 4]
    assert isinstance(splits.train.images, StoredImages)


# -- choices


def test_images_of_several_sizes_are_brought_to_one(bring, folder):
    manifest, _ = bring(eyes(6, SIZE) + eyes(6, (40, 64)), choices=Choices(size=(24, 38)))
    assert load(folder).images.shape == (12, 3, 24, 38)
    assert not manifest.warnings


def test_a_size_of_another_shape_is_warned_of(bring):
    manifest, _ = bring(eyes(12, SIZE), choices=Choices(size=(32, 32)))
    assert manifest.warnings == (
        "Images were stretched to 32 x 32 px: gaze labels hold for the shape they were made for.",
    )


def test_colour_becomes_grey_by_its_luma(bring, folder):
    bring(eyes(12, SIZE), choices=Choices(grey=True))
    luma = np.stack([sample.image @ [0.299, 0.587, 0.114] for sample in eyes(12, SIZE)])
    assert np.abs(load(folder).images[:][:, 0].numpy() - luma).max() <= 1


def test_a_limit_takes_images_evenly_from_the_whole_source(bring, folder):
    manifest, _ = bring(eyes(12, SIZE), choices=Choices(limit=4))
    rows = [int(line.split()[-1]) for line in (folder / "where.txt").read_text().splitlines()]
    assert rows == [2, 5, 8, 11]
    assert (manifest.expected, manifest.images) == (12, 4)


@pytest.mark.parametrize("choices", [Choices(limit=4), Choices(subjects=("p01",))])
def test_only_the_images_that_are_chosen_are_read(bring, choices):
    read = []

    def noted(sample):
        return replace(sample, read=lambda: read.append(sample.where) or sample.image)

    manifest, _ = bring([noted(sample) for sample in eyes(12, SIZE)], choices)
    assert len(read) == manifest.images == 4


def test_angles_can_be_flipped_for_gaze_and_head_alike(bring, folder):
    manifest, _ = bring(eyes(12, SIZE), choices=Choices(flip_yaw=True))
    assert (manifest.sign_pitch, manifest.sign_yaw) == (1, 1)  # the reader says -1
    assert load(folder).pitchyaw.tolist() == [[sample.pitch, -sample.yaw] for sample in eyes(12, SIZE)]
    assert np.load(folder / "head.npy").tolist() == [[s.head[0], -s.head[1]] for s in eyes(12, SIZE)]


def test_people_can_be_chosen(bring):
    manifest, _ = bring(eyes(12, SIZE), choices=Choices(subjects=("p00", "p02")))
    assert manifest.subjects == {"p00": 4, "p02": 4}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": (8, 64)}, "size of 8 x 64 px is too small: 16 px is the least"),
        ({"limit": 0}, "at least 1 image, not 0"),
    ],
)
def test_choices_that_cannot_be_met_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Choices(**fields)


# -- warnings


def test_what_the_reader_notes_is_kept(root, folder, bring):
    reader = replace(source(eyes(12, SIZE)), notes=lambda root: [f"{root.name} lacks a file."])
    manifest, _ = import_data(reader, root, folder)
    assert manifest.warnings == Manifest.read(folder).warnings == ("root lacks a file.",)


def test_one_person_is_imported_with_a_warning(bring):
    manifest, _ = bring(eyes(6, SIZE, subjects=1))
    unseen, cannot_split = manifest.warnings
    assert unseen.startswith("One subject only")
    assert cannot_split.startswith("1 group(s) cannot be split")


def test_one_person_in_many_groups_can_be_split(bring):
    manifest, _ = bring([replace(s, group=str(row)) for row, s in enumerate(eyes(6, SIZE, subjects=1))])
    assert [warning[:16] for warning in manifest.warnings] == ["One subject only"]


# -- refusals: one sentence, with the place, and nothing left behind


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (
            with_row(7, read=held(eyes(1, (40, 64))[0].image)),
            r"row 7: the image is 40 x 64 px, .* before it are 20 x 32 px",
        ),
        (
            with_row(7, read=held(eyes(1, SIZE, grey=True)[0].image)),
            r"row 7: the image is grey, those before it .* --grey",
        ),
        ([*eyes(4, SIZE), FormatError("p03/day01.mat is damaged.")], r"^p03/day01.mat is damaged.$"),
        ([*eyes(4, SIZE), OSError("read error")], r"cannot be read, after fixture, row 3 \(read error\)"),
        ([], "holds no samples; expected: any folder"),
    ],
)
def test_bad_samples_are_named_and_nothing_is_imported(bring, folder, samples, message):
    with pytest.raises(FormatError, match=message):
        bring(samples)
    assert left_behind(folder) == []


@pytest.mark.parametrize("now", [11, 13])
def test_another_number_of_samples_than_at_first_is_refused(root, folder, now):
    passes = iter([eyes(12, SIZE), eyes(now, SIZE)])
    changing = replace(source([]), samples=lambda root: iter(next(passes)))
    with pytest.raises(FormatError, match=f"12 samples at first, now {now}: leave the files alone and import again"):
        import_data(changing, root, folder)
    assert left_behind(folder) == []


def test_what_is_wrong_with_labels_and_files_is_said_before_an_image_is_read(bring, root, folder):
    def read():
        raise AssertionError

    unread = [replace(sample, read=read, file=root / f"{row}.png") for row, sample in enumerate(eyes(3, SIZE))]
    with pytest.raises(FormatError, match=r"label 3 is damaged"):
        bring([*unread, FormatError("label 3 is damaged.")])
    with pytest.raises(FormatError, match=r"missing, the first in fixture, row 0; fetch them: 0.png, 1.png, 2.png"):
        bring(unread)
    assert not folder.parent.exists()


def test_pictures_without_a_label_are_refused_or_skipped_where_a_format_labels_every_image(root, folder, bring):
    for name in ("0.png", "1.png", "2.png", "3.png"):
        (root / name).touch()
    samples = [replace(sample, file=root / f"{row}.png") for row, sample in enumerate(eyes(3, SIZE))]
    labelled = replace(source(samples), labels_every_image=True)
    with pytest.raises(FormatError, match=r"1 image file\(s\) without a label; .* --unlabelled skip: 3.png"):
        import_data(labelled, root, folder)
    assert import_data(labelled, root, folder, choices=Choices(unlabelled="skip"))[0].images == 3


def test_people_that_are_not_there_are_named(bring, folder):
    with pytest.raises(FormatError, match="has no images of p07, p09: see how it names its subjects"):
        bring(eyes(12, SIZE), choices=Choices(subjects=("p07", "p01", "p09")))
    assert left_behind(folder) == []


def test_a_missing_root_is_named_with_what_it_must_hold(tmp_path, folder):
    with pytest.raises(FormatError, match="gone: no such folder; expected: any folder"):
        import_data(source(eyes(2, SIZE)), tmp_path / "gone", folder)


def test_too_little_room_is_noticed_before_anything_is_written(bring, folder, monkeypatch):
    monkeypatch.setattr(importing.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**4, 10**4, 10**4))
    with pytest.raises(ValueError, match=r"12 images of 20 x 32 px need 0.0 MB, but only 0.0 MB are free"):
        bring(eyes(12, SIZE))
    assert left_behind(folder) == []


def test_room_for_a_few_people_is_not_asked_for_all(bring, monkeypatch):
    monkeypatch.setattr(importing.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**4, 10**4, 10**4))
    assert bring(eyes(12, SIZE), choices=Choices(subjects=("p00",)))[0].images == 4


def test_what_cannot_be_recorded_is_not_delivered(bring, folder):
    def refuse(manifest):
        raise ValueError(f"{manifest.images} images are not wanted.")

    with pytest.raises(ValueError, match="12 images are not wanted"):
        bring(eyes(12, SIZE), record=refuse)
    assert left_behind(folder) == []


def test_a_stopped_import_leaves_nothing(bring, folder):
    def stop(done, total):
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bring(eyes(12, SIZE), progress=stop)
    assert left_behind(folder) == []


def test_progress_counts_the_samples(bring):
    seen = []
    bring(eyes(3, SIZE), progress=lambda *counts: seen.append(counts))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_memory_holds_one_image_at_a_time(bring):
    """`source` would hold its samples, so they are made as they are asked for."""
    image = eyes(1, (64, 64))[0]

    class Lazy:
        def __len__(self):
            return 600

        def __iter__(self):
            return (replace(image, read=image.image.copy, subject=f"p{row % 3}") for row in range(600))

    tracemalloc.start()
    try:
        bring(Lazy())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 600 * image.image.nbytes / 4


# -- once, and whole


def test_the_same_again_changes_nothing(bring, folder):
    first, _ = bring(eyes(12, SIZE))
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again, is_new = bring(eyes(12, SIZE))
    assert (again, is_new) == (first, False)
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert left_behind(folder) == ["eyes"]


def test_a_damaged_import_is_mended_by_the_same_again(bring, folder):
    bring(eyes(12, SIZE))
    (folder / "images.npy").write_bytes(b"")
    assert bring(eyes(12, SIZE))[1]
    assert len(load(folder)) == 12


@pytest.mark.parametrize(
    ("samples", "arguments", "difference"),
    [(eyes(11, SIZE), {}, "fingerprint"), (eyes(12, SIZE), {"description": "others"}, "description")],
)
def test_other_data_do_not_take_the_place_of_an_import(bring, folder, samples, arguments, difference):
    bring(eyes(12, SIZE))
    with pytest.raises(ValueError, match=f"holds an import of Made-up eyes with another {difference}: choose another"):
        bring(samples, **arguments)
    assert len(load(folder)) == 12
    assert left_behind(folder) == ["eyes"]


def test_one_import_of_a_name_at_a_time(bring, folder):
    under_way = folder.with_name(".eyes.part")
    under_way.mkdir(parents=True)
    lock = os.open(under_way, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with pytest.raises(ValueError, match="'eyes' is being imported by another process"):
            bring(eyes(12, SIZE))
    finally:
        os.close(lock)
    assert under_way.exists()


def test_what_a_killed_import_left_is_swept(bring, folder):
    left = folder.with_name(".eyes.part")
    left.mkdir(parents=True)
    (left / "group.npy").write_bytes(b"half")
    bring(eyes(12, SIZE))
    assert left_behind(folder) == ["eyes"]
    assert len(load(folder)) == 12


# -- files that have changed since


def test_a_folder_without_an_import_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no imported data set: manifest.json is missing"):
        load(tmp_path)


def test_changed_labels_are_noticed(bring, folder):
    bring(eyes(12, SIZE))
    np.save(folder / "pitchyaw.npy", np.zeros((12, 2), np.float32))
    with pytest.raises(ValueError, match=r"pitchyaw.npy is not what was imported"):
        load(folder)


def test_missing_images_are_named(bring, folder):
    bring(eyes(12, SIZE))
    (folder / "images.npy").unlink()
    with pytest.raises(ValueError, match=r"images.npy is missing: import the data again"):
        load(folder)


def test_images_cut_short_are_noticed(bring, folder):
    bring(eyes(12, SIZE))
    os.truncate(folder / "images.npy", 5000)
    with pytest.raises(ValueError, match=r"images.npy does not hold whole uint8 images"):
        load(folder)


def test_a_changed_pixel_changes_the_fingerprint(bring, folder):
    manifest, _ = bring(eyes(12, SIZE))
    content = bytearray((folder / "images.npy").read_bytes())
    content[-1] ^= 1
    (folder / "images.npy").write_bytes(content)
    assert load(folder).fingerprint != manifest.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda fields: fields | {"version": 0}, "is of version 0, not 1"),
        (lambda fields: fields | {"mood": "good"}, "is damaged"),
        (lambda fields: [], "is damaged"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(bring, folder, change, message):
    bring(eyes(12, SIZE))
    path: Path = folder / "manifest.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(ValueError, match=f"{message}.* delete its folder and import the data again"):
        load(folder)
