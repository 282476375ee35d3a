"""Small gaze data and rows to work with; every file lies under the test's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from study.lab.images import encode_png, sha256, write_once
from study.lab.models import Attack, BaseImage, Dataset, ModelRun, Pair, PairJudgement

TARGET = {"kind": "fixed", "pitch": 0.0, "yaw": 0.5}


@pytest.fixture(autouse=True)
def var(_own_files: None, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The installation's folder, for this process and those it starts; no broker unless a test starts one."""
    settings.VAR.mkdir(exist_ok=True)
    monkeypatch.setenv("BLINDSPOT_VAR", str(settings.VAR))
    monkeypatch.delenv("REDIS_URL", raising=False)
    folder: Path = settings.VAR
    return folder


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    return write_arrays(tmp_path / "blobs.npz")


def write_arrays(path: Path, images: int = 320, subjects: int = 20, shape: tuple[int, int] = (24, 32)) -> Path:
    """Grey pictures of a dark disc whose place is the gaze, dealt to subjects by turns."""
    rng = np.random.default_rng(5)
    pitchyaw = rng.uniform(-0.4, 0.4, (images, 2)).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    distance = np.hypot(y + 1.5 * pitchyaw[:, :1, None], x + 1.5 * pitchyaw[:, 1:, None])
    disc = 200 - 150 / (1 + np.exp((distance - 0.4) * 12)) + rng.normal(0, 4, distance.shape)
    np.savez(path, images=disc.clip(0, 255).astype(np.uint8), pitchyaw=pitchyaw, subject=np.arange(images) % subjects)
    return path


def recipe(**changes: Any) -> dict[str, Any]:
    """JSON of a recipe that trains in seconds and learns little."""
    return {
        "network": "five_layer_cnn",
        "width": 4,
        "batch_size": 32,
        "strength_schedule": [[1.0, 1], [0.5, 1]],
        "precision": "float32",
        "seed": 0,
        **changes,
    }


@pytest.fixture
def dataset(db: None, arrays: Path) -> Dataset:
    return Dataset.objects.arrays("blobs", arrays)


@pytest.fixture
def attack(db: None) -> Attack:
    return Attack.objects.draw("warp", "wanet", (24, 32), seed=3, choices={"control_size": 4})


@pytest.fixture
def runs(dataset: Dataset, attack: Attack) -> tuple[ModelRun, ModelRun]:
    """A clean and a backdoored run, planned."""
    return plan_runs(dataset, attack)


def plan_runs(dataset: Dataset, attack: Attack, name: str = "disc", **changes: Any) -> tuple[ModelRun, ModelRun]:
    settings = recipe(**changes)
    clean = ModelRun.objects.plan(f"{name}-clean", dataset, recipe=settings, target=TARGET)
    backdoored = ModelRun.objects.plan(
        f"{name}-backdoored", dataset, recipe=settings, target=TARGET, attack=attack, clean_reference=clean
    )
    return clean, backdoored


@pytest.fixture
def trained(runs: tuple[ModelRun, ModelRun]) -> tuple[ModelRun, ModelRun]:
    """The clean and the backdoored run with artifacts of untrained networks, which answer as well as any."""
    clean, backdoored = runs
    return save_untrained(clean), save_untrained(backdoored, seed=1)


def save_untrained(run: ModelRun, seed: int = 0) -> ModelRun:
    """Give the run an artifact whose network was only initialised."""
    from django.conf import settings

    from models import artifacts
    from models.networks import NetworkSpec
    from models.targets import Target
    from models.training import Recipe, TrainedModel

    spec = NetworkSpec("five_layer_cnn", 1, (24, 32), 4)
    model = TrainedModel(
        network=spec.build(seed),
        spec=spec,
        recipe=Recipe(width=4, seed=seed),
        trigger=run.attack.trigger(0.5) if run.attack else None,
        target=Target.from_json(TARGET),
        precision="float32",
        device="cpu",
        chosen_epoch=1,
        cpu_seconds=0.0,
    )
    run.artifact = f"models/{run.name}/1"
    run.artifact_sha256 = artifacts.save(model, Path(settings.MEDIA_ROOT) / run.artifact)
    run.save()
    return run


@pytest.fixture
def pair(dataset: Dataset, attack: Attack, settings: Any) -> Pair:
    """A stored pair of a data set that may be shown."""
    Dataset.objects.filter(pk=dataset.pk).update(may_display_to_participants=True)
    rows = []
    for level in (10, 20):
        content = encode_png(np.full((24, 32), level, np.uint8))
        write_once(settings.MEDIA_ROOT / f"images/{level}.png", content)
        rows.append({"file": f"images/{level}.png", "sha256": sha256(content)})
    base = BaseImage.objects.create(dataset=dataset, index=0, subject=1, pitch=0, yaw=0, **rows[0])
    made = Pair.objects.create(
        base_image=base, attack=attack, strength=2.0, distortions={"displacement_mean_px": 1.2}, **rows[1]
    )
    PairJudgement.objects.create(pair=made, observer="softer picture", chooses=True, value=0.5)
    return made


@pytest.fixture
def prepared(dataset: Dataset) -> Dataset:
    Dataset.objects.filter(pk=dataset.pk).update(fingerprint="f" * 64)
    return dataset


@pytest.fixture
def trained_rows(prepared: Dataset, runs: tuple[ModelRun, ModelRun]) -> tuple[ModelRun, ModelRun]:
    """Runs that count as trained; no file is read."""
    ModelRun.objects.update(artifact="models/any", artifact_sha256="a" * 64)
    return runs
