"""Speed of the analysis: crossed mixed models beside lme4's, GEE beside statsmodels', psychometric functions beside
psignifit's, and the whole report.

All fit the same simulated studies from the same files, each fit in a process of its own with one thread. Where R or its
lme4 is missing, what it needed on another day is shown, as recorded.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.checkout import ROOT
from benchmarks.side_by_side import fits
from benchmarks.side_by_side.costs import Cost, of_command
from benchmarks.side_by_side.findings import Curve, Effort, Findings
from benchmarks.side_by_side.fits import Fit, largest_difference, one_thread
from benchmarks.side_by_side.results import machine
from benchmarks.side_by_side.rows import Row, alone, compared

GOLDEN = ROOT / "tests" / "golden" / "golden_trials.csv"
#: What data are called in ids, and in words.
SIZES: Mapping[int, tuple[str, str]] = {
    2_400: ("2400", "2,400 trials"),
    24_000: ("24k", "24,000 trials"),
    240_000: ("240k", "240,000 trials"),
}
LARGEST = 240_000
#: A report begins with imports and ends with drawing, whatever it is about: its growth shows between large studies.
REPORTED = (2_400, 24_000, 120_000, 240_000)
#: Estimates agree to this; a threshold relative to itself.
SAME, SAME_THRESHOLD = 1e-3, 0.01
ATTACKS = ("badnets", "wanet")


@dataclass(frozen=True)
class Pair:
    """One round of a model: our fit and another's, which may be one of another day."""

    ours: Fit
    other: Fit
    recorded: bool = False


def measure(effort: Effort) -> Findings:
    """All rows about the analysis. Needs the network once, for psignifit's environment."""
    _draw(effort.folder)
    crossed, of_crossed = _crossed(effort)
    reports, of_reports = _reports(effort)
    return Findings([*crossed, *_marginal(effort), *_psychometric(effort), *reports], [of_crossed, of_reports])


def _draw(folder: Path) -> None:
    sizes = [str(trials) for trials in sorted({*SIZES, *REPORTED})]
    of_command([sys.executable, "-m", "benchmarks.side_by_side.fitters.drawn", folder, *sizes], one_thread(), ROOT)


# --- crossed models


def _crossed(effort: Effort) -> tuple[list[Row], Curve]:
    """Ours and glmer's, which at the largest size has one round: it takes minutes."""
    lme4, tables = _lme4(effort.tell), _tables(effort)
    told: dict[tuple[str, str], list[Pair]] = defaultdict(list)
    for name, (words, table, rounds) in tables.items():
        for number in range(rounds):
            for control in fits.CONTROLS:
                ours, (other, recorded) = fits.here("glmm", table), lme4(name, table, control)
                told[name, control].append(Pair(ours, other, recorded))
                effort.tell(
                    f"round {number + 1}, crossed model, {words}: ours {ours.cost.wall_s:.3g} s, glmer"
                    f" ({control}{', as recorded' if recorded else ''}) {other.cost.wall_s:.3g} s"
                )
    if not (any(pair.recorded for pairs in told.values() for pair in pairs) or effort.keep):
        _record(told)
    rows = [
        row
        for name, (words, *_) in tables.items()
        for row in crossed_rows(name, words, told[name, "usable"], told[name, "default"])
    ]
    return rows, _curve_of_crossed(told)


def _tables(effort: Effort) -> dict[str, tuple[str, Path, int]]:
    """{name: (in words, file, rounds)} of the data that the crossed models are fitted to."""
    drawn = {
        name: (words, effort.folder / f"crossed-{trials}.csv", 1 if trials == LARGEST else effort.rounds)
        for trials, (name, words) in SIZES.items()
    }
    return {"golden": ("the golden study (1,920 trials)", GOLDEN, effort.rounds)} | drawn


def _lme4(tell: Callable[[str], None]) -> Callable[[str, Path, str], tuple[Fit, bool]]:
    """What fits a table with a control, or finds what was recorded of it: (fit, whether recorded)."""
    present = fits.has_lme4()
    if not present:
        tell(f"R with lme4 is not on this machine; what is shown was recorded: {fits.recorded().origin}")

    def fit(name: str, table: Path, control: str) -> tuple[Fit, bool]:
        found = fits.lme4(table, control) if present else None
        if present and not found:
            tell(f"glmer has not ended within {fits.PATIENCE_S} s; what is shown of {name} was recorded")
        return (found, False) if found else (fits.recorded().fits[name][control], True)

    return fit


