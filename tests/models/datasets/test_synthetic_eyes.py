import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.datasets.eye_renderer import cache
from models.datasets.synthetic_eyes import EyesConfig, load, study_images

SMALL = EyesConfig(
    train_subjects=5,
    validation_subjects=3,
    test_subjects=4,
    train_images=520,
    validation_images=9,
    test_images=12,
    size=16,
)
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def cached(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eyes")
    return folder, load(SMALL, folder, processes=1)


def content_of(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in SMALL.folder(folder).iterdir()}


def fingerprints(splits):
    return [part.fingerprint for part in (splits.train, splits.validation, splits.test)]


def test_parts_have_the_images_and_the_subjects_asked_for(cached):
    _, splits = cached
    assert [len(part) for part in (splits.train, splits.validation, splits.test)] == [520, 9, 12]
    assert set(splits.train.subject.tolist()) == set(range(5))
    assert set(splits.validation.subject.tolist()) == set(range(5, 8))
    assert set(splits.test.subject.tolist()) == set(range(8, 12))
    assert splits.test.description == "synthetic eyes"
    assert torch.equal(splits.test.group, splits.test.subject)


def test_the_number_of_processes_does_not_matter(cached, tmp_path):
    _, splits = cached
    assert fingerprints(load(SMALL, tmp_path, processes=2)) == fingerprints(splits)


def test_what_is_cached_is_not_rendered_again(cached, monkeypatch):
    folder, splits = cached
    monkeypatch.setattr(cache, "render_chunk", None)
    assert fingerprints(load(SMALL, folder, processes=1)) == fingerprints(splits)


def test_only_missing_chunks_are_rendered_and_come_out_the_same(cached):
    folder, splits = cached
    before = content_of(folder)
    deleted = sorted(before)[::2]
    for name in deleted:
        (SMALL.folder(folder) / name).unlink()
    assert fingerprints(load(SMALL, folder, processes=1)) == fingerprints(splits)
    after = content_of(folder)
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }
    assert {name for name in after if after[name] != before[name]} == set(deleted)


@pytest.mark.parametrize("position", [100, 100_000, -400])
def test_a_flipped_byte_is_noticed_and_the_chunk_rendered_again(cached, position):
    folder, splits = cached
    path = sorted(SMALL.folder(folder).iterdir())[1]
    good = path.read_bytes()
    damaged = bytearray(good)
    damaged[position] ^= 1
    path.write_bytes(damaged)
    with pytest.warns(RuntimeWarning, match=f"{path.name} is damaged; its images are rendered again"):
        again = load(SMALL, folder, processes=1)
    assert fingerprints(again) == fingerprints(splits)
    assert path.read_bytes() == good


def test_a_chunk_under_another_name_is_noticed(cached):
    folder, splits = cached
    train = sorted(path for path in SMALL.folder(folder).iterdir() if path.name.startswith("train"))
    train[0].write_bytes(train[1].read_bytes())
    with pytest.warns(RuntimeWarning, match="is damaged"):
        assert fingerprints(load(SMALL, folder, processes=1)) == fingerprints(splits)


def test_a_cache_that_cannot_be_read_back_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "write_chunk", lambda chunk: chunk)
    with pytest.raises(OSError, match="cannot be read back"):
        load(SMALL, tmp_path, processes=1)


def test_nothing_half_written_is_left_by_an_error(tmp_path, monkeypatch):
    def disk_full(*_args, **_arrays):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "savez", disk_full)
    with pytest.raises(OSError, match="No space left"):
        load(SMALL, tmp_path, processes=1)
    assert list(SMALL.folder(tmp_path).iterdir()) == []


def test_parts_left_by_a_killed_worker_are_swept_once_they_are_old(tmp_path):
    folder = SMALL.folder(tmp_path)
    folder.mkdir(parents=True)
    old, young = folder / "train-000000-000250.1.part", folder / "train-000000-000250.2.part"
    old.touch()
    young.touch()
    os.utime(old, (0, 0))
    load(SMALL, tmp_path, processes=1)
    assert not old.exists()
    assert young.exists()


def test_more_images_begin_with_the_same_images(cached, tmp_path):
    _, splits = cached
    fewer = load(replace(SMALL, train_images=130), tmp_path, processes=1)
    assert torch.equal(fewer.train.images, splits.train.images[:130])
    assert torch.equal(fewer.train.pitchyaw, splits.train.pitchyaw[:130])


