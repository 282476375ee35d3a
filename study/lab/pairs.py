"""Making pairs: base images, their altered versions, and what models see in them.

Runs as a process of its own, `python -m study.lab.pairs specification.json`, and reports as `models.run` does. It
writes image files and a manifest and knows no database, so that it can be killed and run again at any time: the same
work gives the same files under the same names.

Both images of a pair go through the same pipeline: decoded from a stored PNG, 8 bits, one encoder. Predictions are made
from the decoded stored files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attacks.base import HasLookAlikes, Softens, Trigger, dequantise, quantise
from attacks.registry import family_of
from models import artifacts
from models.datasets.base import GazeData
from models.datasets.eyes_config import EyesConfig
from models.datasets.synthetic_eyes import study_images
from models.evaluation import error_shift, predict, prediction_shift
from models.gaze import angular_error
from models.run import conclude, emit, load_splits
from models.similarity import picture
from models.targets import Target
from models.training import describe
from study.lab.distortions import Movement, measure
from study.lab.images import IMAGES, decode_png, encode_png, sha256, write_once
from study.lab.triggers import IDENTITY, OTHER_FIELD, RESAMPLED, stored_trigger

LOOK_ALIKES = 5
ARRAY_IMAGES = 80


@dataclass(frozen=True)
class Condition:
    """What is done to a base image: one control kind ("" = the attack itself) at one strength."""

    control: str
    strength: float
    gross: bool = False


@dataclass(frozen=True)
class StoredPixels:
    """An image as stored, and its pixels as decoded from there: uint8 (C, H, W)."""

    file: str
    sha256: str
    pixels: Tensor


def main(arguments: Sequence[str]) -> int:
    """Do the work of the specification named on the command line; return the exit code."""
    torch.set_num_threads(1)
    return conclude(Path(arguments[0]), lambda specification, stop: make_pairs(specification))


def make_pairs(specification: Mapping[str, Any]) -> dict[str, Any]:
    """Write the images and the manifest that the specification asks for; return their numbers.

    For own arrays also `data`, what `models.training.describe` says of them: the file may have changed. Synthetic eyes
    are rendered from their settings, and their base images are compared one by one when they are recorded.
    """
    folder = Path(specification["folder"])
    emit("progress", stage="base images", fraction=0.0)
    data, description = base_images(specification["data"], specification["images"])
    trigger = _trigger(specification, data)
    plan = conditions(specification, trigger)
    bases = [_store_base(folder, data, index) for index in range(len(data))]
    rows: list[dict[str, Any]] = []
    altered: list[list[StoredPixels]] = []
    for done, condition in enumerate(plan):
        emit("progress", stage="pairs", fraction=done / len(plan))
        store = _Altering.of(folder, trigger, condition, specification["px_per_degree"]).store
        made = [store(base, index) for index, base in enumerate(bases)]
        rows += [row for row, _ in made]
        altered.append([image for _, image in made])
    predictions: list[dict[str, Any]] = []
    for done, model in enumerate(specification["models"]):
        emit("progress", stage="predictions", fraction=done / len(specification["models"]))
        predictions += _predictions(model, data, bases, altered)
    manifest = {
        "base_images": [_base_row(data, index, base) for index, base in enumerate(bases)],
        "pairs": rows,
        "predictions": predictions,
    }
    write_once(Path(specification["manifest"]), json.dumps(manifest, allow_nan=False).encode())
    return {"base_images": len(bases), "pairs": len(rows), "predictions": len(predictions), **description}


def base_images(source: Mapping[str, Any], limit: int | None = None) -> tuple[GazeData, dict[str, Any]]:
    """The first `limit` base images of a data set, all of the test part: of people that no model was trained on.

    Synthetic eyes draw one image of each test subject for this. Own arrays give up to 80 of their test images, by turns
    from each group, and `data`, what they were taken from.
    """
    description: dict[str, Any] = {}
    if source["kind"] == "synthetic_eyes":
        data = study_images(EyesConfig(**source["config"]), Path(source["cache"]))
    else:
        splits = load_splits({"data": source}, lambda: False)
        description = {"data": describe(splits)}
        test = splits.test
        data = test.subset(_by_turns(test.group.tolist())[:ARRAY_IMAGES])
    return data.subset(range(min(limit or len(data), len(data)))), description


def _by_turns(groups: Sequence[int]) -> list[int]:
    """Indices in an order that takes the first of every group, then the second of every group, and so on."""
    met: dict[int, int] = {}
    turns = []
    for index, group in enumerate(groups):
        turns.append((met.setdefault(group, 0), index))
        met[group] += 1
    return [index for _, index in sorted(turns)]


def conditions(specification: Mapping[str, Any], trigger: Trigger) -> list[Condition]:
    """Everything that is done to each base image: the attack, its gross alteration, and the controls."""
    gross = family_of(trigger).gross(trigger).strength
    plan = [Condition("", strength) for strength in specification["strengths"]]
    plan += [Condition("", gross, gross=True), Condition(IDENTITY, 0.0)]
    plan += [Condition(RESAMPLED, strength) for strength in specification["resampled"]]
    return plan + [Condition(OTHER_FIELD, strength) for strength in specification["other_field"]]


def applied_trigger(trigger: Trigger, condition: Condition, index: int) -> Trigger:
    """What alters base image number `index`: the trigger at the strength, its gross kind, or one of five look-alikes.

    Raises ValueError for look-alikes of a trigger that has none.
    """
    if condition.gross:
        return family_of(trigger).gross(trigger)
    at_strength = trigger.at_strength(condition.strength)
    if condition.control != OTHER_FIELD:
        return at_strength
    if not isinstance(at_strength, HasLookAlikes):
        raise ValueError(f"A {family_of(trigger).name} trigger has no others of its kind.")
    return at_strength.unrelated(1 + index % LOOK_ALIKES)


def alter(pixels: Tensor, applied: Trigger, control: str) -> Tensor:
    """The altered image of uint8 pixels (C, H, W): with the trigger, softened, or itself.

    float64, so that another machine's rounding does not move a pixel by one level. Raises ValueError for softening by a
    trigger that does not resample.
    """
    if control == IDENTITY:
        return pixels
    floats = dequantise(pixels[None], torch.float64)
    if control != RESAMPLED:
        return quantise(applied.apply(floats))[0]
    if not isinstance(applied, Softens):
        raise ValueError(f"A {family_of(applied).name} trigger resamples nothing: there is nothing to soften.")
    return quantise(applied.soften(floats))[0]


def to_png(pixels: Tensor) -> bytes:
    """PNG of uint8 (C, H, W), C = 1 or 3."""
    return encode_png(picture(pixels))


def from_png(content: bytes) -> Tensor:
    """uint8 (C, H, W) of a grey or RGB PNG."""
    array = np.atleast_3d(decode_png(content))
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


def _trigger(specification: Mapping[str, Any], data: GazeData) -> Trigger:
    trigger = stored_trigger(specification["attack"], strength=1.0)
    if tuple(trigger.image_size) != tuple(data.images.shape[-2:]):
        size, wanted = (f"{height} x {width}" for height, width in (data.images.shape[-2:], trigger.image_size))
        raise ValueError(f"The images are {size} px, the trigger was drawn for {wanted} px: draw one for this size.")
    return trigger


def _store_base(folder: Path, data: GazeData, index: int) -> StoredPixels:
    return _store(folder, data.images[index], f"{data.name} {index}")


@dataclass(frozen=True)
class _Altering:
    """One condition made ready for all base images: what alters them by turns, and how far each moves pixels."""

    folder: Path
    condition: Condition
    control_hash: str
    applied: Sequence[Trigger]
    movements: Sequence[Movement | None]
    px_per_degree: float

    @classmethod
    def of(cls, folder: Path, trigger: Trigger, condition: Condition, px_per_degree: float) -> _Altering:
        turns = LOOK_ALIKES if condition.control == OTHER_FIELD else 1
        applied = [applied_trigger(trigger, condition, turn) for turn in range(turns)]
        stays = condition.control in (IDENTITY, RESAMPLED)
        movements = [Movement.none(one) if stays else Movement.of(one) for one in applied]
        drawn = applied[0] if condition.gross else trigger
        return cls(folder, condition, drawn.control_hash(), applied, movements, px_per_degree)

    def store(self, base: StoredPixels, index: int) -> tuple[dict[str, Any], StoredPixels]:
        condition, turn = self.condition, index % len(self.applied)
        applied = self.applied[turn]
        identity = f"{base.file} {self.control_hash} {condition.control} {condition.strength!r}"
        image = _store(self.folder, alter(base.pixels, applied, condition.control), identity)
        row = {
            "index": index,
            "control": condition.control,
            "strength": condition.strength,
            "gross": condition.gross,
            "field_fingerprint": applied.fingerprint(),
            "file": image.file,
            "sha256": image.sha256,
            "distortions": measure(base.pixels, image.pixels, self.movements[turn], self.px_per_degree),
        }
        return row, image


def _store(folder: Path, pixels: Tensor, identity: str) -> StoredPixels:
    """Write an image under a name that says nothing, and differs for equal pictures in different roles."""
    content = to_png(pixels)
    digest = sha256(content)
    name = sha256(f"{identity} {digest}".encode())[:32]
    file = f"{IMAGES}/{name[:2]}/{name}.png"
    write_once(folder / file, content)
    return StoredPixels(file, digest, from_png((folder / file).read_bytes()))


def _base_row(data: GazeData, index: int, base: StoredPixels) -> dict[str, Any]:
    pitch, yaw = data.pitchyaw[index].tolist()
    return {
        "index": index,
        "subject": int(data.subject[index]),
        "pitch": pitch,
        "yaw": yaw,
        "file": base.file,
        "sha256": base.sha256,
    }


def _predictions(
    model: Mapping[str, Any], data: GazeData, bases: Sequence[StoredPixels], altered: Sequence[Sequence[StoredPixels]]
) -> Iterator[dict[str, Any]]:
    """What one model sees in every pair; `pair` counts through the conditions, and through the images of each."""
    network = artifacts.load(Path(model["artifact"]), model["sha256"]).network
    truth = data.pitchyaw
    goal = Target.from_json(model["target"]).apply(truth) if model["target"] else None
    clean = _predict(network, bases)
    for nth, images in enumerate(altered):
        moved = _predict(network, images)
        errors = angular_error(moved, goal).tolist() if goal is not None else [None] * len(images)
        columns = zip(
            clean.tolist(),
            moved.tolist(),
            error_shift(clean.numpy(), moved.numpy(), truth.numpy()).tolist(),
            prediction_shift(clean.numpy(), moved.numpy()).tolist(),
            errors,
            strict=True,
        )
        for index, (before, after, shift, turned, error) in enumerate(columns):
            yield {
                "pair": nth * len(images) + index,
                "run": model["run"],
                "clean": before,
                "altered": after,
                "error_shift": shift,
                "prediction_shift": turned,
                "attack_error": error,
            }


def _predict(network: nn.Module, images: Sequence[StoredPixels]) -> Tensor:
    return predict(network, torch.stack([image.pixels for image in images]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
