"""A study and a training under fire: `python -m tests.faults.storm --kills 200 --seed 1`, or `make faults`.

A whole installation is started in a folder of its own (PostgreSQL with durable commits, Valkey, two web processes,
workers of every queue). While simulated participants answer and models are trained, processes are killed at random and
other faults are done to it. Afterwards what was acknowledged is compared with what is stored.

Writes report.json and the evidence it was computed from to --out; `--judge DIR` computes it again from the evidence.
Exit code 1 when a bar is missed. The same seed draws the same faults in the same order.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import django

from benchmarks.checkout import ROOT, commit
from tests.faults.installation import MOURNING_S, Installation, Process, installed
from tests.faults.ledger import Evidence, Ledger, Report, judge

OUT = ROOT / "var" / "faults"
LOOK_FOR_ORPHANS_EVERY_S = 2.0
FINISH_WITHIN_S = 240.0
#: Of this process and all that it starts, whatever it was started with. The small folder has less room than is usual.
ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "study.settings",
    "PRODUCTION": "",
    "STORAGE_URL": "",
    "MINIMUM_FREE_MB": "16",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}
NEEDS_ROOT = "needs root, to mount a small file system"


@dataclass(frozen=True)
class Plan:
    """What is asked for. epochs: of each of the two phases of a training. think_s: mean, before an answer."""

    kills: int = 200
    seed: int = 1
    participants: int = 30
    epochs: int = 150
    think_s: float = 1.5
    pause_s: tuple[float, float] = (2.0, 7.0)
    without: tuple[str, ...] = ()
    out: Path = OUT


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.judge:
        return tell(judge(Evidence.read(options.judge)), options.judge)
    plan = Plan(
        kills=options.kills,
        seed=options.seed,
        participants=options.participants,
        epochs=options.epochs,
        think_s=options.think,
        pause_s=tuple(options.pause),
        without=tuple(options.without),
        out=options.out,
    )
    run(plan)
    return tell(judge(Evidence.read(plan.out)), plan.out)


def tell(report: Report, folder: Path) -> int:
    """Write the report, as JSON and as tables for docs/reliability.md, and print it; the exit code."""
    (folder / "report.json").write_text(json.dumps(report.to_json(), indent=1) + "\n")
    (folder / "report.md").write_text(tables(report))
    print(json.dumps(report.to_json(), indent=1))
    for bar in report.missed:
        print(f"MISSED: {bar}", file=sys.stderr)
    return 0 if report.holds else 1


def run(plan: Plan) -> None:
    """Do the storm and leave its evidence in `plan.out`."""
    shutil.rmtree(plan.out, ignore_errors=True)
    plan.out.mkdir(parents=True)
    started, clock = datetime.now(UTC), time.monotonic()
    os.environ |= ENVIRONMENT
    with installed(plan.out) as here:
        left_out = dict.fromkeys(plan.without, "left out by --without")
        if not here.quota:
            left_out["disk full"] = NEEDS_ROOT
        _storm(plan, here, left_out)
        here.end_services()
        time.sleep(MOURNING_S)
        here.tell_survivors()
    about = {
        "kills": plan.kills,
        "seed": plan.seed,
        "commit": commit(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "left_out": left_out,
    }
    (plan.out / "run.json").write_text(json.dumps(about, indent=1))


def tables(report: Report) -> str:
    """Two tables in Markdown: the faults by kind, and what came of them."""
    recovery = report.recovery_s
    outcome = {
        f"commit {report.commit}, seed {report.seed}, begun {report.started}": f"{report.seconds:,.0f} s",
        "kills by SIGKILL, of which each victim was alive before and dead after": report.kills,
        "answers acknowledged, of sessions": f"{report.acknowledged:,} of {report.sessions:,}",
        "acknowledged answers lost": report.lost,
        "answers stored or acknowledged twice": report.duplicated,
        "sessions stuck": len(report.stuck),
        "jobs that ended exactly once": f"{report.jobs_ended_once} of {report.jobs}",
        "times that a failed job was tried again, as a researcher would": report.jobs_tried_again,
        "trainings with the weights of the undisturbed one": f"{report.trainings}, {_yes(report.weights_equal)}",
        "stored files that are not what they were": len(report.damaged_files),
        "processes left over": report.orphans,
        "faults that the log does not name": len(report.unnamed),
        "from a fault to the job's next attempt, median and longest": f"{recovery['median']} s, {recovery['max']} s",
    }
    rows = ["| fault | times |", "|---|---|", *(f"| {kind} | {n} |" for kind, n in report.faults.items())]
    rows += [f"| {kind} | left out: {why} |" for kind, why in report.left_out.items()]
    rows += ["", "| what came of it | |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in outcome.items())]
    return "\n".join(rows) + "\n"


def _yes(holds: bool) -> str:
    return "all equal" if holds else "NOT all equal"


def say(line: str) -> None:
    print(f"{datetime.now():%H:%M:%S} {line}", file=sys.stderr, flush=True)


def _storm(plan: Plan, here: Installation, left_out: Mapping[str, str]) -> None:
    """From the empty installation to the rows of evidence."""
    django.setup()  # now that the environment says where the database is
    from study import processes
    from tests.faults.faults import Storm, draw
    from tests.faults.participants import Crowd
    from tests.faults.researcher import Researcher

    say("Preparing an installation.")
    researcher = Researcher(here.var, plan.epochs, Ledger(plan.out / "retried.jsonl"))
    researcher.prepare()
    here.keep_program("web", processes.web_program(here.web_port))
    here.keep_program("gpu worker", processes.worker_program("gpu", concurrency=2))
    here.keep_program("cpu worker", processes.worker_program("cpu,default", concurrency=1))
    study = researcher.open_study()
    undisturbed = plan.out / "undisturbed"
    reference = researcher.train_undisturbed(undisturbed)
    crowd = Crowd(
        here.address, study, plan.participants, plan.think_s, plan.seed,
        Ledger(plan.out / "acknowledgements.jsonl"), Ledger(plan.out / "participants.jsonl"),
    )  # fmt: skip
    with crowd, researcher, _orphans_told(here):
        storm = Storm(here, researcher, Ledger(plan.out / "faults.jsonl"), say)
        storm.rage(draw(plan.seed, plan.kills, plan.pause_s, tuple(left_out)))
        say("The faults are over. Participants finish.")
        researcher.rest()
        crowd.finish(FINISH_WITHIN_S)
        say("Jobs finish.")
        researcher.finish(FINISH_WITHIN_S)
    reference.wait(FINISH_WITHIN_S)
    say("Comparing.")
    researcher.write_evidence(plan.out, undisturbed / "artifact")


@contextmanager
def _orphans_told(here: Installation) -> Iterator[None]:
    """Look again and again for model processes whose parent is gone. Dying takes a moment: seen twice is an orphan."""
    over = threading.Event()

    def look() -> None:
        before: set[Process] = set()
        while not over.wait(LOOK_FOR_ORPHANS_EVERY_S):
            now = set(here.parentless())
            here.tell_orphans(now & before, "while the installation ran")
            before = now

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.storm", description=(__doc__ or "").split("\n\n")[0])
    usual = Plan()
    parser.add_argument("--kills", type=int, default=usual.kills, help="kills by SIGKILL (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=usual.seed, help="of the faults and answers (default: %(default)s)")
    parser.add_argument("--participants", type=int, default=usual.participants, help="at a time (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=usual.epochs, help="of half a training (default: %(default)s)")
    parser.add_argument("--think", type=float, default=usual.think_s, help="s before an answer (default: %(default)s)")
    parser.add_argument("--pause", type=float, nargs=2, default=usual.pause_s, help="s between faults, from and to")
    parser.add_argument("--without", nargs="*", default=[], metavar="KIND", help="kinds of fault to leave out")
    parser.add_argument("--out", type=Path, default=usual.out, help="folder of report and evidence, made anew")
    parser.add_argument("--judge", type=Path, metavar="DIR", help="only compute the report of this evidence again")
    return parser


if __name__ == "__main__":
    sys.exit(main())