def test_progress_ends_with_all_images(tmp_path):
    seen = []
    load(SMALL, tmp_path, progress=lambda done, total: seen.append((done, total)), processes=1)
    assert seen == [(0, 541), (250, 541), (500, 541), (520, 541), (529, 541), (541, 541)]


def test_rendering_stops_when_progress_raises(tmp_path):
    class StoppedError(Exception):
        pass

    def stop(done, total):
        if done:
            raise StoppedError

    config = replace(SMALL, train_images=50_000)
    with pytest.raises(StoppedError):
        load(config, tmp_path, stop, processes=2)
    kept = len(list(config.folder(tmp_path).iterdir()))
    assert 1 <= kept < 150
    assert not list(config.folder(tmp_path).glob("*.part"))
    time.sleep(0.5)
    assert len(list(config.folder(tmp_path).iterdir())) == kept


def test_a_right_eye_is_the_mirror_image_with_yaw_negated(cached, tmp_path):
    _, left = cached
    right = load(replace(SMALL, eye="right"), tmp_path, processes=1)
    assert torch.equal(right.test.images, left.test.images.flip(3))
    assert torch.equal(right.test.pitchyaw, left.test.pitchyaw * torch.tensor([1.0, -1.0]))


def test_configurations_do_not_share_a_folder(tmp_path):
    configs = [
        SMALL,
        replace(SMALL, seed=2),
        replace(SMALL, height=20),
        replace(SMALL, span=37.5),
        replace(SMALL, eye="right"),
        replace(SMALL, train_subjects=6),
    ]
    assert len({config.folder(tmp_path) for config in configs}) == len(configs)
    assert replace(SMALL, train_images=600).folder(tmp_path) == SMALL.folder(tmp_path)


def test_study_images_show_each_test_subject_once_and_are_not_evaluated(cached):
    folder, splits = cached
    study = study_images(SMALL, folder, processes=1)
    assert study.subject.tolist() == [8, 9, 10, 11]
    evaluated = {image.numpy().tobytes() for image in splits.test.images}
    assert not evaluated & {image.numpy().tobytes() for image in study.images}


def test_study_gazes_are_spread(tmp_path):
    config = EyesConfig(train_images=40, validation_images=12, test_images=80, size=16)
    pitch, yaw = np.degrees(study_images(config, tmp_path, processes=1).pitchyaw.numpy()).T
    cells, _, _ = np.histogram2d(pitch, yaw, bins=4, range=[(-10, 20), (-30, 30)])
    assert cells.sum() == 80
    assert cells.min() >= 3
    assert cells.max() <= 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size must be a whole number from 16 to 224 px, not 0"),
        ({"size": 225}, "size must be"),
        ({"size": 64.0}, "size must be"),
        ({"height": 8}, "height must be a whole number from 16 to 224 px, not 8"),
        ({"train_subjects": 0}, "train_subjects must be a whole number of at least 1, not 0"),
        ({"test_images": 3}, r"test_images must be a whole number of at least test_subjects \(4\), not 3"),
        ({"validation_images": -1}, "validation_images must be"),
        ({"span": float("nan")}, "span must be from 20 to 80 mm"),
        ({"eye_below_centre": 40.0}, "eye_below_centre must be"),
        ({"eye": "both"}, 'eye must be "left" or "right"'),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
    ],
)
def test_a_configuration_out_of_range_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **change)


def test_workers_die_with_their_parent_and_the_next_call_resumes(tmp_path):
    config = replace(SMALL, train_images=60_000)
    code = (
        "from pathlib import Path; from models.datasets.synthetic_eyes import EyesConfig, load\n"
        f"load({config!r}, Path({str(tmp_path)!r}), processes=2)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        wait_for(lambda: len(list(config.folder(tmp_path).glob("*.npz"))) >= 2)
        workers = children(parent.pid)
        assert len(workers) >= 2
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    wait_for(lambda: not any(map(alive, workers)))
    assert not list(config.folder(tmp_path).glob("*.part"))

    written = {path: path.stat().st_mtime_ns for path in config.folder(tmp_path).glob("*.npz")}
    assert len(written) < 240
    stop = 250 * len([path for path in written if path.name.startswith("train")])
    load(replace(config, train_images=stop), tmp_path, processes=1)
    assert {path: path.stat().st_mtime_ns for path in written} == written


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def process_state(pid):
    """(state, parent) of a process, or None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[1])


def children(pid):
    others = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [other for other in others if (state := process_state(other)) and state[1] == pid]


def alive(pid):
    state = process_state(pid)
    return state is not None and state[0] != "Z"
