"""What was written down during a storm of faults, and the judgement that can be made of it again at any time.

A folder of evidence holds, one JSON object a line:

    run.json                 what was asked for: seed, commit, times, faults that were left out and why
    acknowledgements.jsonl   every 2xx that a participant got, written and synced before the next answer is given
    participants.jsonl       how each participant's visit ended
    faults.jsonl             every fault: what, when, which process, which attempts of which jobs it met
    services.jsonl           every start and end of a process that is kept running
    retried.jsonl            failed jobs that the researcher tried again, and the sentence they had failed with
    orphans.jsonl            model processes without a parent, and whatever outlived the installation
    answers, sessions, jobs  .jsonl: the rows of the database at the end
    files.json               what `verify` has to say: nothing when every stored file is what it was
    weights.json             SHA-256 of the weights of the undisturbed training and of each disturbed one
    log/                     the processes' own logs
"""

from __future__ import annotations

import json
import os
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]

TABLES = ("participants", "faults", "services", "retried", "orphans", "answers", "sessions", "jobs")
#: Within so many seconds the log must say what a fault did.
NAMED_WITHIN_S = 60.0
#: Kinds of JobEvent by which an attempt ends.
ENDINGS = frozenset({"interrupted", "lease_expired", "returned", "succeeded", "failed", "cancelled"})


class Ledger:
    """A file of JSON lines, each of which is on the disk when `write` returns. Threads may share one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._turn = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC, 0o644)

    def write(self, **fields: Any) -> None:
        line = json.dumps({"at": round(time.time(), 3), **fields}, sort_keys=True) + "\n"
        with self._turn:
            os.write(self._file, line.encode())
            os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """All rows at once, for what is known only at the end."""
    path.write_text("".join(json.dumps(row, sort_keys=True, default=str) + "\n" for row in rows))


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@dataclass(frozen=True)
class Evidence:
    """Everything a judgement is made of."""

    run: Row
    acknowledgements: list[Row] = field(default_factory=list)
    participants: list[Row] = field(default_factory=list)
    faults: list[Row] = field(default_factory=list)
    services: list[Row] = field(default_factory=list)
    retried: list[Row] = field(default_factory=list)
    orphans: list[Row] = field(default_factory=list)
    answers: list[Row] = field(default_factory=list)
    sessions: list[Row] = field(default_factory=list)
    jobs: list[Row] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    weights: Row = field(default_factory=dict)
    logs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Evidence:
        """Raises FileNotFoundError when the folder holds no finished run."""
        return cls(
            run=json.loads((folder / "run.json").read_text()),
            acknowledgements=read_rows(folder / "acknowledgements.jsonl"),
            files=json.loads((folder / "files.json").read_text()),
            weights=json.loads((folder / "weights.json").read_text()),
            logs={path.stem: path.read_text(errors="replace") for path in (folder / "log").glob("*.log")},
            **{table: read_rows(folder / f"{table}.jsonl") for table in TABLES},
        )


@dataclass(frozen=True)
class Report:
    """The judgement. Lists hold what is wrong, each entry one finding; `missed` names the bars that do not hold."""

    seed: int
    commit: str
    started: str
    seconds: float
    kills_asked: int
    kills: int
    faults: dict[str, int]
    left_out: dict[str, str]
    participants: int
    sessions: int
    acknowledged: int
    lost: int
    duplicated: int
    stuck: list[str]
    jobs: int
    jobs_ended_once: int
    jobs_tried_again: int
    orphans: int
    trainings: int
    weights_equal: bool
    damaged_files: list[str]
    unnamed: list[str]
    recovery_s: dict[str, float | int | None]
    findings: list[str]
    missed: list[str]

    @property
    def holds(self) -> bool:
        return not self.missed

    def to_json(self) -> Row:
        return asdict(self)


def judge(evidence: Evidence) -> Report:
    """What the evidence says: nothing is taken on trust, every figure is counted from the rows."""
    lost, duplicated = lost_answers(evidence), duplicated_answers(evidence)
    stuck, unfinished = stuck_sessions(evidence), jobs_not_ended_once(evidence)
    orphans = orphaned_processes(evidence)
    different = different_weights(evidence)
    unnamed = unnamed_faults(evidence)
    surprises = surprised_processes(evidence)
    counted = [fault for fault in evidence.faults if fault["counted"]]
    kills = sum(fault["kill"] for fault in counted)
    recovery = recovery_times(evidence)
    bars = {
        "every kill asked for was made": kills >= evidence.run["kills"],
        "something was acknowledged": bool(evidence.acknowledgements),
        "no acknowledged answer is lost": not lost,
        "no answer is stored or acknowledged twice": not duplicated,
        "no session is stuck": not stuck,
        "every job ended once": bool(evidence.jobs) and not unfinished,
        "no process is left over": not orphans,
        "weights equal those of the undisturbed training": bool(evidence.weights["disturbed"]) and not different,
        "every stored file is what it was": not evidence.files,
        "the log names what every fault did": not unnamed,
        "no process met what it did not expect": not surprises,
    }
    return Report(
        seed=evidence.run["seed"],
        commit=evidence.run["commit"],
        started=evidence.run["started"],
        seconds=evidence.run["seconds"],
        kills_asked=evidence.run["kills"],
        kills=kills,
        faults=dict(sorted(Counter(fault["kind"] for fault in counted).items())),
        left_out=evidence.run["left_out"],
        participants=len(evidence.participants),
        sessions=len(evidence.sessions),
        acknowledged=len({(ack["session"], ack["index"]) for ack in evidence.acknowledgements}),
        lost=len(lost),
        duplicated=len(duplicated),
        stuck=stuck,
        jobs=len(evidence.jobs),
        jobs_ended_once=len(evidence.jobs) - len(unfinished),
        jobs_tried_again=len(evidence.retried),
        orphans=len(orphans),
        trainings=len(evidence.weights["disturbed"]),
        weights_equal=bars["weights equal those of the undisturbed training"],
        damaged_files=evidence.files,
        unnamed=unnamed,
        recovery_s=recovery,
        findings=[*lost, *duplicated, *unfinished, *orphans, *different, *surprises],
        missed=[bar for bar, holds in bars.items() if not holds],
    )


def lost_answers(evidence: Evidence) -> list[str]:
    """Acknowledged answers that are not in the database with this row, this choice and this client's id."""
    stored = {tuple(row[name] for name in _ANSWER) for row in evidence.answers}
    return [
        f"lost: {_in_words(ack)}, acknowledged with {ack['status']} as {ack['choice']}, row {ack['id']}"
        for ack in evidence.acknowledgements
        if tuple(ack[name] for name in _ANSWER) not in stored
    ]


