"""The report: every number in one JSON-able mapping, and the folder it is written into.

The same trials give the same bytes of report.json: nothing in it depends on the clock, the machine or the row order.
"""

import importlib.metadata
import json
import math
import os
import platform
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pandas as pd
from scipy import stats

from study.analysis import (
    adaptive,
    controls,
    detection,
    displacement,
    equivalence,
    error_shift,
    frames,
    frontier,
    mixed,
    psychometric,
)
from study.analysis.exclusions import broken_rules
from study.analysis.protocols import ADAPTIVE, CONSTANT, Protocol, is_adaptive, protocol_of
from study.trials.exclusions import ExclusionRules, Missed

LEVEL: Final = 0.95
PACKAGES: Final = ("numpy", "scipy", "pandas", "statsmodels", "matplotlib")
MIN_CLUSTERS: Final = 10
NOT_SURE: Final = "“Not sure” is a guess: a fair coin decided which answer was counted, half right on average."
#: Files that only some reports have.
EXCLUDED_CSV: Final = "excluded_trials.csv"
MACHINE_JSON: Final = "machine.json"
SOMETIMES: Final = (EXCLUDED_CSV, MACHINE_JSON, "figures/error_shift.svg", "figures/bias.svg")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Material:
    """What a report is made from.

    Attributes:
        name: of the study, or of the file.
        trials: the whole trial table, as `frames` returns it.
        rules: which participants are left out.
        bound: the proportion correct that claims are tested against, .60 or .55.
        scope: in words, what the verdicts are about.
        recruited: participants who began; None = those in the table.
        left_out: participants whose rows are left out before any rule, {participant: why}.
        left_before: participants without rows, {why: how many}.
        design_sha256, design_matches: hash of the frozen design, and whether it still has it. None without a study.
        earlier_designs: participants who ran under an earlier version of the design.
        missed: trials without an answer in time, {participant: how many of how many}; None = not known.
        flagged: signs of a script, {participant: signs}, empty for those without; None = not looked for.
        not_sure: how the frozen design scores "not sure", in words; "" = it does not say.
        machine: rows of `frontier.machine_rows`.
        seed: of the study's plan.
    """

    name: str
    trials: pd.DataFrame
    rules: ExclusionRules = field(default_factory=ExclusionRules)
    bound: float = equivalence.DEFAULT_BOUND
    scope: str = ""
    recruited: int | None = None
    left_out: Mapping[str, str] = field(default_factory=dict)
    left_before: Mapping[str, int] = field(default_factory=dict)
    design_sha256: str | None = None
    design_matches: bool | None = None
    earlier_designs: int = 0
    missed: Mapping[str, Missed] | None = None
    flagged: Mapping[str, Sequence[str]] | None = None
    not_sure: str = ""
    machine: Sequence[Mapping[str, Any]] = ()
    seed: int | None = None


@dataclass(frozen=True)
class Report:
    """All numbers (`content`, what report.json holds), with the tables and curves that figures need beside them."""

    content: Mapping[str, Any]
    analysed: pd.DataFrame
    excluded: pd.DataFrame
    curves: Mapping[str, psychometric.Curve]

    @property
    def main_trials(self) -> pd.DataFrame:
        return frames.main_trials(self.analysed)

    @property
    def protocol(self) -> Protocol:
        return protocol_of(self.analysed)


