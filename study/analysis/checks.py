"""What a study and its fits are checked for: one row per check, with the finding in words.

A check calls for a second look at something a reader would ask about. None of them changes a number or a verdict.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pandas as pd
from scipy import stats

from study.analysis import detection, equivalence, frames, psychometric
from study.analysis.likelihood import DEFAULT_LAPSE
from study.analysis.material import Material
from study.analysis.paper.numerals import percent
from study.analysis.power_design import CONTROL_ALPHA
from study.analysis.protocols import is_adaptive, protocol_of

MIN_CLUSTERS: Final = 10
#: Fewer right answers to the gross alterations than this, and people may not have looked.
MIN_CATCH_SHARE: Final = 0.85
IDENTITY: Final = "identity control at chance"
#: Regressions whose convergence is checked, with their names for readers.
MODELS: Final = {
    "gee": "GEE",
    "gee_bias_reduced": "GEE, bias-reduced",
    "glm_two_way": "logistic regression, two-way",
    "betabinomial": "beta-binomial regression",
    "glmm": "crossed GLMM, lapse 0",
    "glmm_lapse": "crossed GLMM with lapse",
}

Rows = Sequence[Mapping[str, Any]]
Check = dict[str, Any]


def of_study(material: Material, analysed: pd.DataFrame, conditions: Rows) -> list[Check]:
    """Of what was done: design, controls, catch trials, sides, sample. Rows of {"name", "ok", "detail"}."""
    main = frames.main_trials(analysed)
    found = [
        _design(material),
        *_identity(conditions),
        _catch(frames.catch_trials(analysed)),
        _sides(analysed),
        _clusters(main),
        _repetition(main),
        _scripts(material, main),
        *([] if is_adaptive(main) else [_precision(conditions, material.bound), _no_variance(conditions)]),
    ]
    return [check for check in found if check is not None]


def of_exclusions(with_and_without: Rows) -> Check:
    """Would any verdict be another with everybody? See `quality.with_and_without`."""
    changed = [row for row in with_and_without if row["verdict_changes"]]
    words = "; ".join(f"{_condition(row)} would be {row['everybody']['verdict']}" for row in changed)
    detail = f"with everybody: {words}" if changed else "the verdicts are the same with everybody"
    return _check("exclusions do not decide", not changed, detail)


def of_curve(attack: str, fit: psychometric.Fit) -> Check:
    """Was the attack's pooled curve found, inside the tested range?"""
    name = f"psychometric function: {attack}"
    if fit.curve is None:
        return _check(name, False, fit.note or "")
    notes = [note for note in (fit.note, fit.thresholds[0].note) if note]
    return _check(name, not notes, "; ".join(notes) or f"lapse {fit.curve.lapse:.3f} ({fit.lapse_source})")


def of_models(models: Mapping[str, Any]) -> list[Check]:
    """Did the regressions of the report's `models` converge, and are their fits regular?"""
    return [_converged(MODELS[name], models[name]) for name in MODELS if name in models]


def of_fit(goodness: Rows) -> Iterator[Check]:
    """Do the fitted curves agree with the data, by the Monte Carlo p of their deviance?"""
    for row in goodness:
        name = f"goodness of fit: {row['attack']}, {row['sigmoid']}"
        if row["p"] is None:
            yield _check(name, False, row["note"] or "not known")
        else:
            detail = f"deviance {row['deviance']:.2f} at {row['simulations']} simulations, p = {row['p']:.3g}"
            yield _check(name, row["p"] >= equivalence.ALPHA, "; ".join(filter(None, (detail, row["note"]))))


def _check(name: str, ok: bool, detail: str) -> Check:
    return {"name": name, "ok": ok, "detail": detail}


def _condition(row: Mapping[str, Any]) -> str:
    return f"{row['attack']} s = {row['strength']:g}"


def _design(material: Material) -> Check | None:
    name = "design as frozen"
    if material.design_matches is None:
        return None
    if not material.design_matches:
        return _check(name, False, "the study is no longer what its frozen design says, or the hash is not its own")
    if material.earlier_designs:
        return _check(name, False, f"{material.earlier_designs} participants ran under an earlier version")
    return _check(name, True, "content and hash agree")


def _identity(conditions: Rows) -> list[Check]:
    """Identical images cannot be told apart: where they are, the study gives the answer away."""
    rows = [row for row in conditions if row["strength"] == 0]
    if not rows:
        return [_check(IDENTITY, False, "no identity pairs were shown: a leak of the answer would go unnoticed")]
    return [_identity_of(row) for row in rows]


