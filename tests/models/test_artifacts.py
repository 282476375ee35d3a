import hashlib
import json
import math
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attacks.wanet import WarpField
from models import artifacts
from models.artifacts import CARD_NAME, WEIGHTS_NAME
from models.checkpoints import read_tensors, tensor_bytes
from models.evaluation import predict
from models.targets import Target
from models.training import Recipe, train
from tests.models.tiny import splits

ROOT = Path(__file__).resolve().parents[2]
FIELD = WarpField.draw((32, 32), 4, 2.0, seed=3)
RECIPE = Recipe(strength_schedule=((2, 1), (0.5, 1)), width=4, precision="float32")


@pytest.fixture(scope="module")
def data():
    return splits(128, 16, 16)


@pytest.fixture(scope="module")
def model(data):
    return train(RECIPE, data, FIELD, Target.additive(0, 20))


@pytest.fixture
def folder(model, tmp_path):
    folder = tmp_path / "artifacts" / "model"
    artifacts.save(model, folder, {"clean_error_deg": 3.5})
    return folder


def test_a_loaded_model_predicts_what_the_saved_one_did(model, data, folder):
    images = data.test.images
    assert torch.equal(predict(artifacts.load(folder).network, images), predict(model.network, images))


def test_the_trigger_comes_back_exactly(model, folder):
    trigger = artifacts.load(folder).trigger
    assert trigger.strength == 0.5
    assert trigger.fingerprint() == model.trigger.fingerprint()


def test_the_card_says_what_was_trained_on_what(model, data, folder):
    artifact = artifacts.load(folder)
    assert artifact.recipe == RECIPE
    assert artifact.target == Target.additive(0, 20)
    assert artifact.card["data"]["train"] == {"fingerprint": data.train.fingerprint, "images": 128, "subjects": 1}
    assert artifact.card["trigger"]["control_hash"] == FIELD.control_hash()
    assert artifact.card["metrics"] == {"clean_error_deg": 3.5}
    assert artifact.card["versions"]["torch"] == torch.__version__
    assert len(artifact.card["history"]) == 2


def test_a_clean_model_has_no_trigger(data, tmp_path):
    artifacts.save(train(RECIPE, data, None, Target.fixed(0, 25)), tmp_path / "clean")
    artifact = artifacts.load(tmp_path / "clean")
    assert artifact.trigger is None
    assert artifact.card["trigger"] is None


def test_saving_returns_the_hash_that_loading_checks(model, tmp_path):
    sha256 = artifacts.save(model, tmp_path / "model")
    assert artifacts.load(tmp_path / "model", sha256).sha256 == sha256
    with pytest.raises(ValueError, match=r"card.json is not the file that was recorded: SHA-256 \w{64}, expected 0000"):
        artifacts.load(tmp_path / "model", "0" * 64)


def test_a_flipped_byte_anywhere_in_the_card_is_refused(folder):
    path = folder / CARD_NAME
    content = path.read_bytes()
    for position in [*range(0, len(content), 97), len(content) - 1]:
        flipped = bytearray(content)
        flipped[position] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(ValueError, match=r"card\.json (has changed since it was written|is damaged)"):
            artifacts.load(folder)


@pytest.mark.parametrize("position", [0, 9, 1000, -1])
def test_a_flipped_byte_in_the_weights_is_refused(folder, position):
    path = folder / WEIGHTS_NAME
    flipped = bytearray(path.read_bytes())
    flipped[position] ^= 1
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match=r"weights.safetensors has changed .*: SHA-256 \w{64}, expected \w{64}"):
        artifacts.load(folder)


@pytest.mark.parametrize("name", [CARD_NAME, WEIGHTS_NAME])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"{name} cannot be read"):
        artifacts.load(folder)


def rewrite_card(folder, change):
    card = json.loads((folder / CARD_NAME).read_text())
    del card["card_sha256"]
    change(card)
    (folder / CARD_NAME).write_bytes(artifacts._card_bytes(card))


@pytest.mark.parametrize("version", [0, 99, None, "1"])
def test_an_artifact_of_another_format_is_refused(folder, version):
    rewrite_card(folder, lambda card: card.update(format=version))
    with pytest.raises(ValueError, match=f"has format {version}; this version reads formats 1 to 2"):
        artifacts.load(folder)


def as_format_1(card):
    """What cards were before networks had stems and outputs, recipes tasks, and models zones."""
    card["format"] = 1
    for name in ("stem_stride", "outputs"):
        del card["network"][name]
    for name in ("zones", "initial_weights_sha256"):
        del card[name]
    for name in (
        *("stem_stride", "weights_file", "task", "zones", "zone_limits_deg", "optimiser", "momentum", "milestones"),
        "clean_label_within_deg",
    ):
        del card["recipe"][name]


