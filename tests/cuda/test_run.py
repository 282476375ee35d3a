"""`python -m models.run` on CUDA: what it tells and writes, which device it takes, and when memory runs out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from attacks.wanet import WarpField
from models import artifacts, stopping
from models.run import conclude, train_model
from models.targets import Target
from tests.models.test_run import EYES

FIELD = {"parameters": WarpField.draw((32, 32), 4, 2.0, seed=3).parameters()}
RECIPE = {"strength_schedule": [[2, 1], [0.5, 1]], "width": 4, "batch_size": 16}
DEFENCE = {"images": 8, "fine_tuning": {"share": 0.5, "epochs": 1}, "inversion": {"steps": 2, "images": 4}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"kind": "synthetic_eyes", "config": EYES, "cache": str(tmp_path_factory.mktemp("cache")), "processes": 1}


def training(data: dict[str, Any], folder: Path, **fields: Any) -> dict[str, Any]:
    return {
        "kind": "train",
        "data": data,
        "recipe": RECIPE,
        "trigger": FIELD,
        "target": Target.fixed(0, 25).to_json(),
        "output": str(folder / "model"),
        "checkpoint": str(folder / "checkpoint"),
        "device": "cuda",
        **fields,
    }


def start(folder: Path, spec: dict[str, Any], **environment: str) -> subprocess.Popen[str]:
    path = folder / "spec.json"
    path.write_text(json.dumps(spec))
    return subprocess.Popen(
        [sys.executable, "-m", "models.run", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def run(folder: Path, spec: dict[str, Any], **environment: str) -> dict[str, Any]:
    """The last event."""
    out, err = start(folder, spec, **environment).communicate(timeout=240)
    assert "Traceback" not in err, err
    return dict(json.loads(out.splitlines()[-1]))


@pytest.fixture(scope="module")
def trained(data: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The artifacts of a backdoored and of a clean training."""
    bad, clean = (tmp_path_factory.mktemp(name) for name in ("backdoored", "clean"))
    assert run(bad, training(data, bad))["event"] == "done"
    assert run(clean, training(data, clean, trigger=None, probe=FIELD))["event"] == "done"
    return bad / "model", clean / "model"


def versions(folder: Path) -> dict[str, Any]:
    return dict(artifacts.load(folder).card["versions"])


def test_the_card_names_the_device(trained: tuple[Path, Path]) -> None:
    card = versions(trained[0])
    assert (card["device"], card["device_name"]) == ("cuda", torch.cuda.get_device_name())


def test_a_model_trained_on_the_device_is_read_and_run_without_one(
    data: dict[str, Any], trained: tuple[Path, Path], tmp_path: Path
) -> None:
    output = tmp_path / "evaluation.json"
    spec = {"kind": "evaluate", "data": data, "artifact": str(trained[0]), "output": str(output), "strengths": [2.0]}
    done = run(tmp_path, {**spec, "px_per_degree": 40}, CUDA_VISIBLE_DEVICES="")
    assert done["event"] == "done"
    assert done["metrics"]["evaluation"]["n"] == 8


def test_evaluation_measures_both_models_on_the_device(
    data: dict[str, Any], trained: tuple[Path, Path], tmp_path: Path
) -> None:
    spec = {"kind": "evaluate", "data": data, "artifact": str(trained[0]), "clean_artifact": str(trained[1])}
    figures = []
    for device in ("cuda", "cpu"):
        for folder in trained:
            for kept in folder.glob("responses-*"):
                kept.unlink()
        output = tmp_path / f"{device}.json"
        figures.append(run(tmp_path, {**spec, "device": device, "output": str(output)})["metrics"])
    one, other = (each["evaluation"] for each in figures)
    assert one["clean_error"] == pytest.approx(other["clean_error"], abs=1e-2)
    assert [dose["error_shift"] for dose in one["doses"]] == pytest.approx(
        [dose["error_shift"] for dose in other["doses"]], abs=2e-2
    )


def test_survival_is_measured_on_the_device(data: dict[str, Any], trained: tuple[Path, Path], tmp_path: Path) -> None:
    spec = {"kind": "survive", "data": data, "artifact": str(trained[0]), "clean_artifact": str(trained[1])}
    done = run(tmp_path, {**spec, "device": "cuda", "defence": DEFENCE})
    assert done["event"] == "done"
    assert done["survival"]["clean_model"] is not None