def _identity_of(row: Mapping[str, Any]) -> Check:
    name, p, pc = f"{IDENTITY}: {row['attack']}", row["two_way_difference_p"], row["proportion_correct"]
    if p is None:
        return _check(name, False, f"PC {pc:.3f}; cannot be tested: {row['note']}")
    ok = p >= CONTROL_ALPHA
    fault = "" if ok else "; a fault of the study: identical images are told apart, so something gives the answer away"
    return _check(name, ok, f"PC {pc:.3f}, p = {p:.3g} against .5{fault}")


def _catch(catch: pd.DataFrame) -> Check:
    name = "catch trials"
    if catch.empty:
        return _check(name, False, f"none: the lapse rate is taken to be {DEFAULT_LAPSE:g}")
    share = float(catch["correct"].mean())
    return _check(name, share >= MIN_CATCH_SHARE, f"{percent(share, 1)} of {len(catch)} answered correctly")


def _sides(analysed: pd.DataFrame) -> Check:
    shown = analysed[analysed["is_catch"] == 0]
    right = int((shown["clean_side"] == "left").sum())
    p = float(stats.binomtest(right, len(shown)).pvalue)
    return _check("sides balanced", p >= 0.001, f"{protocol_of(shown).second} in {right} of {len(shown)} trials")


def _clusters(main: pd.DataFrame) -> Check:
    """Enough to tell people and images from their sample; in an adaptive study all conditions tell one threshold."""
    groups = [] if is_adaptive(main) else ["attack", "strength"]
    cells = main.groupby(groups) if groups else main.assign(all=0).groupby("all")
    people, images = (int(cells[name].nunique().min()) for name in ("participant", "stimulus"))
    per = " per condition" if groups else ""
    detail = f"at least {people} participants and {images} stimuli{per}; unproven below {MIN_CLUSTERS}"
    return _check("enough participants and stimuli", min(people, images) >= MIN_CLUSTERS, detail)


def _repetition(main: pd.DataFrame) -> Check:
    repeated = int(main.duplicated(["participant", "stimulus"]).sum())
    detail = "each participant saw each image once" if not repeated else f"{repeated} trials showed an image again"
    return _check("no image repeated", not repeated, detail)


def _scripts(material: Material, main: pd.DataFrame) -> Check | None:
    """Flags call for a second look; they exclude nobody."""
    if material.flagged is None:
        return None
    signs = [material.flagged.get(person, ()) for person in main["participant"].unique()]
    flagged = sum(bool(of_one) for of_one in signs)
    counts = Counter(sign.replace("_", " ") for of_one in signs for sign in of_one)
    words = ", ".join(f"{sign}: {n}" for sign, n in sorted(counts.items()))
    detail = (
        f"{flagged} of {len(signs)} analysed participants show signs of a script ({words}); none is left out for it"
    )
    return _check("no signs of scripts", not flagged, detail if flagged else f"none in {len(signs)} participants")


def _precision(conditions: Rows, bound: float) -> Check:
    """Could the bound be passed at all? A condition at exactly .5 with this standard error must pass its test."""
    name = "precise enough for the bound"
    hopeless = [_condition(row) for row in conditions if not _may_pass(row, bound)]
    if not hopeless:
        return _check(name, True, "every condition could pass if detection were at chance")
    return _check(name, False, f"could not pass even at chance, too few trials: {', '.join(hopeless)}")


def _may_pass(row: Mapping[str, Any], bound: float) -> bool:
    df = min(row["participants"], row["stimuli"]) - 1
    limits = [(bound - 0.5, row["two_way_se"])]
    if "two_way_dprime_se" in row:
        limits.append((detection.dprime(bound, "yes/no") or 0.0, row["two_way_dprime_se"]))
    return all(
        se is not None and stats.t.sf(limit / se if se else math.inf, df) < equivalence.ALPHA for limit, se in limits
    )


def _no_variance(conditions: Rows) -> Check:
    alike = [_condition(row) for row in conditions if row["two_way_se"] == 0]
    if not alike:
        return _check("answers vary in every condition", True, "yes")
    one_each = "exact tests take one trial per participant or image, whichever are fewer"
    return _check("answers vary in every condition", False, f"all alike at {', '.join(alike)}: {one_each}")


def _converged(name: str, model: Mapping[str, Any]) -> Check:
    diagnostics = model.get("diagnostics") or {}
    notes = list(diagnostics.get("notes", ()))
    if not model["converged"]:
        return _check(f"converged: {name}", False, "; ".join(filter(None, [model["reason"], *notes])) or "no")
    # An SD of 0 is an estimate like another, common where spreads are small: it has a note, and is no fault.
    sound = len(notes) == len(diagnostics.get("boundary", ()))
    return _check(f"converged: {name}", sound, "; ".join(["yes", *notes] if sound else notes))