def build(material: Material, progress: Progress = lambda step: None) -> Report:
    """Compute every number of the report.

    Raises TrialTableError when the exclusion rules leave nobody, ValueError when the bound is none that can be claimed.
    """
    progress("exclusion rules")
    finished = material.trials[~material.trials["participant"].isin(list(material.left_out))]
    broken = {**material.left_out, **broken_rules(finished, material.rules, material.missed)}
    is_excluded = material.trials["participant"].isin(list(broken))
    analysed = material.trials[~is_excluded].reset_index(drop=True)
    main = frames.main_trials(analysed)
    if main.empty:
        raise frames.TrialTableError(
            f"{material.name}: the exclusion rules leave no participant; there is nothing to analyse."
        )
    protocol, of_adaptive = protocol_of(main), is_adaptive(main)
    progress("detection and verdicts")
    conditions = _conditions(main, material.bound)
    progress("regression")
    gee = adaptive.no_regression("correct ~ strength") if of_adaptive else mixed.gee(main)
    progress("psychometric functions")
    fits = _fits(main, frames.catch_trials(analysed))
    thresholds = _thresholds(main, fits)
    progress("error shift and controls")
    content = {
        "study": material.name,
        "protocol": _protocol(protocol, material.bound),
        "procedure": ADAPTIVE if of_adaptive else CONSTANT,
        "flow": _flow(material, broken, analysed),
        "design": {"sha256": material.design_sha256, "matches": material.design_matches},
        "data_sha256": frames.sha256(analysed),
        "simulated": frames.is_simulated(material.trials),
        "scope": material.scope or _scope(main),
        "level": LEVEL,
        "bound": material.bound,
        "screens": displacement.screens(analysed),
        "not_sure": _not_sure(main, material),
        "conditions": conditions,
        "controls": _controls(analysed, main),
        "models": {"gee": gee},
        "thresholds": thresholds,
        "error_shift": None if of_adaptive else error_shift.summary(protocol.showing_the_alteration(main)),
        "machine": list(material.machine),
        "frontier": [] if of_adaptive else frontier.frontier(main, material.machine, protocol),
        "checks": _checks(material, analysed, conditions, gee, fits),
        "versions": versions(),
        "commit": commit(),
        "seed": material.seed,
    }
    curves = {attack: fit.curve for (attack, sigmoid), fit in fits.items() if fit.curve and sigmoid == "Weibull"}
    excluded = material.trials[is_excluded].reset_index(drop=True)
    excluded = excluded.assign(excluded=excluded["participant"].map(broken)) if len(excluded) else excluded
    return Report(_without_nan(content), analysed, excluded, curves)


def write(report: Report, out: Path, html: Callable[[Report, Mapping[str, str]], str], progress: Progress) -> None:
    """Write report.json, report.html, trials.csv and figures/*.svg into the folder `out`.

    excluded_trials.csv holds the rows left out and machine.json the models' figures, where there are any.

    Everything is made beside it first and then moved in, report.html last: a failure leaves an older report whole.
    Other files in `out` are not touched. Raises OSError when the folder cannot be written.
    """
    from study.analysis import figures

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as made:
        made_in = Path(made)
        progress("figures")
        drawn = figures.draw(report.content, report.main_trials, report.curves)
        (made_in / "figures").mkdir()
        for name, svg in drawn.items():
            (made_in / "figures" / f"{name}.svg").write_text(svg, encoding="utf-8")
        (made_in / "trials.csv").write_bytes(frames.to_csv(report.analysed))
        if report.content["machine"]:
            (made_in / MACHINE_JSON).write_text(to_json(report.content["machine"]), encoding="utf-8")
        if len(report.excluded):
            (made_in / EXCLUDED_CSV).write_bytes(frames.to_csv(report.excluded))
        (made_in / "report.json").write_text(to_json(report.content), encoding="utf-8")
        progress("report.html")
        (made_in / "report.html").write_text(html(report, drawn), encoding="utf-8")
        _move_into(made_in, out)


def to_json(content: Mapping[str, Any] | Sequence[Any]) -> str:
    """Strict JSON with sorted keys: no NaN, no Infinity, the shortest digits that read back to the same number."""
    return json.dumps(content, allow_nan=False, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def versions() -> dict[str, str]:
    """Of Python and of the packages that the numbers come from."""
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in PACKAGES}


def commit() -> str | None:
    """The commit of this code, marked "+changes" where files differ from it; None outside a repository."""
    git = shutil.which("git")
    here = Path(__file__).resolve().parent
    if git is None:
        return None
    command = [git, "describe", "--always", "--abbrev=40", "--match=", "--dirty=+changes"]
    found = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    return found.stdout.strip() or None


def _move_into(made: Path, out: Path) -> None:
    (out / "figures").mkdir(parents=True, exist_ok=True)
    for name in SOMETIMES:
        if not (made / name).exists():
            (out / name).unlink(missing_ok=True)
    files = sorted((path for path in made.rglob("*") if path.is_file()), key=lambda path: path.name == "report.html")
    for path in files:
        os.replace(path, out / path.relative_to(made))


def _conditions(main: pd.DataFrame, bound: float) -> list[dict[str, Any]]:
    protocol = protocol_of(main)
    assessed = equivalence.assess(main, bound, LEVEL, protocol)
    rows = [
        {"attack": attack, "strength": strength}
        | detection.describe(cell, LEVEL, protocol)
        | displacement.of_condition(cell)
        | row
        for (attack, strength, cell), row in zip(frames.cells(main), assessed, strict=True)
    ]
    return [adaptive.without_claims(row) for row in rows] if is_adaptive(main) else rows


def _controls(analysed: pd.DataFrame, main: pd.DataFrame) -> list[dict[str, Any]]:
    rows = controls.compare(frames.control_trials(analysed), main, LEVEL)
    return [adaptive.control_without_contrast(row) for row in rows] if is_adaptive(main) else rows