_ANSWER = ("session", "index", "client_id", "choice", "id")


def duplicated_answers(evidence: Evidence) -> list[str]:
    """Trials and client's ids with more than one row, and trials that were acknowledged as more than one row."""
    by_trial = Counter((row["session"], row["index"]) for row in evidence.answers)
    by_client = Counter(row["client_id"] for row in evidence.answers)
    acknowledged = Counter(
        (session, index)
        for session, index, _ in {(a["session"], a["index"], a["id"]) for a in evidence.acknowledgements}
    )
    return [
        *(f"stored {n} times: session {session[:8]}, trial {i}" for (session, i), n in by_trial.items() if n > 1),
        *(f"stored {n} times: client's id {client}" for client, n in by_client.items() if n > 1),
        *(f"{n} rows told: session {session[:8]}, trial {i}" for (session, i), n in acknowledged.items() if n > 1),
    ]


def stuck_sessions(evidence: Evidence) -> list[str]:
    """Participants who could not finish, and sessions that the database does not know as complete."""
    return [
        *(f"participant {row['participant']}: {row['error']}" for row in evidence.participants if not row["code"]),
        *(
            f"session {row['session'][:8]}: {row['state']}, {row['answers']} of {row['trials']} trials answered"
            for row in evidence.sessions
            if row["state"] != "complete" or row["answers"] != row["trials"]
        ),
    ]


def jobs_not_ended_once(evidence: Evidence) -> list[str]:
    """Jobs that are not done, or that the append-only log has succeed more or less often than once."""
    found = []
    for job in evidence.jobs:
        kinds = [event["kind"] for event in job["events"]]
        successes = kinds.count("succeeded")
        if job["state"] != "succeeded":
            found.append(f"job {job['kind']} {job['id'][:8]}: {job['state']} {job['error']}".strip())
        elif successes != 1:
            found.append(f"job {job['kind']} {job['id'][:8]}: succeeded {successes} times")
        elif "claimed" in kinds[kinds.index("succeeded") :]:
            found.append(f"job {job['kind']} {job['id'][:8]}: taken up again after it had succeeded")
    return found


