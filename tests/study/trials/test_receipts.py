"""Answers that a page saved as a file because it could not send them."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from study.accounts.models import AuditEntry
from study.trials.models import Answer, Session, TrialTrace
from study.trials.receipts import FORMAT, Receipt, ReceiptError, parse
from tests.study.factories import answer, answer_all, make_study, start

pytestmark = pytest.mark.django_db


@pytest.fixture
def session() -> Session:
    return start(make_study())[0]


def unsent(index: int, **fields: Any) -> dict[str, Any]:
    return {
        "index": index,
        "client_id": str(uuid.uuid4()),
        "choice": "left",
        "rt_ms": 812.5,
        "trace": {"frame_ms": 16.7, "dropped_frames": 0, "input": "key"},
        **fields,
    }


def saved(session: Session, *answers: Any, **fields: Any) -> str:
    """What the page saves."""
    return json.dumps({"format": FORMAT, "code": session.public_code, "answers": answers, **fields})


def stored(session: Session) -> list[int]:
    return list(Answer.objects.filter(trial__session=session).values_list("trial__index", flat=True).order_by("trial"))


def test_its_answers_are_stored_with_their_traces(session: Session) -> None:
    answer(session, 0)
    assert parse(saved(session, unsent(1, choice="right"), unsent(2))).replay() == 2
    assert stored(session) == [0, 1, 2]
    imported = Answer.objects.get(trial__session=session, trial__index=1)
    assert (imported.choice, imported.rt_ms) == ("right", 812.5)
    trace = TrialTrace.objects.get(trial=imported.trial)
    assert (trace.frame_ms, trace.dropped_frames, trace.details) == (16.7, 0, {"input": "key"})


def test_importing_it_twice_stores_nothing_twice(session: Session) -> None:
    receipt = parse(saved(session, unsent(0), unsent(1)))
    assert [receipt.replay(), receipt.replay()] == [2, 0]
    assert stored(session) == [0, 1]


def test_the_import_is_logged_as_an_event(session: Session) -> None:
    parse(saved(session, unsent(0))).replay()
    assert session.events.get(kind="receipt").data == {"answers": 1, "new": 1}


def test_an_import_is_in_the_audit_log_without_a_code_and_a_dry_run_is_not(session: Session) -> None:
    receipt = parse(saved(session, unsent(0)))
    receipt.replay(dry_run=True)
    receipt.replay()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.after) == ("imported answers of a session of", {"session": session.pk, "answers": 1})


def test_a_session_that_lacked_only_these_answers_is_complete(session: Session) -> None:
    last = session.trials.count() - 1
    answer_all_but(session, last)
    parse(saved(session, unsent(last))).replay()
    session.refresh_from_db()
    assert session.state == Session.State.COMPLETE


def answer_all_but(session: Session, last: int) -> None:
    for index in range(last):
        answer(session, index)


def test_a_session_that_timed_out_still_takes_its_answers(session: Session) -> None:
    session.time_out()
    assert parse(saved(session, unsent(0))).replay() == 1
    assert stored(session) == [0]


def test_a_dry_run_checks_everything_and_stores_nothing(session: Session) -> None:
    assert parse(saved(session, unsent(0), unsent(1))).replay(dry_run=True) == 2
    assert stored(session) == []
    assert not session.events.filter(kind="receipt").exists()


def test_a_gap_before_its_answers_is_refused_and_nothing_is_stored(session: Session) -> None:
    with pytest.raises(ReceiptError, match=f"Session {session.public_code} does not take these answers: Trial 2"):
        parse(saved(session, unsent(0), unsent(2))).replay()
    assert stored(session) == []


def test_another_answer_that_is_stored_stays(session: Session) -> None:
    answer(session, 0, "right")
    with pytest.raises(ReceiptError, match=r"Trial 0 of session \w+ has another answer already, which stays\."):
        parse(saved(session, unsent(0))).replay()
    assert Answer.objects.get(trial__session=session).choice == "right"


def test_a_withdrawn_session_takes_nothing(session: Session) -> None:
    session.withdraw()
    with pytest.raises(ReceiptError, match="does not take these answers: This session has ended"):
        parse(saved(session, unsent(0))).replay()
    assert stored(session) == []


def test_a_complete_session_keeps_what_it_has(session: Session) -> None:
    answer_all(session)
    session.complete()
    with pytest.raises(ReceiptError, match=r"does not take|another answer"):
        parse(saved(session, unsent(0))).replay()


def test_an_unknown_code_is_said() -> None:
    with pytest.raises(ReceiptError, match="There is no session with the code ABC23"):
        Receipt("ABC23", ()).replay()


BAD_ANSWERS = [
    ("left", "Answer 1 must be an object"),
    (unsent(-1), "Answer 1: index must be a whole number from 0"),
    (unsent(True), "Answer 1: index must be a whole number from 0"),
    (unsent(0, client_id="me"), "Answer 1: client_id must be a UUID"),
    (unsent(0, choice="both"), "Answer 1: choice must be one of"),
    (unsent(0, rt_ms="fast"), "Answer 1: rt_ms must be a number"),
    (unsent(0, rt_ms=-5), "Answer 1: rt_ms must be a number from 0"),
    (unsent(0, trace=[1]), "Answer 1: trace must be an object"),
    (unsent(0, trace={"note": ["a"]}), "Answer 1: trace must hold numbers"),
]


@pytest.mark.parametrize(("bad", "sentence"), BAD_ANSWERS)
def test_a_bad_field_is_named_in_one_sentence(session: Session, bad: Any, sentence: str) -> None:
    with pytest.raises(ReceiptError, match=sentence):
        parse(saved(session, bad))


BAD_FILES = [
    ("{", "This is no JSON"),
    (b"\xff\xfe\x00", "This is no JSON"),
    ('{"format": NaN}', "This is no JSON"),
    ("[]", 'This is no receipt: its "format" must be'),
    ('{"format": "other"}', 'This is no receipt: its "format" must be'),
    (json.dumps({"format": FORMAT, "code": 7, "answers": [unsent(0)]}), '"code" must be'),
    (json.dumps({"format": FORMAT, "code": "ABC", "answers": []}), '"answers" must be a list of 1 to'),
    (json.dumps({"format": FORMAT, "code": "ABC", "answers": {}}), '"answers" must be a list of 1 to'),
    (json.dumps({"format": FORMAT, "code": "ABC", "answers": [unsent(1), unsent(0)]}), "in the order of their trials"),
    (json.dumps({"format": FORMAT, "code": "ABC", "answers": [unsent(1), unsent(1)]}), "in the order of their trials"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD_FILES)
def test_a_file_that_is_no_receipt_is_refused_in_one_sentence(text: str | bytes, sentence: str) -> None:
    with pytest.raises(ReceiptError, match=sentence):
        parse(text)


def test_the_command_says_what_it_stored(session: Session, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "answers.json"
    file.write_text(saved(session, unsent(0), unsent(1)))
    call_command("import_receipt", file, "--dry-run")
    call_command("import_receipt", file)
    call_command("import_receipt", file)
    code = session.public_code
    assert capsys.readouterr().out.splitlines() == [
        f"2 answers of session {code} would be stored; 0 were there already.",
        f"2 answers of session {code} are stored; 0 were there already.",
        f"0 answers of session {code} are stored; 2 were there already.",
    ]


def test_the_command_names_the_file_that_it_cannot_use(tmp_path: Path) -> None:
    file = tmp_path / "answers.json"
    with pytest.raises(CommandError, match=r"answers\.json cannot be read \(No such file"):
        call_command("import_receipt", file)
    file.write_text("nothing")
    with pytest.raises(CommandError, match=r"answers\.json: This is no JSON"):
        call_command("import_receipt", file)