def _protocol(protocol: Protocol, bound: float) -> dict[str, Any]:
    return {
        "name": protocol.name,
        "title": protocol.title,
        "question": protocol.question,
        "answers": {"left": protocol.left, "right": protocol.right},
        "chance": psychometric.GUESS,
        "dprime": protocol.dprime,
        "dprime_at_bound": detection.dprime(bound, protocol.model),
    }


def _not_sure(main: pd.DataFrame, material: Material) -> dict[str, Any] | None:
    """How often "not sure" was chosen and how it is scored; None where the table does not know it."""
    if "unsure" not in main:
        return None
    return {"share": float(main["unsure"].mean()), "scoring": material.not_sure or NOT_SURE}


def _fits(main: pd.DataFrame, catch: pd.DataFrame) -> dict[tuple[str, psychometric.Sigmoid], psychometric.Fit]:
    return {
        (attack, sigmoid): psychometric.fit(main[main["attack"] == attack], catch, sigmoid, LEVEL)
        for attack in sorted(main["attack"].unique())
        for sigmoid in psychometric.SIGMOIDS
    }


def _thresholds(
    main: pd.DataFrame, fits: Mapping[tuple[str, psychometric.Sigmoid], psychometric.Fit]
) -> list[dict[str, Any]]:
    """Of the pooled curves; in an adaptive study of each participant as well. In strength, px and arcmin."""
    rows = [row for key, fit in fits.items() for row in psychometric.threshold_rows(*key, fit)]
    if is_adaptive(main):
        rows += adaptive.threshold_rows(main, LEVEL)
    units = {attack: displacement.per_strength(main, attack) for attack in main["attack"].unique()}
    return [row | displacement.of_threshold(row, units[row["attack"]]) for row in rows]


def _flow(material: Material, broken: Mapping[str, str], analysed: pd.DataFrame) -> dict[str, Any]:
    excluded = dict(material.left_before)
    for rule in broken.values():
        excluded[rule] = excluded.get(rule, 0) + 1
    recruited = material.recruited
    if recruited is None:
        recruited = int(material.trials["participant"].nunique()) + sum(material.left_before.values())
    return {
        "recruited": recruited,
        "excluded": excluded,
        "analysed": int(analysed["participant"].nunique()),
        "trials_analysed": len(frames.main_trials(analysed)),
        "trials_missed": _missed(material, analysed),
    }


def _missed(material: Material, analysed: pd.DataFrame) -> int | None:
    if material.missed is None:
        return None
    return sum(material.missed[person].n for person in analysed["participant"].unique() if person in material.missed)


def _scope(main: pd.DataFrame) -> str:
    images = main["stimulus"].nunique()
    return (
        f"for the trigger, the models and the {images} images of this table only, {protocol_of(main).presentation}, at"
        " the scale and exposure at which they were shown"
    )


def _checks(
    material: Material,
    analysed: pd.DataFrame,
    conditions: Sequence[Mapping[str, Any]],
    gee: Mapping[str, Any],
    fits: Mapping[tuple[str, psychometric.Sigmoid], psychometric.Fit],
) -> list[dict[str, Any]]:
    main, catch = frames.main_trials(analysed), frames.catch_trials(analysed)
    checks = [
        _design_check(material),
        *_identity_checks(conditions),
        _catch_check(catch),
        _side_check(analysed),
        _cluster_check(main),
        _repetition_check(main),
        _script_check(material, main),
        *(_curve_check(attack, fit) for (attack, sigmoid), fit in fits.items() if sigmoid == "Weibull"),
    ]
    if not is_adaptive(main):
        checks += [
            _precision_check(conditions, material.bound),
            _exclusion_check(material, conditions),
            _check("regression converged", bool(gee["converged"]), gee["reason"] or "GEE: yes"),
        ]
    return [check for check in checks if check is not None]


def _check(name: str, ok: bool, detail: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail}


def _design_check(material: Material) -> dict[str, Any] | None:
    if material.design_matches is None:
        return None
    if not material.design_matches:
        return _check(
            "design as frozen", False, "the study is no longer what its frozen design says, or the hash is not its own"
        )
    if material.earlier_designs:
        return _check(
            "design as frozen", False, f"{material.earlier_designs} participants ran under an earlier version"
        )
    return _check("design as frozen", True, "content and hash agree")


