"""Sections of a report as the analysis writes them, made by formula: two attacks, three models, forty people."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from study.analysis.psychometric import Curve

STRENGTHS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
ATTACKS = ("patch", "wanet")
MIDPOINT = {"patch": 0.9, "wanet": 1.4}
MODELS = {"patch": ("patch, seed 0",), "wanet": ("wanet, seed 0", "wanet, seed 1", "wanet, seed 2")}
PX = {"patch": None, "wanet": 0.62}


def curves(attacks: Sequence[str] = ATTACKS) -> dict[str, Curve]:
    return {attack: Curve("Weibull", MIDPOINT[attack], 1.6, 0.02) for attack in attacks}


def proportion_correct(attack: str, strength: float) -> float:
    return float(curves()[attack].proportion_correct(strength)) if strength else 0.503


def condition(attack: str, strength: float) -> dict[str, Any]:
    pc, half = proportion_correct(attack, strength), 0.065
    px = PX[attack] and PX[attack] * strength
    return {
        "attack": attack, "strength": strength, "n": 240, "correct": round(240 * pc), "proportion_correct": pc,
        "two_way_low": pc - half, "two_way_high": min(pc + half, 1.0), "criterion": 0.05 * math.sin(7 * strength),
        "dprime": math.sqrt(2) * 2 * (pc - 0.5) / 0.8, "displacement_px": px,
        "displacement_arcmin": px and 2.1 * px, "verdict": "detectable" if pc > 0.6 else "below the bound (.60)",
    }  # fmt: skip


def control(kind: str, attack: str, strength: float, pc: float) -> dict[str, Any]:
    return {
        "control": kind, "attack": attack, "strength": strength, "n": 120, "proportion_correct": pc,
        "two_way_low": pc - 0.09, "two_way_high": pc + 0.09,
    }  # fmt: skip


def machine(attack: str, model: str, strength: float) -> dict[str, Any]:
    seed = MODELS[attack].index(model)
    progress = strength**3 / (strength**3 + (0.28 + 0.06 * seed) ** 3)
    subjects = [
        {"subject": f"U{i}", "n": 40, "n_eligible": 36, "successes": round(36 * progress * (0.94 + 0.01 * (i % 6))),
         "error_shift_sum": 40 * 28 * progress * (0.9 + 0.02 * i)}
        for i in range(10)
    ]  # fmt: skip
    return {
        "model": model, "attack": attack, "target": None, "strength": strength,
        "displacement_px": PX[attack] and PX[attack] * strength,
        "mean_error_shift_deg": sum(row["error_shift_sum"] for row in subjects) / 400,
        "mean_prediction_shift_deg": 30 * progress, "net_prediction_shift_deg": 29 * progress,
        "success_rate": sum(row["successes"] for row in subjects) / 360, "n_eligible": 360,
        "noise_mode_error_deg": 3.8, "other_field_shift_deg": 4.1 * strength, "subjects": subjects,
    }  # fmt: skip


def thresholds(attack: str) -> list[dict[str, Any]]:
    pooled = {"population": "pooled", "method": "Weibull on log strength, maximum likelihood, profile interval"}
    median = {"population": "median person", "method": "GLMM (cloglog = Weibull), profile interval"}
    rows = []
    for level, factor in (("half of F", 1.0), ("PC .75", 1.03)):
        for population, shift in ((pooled, 1.0), (median, 0.92)):
            at = MIDPOINT[attack] * factor * shift
            px = PX[attack]
            rows.append({
                "attack": attack, "threshold": at, "low": at * 0.8, "high": at * 1.27, "level": level,
                "level_of_pc": 0.74 if level == "half of F" else 0.75, "unit": "strength", "slope": 1.6, "lapse": 0.02,
                "threshold_px": px and at * px, "note": None,
                "threshold_percent_of_width": px and at * px / 0.64, "low_percent_of_width": px and at * px / 0.8,
                "high_percent_of_width": px and at * px / 0.5,
                "lapse_source": "320 catch trials", **population,
            })  # fmt: skip
    return rows


def machine_thresholds(attack: str) -> list[dict[str, Any]]:
    return [
        {
            "model": model, "attack": attack, "target": None, "measure": f"success rate {level:g}".replace("0.", "."),
            "level": level, "threshold": (0.3 if level == 0.5 else 0.62) + 0.05 * seed, "low": 0.24, "high": 0.8,
            "censored": None, "over": "subjects", "note": None,
        }
        for level in (0.5, 0.9)
        for seed, model in enumerate((*MODELS[attack], None) if len(MODELS[attack]) > 1 else MODELS[attack])
    ]  # fmt: skip


def stealth_margin(attack: str) -> list[dict[str, Any]]:
    return [
        {
            "attack": attack, "target": None, "human_threshold": MIDPOINT[attack] * 1.03, "human_level": "PC .75",
            "machine_threshold": at, "machine_level": f"success rate {level}", "margin": MIDPOINT[attack] * 1.03 / at,
            "log2_margin": math.log2(MIDPOINT[attack] * 1.03 / at), "low": MIDPOINT[attack] * 0.8 / at,
            "high": MIDPOINT[attack] * 1.35 / at, "censored": None, "draws_censored": 0.01, "draws": 2000, "note": None,
        }
        for level, at in ((".9", 0.62), (".5", 0.3))
    ]  # fmt: skip


def coefficient(estimate: float, se: float = 0.1) -> dict[str, float]:
    return {
        "estimate": estimate, "se": se, "z": estimate / se, "p": 0.01, "low": estimate - 2 * se,
        "high": estimate + 2 * se,
    }  # fmt: skip


def glmm_lapse() -> dict[str, Any]:
    slope = 1.6 * math.log(2)
    at = {attack: math.log(math.log(2)) - slope * math.log2(0.92 * MIDPOINT[attack]) for attack in ATTACKS}
    return {
        "link": "cloglog", "lapse": 0.02, "converged": True,
        "coefficients": {
            "Intercept": coefficient(at["patch"]), "log2_strength": coefficient(slope),
            "attack[T.wanet]": coefficient(at["wanet"] - at["patch"]),
            "log2_strength:attack[T.wanet]": coefficient(0.0), "side": coefficient(0.1),
        },
    }  # fmt: skip


def sensitivity() -> list[dict[str, Any]]:
    models = [
        ("headline", "cloglog", 0.021, "expected"),
        ("lapse fixed at 0", "logit", 0.0, "expected"), ("lapse fixed at 0", "probit", 0.0, "expected"),
        ("lapse fixed at .02", "cloglog", 0.02, "observed"), ("lapse fixed at .05", "cloglog", 0.05, "observed"),
        ("without side", "cloglog", 0.021, "observed"), ("slope per participant", "cloglog", 0.021, "observed"),
    ]  # fmt: skip
    return [
        {
            "model": words, "link": link, "lapse": lapse, "information": information, "attack": attack,
            "threshold": (at := MIDPOINT[attack] * (0.88 + 0.04 * i)), "low": at * 0.78, "high": at * 1.3,
            "log_likelihood": -1060.0 - i, "note": None if i else "headline",
        }
        for attack in ATTACKS
        for i, (words, link, lapse, information) in enumerate(models)
    ]  # fmt: skip


def goodness(attack: str) -> list[dict[str, Any]]:
    return [
        {
            "attack": attack, "sigmoid": sigmoid, "deviance": 5.2, "df": 3, "p": 0.21, "simulations": 400,
            "residuals": [
                {"strength": s, "n": 240, "observed": pc + wobble * math.cos(9 * s), "expected": pc,
                 "deviance_residual": wobble * math.cos(9 * s) / math.sqrt(pc * (1 - pc) / 240)}
                for s in STRENGTHS[1:]
                for pc in [proportion_correct(attack, s)]
            ],
            "residuals_against_strength": 0.12, "note": None,
        }
        for sigmoid, wobble in (("Weibull", 0.03), ("cumulative Gaussian", 0.045))
    ]  # fmt: skip


def random_effects(participants: int = 40, stimuli: int = 30) -> dict[str, list[dict[str, Any]]]:
    def units(letter: str, n: int, spread: float) -> list[dict[str, Any]]:
        return [
            {"name": f"{letter}{i:02d}", "mode": spread * math.sin(2.4 * i + 0.3), "sd": 0.25 + 0.05 * (i % 3)}
            for i in range(n)
        ]

    return {"participant": units("P", participants, 0.8), "stimulus": units("S", stimuli, 0.5)}


def matched_visibility() -> dict[str, Any]:
    targets = (("fixed (0°, 25°)", 25.0), ("additive 10°", 10.0), ("additive 20°", 20.0))
    rows = [
        {
            "attack": "wanet", "strength": s, "model": f"wanet to {target}", "target": target, "target_deg": degrees,
            "pairs": 30, "mean_error_shift_deg": (shift := degrees * s / (s + 0.3)), "low": shift - 1.5,
            "high": shift + 1.5, "proportion_correct": (pc := proportion_correct("wanet", s)),
            "two_way_low": pc - 0.06, "two_way_high": min(1.0, pc + 0.06),
        }
        for s in STRENGTHS[1:]
        for target, degrees in targets
    ]  # fmt: skip
    return {"rows": rows, "contrasts": [], "note": "The pictures, and so what people see, are the same."}


def quality() -> dict[str, Any]:
    return {
        "response_times": {
            "formula": "log(rt_ms) ~ strength + attack + (1|participant) + (1|stimulus)",
            "coefficients": {"Intercept": coefficient(7.0), "strength": coefficient(-0.08, 0.01)},
            "sd": {"participant": 0.2, "stimulus": 0.05}, "n": 2400, "left_out": {}, "converged": True, "reason": None,
        },
        "order": {
            "slope_per_10_trials": 0.02, "low": -0.03, "high": 0.07, "p": 0.4,
            "by_block": [
                {"block": i + 1, "first_trial": 10 * i + 1, "last_trial": 10 * i + 10, "n": 400,
                 "proportion_correct": (pc := 0.66 + 0.01 * math.sin(i)), "low": pc - 0.05, "high": pc + 0.05,
                 "median_rt_ms": 1500.0 - 60 * i}
                for i in range(6)
            ],
            "reason": None,
        },
    }  # fmt: skip


def attacks_compared() -> list[dict[str, Any]]:
    return [
        {
            "dprime": level, "attack": attack, "target": None, "strength": 0.6 * MIDPOINT[attack] * (1 + level),
            "low": 0.5, "high": 1.1, "displacement_px": PX[attack] and PX[attack] * 0.7,
            "success_rate": (rate := 0.86 + 0.05 * level - 0.1 * (attack == "patch")), "success_rate_low": rate - 0.06,
            "success_rate_high": rate + 0.05,
            "mean_error_shift_deg": (shift := 22 + 3 * level - 4 * (attack == "patch")),
            "mean_error_shift_deg_low": shift - 2, "mean_error_shift_deg_high": shift + 1.5,
        }
        for level in (0.36, 1.0)
        for attack in ATTACKS
    ] + [{"dprime": 0.36, "first": "patch", "second": "wanet", "success_rate_difference": -0.1}]  # fmt: skip


def frontier(attack: str) -> list[dict[str, Any]]:
    rows = []
    for s in STRENGTHS[1:]:
        found = [machine(attack, model, s) for model in MODELS[attack]]
        cell = condition(attack, s)
        rows.append({
            "attack": attack, "strength": s, "displacement_px": cell["displacement_px"],
            "success_rate": float(np.mean([row["success_rate"] for row in found])),
            "mean_error_shift_deg": float(np.mean([row["mean_error_shift_deg"] for row in found])),
            "proportion_correct": cell["proportion_correct"], "dprime": cell["dprime"],
            "dprime_low": cell["dprime"] - 0.25, "dprime_high": cell["dprime"] + 0.3, "models": len(found),
        })  # fmt: skip
    return rows


def report(**changes: Any) -> dict[str, Any]:
    """A whole report's content; `changes` replace sections."""
    content = {
        "study": "demonstration", "simulated": False, "exploratory": [], "procedure": "constant", "bound": 0.6,
        "level": 0.95, "protocol": {"name": "afc"},
        "flow": {
            "recruited": 48, "excluded": {"withdrew": 2, "not finished": 3, "too few catch trials right": 3},
            "analysed": 40, "trials_analysed": 2400, "trials_missed": 12,
        },
        "conditions": [condition(attack, s) for attack in ATTACKS for s in STRENGTHS],
        "controls": [
            row
            for attack in ATTACKS
            for row in (control("resampled", attack, 2.0, 0.54), control("other_field", attack, 2.0, 0.83))
        ],
        "machine": [machine(attack, model, s) for attack in ATTACKS for model in MODELS[attack] for s in STRENGTHS],
        "thresholds": [row for attack in ATTACKS for row in thresholds(attack)],
        "machine_thresholds": [row for attack in ATTACKS for row in machine_thresholds(attack)],
        "stealth_margin": [row for attack in ATTACKS for row in stealth_margin(attack)],
        "attacks_compared": attacks_compared(),
        "frontier": [row for attack in ATTACKS for row in frontier(attack)],
        "models": {"glmm_lapse": glmm_lapse(), "sensitivity": sensitivity()},
        "goodness_of_fit": [row for attack in ATTACKS for row in goodness(attack)],
        "random_effects": random_effects(), "matched_visibility": matched_visibility(), "quality": quality(),
        "error_shift": {
            "unadjusted": {"items_spearman": {"rho": 0.61, "n": 300}}, "within_between": {"within": {"p": 0.89}}
        },
    }  # fmt: skip
    return content | changes


