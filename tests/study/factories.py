"""Small studies that are ready to open: real PNG files, made-up predictions, no network and no torch."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from django.conf import settings
from django.db import connection
from django.db.models import QuerySet

from study.lab.images import encode_png, sha256
from study.lab.models import Attack, BaseImage, Dataset, ModelRun, Pair, Prediction, sha256_of
from study.trials.design import BEFORE_FORMAT_4, FORMAT_1
from study.trials.models import Answer, Population, Session, Side, Source, Study

STRENGTHS = (0.5, 2.0)
GROSS = 7.0
SIZE = 16
Control = Pair.Control

_serial = count(1)


def make_study(
    *,
    opened: bool = True,
    base_images: int = 24,
    strengths: Sequence[float] = STRENGTHS,
    size: int = SIZE,
    displayable: bool = True,
    family: str = "wanet",
    **fields: Any,
) -> Study:
    """A study of 2 practice, 18 main and 2 catch trials (6 at each of 2 strengths, 2 for each of 3 controls).

    One of another family than "wanet" moves nothing: 16 main trials, as there is no softened control, and no
    displacement.

    All it needs lies under MEDIA_ROOT. `fields` are those of `Study`; `displayable`: whether people may be shown the
    images; `base_images`: 22 are needed.
    """
    name = f"tiny-{next(_serial)}"
    dataset = Dataset.objects.create(
        name=name, kind=Dataset.Kind.SYNTHETIC_EYES, fingerprint="d" * 64, may_display_to_participants=displayable
    )
    parameters = {"control_size": 4} if family == "wanet" else {}
    controls = [*([Control.RESAMPLED] if family == "wanet" else []), Control.OTHER_FIELD]
    attack = Attack.objects.create(
        name=name, family=family, parameters=parameters, control_hash="c" * 64, controls=controls
    )
    clean = make_run(f"{name}-clean", dataset)
    run = make_run(f"{name}-backdoored", dataset, attack=attack, clean_reference=clean)
    make_pairs(dataset, attack, run, base_images=base_images, strengths=strengths, size=size)
    study = Study.objects.create(
        **{
            "slug": name,
            "title": "Which eye?",
            "dataset": dataset,
            "model_run": run,
            "participants": 6,
            "trials_per_strength": 6,
            "trials_per_control": 2,
            "catch_trials": 2,
            "practice_trials": 2,
            "practice_correct": 0,
            "practice_rounds": 1,
            "median_rt_below_ms": 0,  # robots in a hurry are welcome
            "fast_above_share": 1.0,
            "focus_above_share": 1.0,
            "information": "You will compare pictures of eyes.",
            "contact": "researcher@example.org",
            "completion_code": "THANKS",
            **fields,
        }
    )
    if opened:
        study.open()
    return study


def add_model(
    study: Study,
    name: str = "further",
    *,
    strengths: Sequence[float] = STRENGTHS,
    asked: Sequence[float] = (),
    size: int = SIZE,
    **attack: Any,
) -> Source:
    """A further model of the draft, of an attack of its own that has pairs at `strengths`; `asked`: those to be shown.

    `attack`: in what it differs from that of the study's model, beside its seed: with nothing it is the same attack
    under another field.
    """
    dataset, first = study.dataset, study.model_run.attack
    assert first is not None
    as_first = {"family": first.family, "parameters": first.parameters, "controls": first.controls}
    drawn = {"name": f"{study.slug}-{name}", "seed": 1, "control_hash": sha256(name.encode())}
    other = Attack.objects.create(**{**as_first, **drawn, **attack})
    run = make_run(f"{other.name}-run", dataset, attack=other, clean_reference=study.model_run.clean_reference)
    make_pairs(dataset, other, run, base_images=0, strengths=strengths, size=size)
    return Source.objects.create(study=study, model_run=run, strengths=list(asked))


def add_seed(study: Study, name: str = "again", *, gain: float = 10.0) -> Source:
    """A further model of the draft with the very attack of its model, trained once more."""
    run = make_run(f"{study.slug}-{name}", study.dataset, attack=study.model_run.attack, seed=1)
    predict(run, Pair.objects.filter(attack=study.model_run.attack, base_image__dataset=study.dataset), gain=gain)
    return Source.objects.create(study=study, model_run=run)


def frozen_in_format_3(study: Study) -> Any:
    """Open the draft as it was done before there were several attacks; returns the design."""
    return _frozen(study, _in_format_3(study.design_json()))


def frozen_in_format_1(study: Study) -> Any:
    """Open the draft as it was done before there were protocols; returns the design."""
    new = _in_format_3(study.design_json())
    old = {name: part for name, part in new.items() if name not in FORMAT_1}
    timing = {name: new["timing"][name] for name in ("fixation_ms", "blank_ms", "enable_after_ms")}
    old |= {"format": 1, "protocol": "2afc side by side", "timing": timing, "scale": study.scale}
    old["practice"] = {name: new["practice"][name] for name in ("strengths", "stimuli")}
    old["exclusions"] = {name: new["exclusions"][name] for name in ("incomplete", "same_side", "catch")}
    return _frozen(study, old)


def _in_format_3(design: dict[str, Any]) -> dict[str, Any]:
    (attack,) = design["attacks"]
    said = {name: part for name, part in design.items() if name not in {*BEFORE_FORMAT_4, "attacks"}}
    said |= {"format": 3, "attack": {name: value for name, value in attack.items() if name != "label"}}
    for part in ("models", "cells", "pairs"):
        said[part] = [{name: value for name, value in row.items() if name != "attack"} for row in design[part]]
    return said


def _frozen(study: Study, design: dict[str, Any]) -> dict[str, Any]:
    study.design_versions.create(n=1, json=design, sha256=sha256_of(design), reason="opened")
    strengths = [cell["strength"] for cell in design["cells"] if not cell["control"]]
    QuerySet(Study).filter(pk=study.pk).update(state=Study.State.OPEN, strengths=strengths)
    study.refresh_from_db()
    study._make_slots()
    return design


def make_run(name: str, dataset: Dataset, **fields: Any) -> ModelRun:
    """A model run as if it had been trained."""
    return ModelRun.objects.create(
        name=name, dataset=dataset, network="cnn", artifact=f"{name}.safetensors", artifact_sha256="a" * 64, **fields
    )


def make_pairs(
    dataset: Dataset,
    attack: Attack,
    run: ModelRun,
    *,
    base_images: int,
    strengths: Sequence[float] = STRENGTHS,
    size: int = SIZE,
) -> None:
    """Base images of noise, where there are none yet, and of each the pairs that a study needs, with predictions of
    `run`.

    An alteration adds its strength to a few pixels, so that it can be found in the decoded image.
    """
    conditions = [
        *((Control.NONE, strength, False) for strength in strengths),
        (Control.NONE, GROSS, True),
        (Control.IDENTITY, 0.0, False),
        *((control, strengths[-1], False) for control in attack.controls),
    ]
    bases = list(dataset.base_images.order_by("index")) or _base_images(dataset, base_images, size)
    pairs = []
    for base in bases:
        for control, strength, gross in conditions:
            file, digest = _store(_altered(_noise(base.index, size), control, strength))
            pairs.append(
                Pair(
                    base_image=base,
                    attack=attack,
                    strength=strength,
                    control=control,
                    gross=gross,
                    field_fingerprint=("e" if control == Control.OTHER_FIELD else "f") * 64,
                    file=file,
                    sha256=digest,
                    distortions={"displacement_mean_px": 0.6 * strength if attack.family == "wanet" else None},
                )
            )
    predict(run, Pair.objects.bulk_create(pairs))


def predict(run: ModelRun, pairs: Iterable[Pair], *, gain: float = 10.0) -> None:
    """Predictions of `run` with an error shift of `gain` degrees per unit of strength."""
    Prediction.objects.bulk_create(
        Prediction(
            pair=pair, model_run=run, clean_pitch=0.0, clean_yaw=0.0, altered_pitch=0.0, altered_yaw=0.0,
            error_shift=gain * pair.strength, prediction_shift=gain * pair.strength, attack_error=1.0,
        )
        for pair in pairs
    )  # fmt: skip


def _base_images(dataset: Dataset, n: int, size: int) -> list[BaseImage]:
    bases = []
    for index in range(n):
        file, digest = _store(_noise(index, size))
        bases.append(
            BaseImage(dataset=dataset, index=index, subject=index, pitch=0.0, yaw=0.0, file=file, sha256=digest)
        )
    return BaseImage.objects.bulk_create(bases)


def start(study: Study, population: str = Population.REAL, **more: Any) -> tuple[Session, str]:
    """A session whose page has loaded: it may answer as attempt 1."""
    session, token = study.start_session(population, **more)
    session.begin_attempt()
    return session, token


def answer(session: Session, index: int, choice: str = Side.LEFT, rt_ms: float = 800.0) -> Answer:
    """The stored answer to one trial."""
    return session.record_answer(
        index, client_id=uuid.uuid4(), attempt=session.attempt, choice=choice, rt_ms=rt_ms, trace={"frame_ms": 16.7}
    )[0]


def answer_all(session: Session, *, correctly: bool = True, but: int = 0) -> None:
    """Answers to all trials that are due, but the last few."""
    due = list(session.due_trials())
    for trial in due[: len(due) - but]:
        wrong = Side.RIGHT if trial.altered_side == Side.LEFT else Side.LEFT
        answer(session, trial.index, trial.altered_side if correctly else wrong)


def at_once(n: int, act: Callable[[int], Any]) -> list[Any]:
    """What `act(0)` ... `act(n - 1)` return when they run in threads of their own, each with a connection."""

    def run(i: int) -> Any:
        try:
            return act(i)
        finally:
            connection.close()

    with ThreadPoolExecutor(min(n, 25)) as threads:
        return list(threads.map(run, range(n)))


@cache
def _noise(index: int, size: int) -> Any:
    pixels = np.random.default_rng(index).integers(40, 200, (size, size), dtype=np.uint8)
    pixels.setflags(write=False)
    return pixels


def _altered(pixels: Any, control: str, strength: float) -> Any:
    """One row of pixels brighter by an amount that is different for every condition; identity stays as it is."""
    rows = {Control.NONE: 0, Control.RESAMPLED: 1, Control.OTHER_FIELD: 2}
    altered = pixels.copy()
    if control != Control.IDENTITY:
        altered[rows[Control(control)]] += np.uint8(round(8 * strength))
    return altered


def _store(pixels: Any) -> tuple[str, str]:
    content, digest = _encoded(pixels.tobytes(), pixels.shape)
    file = f"images/{digest}.png"
    path = Path(settings.MEDIA_ROOT) / file
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return file, digest


@cache
def _encoded(grey: bytes, shape: tuple[int, int]) -> tuple[bytes, str]:
    content = encode_png(np.frombuffer(grey, np.uint8).reshape(shape))
    return content, sha256(content)