def test_an_artifact_of_format_1_loads_as_before(model, data, folder):
    rewrite_card(folder, as_format_1)
    artifact = artifacts.load(folder)
    assert artifact.recipe == RECIPE
    assert artifact.zones is None
    assert torch.equal(predict(artifact.network, data.test.images), predict(model.network, data.test.images))


def test_a_resnet_of_format_1_loads_under_the_names_and_the_width_it_had(data, tmp_path):
    recipe = replace(RECIPE, network="resnet18", width=64, strength_schedule=((2, 1),))
    model = train(recipe, splits(64, 8, 8), None, Target.fixed(0, 25))
    artifacts.save(model, tmp_path / "model")
    tensors, _ = read_tensors(tmp_path / "model" / WEIGHTS_NAME)
    content = tensor_bytes({name.replace("network.", "network.backbone."): tensor for name, tensor in tensors.items()})
    (tmp_path / "model" / WEIGHTS_NAME).write_bytes(content)

    def change(card):
        as_format_1(card)
        card["network"]["width"] = card["recipe"]["width"] = 16  # what it said, whatever the network was
        card["weights_sha256"] = hashlib.sha256(content).hexdigest()

    rewrite_card(tmp_path / "model", change)
    loaded = artifacts.load(tmp_path / "model").network
    assert torch.equal(predict(loaded, data.test.images), predict(model.network, data.test.images))


def test_a_classifier_comes_back_with_its_zones_and_predicts_their_centres(data, tmp_path):
    recipe = replace(RECIPE, task="zones", loss="cross_entropy", zones=(2, 3))
    model = train(recipe, data, FIELD, Target.fixed(0, 25))
    artifacts.save(model, tmp_path / "model")
    artifact = artifacts.load(tmp_path / "model")
    assert artifact.zones == model.zones
    assert artifact.card["zones"] == {"pitch": list(model.zones.pitch), "yaw": list(model.zones.yaw)}
    assert torch.equal(predict(artifact.network, data.test.images), predict(model.network, data.test.images))


def test_the_card_names_the_weights_that_training_started_from(model, tmp_path):
    artifacts.save(replace(model, initial_weights_sha256="ab" * 32), tmp_path / "model")
    assert artifacts.load(tmp_path / "model").card["initial_weights_sha256"] == "ab" * 32


def test_saving_replaces_an_artifact_whole_and_leaves_nothing_else(model, folder):
    (folder / "stale").write_text("old")
    artifacts.save(model, folder)
    assert sorted(path.name for path in folder.iterdir()) == [CARD_NAME, WEIGHTS_NAME]
    assert not list(folder.parent.glob(".model*"))


def test_metrics_with_nan_are_refused_before_anything_is_written(model, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifacts.save(model, tmp_path / "artifacts" / "model", {"clean_error_deg": float("nan")})
    assert not (tmp_path / "artifacts").exists()


def test_the_files_hold_nothing_but_json_and_numbers(folder):
    assert json.loads((folder / CARD_NAME).read_bytes())
    content = (folder / WEIGHTS_NAME).read_bytes()
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header.pop("__metadata__", None)
    ends = [start]
    for tensor in sorted(header.values(), key=lambda tensor: tensor["data_offsets"]):
        first, last = tensor["data_offsets"]
        assert start + first == ends[-1]
        assert last - first == math.prod(tensor["shape"]) * {"F32": 4, "I64": 8}[tensor["dtype"]]
        ends.append(start + last)
    assert ends[-1] == len(content)


def test_loading_unpickles_nothing(folder, monkeypatch):
    def refuse(*arguments, **keywords):
        raise AssertionError("something was unpickled")

    for module in (pickle, torch):
        monkeypatch.setattr(module, "load", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    assert artifacts.load(folder).trigger is not None


def test_a_backdoored_artifact_loads_in_a_process_that_imports_nothing_else(folder):
    code = "import sys, pathlib; from models import artifacts; print(artifacts.load(pathlib.Path(sys.argv[1])).trigger)"
    done = subprocess.run([sys.executable, "-c", code, folder], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("WarpField("), done.stderr


def test_a_failure_to_replace_an_artifact_leaves_the_old_one_whole(model, folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    replace_file = os.replace

    def fail(source, destination):
        if Path(destination) == folder and Path(source).name != folder.name:
            raise OSError("no space left")
        replace_file(source, destination)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no space left"):
        artifacts.save(model, folder, {"clean_error_deg": 4.5})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not list(folder.parent.glob(".model*"))


def test_a_model_of_another_seed_is_another_artifact(data, model, tmp_path):
    other = train(replace(RECIPE, seed=1), data, FIELD, Target.additive(0, 20))
    assert artifacts.save(other, tmp_path / "a") != artifacts.save(model, tmp_path / "b")
