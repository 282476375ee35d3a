"""Calibration on simulated studies: `make calibrate`, or `python -m benchmarks.calibrate`.

Writes var/calibration.json (rates with their Monte-Carlo error), var/calibration.csv (every method on every study) and
docs/calibration.md. What is done is kept, so that an interrupted run goes on; other code is run anew. The exit code
says whether every bar holds. A quick or partial run writes calibration-part.json and .csv, and leaves the page alone.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.calibrate import page
from benchmarks.calibrate.rows import bias, summarise
from benchmarks.calibrate.scenarios import QUESTIONS, SCENARIOS
from benchmarks.calibrate.work import BARS, Part, parts
from benchmarks.checkout import ROOT, commit

VAR = ROOT / "var"
LINE_EVERY_S = 15.0


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    folder: Path = options.out / "calibration"
    folder.mkdir(parents=True, exist_ok=True)
    whole = not (options.quick or options.only)
    name = "calibration" if whole else "calibration-part"
    wanted = parts(options.seed, options.quick, options.only)
    todo = [part for part in wanted if not part.done(folder)]
    started = time.monotonic()
    work(todo, folder, options.processes)
    table = pd.concat([part.read(folder) for part in wanted])
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    content = describe(table, options.seed) | {
        "blocks": len(wanted),
        "blocks_made_now": len(todo),
        "wall_s": round(time.monotonic() - started),
        "cpu_s": round(spent.ru_utime + spent.ru_stime),
    }
    table.to_csv(options.out / f"{name}.csv", index=False, lineterminator="\n")
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    (options.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    if whole:
        (ROOT / "docs" / "calibration.md").write_text(page.render(content), encoding="utf-8")
    print(page.tables(content))
    print(f"{options.out / name}.json")
    missed = page.missed(content)
    for sentence in missed:
        print(sentence, file=sys.stderr)
    return 1 if missed else 0


def work(todo: list[Part], folder: Path, processes: int) -> None:
    """Make these parts in processes of one thread each, showing how far they are."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool, _Progress(len(todo)) as step:
        for future in [pool.submit(part.make, folder) for part in todo]:
            future.result()
            step()


def describe(table: pd.DataFrame, seed: int) -> dict[str, Any]:
    """calibration.json: one row for each scenario and method, and what they were made with."""
    titles = {scenario.name: scenario for scenario in SCENARIOS}
    rows = []
    for (scenario, method), found in table.groupby(["scenario", "method"], sort=False):
        about = titles[scenario]
        rows.append(
            {"scenario": scenario, "title": about.title, "question": about.question, "method": method}
            | summarise(found["decision"], BARS.get((scenario, method)))
            | bias(found)
        )
    packages = ("numpy", "scipy", "pandas", "statsmodels")
    return {
        "seed": seed,
        "commit": commit(),
        "questions": QUESTIONS,
        "results": rows,
        "versions": {"python": platform.python_version()} | {package: version(package) for package in packages},
    }


class _Progress:
    """A bar on a screen, a line now and then in a log."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.shown = total, 0, time.monotonic()
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self.bar = Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty())

    def __enter__(self) -> Any:
        self.bar.start()
        self.task = self.bar.add_task("blocks of studies", total=self.total)
        return self.step

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def step(self) -> None:
        self.done += 1
        self.bar.update(self.task, completed=self.done)
        if self.bar.disable and (time.monotonic() - self.shown >= LINE_EVERY_S or self.done == self.total):
            self.shown = time.monotonic()
            print(f"blocks of studies: {self.done} of {self.total}", file=sys.stderr, flush=True)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibrate", description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--quick", action="store_true", help="few studies, a minute; docs are left as they are")
    parser.add_argument("--only", nargs="+", default=[], choices=names, metavar="SCENARIO", help=", ".join(names))
    parser.add_argument("--seed", type=int, default=0, help="of the simulated studies (default: %(default)s)")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="at a time (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=VAR, metavar="DIR", help="folder (default: var)")
    options = parser.parse_args(arguments)
    if options.processes < 1:
        parser.error("--processes must be 1 or more")
    return options


if __name__ == "__main__":
    sys.exit(main())
