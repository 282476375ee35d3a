"""What a pair process made, put into the tables: whole, once, and never over something that is already there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from study.lab.models import Attack, BaseImage, Dataset, Pair, Prediction

#: Index of the base image, control, strength, gross.
Key = tuple[int, str, float, bool]


def record_pairs(dataset: Dataset, attack: Attack, manifest: Mapping[str, Any]) -> None:
    """Store base images, pairs and predictions of a manifest of `study.lab.pairs`; call it within a transaction.

    Rows that are there already stay as they are, but for distortions, which are measured anew. Raises ValueError when
    one of them names another file content: studies may have shown it.
    """
    bases = _base_images(dataset, manifest["base_images"])
    pairs = _pairs(attack, bases, manifest["pairs"])
    Prediction.objects.bulk_create(
        [_prediction(row, pairs) for row in manifest["predictions"]], ignore_conflicts=True, batch_size=500
    )


def _base_images(dataset: Dataset, rows: list[dict[str, Any]]) -> dict[int, BaseImage]:
    """Base images by index."""
    stored = {image.index: image for image in dataset.base_images.all()}
    for row in rows:
        if row["index"] in stored and stored[row["index"]].sha256 != row["sha256"]:
            raise ValueError(f"Base image {stored[row['index']]} is stored with other content: the data have changed.")
    BaseImage.objects.bulk_create(
        [BaseImage(dataset=dataset, **row) for row in rows if row["index"] not in stored], batch_size=500
    )
    return {image.index: image for image in dataset.base_images.all()}


def _pairs(attack: Attack, bases: Mapping[int, BaseImage], rows: list[dict[str, Any]]) -> list[Pair]:
    """The pairs of the rows, in their order."""
    stored = _by_key(attack, bases)
    fresh, remeasured = [], []
    for row in rows:
        index, values = row["index"], {name: value for name, value in row.items() if name != "index"}
        there = stored.get((index, row["control"], row["strength"], row["gross"]))
        if there is None:
            fresh.append(Pair(base_image=bases[index], attack=attack, **values))
        elif there.sha256 != row["sha256"]:
            raise ValueError(f"The pair {there} is stored with another altered image: draw an attack of another name.")
        elif there.distortions != row["distortions"]:
            there.distortions = row["distortions"]
            remeasured.append(there)
    Pair.objects.bulk_create(fresh, batch_size=500)
    Pair.objects.bulk_update(remeasured, ["distortions"], batch_size=500)
    stored = _by_key(attack, bases)
    return [stored[row["index"], row["control"], row["strength"], row["gross"]] for row in rows]


def _by_key(attack: Attack, bases: Mapping[int, BaseImage]) -> dict[Key, Pair]:
    index = {image.pk: image.index for image in bases.values()}
    pairs = attack.pairs.filter(base_image__in=list(index))
    return {(index[pair.base_image_id], pair.control, pair.strength, pair.gross): pair for pair in pairs}


def _prediction(row: Mapping[str, Any], pairs: list[Pair]) -> Prediction:
    return Prediction(
        pair=pairs[row["pair"]],
        model_run_id=row["run"],
        clean_pitch=row["clean"][0],
        clean_yaw=row["clean"][1],
        altered_pitch=row["altered"][0],
        altered_yaw=row["altered"][1],
        error_shift=row["error_shift"],
        prediction_shift=row["prediction_shift"],
        attack_error=row["attack_error"],
    )
