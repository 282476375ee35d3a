"""A study that has everything a report can speak of."""

import math
from typing import Any

import numpy as np
import pandas as pd

from study.analysis import frames, machine_observers, matched
from study.analysis.material import Material
from study.trials.exclusions import ExclusionRules
from tests.study.analysis.machines import evaluated
from tests.study.analysis.observers import on_screens, one_condition, simulate

MODELS = {"clean": ("none (clean model)", 0.2), "near": ("additive (0°, 5°)", 4.0), "far": ("additive (0°, 20°)", 16.0)}


def whole_study() -> Material:
    """Forty people, screens, controls, exclusions, two models, predictions of three, and two machine observers."""
    trials = _trials()
    pairs = trials[list(machine_observers.PAIR)].drop_duplicates()
    return Material(
        "whole",
        trials,
        rules=ExclusionRules(catch_correct_below=8),
        machine=evaluated(1, models=2),
        predictions=_predictions(frames.main_trials(trials)),
        observers=machine_observers.table(_judgements(pairs)),
        design_sha256="ab" * 32,
        design_matches=True,
        setting={"task": "gaze regression", "dataset": "eyes", "exposure_ms": None},
    )


def _trials() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    shown = simulate(1, participant_sd=0.3, stimulus_sd=0.2)
    controls = [
        one_condition(seed, [pc] * 40, trials=8).assign(control=control, strength=1.0)
        for seed, control, pc in ((5, "resampled", 0.52), (6, "other_field", 0.74))
    ]
    both = pd.concat([shown, *controls], ignore_index=True).assign(population="simulated")
    both["rt_ms"] = np.exp(6.8 - 0.05 * both["strength"] + rng.normal(0, 0.3, len(both)))
    both["trial_index"] = both.groupby("participant").cumcount().astype(float)
    both["focus_losses"] = (rng.random(len(both)) < 0.01).astype(int).astype(str)
    shown_at = on_screens(both, {f"P{n:02d}": 40.0 + n % 5 for n in range(40)})
    return frames.from_records(shown_at.astype(object).where(shown_at.notna(), None).to_dict("records"), "whole")


def _predictions(main: pd.DataFrame) -> pd.DataFrame:
    pictures = main.loc[main["strength"] > 0, ["stimulus", "attack", "strength"]].drop_duplicates()
    rng = np.random.default_rng(0)
    return matched.from_rows(
        (stimulus, attack, "", strength, model, 0, target, math.nan, gain * strength + rng.normal(), 1.0, 2.0)
        for stimulus, attack, strength in pictures.itertuples(index=False)
        for model, (target, gain) in MODELS.items()
    )


def _judgements(pairs: pd.DataFrame) -> list[dict[str, Any]]:
    rng = np.random.default_rng(3)
    return [
        pair | {"observer": name, "chooses": name == "network", "value": pair["strength"] - rng.random()}
        for name in ("network", "flip")
        for pair in pairs.to_dict("records")
    ]
