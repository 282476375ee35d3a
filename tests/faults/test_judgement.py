"""The judge of a storm finds what is wrong: for each bar, evidence that is good but for one planted fault."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.faults import KILLS, OTHERS, draw
from tests.faults.ledger import Evidence, Ledger, judge, read_rows, recovery_times, write_rows
from tests.faults.storm import tell

Row = dict[str, Any]


def acknowledgement(index: int = 0, **changes: Any) -> Row:
    ack = {"session": "s" * 64, "index": index, "client_id": f"client-{index}", "choice": "left", "id": 100 + index}
    return {**ack, "status": 201, "at": 1.0, **changes}


def answer(index: int = 0, **changes: Any) -> Row:
    ack = acknowledgement(index)
    return {**{name: ack[name] for name in ("session", "index", "client_id", "choice", "id")}, **changes}


def event(kind: str, attempt: int = 1, at: float = 10.0) -> Row:
    return {"kind": kind, "attempt": attempt, "at": at, "detail": ""}


#: Killed at 10, noticed at 15, taken up again at 18.
KILLED_ONCE = [
    event("queued", 0, 5),
    event("claimed", 1, 6),
    event("lease_expired", 1, 15),
    event("claimed", 2, 18),
    event("succeeded", 2, 30),
]
KILL: Row = {
    "n": 0, "kind": "gpu worker", "kill": True, "counted": True, "at": 10.0, "pid": 7, "service": "gpu worker",
    "jobs": [{"job": "j" * 36, "kind": "train", "attempt": 1}],
}  # fmt: skip


def evidence(**changes: Any) -> Evidence:
    """A storm of one kill in which nothing was lost."""
    good = Evidence(
        run={"kills": 1, "seed": 1, "commit": "abc", "started": "now", "seconds": 60.0, "left_out": {}},
        acknowledgements=[acknowledgement(0), acknowledgement(1), acknowledgement(1, status=200)],
        participants=[{"participant": "0.0", "code": "THANKS", "error": ""}],
        faults=[KILL],
        services=[
            {"service": "gpu worker", "what": "started", "pid": 7, "at": 1.0},
            {"service": "gpu worker", "what": "ended", "pid": 7, "at": 10.1},
            {"service": "gpu worker", "what": "started", "pid": 8, "at": 12.0},
        ],
        answers=[answer(0), answer(1)],
        sessions=[{"session": "s" * 64, "state": "complete", "answers": 2, "trials": 2}],
        jobs=[job()],
        weights={"undisturbed": "w" * 64, "disturbed": {"disturbed-0": "w" * 64}},
    )
    return replace(good, **changes)


def job(events: list[Row] | None = None, **changes: Any) -> Row:
    found = {"id": "j" * 36, "kind": "train", "state": "succeeded", "attempt": 2, "error": ""}
    return {**found, "events": KILLED_ONCE if events is None else events, **changes}


def test_a_storm_in_which_nothing_was_lost_holds_every_bar() -> None:
    report = judge(evidence())
    assert report.holds
    assert (report.kills, report.acknowledged, report.lost, report.duplicated) == (1, 2, 0, 0)
    assert (report.jobs, report.jobs_ended_once, report.orphans, report.weights_equal) == (1, 1, 0, True)


NOT_STORED = {
    "no row": [answer(0)],
    "another choice": [answer(0), answer(1, choice="right")],
    "another row": [answer(0), answer(1, id=500)],
    "another page's answer": [answer(0), answer(1, client_id="client-x")],
}


@pytest.mark.parametrize("answers", NOT_STORED.values(), ids=NOT_STORED)
def test_an_acknowledged_answer_that_is_not_stored_as_it_was_acknowledged_is_lost(answers: list[Row]) -> None:
    report = judge(evidence(answers=answers))
    assert report.lost == 2  # it was acknowledged twice
    assert "no acknowledged answer is lost" in report.missed


STORED_TWICE: dict[str, dict[str, list[Row]]] = {
    "two rows of one trial": {"answers": [answer(0), answer(1), answer(1, id=500, client_id="client-x")]},
    "one client's id in two rows": {"answers": [answer(0), answer(1), answer(2, client_id="client-1")]},
    "two rows told for one trial": {
        "answers": [answer(0), answer(1)],
        "acknowledgements": [acknowledgement(0), acknowledgement(1), acknowledgement(1, id=500)],
    },
}


@pytest.mark.parametrize("changes", STORED_TWICE.values(), ids=STORED_TWICE)
def test_an_answer_stored_twice_is_found(changes: dict[str, list[Row]]) -> None:
    report = judge(evidence(**changes))
    assert report.duplicated == 1
    assert "no answer is stored or acknowledged twice" in report.missed


STUCK: dict[str, dict[str, list[Row]]] = {
    "a participant without a code": {"participants": [{"participant": "3.1", "code": "", "error": "no answer"}]},
    "a session under way": {"sessions": [{"session": "t" * 64, "state": "active", "answers": 1, "trials": 2}]},
    "a trial missing": {"sessions": [{"session": "t" * 64, "state": "complete", "answers": 1, "trials": 2}]},
}


@pytest.mark.parametrize("changes", STUCK.values(), ids=STUCK)
def test_a_stuck_session_is_named(changes: dict[str, list[Row]]) -> None:
    report = judge(evidence(**changes))
    assert len(report.stuck) == 1
    assert report.missed == ["no session is stuck"]


NOT_ONCE = {
    "succeeded twice": job([*KILLED_ONCE, event("succeeded", 1, 31)]),
    "taken up again afterwards": job([*KILLED_ONCE, event("claimed", 3, 40)]),
    "still running": job(KILLED_ONCE[:-1], state="running"),
    "failed": job([*KILLED_ONCE[:-1], event("failed", 2, 30)], state="failed", error="No room."),
    "succeeded without an event": job(KILLED_ONCE[:-1]),
}


@pytest.mark.parametrize("found", NOT_ONCE.values(), ids=NOT_ONCE)
def test_a_job_that_did_not_end_exactly_once_is_found(found: Row) -> None:
    report = judge(evidence(jobs=[job(id="k" * 36), found]))
    assert (report.jobs, report.jobs_ended_once) == (2, 1)
    assert "every job ended once" in report.missed


ORPHAN: Row = {"pid": 9, "command": "models.run", "when": "afterwards", "at": 50.0}
OTHER_BARS: dict[str, tuple[str, dict[str, Any]]] = {
    "an orphan": ("no process is left over", {"orphans": [ORPHAN]}),
    "other weights": (
        "weights equal those of the undisturbed training",
        {"weights": {"undisturbed": "w" * 64, "disturbed": {"disturbed-0": "w" * 64, "disturbed-1": "v" * 64}}},
    ),
    "no training to compare": (
        "weights equal those of the undisturbed training",
        {"weights": {"undisturbed": "w" * 64, "disturbed": {}}},
    ),
    "a damaged file": ("every stored file is what it was", {"files": ["pair 3: damaged"]}),
    "an error that nobody expected": (
        "no process met what it did not expect",
        {
            "logs": {
                "worker-gpu": "10:00 ERROR celery.app.trace: Task train[1] raised unexpected: FieldError('mixed types')"
            }
        },
    ),
    "a kill that hit nothing": ("every kill asked for was made", {"faults": [{**KILL, "counted": False}]}),
    "nobody answered": ("something was acknowledged", {"acknowledgements": []}),
}


@pytest.mark.parametrize(("bar", "changes"), OTHER_BARS.values(), ids=OTHER_BARS)
def test_each_other_bar_is_missed_by_what_it_forbids(bar: str, changes: dict[str, Any]) -> None:
    assert judge(evidence(**changes)).missed == [bar]


UNNAMED: dict[str, dict[str, Any]] = {
    "no event of the attempt": {"jobs": [job([*KILLED_ONCE[:2], *KILLED_ONCE[3:]])]},
    "an event too late": {"jobs": [job([*KILLED_ONCE[:2], event("lease_expired", 1, 75), *KILLED_ONCE[3:]])]},
    "the end not noted": {"services": [{"service": "gpu worker", "what": "started", "pid": 7, "at": 1.0}]},
    "not started again": {"services": [{"service": "gpu worker", "what": "ended", "pid": 7, "at": 10.1}]},
    "the log does not say": {"faults": [{**KILL, "log": "web", "says": "pid:7"}], "logs": {"web": "all is well"}},
}


@pytest.mark.parametrize("changes", UNNAMED.values(), ids=UNNAMED)
def test_a_fault_of_which_the_log_says_nothing_is_found(changes: dict[str, Any]) -> None:
    report = judge(evidence(**changes))
    assert len(report.unnamed) == 1
    assert report.missed == ["the log names what every fault did"]


def test_an_orphan_that_is_seen_again_and_again_is_one() -> None:
    report = judge(evidence(orphans=[ORPHAN, {**ORPHAN, "at": 53.0}, {**ORPHAN, "pid": 10}]))
    assert report.orphans == 2
    assert report.findings[0] == "orphan: 9 models.run (afterwards; seen for 3 s)"


def test_a_task_that_finds_no_database_is_no_surprise() -> None:
    line = "10:00 ERROR celery.app.trace: Task train[1] raised unexpected: OperationalError('connection refused')"
    assert judge(evidence(logs={"worker-gpu": line})).holds


def test_recovery_is_timed_from_the_kill_to_the_next_claim() -> None:
    assert recovery_times(evidence()) == {"n": 1, "median": 8.0, "max": 8.0}


def test_a_report_can_be_computed_again_from_the_folder_of_evidence(tmp_path: Path) -> None:
    good = evidence()
    for name, content in {"run": good.run, "files": good.files, "weights": good.weights}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    for table in ("acknowledgements", "participants", "faults", "services", "answers", "sessions", "jobs"):
        write_rows(tmp_path / f"{table}.jsonl", getattr(good, table))
    report = judge(Evidence.read(tmp_path))
    assert report.holds
    assert report == judge(good)


def test_the_exit_code_says_whether_every_bar_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(judge(evidence()), tmp_path) == 0
    assert json.loads((tmp_path / "report.json").read_text())["lost"] == 0
    assert "| acknowledged answers lost | 0 |" in (tmp_path / "report.md").read_text()
    assert tell(judge(evidence(answers=[answer(0)])), tmp_path) == 1
    assert "MISSED: no acknowledged answer is lost" in capsys.readouterr().err


def test_a_line_of_the_ledger_is_in_the_file_when_it_is_written(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "acknowledgements.jsonl")
    ledger.write(index=3)
    assert [row["index"] for row in read_rows(ledger.path)] == [3]
    ledger.close()


def test_a_seed_draws_the_same_faults_and_every_kind_in_a_full_run() -> None:
    full = draw(1, 200, (1.0, 5.0))
    assert full == draw(1, 200, (1.0, 5.0))
    assert [one.kind for one in full] != [one.kind for one in draw(2, 200, (1.0, 5.0))]
    kinds = [one.kind for one in full]
    assert sum(kind in KILLS for kind in kinds) == 200
    assert set(kinds) == {*KILLS, *OTHERS}


def test_a_short_run_has_as_many_kinds_of_kill_as_kills() -> None:
    kinds = [one.kind for one in draw(3, 7, (0.0, 1.0)) if one.kind in KILLS]
    assert len(set(kinds)) == 7