def test_weights_are_perturbed_on_the_cpu_whatever_the_device(
    data: dict[str, Any], trained: tuple[Path, Path], tmp_path: Path
) -> None:
    attack = {"subject": 0, "target": Target.fixed(0, 25).to_json(), "search": {"iterations": 3}, "others": 16}
    spec = {"kind": "perturb", "data": data, "artifact": str(trained[1]), "attack": attack, "device": "cuda"}
    done = run(tmp_path, {**spec, "output": str(tmp_path / "changed")})
    assert done["event"] == "done"
    assert versions(tmp_path / "changed")["device"] == "cpu"


# -- which device


@pytest.mark.parametrize(("visible", "device"), [("0", "cuda"), ("", "cpu")])
def test_auto_takes_a_device_that_the_process_may_see(
    data: dict[str, Any], tmp_path: Path, visible: str, device: str
) -> None:
    assert run(tmp_path, training(data, tmp_path, device="auto"), CUDA_VISIBLE_DEVICES=visible)["event"] == "done"
    assert versions(tmp_path / "model")["device"] == device


def test_a_device_that_the_process_may_not_see_is_refused(data: dict[str, Any], tmp_path: Path) -> None:
    failed = run(tmp_path, training(data, tmp_path), CUDA_VISIBLE_DEVICES="")
    assert failed["error"] == "There is no CUDA device on this machine: use device 'cpu' or 'auto'."
    assert not (tmp_path / "model").exists()


# -- endings


def test_after_sigterm_training_goes_on_from_where_it_stopped(data: dict[str, Any], tmp_path: Path) -> None:
    recipe = {**RECIPE, "strength_schedule": [[2, 400]]}
    process = start(tmp_path, training(data, tmp_path, recipe=recipe, checkpoint_every_s=1000))
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("stage") == "training":
            process.terminate()
            break
    *_, checkpoint, last = (json.loads(line) for line in process.stdout)
    process.communicate(timeout=60)
    assert (checkpoint["event"], last["event"]) == ("checkpoint", "stopped")
    assert 0 < checkpoint["fraction"] < 1
    assert run(tmp_path, training(data, tmp_path, recipe=recipe))["event"] == "done"


SENTENCE = "Out of memory on the CUDA device at a batch size of {}: choose a smaller batch_size, or free the device"


@pytest.fixture
def little_memory() -> Iterator[None]:
    """This process may take no more than some 40 MB of the device."""
    torch.cuda.empty_cache()
    taken = torch.cuda.memory_reserved()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((taken + 40e6) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_out_of_memory_is_told_in_one_sentence_and_leaves_nothing_half_written(
    data: dict[str, Any],
    tmp_path: Path,
    little_memory: None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models.run.listen", lambda: lambda: False)
    monkeypatch.setattr(stopping, "ignore", lambda: None)
    monkeypatch.setattr("models.run.die_with_parent", lambda parent: None)
    path = tmp_path / "spec.json"
    path.write_text(json.dumps(training(data, tmp_path, recipe={**RECIPE, "batch_size": 64, "width": 512})))
    assert conclude(path, train_model) == 1
    event = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert event["event"] == "failed"
    assert event["error"].startswith(SENTENCE.format(64))
    assert not (tmp_path / "model").exists()
    assert not list(tmp_path.glob(".model*"))
    assert not list(tmp_path.glob("checkpoint/*"))


def test_a_device_that_another_program_has_filled_is_told_in_the_same_sentence(
    data: dict[str, Any], tmp_path: Path
) -> None:
    torch.cuda.empty_cache()
    free, _ = torch.cuda.mem_get_info()
    hog = torch.empty(free - 2**27, dtype=torch.uint8, device="cuda")
    failed = run(tmp_path, training(data, tmp_path), CUDA_VISIBLE_DEVICES=str(hog.device.index))
    del hog
    torch.cuda.empty_cache()
    assert failed["error"].startswith(SENTENCE.format(16))
    assert not (tmp_path / "model").exists()


def test_the_devices_memory_is_free_again_after_the_process(data: dict[str, Any], tmp_path: Path) -> None:
    torch.cuda.empty_cache()
    before, _ = torch.cuda.mem_get_info()
    run(tmp_path, training(data, tmp_path))
    after, _ = torch.cuda.mem_get_info()
    assert before - after < 2**26