def _record(told: Mapping[tuple[str, str], Sequence[Pair]]) -> None:
    by_data: dict[str, dict[str, list[Fit]]] = defaultdict(dict)
    for (name, control), pairs in told.items():
        by_data[name][control] = [pair.other for pair in pairs]
    fits.record(by_data, machine())


def crossed_rows(name: str, words: str, usable: Sequence[Pair], default: Sequence[Pair]) -> list[Row]:
    """Of one table: seconds and estimates beside glmer's with each control."""
    is_largest, once = name == SIZES[LARGEST][0], ", one round" if len(usable) == 1 else ""
    likelihood = "log likelihood"
    return [
        _seconds(
            f"glmm.{name}.vs_lme4", f"crossed model, {words}, against glmer with usable standard errors{once}", usable,
            1 / 10 if is_largest else None,
        ),
        _seconds(f"glmm.{name}.vs_lme4_default", f"the same against glmer's default control{once}", default),
        _estimates(f"glmm.{name}.difference", f"largest difference of a figure of the model, {words}", usable, SAME),
        _estimates(f"glmm.{name}.difference_default", "the same with glmer's default control", default),
        _figure(
            f"glmm.{name}.log_likelihood", "difference of the log likelihood, ours less glmer's with usable errors",
            [pair.ours.figures[likelihood] - pair.other.figures[likelihood] for pair in usable], usable,
        ),
    ]  # fmt: skip


def _seconds(id: str, what: str, pairs: Sequence[Pair], most: float | None = None) -> Row:
    """Wall seconds of both; CPU and memory beside them."""
    ours, theirs = _costs(pairs)
    recorded = any(pair.recorded for pair in pairs)
    row = compared(id, what, _walls(ours), _walls(theirs), "s", most, recorded=recorded)
    return row.costing(ours=ours, peer=theirs)


def _estimates(id: str, what: str, pairs: Sequence[Pair], most: float | None = None) -> Row:
    return _figure(id, what, [largest_difference(pair.ours, pair.other) for pair in pairs], pairs, most)


def _figure(id: str, what: str, values: Sequence[float], pairs: Sequence[Pair], most: float | None = None) -> Row:
    row = alone(id, what, values, "", most)
    return replace(row, ok=False, recorded=True) if any(pair.recorded for pair in pairs) else row


def _costs(pairs: Sequence[Pair]) -> tuple[list[Cost], list[Cost]]:
    return [pair.ours.cost for pair in pairs], [pair.other.cost for pair in pairs]


def _walls(costs: Sequence[Cost]) -> list[float]:
    return [_known(cost.wall_s) for cost in costs]


def _cpus(costs: Sequence[Cost]) -> list[float]:
    return [_known(cost.cpu_s) for cost in costs]


def _known(figure: float | None) -> float:
    assert figure is not None, "every fitter tells what it took"
    return figure


def _curve_of_crossed(told: Mapping[tuple[str, str], Sequence[Pair]]) -> Curve:
    rows = {
        (trials, control): _seconds("", "", told[name, control])
        for trials, (name, _) in SIZES.items()
        for control in fits.CONTROLS
    }
    lines = {
        "ours": [(trials, rows[trials, "usable"].ours) for trials in SIZES],
        "glmer, usable standard errors": [(trials, _known(rows[trials, "usable"].peer)) for trials in SIZES],
        "glmer, default control": [(trials, _known(rows[trials, "default"].peer)) for trials in SIZES],
    }
    return Curve("glmm", "A crossed mixed model with a guess rate", "trials", "seconds", lines)


# --- marginal models


def _marginal(effort: Effort) -> list[Row]:
    rows = []
    for trials, (name, words) in SIZES.items():
        table = effort.folder / f"study-{trials}.csv"
        pairs = [Pair(fits.here("gee", table), fits.here("statsmodels_gee", table)) for _ in range(effort.rounds)]
        effort.tell(f"GEE, {words}: ours {pairs[-1].ours.cost.wall_s:.3g} s")
        rows += [
            _seconds(f"gee.{name}.vs_statsmodels", f"GEE, {words}, against statsmodels' formula and defaults", pairs),
            _estimates(
                f"gee.{name}.difference", f"largest difference of estimates and standard errors, {words}", pairs, SAME
            ),
        ]
    return rows


# --- psychometric functions


def _psychometric(effort: Effort) -> list[Row]:
    """psignifit twice: its lapse rate free, as it comes, and at what ours found, which makes it the same curve."""
    rows = []
    for trials, (name, words) in SIZES.items():
        table, free, fixed = effort.folder / f"study-{trials}.csv", [], []
        for _ in range(effort.rounds):
            ours = fits.here("curves", table)
            free.append(Pair(ours, fits.psignifit(table, {})))
            fixed.append(Pair(ours, fits.psignifit(table, lapses(ours))))
        effort.tell(f"psychometric functions, {words}: ours {free[-1].ours.cost.cpu_s:.3g} s for {len(ATTACKS)} curves")
        rows += psychometric_rows(name, words, free, fixed)
    return rows