def _identity_checks(conditions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Identical images cannot be told apart: where they are, the study gives the answer away."""
    name = "identity control at chance"
    rows = [row for row in conditions if row["strength"] == 0]
    if not rows:
        return [_check(name, False, "no identity pairs were shown: a leak of the answer would go unnoticed")]
    checks = []
    for row in rows:
        p, pc = row["two_way_difference_p"], row["proportion_correct"]
        if p is None:
            checks.append(_check(f"{name}: {row['attack']}", False, f"PC {pc:.3f}; cannot be tested: {row['note']}"))
            continue
        ok = p >= equivalence.CONTROL_ALPHA
        detail = f"PC {pc:.3f}, p = {p:.3g} against .5"
        fault = (
            "" if ok else "; a fault of the study: identical images are told apart, so something gives the answer away"
        )
        checks.append(_check(f"{name}: {row['attack']}", ok, detail + fault))
    return checks


def _catch_check(catch: pd.DataFrame) -> dict[str, Any]:
    name = "catch trials"
    if catch.empty:
        return _check(name, False, f"none: the lapse rate is taken to be {psychometric.DEFAULT_LAPSE:g}")
    share = float(catch["correct"].mean())
    return _check(name, share >= 0.85, f"{share:.1%} of {len(catch)} answered correctly")


def _side_check(analysed: pd.DataFrame) -> dict[str, Any]:
    shown = analysed[analysed["is_catch"] == 0]
    right = int((shown["clean_side"] == "left").sum())
    p = float(stats.binomtest(right, len(shown)).pvalue)
    return _check("sides balanced", p >= 0.001, f"{protocol_of(shown).second} in {right} of {len(shown)} trials")


def _cluster_check(main: pd.DataFrame) -> dict[str, Any]:
    """Enough to tell people and images from their sample; in an adaptive study all conditions tell one threshold."""
    cells = [main] if is_adaptive(main) else [cell for _, _, cell in frames.cells(main)]
    people = min(cell["participant"].nunique() for cell in cells)
    images = min(cell["stimulus"].nunique() for cell in cells)
    per = "" if is_adaptive(main) else " per condition"
    detail = f"at least {people} participants and {images} stimuli{per}; unproven below {MIN_CLUSTERS}"
    return _check("enough participants and stimuli", min(people, images) >= MIN_CLUSTERS, detail)


def _precision_check(conditions: Sequence[Mapping[str, Any]], bound: float) -> dict[str, Any]:
    """Could the bound be passed at all? A condition at exactly .5 with this standard error must pass its test."""
    hopeless = [f"{row['attack']} s = {row['strength']:g}" for row in conditions if not _may_pass(row, bound)]
    if not hopeless:
        return _check("precise enough for the bound", True, "every condition could pass if detection were at chance")
    return _check(
        "precise enough for the bound", False, f"could not pass even at chance, too few trials: {', '.join(hopeless)}"
    )


def _may_pass(row: Mapping[str, Any], bound: float) -> bool:
    df = min(row["participants"], row["stimuli"]) - 1
    limits = [(bound - 0.5, row["two_way_se"])]
    if "two_way_dprime_se" in row:
        limits.append((detection.dprime(bound, "yes/no") or 0.0, row["two_way_dprime_se"]))
    return all(
        se is not None and stats.t.sf(limit / se if se else math.inf, df) < equivalence.ALPHA for limit, se in limits
    )


def _script_check(material: Material, main: pd.DataFrame) -> dict[str, Any] | None:
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


def _repetition_check(main: pd.DataFrame) -> dict[str, Any]:
    repeated = int(main.duplicated(["participant", "stimulus"]).sum())
    detail = "each participant saw each image once" if not repeated else f"{repeated} trials showed an image again"
    return _check("no image repeated", not repeated, detail)


def _exclusion_check(material: Material, conditions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    everyone = _conditions(frames.main_trials(material.trials), material.bound)
    kept = {(row["attack"], row["strength"]): row["verdict"] for row in conditions}
    changed = [row for row in everyone if kept.get((row["attack"], row["strength"]), row["verdict"]) != row["verdict"]]
    words = "; ".join(f"{row['attack']} s = {row['strength']:g} would be {row['verdict']}" for row in changed)
    detail = f"with everybody: {words}" if changed else "the verdicts are the same with everybody"
    return _check("exclusions do not decide", not changed, detail)


def _curve_check(attack: str, fit: psychometric.Fit) -> dict[str, Any]:
    name = f"psychometric function: {attack}"
    if fit.curve is None:
        return _check(name, False, fit.note or "")
    notes = [note for note in (fit.note, fit.thresholds[0].note) if note]
    return _check(name, not notes, "; ".join(notes) or f"lapse {fit.curve.lapse:.3f} ({fit.lapse_source})")


def _without_nan(value: Any) -> Any:
    """JSON-able Python values; what is not finite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
