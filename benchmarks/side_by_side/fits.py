"""Fits by each fitter of `fitters`, and what lme4 needed where it was last measured."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.checkout import ROOT
from benchmarks.side_by_side.costs import Cost, median_cost, of_command
from models.durable import write_bytes

FITTERS = Path(__file__).with_name("fitters")
RECORD = FITTERS / "lme4.json"
PSIGNIFIT = "psignifit==4.3"
#: glmer's two controls, by their names in fitters/lme4.R, which has how they are written.
CONTROLS = ("usable", "default")
#: Of one fit of lme4, after which it is given up.
PATIENCE_S = 1800
#: What `timeout` ends with when it has ended the command.
_TIMED_OUT = 124


@dataclass(frozen=True)
class Fit:
    """What came out, by name, and what the fitting took, the reading of the file left out."""

    figures: Mapping[str, float]
    cost: Cost
    versions: Mapping[str, str] = field(default_factory=dict)


def parsed(printed: str) -> Fit:
    """From the last line that a fitter printed. Raises ValueError where a figure is missing."""
    told = json.loads(printed.splitlines()[-1])
    missing = [name for name, value in told["figures"].items() if value is None]
    if missing:
        raise ValueError(f"The fit has no {', '.join(missing)}.")
    return Fit(told["figures"], Cost(told["wall_s"], told["cpu_s"], told["peak_mb"]), told.get("versions", {}))


def largest_difference(one: Fit, other: Fit) -> float:
    """Of any figure but the log likelihood. Raises ValueError unless both have the same names."""
    if one.figures.keys() != other.figures.keys():
        raise ValueError(f"These are not the same models: {sorted(one.figures)} and {sorted(other.figures)}.")
    return max(abs(one.figures[name] - other.figures[name]) for name in one.figures if name != "log likelihood")


def one_thread() -> dict[str, str]:
    """The environment of every fitter."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def here(name: str, table: Path) -> Fit:
    """By our code or statsmodels: one of `fitters.here`."""
    return _fitted(sys.executable, "-m", "benchmarks.side_by_side.fitters.here", name, table)


def psignifit(table: Path, lapses: Mapping[str, float]) -> Fit:
    """Every attack's curve, the lapse rates fixed at those given."""
    given = [f"{attack}={lapse!r}" for attack, lapse in lapses.items()]
    return _fitted(psignifit_python(), "-m", "benchmarks.side_by_side.fitters.psignifit_curves", table, *given)


def psignifit_python() -> Path:
    """The interpreter of an environment that has psignifit, made at first use."""
    folder = ROOT / "var" / "bench" / "psignifit-venv"
    python, ready = folder / "bin" / "python", folder / PSIGNIFIT
    if not ready.exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PSIGNIFIT], check=True
        )
        ready.touch()
    return python


def has_lme4() -> bool:
    """Whether R and its package lme4 are on this machine."""
    if not shutil.which("Rscript"):
        return False
    asked = ["Rscript", "--vanilla", "-e", "quit(status = !requireNamespace('lme4', quietly = TRUE))"]
    return subprocess.run(asked, capture_output=True, check=False).returncode == 0


def lme4(table: Path, control: str) -> Fit | None:
    """By glmer with one of CONTROLS; None where that takes longer than PATIENCE_S."""
    try:
        return _fitted("timeout", str(PATIENCE_S), "Rscript", "--vanilla", FITTERS / "lme4.R", table, control)
    except subprocess.CalledProcessError as error:
        if error.returncode != _TIMED_OUT:
            raise
        return None


def _fitted(*command: str | Path) -> Fit:
    return parsed(of_command(command, one_thread(), ROOT)[1])


# --- the record


def record(fits: Mapping[str, Mapping[str, Sequence[Fit]]], machine: str) -> None:
    """Keep what lme4 found and needed: {data: {control: one fit a round}}."""
    versions = next(fit.versions for controls in fits.values() for rounds in controls.values() for fit in rounds)
    content = {
        "machine": machine,
        "measured": time.strftime("%Y-%m-%d"),
        "versions": dict(versions),
        "fits": {
            data: {control: _kept(rounds) for control, rounds in controls.items()} for data, controls in fits.items()
        },
    }
    write_bytes(RECORD, (json.dumps(content, indent=1) + "\n").encode())


def _kept(rounds: Sequence[Fit]) -> dict[str, Any]:
    return {"figures": dict(rounds[-1].figures), **asdict(median_cost([fit.cost for fit in rounds]))}


@dataclass(frozen=True)
class Record:
    """What lme4 found and needed on another day: `fits[data][control]`, and what that was measured on, in words."""

    origin: str
    fits: Mapping[str, Mapping[str, Fit]]


def recorded() -> Record:
    """Raises FileNotFoundError where there is no record."""
    content = json.loads(RECORD.read_text())
    versions = content["versions"]
    origin = f"{content['machine']}, R {versions['R']}, lme4 {versions['lme4']}, {content['measured']}"
    fits = {
        data: {control: parsed(json.dumps(told)) for control, told in controls.items()}
        for data, controls in content["fits"].items()
    }
    return Record(origin, fits)
