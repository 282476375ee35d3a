"""Does anything but the pixels tell the altered image? `make side-channel`, or `python -m benchmarks.side_channel`.

Sets up a study of its own, walks real Chromium through it, logs all that the browser sees except decoded pixels, and
trains classifiers to tell from it (a) on which side the altered image is and (b) which pairs are catch pairs. Either
must fail: p > .001 in a permutation test. Beside it the same attacker meets the same pages with plain image files,
which it must see through: AUC > .9. Writes report.json and the raw tables; the exit code says whether all three hold.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.side_channel import target
from benchmarks.side_channel.attack import Finding, attack

LEAST_P = 0.001
LEAST_NAIVE_AUC = 0.9
PAIRS = 2000
NAIVE_PAIRS = 300
LEAST_SESSIONS = 2
#: Not yes/no: the lengths of single files tell little (AUC .66), so the positive control would fail there.
PROTOCOLS = ("afc", "ifc", "flicker", "oddity")
#: Columns that are the same, or differ in sign only, when the sides are swapped: they cannot tell a side.
SYMMETRIC, SIGNED = (".mean", ".size"), (".difference", ".chosen")


@dataclass(frozen=True)
class Sample:
    """What was logged of so many pairs, and the truth about them."""

    table: pd.DataFrame
    altered_left: np.ndarray
    catch: np.ndarray

    def tell_side(self, **options: Any) -> Finding:
        return self._tell(self.altered_left, SYMMETRIC, **options)

    def tell_catch(self, **options: Any) -> Finding:
        return self._tell(self.catch, SIGNED, **options)

    def _tell(self, labels: np.ndarray, without: tuple[str, ...], **options: Any) -> Finding:
        kept = [name for name in self.table if not name.endswith(without) and name != "session"]
        return attack(self.table[kept], labels, self.table["session"].to_numpy(), **options)

    def save(self, path: Path) -> None:
        truth = {"altered_left": self.altered_left.astype(int), "catch": self.catch.astype(int)}
        pd.concat([pd.DataFrame(truth), self.table], axis=1).to_csv(path, index=False, float_format="%.6g")


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    out: Path = options.out
    with target.installation():
        from study.desk.simulation import SimulationError
        from study.processes import ServiceError
        from study.trials.design import code_version

        try:
            report = measure(options.protocol, options.pairs, options.seed, out)
        except (SimulationError, ServiceError) as error:
            sys.exit(str(error))
        report |= {"seed": options.seed, "commit": code_version()}
    (out / "report.json").write_text(json.dumps(report, indent=1, allow_nan=False) + "\n")
    print(summary(report))
    print(f"Report: {out / 'report.json'}")
    return 0 if report["passed"] else 1


def measure(protocol: str, pairs: int, seed: int, out: Path) -> dict[str, Any]:
    """The report of one attack on each server, with the tables written beside it."""
    sessions = _sessions(pairs)
    study = target.make_study(protocol, sessions, seed)
    out.mkdir(parents=True, exist_ok=True)
    careful = log_pairs(study, target.CAREFUL, sessions, seed, "Pairs")
    careful.save(out / "pairs.csv")
    naive = log_pairs(study, target.NAIVE, _sessions(min(pairs, NAIVE_PAIRS)), seed + 1, "Pairs, plain files")
    naive.save(out / "naive.csv")
    side, catch = careful.tell_side(seed=seed), careful.tell_catch(seed=seed)
    return judged(protocol, side, catch, naive.tell_side(seed=seed), naive.tell_catch(seed=seed))


def judged(protocol: str, side: Finding, catch: Finding, naive: Finding, naive_catch: Finding) -> dict[str, Any]:
    """The report: whether both attacks failed, and whether the attacker can see at all."""
    passed = side.p > LEAST_P and catch.p > LEAST_P and naive.auc > LEAST_NAIVE_AUC
    return {
        "passed": passed,
        "protocol": protocol,
        "auc": side.auc,
        "p": side.p,
        "catch_auc": catch.auc,
        "catch_p": catch.p,
        "naive_auc": naive.auc,
        "naive_catch_auc": naive_catch.auc,
        "pairs": side.rows,
        "sessions": side.sessions,
        "naive_pairs": naive.rows,
        "features": side.features,
        "side": side.to_json(),
        "catch": catch.to_json(),
        "naive": naive.to_json(),
    }


def log_pairs(study: Any, application: str, sessions: int, seed: int, what: str) -> Sample:
    """Walk so many guessing participants through the study as this application serves it."""
    from benchmarks.side_channel.browser import walk_runs
    from benchmarks.side_channel.features import table
    from study.desk.progress import counted
    from study.processes import web_server

    total = sessions * (target.PAIRS_PER_SESSION + target.PRACTICE)
    with web_server(application=application) as url, counted(what, total) as progress:
        runs = list(walk_runs(study, url, sessions, seed, progress.add))
    return with_truth(table(runs), [run.token for run in runs])


def with_truth(features: pd.DataFrame, tokens: list[str]) -> Sample:
    """The table with what the database knows of its pairs."""
    from study.trials.models import Trial, token_sha256

    number = {token_sha256(token): session for session, token in enumerate(tokens)}
    trials = Trial.objects.filter(session__token_sha256__in=number)
    truth = {
        (number[sha256], index): (side == "left", phase == Trial.Phase.CATCH)
        for sha256, index, side, phase in trials.values_list("session__token_sha256", "index", "altered_side", "phase")
    }
    places = zip(features["session"], features["trial.index"], strict=True)
    left, catch = np.array([truth[session, int(index)] for session, index in places]).T
    return Sample(features, left, catch)


def summary(report: dict[str, Any]) -> str:
    """The result in a few lines."""

    def said(finding: dict[str, Any]) -> str:
        best = finding["strongest"]
        return f"; strongest feature {best['feature']} (p = {best['p']:.3f})" if best else ""

    verdict = "Nothing but the pixels tells." if report["passed"] else "NOT PASSED."
    return "\n".join(
        [
            f"{report['pairs']} pairs in {report['sessions']} sessions, {report['features']} features that vary.",
            f"Altered side: AUC {report['auc']:.3f}, p = {report['p']:.4f}{said(report['side'])}.",
            f"Catch pairs:  AUC {report['catch_auc']:.3f}, p = {report['catch_p']:.4f}{said(report['catch'])}.",
            f"Plain files:  AUC {report['naive_auc']:.3f} (must be above {LEAST_NAIVE_AUC}){said(report['naive'])}.",
            f"{verdict} (p must be above {LEAST_P})",
        ]
    )


def _sessions(pairs: int) -> int:
    return max(LEAST_SESSIONS, math.ceil(pairs / target.PAIRS_PER_SESSION))


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("benchmarks.side_channel", description=__doc__)
    parser.add_argument("--pairs", type=_positive, default=PAIRS, help="at least so many (default: %(default)s)")
    parser.add_argument("--protocol", choices=PROTOCOLS, default="afc", help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of images, plan and guesses (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=target.ROOT / "var" / "side_channel", help="default: %(default)s")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0.")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