def trials(participants: int = 40, stimuli: int = 30, seed: int = 0) -> pd.DataFrame:
    """Main trials of the people above: each saw `stimuli` images twice, once for each attack."""
    rng = np.random.default_rng(seed)
    n = participants * stimuli * 2
    person, image = np.repeat(np.arange(participants), stimuli * 2), np.tile(np.arange(stimuli * 2), participants)
    attack = np.where(image < stimuli, *ATTACKS)
    strength = np.array(STRENGTHS)[(person + image) % len(STRENGTHS)]
    chances = [proportion_correct(a, s) for a, s in zip(attack, strength, strict=True)]
    correct = (rng.random(n) < chances).astype(int)
    clean = np.where(rng.random(n) < 0.5, "left", "right")
    altered = np.where(clean == "left", "right", "left")
    return pd.DataFrame({
        "participant": [f"P{i:02d}" for i in person], "stimulus": [f"S{i:02d}" for i in image % stimuli],
        "attack": attack, "strength": strength, "correct": correct, "clean_side": clean,
        "response_side": np.where(correct == 1, altered, clean), "is_catch": 0,
        "error_shift_deg": 8 * strength + np.sin(image),
        "rt_ms": np.round(np.exp(rng.normal(7 - 0.1 * strength, 0.4)), 1),
    })  # fmt: skip
