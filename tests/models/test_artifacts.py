import json
from dataclasses import replace

import pytest
import torch

from attacks.wanet import WarpField
from models import artifacts
from models.artifacts import CARD_NAME, WEIGHTS_NAME
from models.evaluation import predict
from models.poisoning import Target
from models.training import Recipe, train
from tests.models.tiny import splits

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
    artifacts.save(model, tmp_path / "model", {"clean_error_deg": 3.5})
    return tmp_path / "model"


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


def test_an_artifact_of_another_format_is_refused(folder):
    card = json.loads((folder / CARD_NAME).read_text())
    del card["card_sha256"]
    (folder / CARD_NAME).write_bytes(artifacts._card_bytes(card | {"format": 99}))
    with pytest.raises(ValueError, match="has format 99; this version reads format 1"):
        artifacts.load(folder)


def test_saving_replaces_an_artifact_whole_and_leaves_nothing_else(model, folder):
    (folder / "stale").write_text("old")
    artifacts.save(model, folder)
    assert sorted(path.name for path in folder.iterdir()) == [CARD_NAME, WEIGHTS_NAME]
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_metrics_with_nan_are_refused_before_anything_is_written(model, tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        artifacts.save(model, tmp_path / "model", {"clean_error_deg": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_the_files_hold_no_pickle(folder):
    assert not (folder / WEIGHTS_NAME).read_bytes().startswith(b"PK")
    assert b"\x80\x04" not in (folder / WEIGHTS_NAME).read_bytes()[:2]


def test_a_model_of_another_seed_is_another_artifact(data, model, tmp_path):
    other = train(replace(RECIPE, seed=1), data, FIELD, Target.additive(0, 20))
    assert artifacts.save(other, tmp_path / "a") != artifacts.save(model, tmp_path / "b")