def orphaned_processes(evidence: Evidence) -> list[str]:
    """Each of them once, however often it was seen, and how long it is known to have gone on."""
    seen: dict[tuple[int, str], list[Row]] = {}
    for row in evidence.orphans:
        seen.setdefault((row["pid"], row["command"]), []).append(row)
    return [
        f"orphan: {pid} {command} ({rows[0]['when']}; seen for {rows[-1]['at'] - rows[0]['at']:.0f} s)"
        for (pid, command), rows in seen.items()
    ]


def different_weights(evidence: Evidence) -> list[str]:
    undisturbed = evidence.weights["undisturbed"]
    return [
        f"other weights: {name} {digest[:8]}, undisturbed {undisturbed[:8]}"
        for name, digest in evidence.weights["disturbed"].items()
        if digest != undisturbed
    ]


def unnamed_faults(evidence: Evidence) -> list[str]:
    """Faults of which the log does not say in time what they did.

    Of a fault that met attempts at jobs, the jobs' events have to say it; of one that ended a service, the note that it
    ended; of one that a master heals, the master's own log.
    """
    events = {job["id"]: job["events"] for job in evidence.jobs}
    found = []
    for fault in evidence.faults:
        if not fault["counted"]:
            continue
        what = f"{fault['kind']} {fault['n']} (process {fault.get('pid')})"
        for met in fault.get("jobs", []):
            if not any(_is_ending(event, met, fault["at"]) for event in events.get(met["job"], [])):
                found.append(f"{what}: no event of job {met['job'][:8]}, attempt {met['attempt']}")
        if "service" in fault and not _noted(evidence.services, fault):
            found.append(f"{what}: {fault['service']} was not noted as ended and started again")
        if "log" in fault and fault["says"] not in evidence.logs.get(fault["log"], ""):
            found.append(f"{what}: {fault['log']}.log does not say {fault['says']!r}")
    return found


def _is_ending(event: Row, met: Row, at: float) -> bool:
    in_time = at - 1 <= event["at"] <= at + NAMED_WITHIN_S
    return event["kind"] in ENDINGS and event["attempt"] == met["attempt"] and in_time


def _noted(services: list[Row], fault: Row) -> bool:
    """Whether the end of this very process was noted in time, and afterwards a start."""
    own = [row for row in services if row["service"] == fault["service"]]
    ends = (
        place
        for place, row in enumerate(own)
        if (row["what"], row.get("pid")) == ("ended", fault["pid"]) and row["at"] <= fault["at"] + NAMED_WITHIN_S
    )
    end = next(ends, None)
    return end is not None and any(row["what"] == "started" for row in own[end:])


def surprised_processes(evidence: Evidence) -> list[str]:
    """Errors that no code was written for. A task that finds no database ends in one, too: its message comes again."""
    unexpected = re.compile(r"^.*(?:should not have happened|raised unexpected|Internal Server Error).*$", re.MULTILINE)
    away = re.compile(r"OperationalError|InterfaceError")
    lines = [(name, line) for name, log in evidence.logs.items() for line in unexpected.findall(log)]
    return [f"{name}.log: {line[:300]}" for name, line in lines if not away.search(line)]


def recovery_times(evidence: Evidence) -> dict[str, float | int | None]:
    """Seconds from a fault that ended an attempt to the claim of the next one: n, median, max."""
    times = sorted(_recoveries(evidence))
    return {"n": len(times), "median": _rounded(statistics.median(times)) if times else None,
            "max": _rounded(times[-1]) if times else None}  # fmt: skip


def _recoveries(evidence: Evidence) -> Iterator[float]:
    events = {job["id"]: job["events"] for job in evidence.jobs}
    for fault in evidence.faults:
        for met in fault.get("jobs", []) if fault["counted"] else []:
            claims = (
                event["at"]
                for event in events.get(met["job"], [])
                if event["kind"] == "claimed" and event["attempt"] > met["attempt"]
            )
            if (claim := next(claims, None)) is not None:
                yield max(0.0, claim - fault["at"])


def _rounded(seconds: float) -> float:
    return round(seconds, 1)


def _in_words(ack: Row) -> str:
    return f"session {ack['session'][:8]}, trial {ack['index']}"