def lapses(fit: Fit) -> dict[str, float]:
    """Of each attack's curve."""
    return {attack: fit.figures[f"lapse {attack}"] for attack in ATTACKS}


def psychometric_rows(name: str, words: str, free: Sequence[Pair], fixed: Sequence[Pair]) -> list[Row]:
    """CPU of a curve with its interval, and how far the thresholds are apart."""
    return [
        _milliseconds(f"curve.{name}.vs_psignifit", f"a psychometric function, {words}, against psignifit", free),
        _milliseconds(f"curve.{name}.vs_psignifit_lapse", "the same, psignifit's lapse rate fixed at ours", fixed),
        alone(
            f"curve.{name}.difference", f"largest relative difference of a threshold, {words}, the lapse rate the same",
            [furthest_threshold(pair) for pair in fixed], "", SAME_THRESHOLD,
        ),
    ]  # fmt: skip


def furthest_threshold(pair: Pair) -> float:
    """Largest relative difference of an attack's threshold."""
    return max(abs(pair.other.figures[attack] / pair.ours.figures[attack] - 1) for attack in ATTACKS)


def _milliseconds(id: str, what: str, pairs: Sequence[Pair]) -> Row:
    ours, theirs = ([_per_curve(cost) for cost in side] for side in _costs(pairs))
    mine, others = ([1000 * seconds for seconds in _cpus(side)] for side in (ours, theirs))
    return compared(id, what, mine, others, "ms CPU").costing(ours=ours, peer=theirs)


def _per_curve(cost: Cost) -> Cost:
    return Cost(_known(cost.wall_s) / len(ATTACKS), _known(cost.cpu_s) / len(ATTACKS), cost.peak_mb)


# --- the whole report


def _reports(effort: Effort) -> tuple[list[Row], Curve]:
    costs: dict[int, list[Cost]] = defaultdict(list)
    for number in range(effort.rounds):
        for trials in REPORTED:
            costs[trials].append(_reported(effort.folder, trials))
            effort.tell(f"round {number + 1}, report, {trials:,} trials: {costs[trials][-1].wall_s:.3g} s")
    return report_rows(costs), _curve_of_reports(costs)


def _reported(folder: Path, trials: int) -> Cost:
    """`manage.py analyze_study --csv`, from its start to its end."""
    table, out = folder / f"study-{trials}.csv", folder / f"report-{trials}"
    environment = one_thread() | {"BLINDSPOT_VAR": str(folder / "var")}
    command = [sys.executable, "-m", "benchmarks.side_by_side.fitters.reported", str(table), str(out)]
    cost, printed = of_command(command, environment, ROOT)
    return replace(cost, peak_mb=json.loads(printed.splitlines()[-1])["peak_mb"])


def report_rows(costs: Mapping[int, Sequence[Cost]]) -> list[Row]:
    """Seconds of the report at each of SIZES, and whether they grow faster than the trials."""
    seconds = [
        alone(
            f"report.{name}.seconds", f"whole report of {words}, from the command to the last file",
            _walls(costs[trials]), "s",
        ).costing(ours=costs[trials])
        for trials, (name, words) in SIZES.items()
    ]  # fmt: skip
    rounds = zip(*(_cpus(told) for told in costs.values()), strict=True)
    *_, low, middle, high = sorted(costs)
    what = f"CPU of a further trial, from {middle:,} to {high:,} trials, to that from {low:,} to {middle:,}"
    return [
        *seconds,
        alone(
            "report.growth", what, [growth(dict(zip(costs, each, strict=True))) for each in rounds], "times", most=1.2
        ),
    ]


def growth(seconds: Mapping[int, float]) -> float:
    """What a further trial costs between the two largest studies, relative to between the two before: 1 if linear.

    Differences, so that what a report costs whatever its size is in neither.
    """
    *_, low, middle, high = sorted(seconds)
    return ((seconds[high] - seconds[middle]) / (high - middle)) / ((seconds[middle] - seconds[low]) / (middle - low))


def _curve_of_reports(costs: Mapping[int, Sequence[Cost]]) -> Curve:
    rows = {trials: alone("", "", _cpus(told), "s") for trials, told in costs.items()}
    return Curve(
        "report", "The whole report", "trials", "CPU, seconds", {"report": [(n, row.ours) for n, row in rows.items()]},
        logarithmic=False,
    )  # fmt: skip
