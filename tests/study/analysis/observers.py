"""In-memory studies with a known truth."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from study.analysis.frames import from_records

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
#: The evaluation of a model that this study's attack was made for.
DOSES = [
    {"strength": s, "error_shift": 10 * s, "success_rate": min(1.0, s), "n_eligible": 900, "other_field_shift": s}
    for s in STRENGTHS
]


def simulate(
    seed: int,
    *,
    participants: int = 40,
    stimuli: int = 60,
    strengths: Sequence[float] = STRENGTHS,
    trials: int = 10,
    threshold: float = 1.0,
    slope: float = 2.0,
    lapse: float = 0.02,
    participant_sd: float = 0.0,
    stimulus_sd: float = 0.0,
    catch: int = 8,
) -> pd.DataFrame:
    """A trial table of observers whose PC is .5 + (.5 - lapse) F, F = .5 at `threshold`; SDs are of log threshold."""
    rng = np.random.default_rng(seed)
    person = rng.normal(0, participant_sd, participants)
    image = rng.normal(0, stimulus_sd, stimuli)
    rows = []
    for p in range(participants):
        order = rng.permutation(stimuli)
        for i, s in enumerate(np.repeat(strengths, trials)):
            stimulus = order[i % stimuli]
            z = -np.inf if s == 0 else slope * (np.log(s / threshold) + person[p] + image[stimulus])
            rows.append(row(rng, p, f"S{stimulus:02d}", float(s), 0.5 + (0.5 - lapse) * (1 - 2 ** -np.exp(z))))
        for i in range(catch):
            rows.append(row(rng, p, f"C{i}", 8.0, 1 - lapse) | {"is_catch": 1, "error_shift_deg": None})
    return from_records(rows, "simulation")


def on_screens(trials: pd.DataFrame, screens: dict[str, float], px_per_unit: float = 0.5) -> pd.DataFrame:
    """The table as shown at 4 device px per image px; people without a screen in `screens` did not measure theirs."""
    px = px_per_unit * trials["strength"]
    density = trials["participant"].map(screens)
    return trials.assign(
        displacement_px=px, scale=4.0, px_per_degree=density, displacement_arcmin=px * 4 / density * 60
    )


def one_condition(seed: int, chances: Sequence[float], trials: int = 6, stimuli: int = 30) -> pd.DataFrame:
    """One condition in which each participant has a PC of their own."""
    rng = np.random.default_rng(seed)
    rows = [
        row(rng, p, f"S{stimulus:02d}", 0.5, chance)
        for p, chance in enumerate(chances)
        for stimulus in rng.choice(stimuli, trials, replace=False)
    ]
    return from_records(rows, "simulation")


def row(rng: np.random.Generator, participant: int, stimulus: str, strength: float, chance: float) -> dict[str, Any]:
    """One answered trial, right with probability `chance`."""
    clean = "left" if rng.random() < 0.5 else "right"
    altered = "right" if clean == "left" else "left"
    correct = rng.random() < chance
    return {
        "participant": f"P{participant:02d}",
        "stimulus": stimulus,
        "attack": "wanet",
        "strength": strength,
        "error_shift_deg": 8 * strength + float(rng.normal(0, 1)),
        "clean_side": clean,
        "response_side": altered if correct else clean,
        "correct": int(correct),
        "rt_ms": 800.0,
        "is_catch": 0,
    }
