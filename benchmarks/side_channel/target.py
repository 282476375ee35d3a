"""The study under attack: real pairs on synthetic eyes, in a database of its own, behind the server as deployed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from study.lab.models import Attack, Dataset, ModelRun
    from study.trials.models import Study

ROOT = Path(__file__).resolve().parents[2]
SIZE = 64
CONTROL_SIZE = 8
STRENGTHS = (0.25, 0.5, 1.0, 2.0)
PRACTICE, CATCH = 4, 12
#: Main trials of one session: for each strength, and for each of the three controls. Many, because people are scarce
#: in no other way here; but each base image is shown once only.
DESIGN = {"trials_per_strength": 20, "trials_per_control": 4, "catch_trials": CATCH, "practice_trials": PRACTICE}
MAIN = DESIGN["trials_per_strength"] * len(STRENGTHS) + 3 * DESIGN["trials_per_control"]
PAIRS_PER_SESSION = MAIN + CATCH
#: As fast as the page goes: what people need time for tells a program nothing.
AT_ONCE = {"fixation_ms": 0, "blank_ms": 0, "enable_after_ms": 0, "median_rt_below_ms": 0}
#: WSGI applications that serve it.
CAREFUL, NAIVE = "study.wsgi", "benchmarks.side_channel.naive"


@contextmanager
def installation() -> Iterator[None]:
    """Django with an empty database and files of its own, which are gone afterwards. Once in a process."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "BLINDSPOT_VAR": folder,
            "DATABASE_URL": f"sqlite:///{folder}/database.sqlite3",
            "DJANGO_SETTINGS_MODULE": "study.settings",
            "LOG_LEVEL": "ERROR",
        }
        import django

        django.setup()
        from study.desk.installation import prepare

        prepare()
        yield


def make_study(protocol: str, sessions: int, seed: int) -> Study:
    """An open study with the most of every trap: several strengths, all controls, catch trials."""
    from study.lab.models import Attack, Dataset
    from study.trials.models import Study

    eyes = {"size": SIZE, "test_subjects": MAIN + CATCH + PRACTICE, "seed": 1 + seed}
    dataset = Dataset.objects.synthetic_eyes("eyes", **eyes)
    attack = Attack.objects.draw("wanet", "wanet", (SIZE, SIZE), seed=seed, choices={"control_size": CONTROL_SIZE})
    run = _model_run(dataset, attack)
    _make_pairs(dataset, attack, run, eyes)
    study = Study.objects.create(
        slug=f"attacked-{protocol}",
        title="Which one?",
        dataset=dataset,
        model_run=run,
        protocol=protocol,
        participants=sessions,
        strengths=list(STRENGTHS),
        seed=seed,
        information="Only programs take part.",
        contact="nobody",
        practice_correct=0,
        practice_rounds=1,
        exposure_ms=100 if protocol == Study.Protocol.IFC else None,
        gap_ms=0,
        **DESIGN,
        **AT_ONCE,
    )
    study.open()
    return study


def _model_run(dataset: Dataset, attack: Attack) -> ModelRun:
    """A model in name only: what it would say of the images plays no part in how they are served."""
    from study.lab.models import ModelRun

    return ModelRun.objects.create(
        name="unused", dataset=dataset, attack=attack, network="cnn", artifact="unused", artifact_sha256="0" * 64
    )


def _make_pairs(dataset: Dataset, attack: Attack, run: ModelRun, eyes: dict[str, Any]) -> None:
    """The lab's own pair process, and its records."""
    from django.conf import settings

    from study.lab.models import PX_PER_DEGREE, Prediction
    from study.lab.pair_records import record_pairs

    var = Path(settings.VAR)
    manifest = var / "manifest.json"
    specification = {
        "data": {"kind": "synthetic_eyes", "config": eyes, "cache": str(var / "cache")},
        "images": None,
        "attack": attack.to_json(),
        "strengths": list(STRENGTHS),
        "resampled": [STRENGTHS[2]],
        "other_field": [STRENGTHS[2]],
        "px_per_degree": PX_PER_DEGREE,
        "models": [],
        "folder": str(settings.MEDIA_ROOT),
        "manifest": str(manifest),
        "parent_pid": os.getpid(),
    }
    path = var / "pairs.json"
    path.write_text(json.dumps(specification))
    command = [sys.executable, "-m", "study.lab.pairs", str(path)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    record_pairs(dataset, attack, json.loads(manifest.read_text()))
    Prediction.objects.bulk_create(
        Prediction(
            pair=pair, model_run=run, clean_pitch=0.0, clean_yaw=0.0, altered_pitch=0.0, altered_yaw=0.0,
            error_shift=0.0, prediction_shift=0.0,
        )
        for pair in attack.pairs.all()
    )  # fmt: skip
