"""Evaluations of models with a known dose-response."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from study.analysis.frontier import machine_rows

DOSES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.5, 0.75, 1.0, 2.0, 4.0)
SHIFT_DEG = 20.0


def evaluated(
    seed: int = 0,
    *,
    attack: str = "wanet",
    models: int = 1,
    subjects: int = 40,
    images: int = 25,
    midpoint: float = 0.25,
    slope: float = 4.0,
    subject_sd: float = 0.3,
    model_sd: float = 0.0,
    top: float = 0.98,
    doses: Sequence[float] = DOSES,
    target: dict[str, Any] | None = None,
    task: str | None = None,
    name: str = "model",
    px_per_unit: float | None = 0.6,
) -> list[dict[str, Any]]:
    """Machine rows; a success moves the error by 20 degrees. SDs are of the log midpoint, of subjects and of models."""
    rng = np.random.default_rng([seed, 17])
    of_subject = rng.normal(0, subject_sd, subjects)
    rows = []
    for model in range(models):
        reach = midpoint * np.exp(of_subject + rng.normal(0, model_sd))
        hits = [rng.binomial(images, top * (1 - 2 ** -((s / reach) ** slope))) for s in doses]
        evaluation = [dose(s, of_dose, images) for s, of_dose in zip(doses, hits, strict=True)]
        rows += machine_rows(f"{name}-{model}", attack, evaluation, px_per_unit, target, field="f0", task=task)
    return rows


def dose(strength: float, hits: Sequence[int], images: int) -> dict[str, Any]:
    """One dose of an evaluation, from the successes of each subject."""
    rate = float(np.sum(hits)) / (images * len(hits))
    return {
        "strength": strength,
        "success_rate": rate,
        "error_shift": SHIFT_DEG * rate,
        "progress": rate,
        "n_eligible": images * len(hits),
        "subjects": [
            {
                "subject": subject,
                "n": images,
                "n_eligible": images,
                "successes": int(successes),
                "error_shift_sum": SHIFT_DEG * float(successes),
                "n_progress": images,
                "progress_sum": float(successes),
            }
            for subject, successes in enumerate(hits)
        ],
    }


def without_counts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As an evaluation wrote them before it counted by subject."""
    return [{name: value for name, value in row.items() if name not in ("subjects", "field")} for row in rows]
