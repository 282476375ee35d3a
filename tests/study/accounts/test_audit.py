"""The audit log is one chain: what is done to it from outside is refused, and found where it is done all the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from study import database
from study.accounts import audit, guards
from study.accounts.models import AuditEntry, AuditHead, User

pytestmark = [pytest.mark.django_db, pytest.mark.store]

FORGED = "UPDATE accounts_auditentry SET actor = 'nobody' WHERE n = 2"


def write(entries: int = 4) -> None:
    for i in range(entries):
        audit.record("changed", f"study {i}: Eyes", {"bound": 0.6}, {"bound": 0.55})


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def faults() -> list[str]:
    return list(AuditEntry.objects.verify())


def test_an_empty_log_holds() -> None:
    assert faults() == []


def test_a_log_as_it_was_written_holds() -> None:
    write()
    assert faults() == []


def test_a_changed_entry_is_found() -> None:
    write()
    execute(FORGED)
    assert faults() == ["Entry 2 is not what was written."]


def test_a_changed_entry_is_found_even_with_a_hash_that_fits_it() -> None:
    write()
    execute(FORGED)
    forged = AuditEntry.objects.get(n=2).own_sha256()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_auditentry SET sha256 = %s WHERE n = 2", [forged])
    assert faults() == ["Entry 3 does not follow from the one before it."]


def test_the_last_entry_is_found_even_with_a_hash_that_fits_it() -> None:
    write(2)
    execute(FORGED)
    forged = AuditEntry.objects.get(n=2).own_sha256()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE accounts_auditentry SET sha256 = %s WHERE n = 2", [forged])
    assert faults() == ["Entry 2 is not the one that was written last."]


def test_a_removed_entry_is_found() -> None:
    write()
    execute("DELETE FROM accounts_auditentry WHERE n = 2")
    assert faults() == ["Entry 2 is missing."]


def test_entries_cut_off_at_the_end_are_found() -> None:
    write()
    execute("DELETE FROM accounts_auditentry WHERE n > 2")
    assert faults() == ["Entries 3 to 4 are missing: the log was cut off at its end."]


def test_an_entry_put_in_after_the_last_one_is_found() -> None:
    write()
    last = AuditEntry.objects.get(n=4)
    forged = AuditEntry(n=5, at=last.at, actor="eva", action="opened", subject="study 1", previous=last.sha256)
    forged.sha256 = forged.own_sha256()
    forged.save(force_insert=True)
    assert faults() == ["1 entries beyond the last one were put in from outside."]


def test_a_log_without_its_head_is_found() -> None:
    write(1)
    AuditHead.objects.all().delete()
    assert faults() == ["1 entries beyond the last one were put in from outside."]


@pytest.mark.parametrize(
    "value",
    [2.0, 1e22, -0.0, 0.1, 1.5e-10, float("nan"), Decimal("1.50"), datetime(2026, 1, 2, tzinfo=UTC), "a\0b", "é\ud800"],
    ids=repr,
)
def test_what_a_database_stores_in_its_own_way_keeps_its_hash(value: Any) -> None:
    audit.record("changed", "study 1", {}, {"value": value, "list": [value, {"inner": value}]})
    assert faults() == []


# --- nobody gets at it


@pytest.fixture
def _guarded() -> Iterator[None]:
    """As the migration leaves it. Elsewhere tests empty all tables after themselves."""
    with connection.schema_editor() as editor:
        guards.guard(editor)
    yield
    with connection.schema_editor() as editor:
        guards.unguard(editor)
        editor.execute("DELETE FROM accounts_auditentry")


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_guarded")
@pytest.mark.parametrize("statement", [FORGED, "DELETE FROM accounts_auditentry WHERE n = 1"])
def test_the_database_refuses_to_change_or_delete_an_entry(statement: str) -> None:
    write(2)
    with pytest.raises(DatabaseError, match="neither changed nor deleted"):
        execute(statement)
    assert faults() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_guarded")
def test_the_database_refuses_to_empty_the_log() -> None:
    write(2)
    statement = {"postgresql": "TRUNCATE accounts_auditentry", "sqlite": "DELETE FROM accounts_auditentry"}
    with pytest.raises(DatabaseError, match="neither changed nor deleted"):
        execute(statement[connection.vendor])
    assert AuditEntry.objects.count() == 2


@pytest.mark.parametrize("verb", ["update", "delete"])
def test_the_models_refuse_as_well(verb: str) -> None:
    write(1)
    with pytest.raises(TypeError, match="audit log cannot be"):
        getattr(AuditEntry.objects.all(), verb)()
    with pytest.raises(TypeError, match="audit log cannot be"):
        getattr(AuditEntry.objects.get(), {"update": "save", "delete": "delete"}[verb])()


@pytest.mark.django_db(transaction=True)
def test_writers_side_by_side_leave_one_chain() -> None:
    failures = []

    def work() -> None:
        try:
            for _ in range(5):
                with transaction.atomic():
                    audit.record("changed", f"{threading.current_thread().name}")
        except DatabaseError as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (failures, faults(), AuditEntry.objects.count()) == ([], [], 30)


def test_a_change_that_is_rolled_back_leaves_no_entry() -> None:
    write(1)
    with transaction.atomic():
        audit.record("opened", "study 1")
        transaction.set_rollback(True)
    write(1)
    assert (faults(), AuditEntry.objects.count()) == ([], 2)


# --- who is acting


def test_at_the_command_line_whoever_uses_it_acts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "ida")
    assert audit.actor() == "command line: ida"


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError

    monkeypatch.setattr("getpass.getuser", nameless)
    assert audit.actor().startswith("command line: user ")


@pytest.mark.parametrize("process", [database.WORKER, database.WEB])
def test_otherwise_the_process_acts(monkeypatch: pytest.MonkeyPatch, process: database.Process) -> None:
    monkeypatch.setattr(database, "this_process", lambda: process)
    assert audit.actor() == process.name


@contextmanager
def _never() -> Iterator[None]:
    def name() -> str:
        raise AssertionError("nothing was recorded")

    with audit.acting(name):
        yield


def test_nobody_asks_who_is_acting_before_something_is_recorded() -> None:
    with _never():
        User.objects.count()
    with audit.acting(lambda: "eva"):
        audit.record("opened", "study 1")
    assert AuditEntry.objects.get().actor == "eva"


# --- the command


def test_the_command_prints_what_to_keep_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    write(3)
    call_command("verify_audit")
    assert f"3:{AuditEntry.objects.get(n=3).sha256}" in capsys.readouterr().out


def test_the_command_names_what_is_wrong() -> None:
    write(3)
    execute(FORGED)
    with pytest.raises(CommandError, match=r"is not as it was written\. Entry 2 is not"):
        call_command("verify_audit")


def test_the_command_names_some_faults_and_counts_the_rest() -> None:
    write(30)
    execute("UPDATE accounts_auditentry SET actor = 'nobody'")
    with pytest.raises(CommandError, match=r"And 10 more faults\.$"):
        call_command("verify_audit")


def test_a_chain_written_anew_is_found_by_a_hash_that_was_kept(capsys: pytest.CaptureFixture[str]) -> None:
    write(2)
    kept = f"2:{AuditEntry.objects.get(n=2).sha256}"
    write(1)
    call_command("verify_audit", kept=(2, kept.split(":")[1]))
    assert "holds: 3 entries" in capsys.readouterr().out
    with pytest.raises(CommandError, match="entry 2 is not the one whose hash you kept"):
        call_command("verify_audit", kept=(2, "0" * 64))


def test_verify_checks_the_log_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    write(3)
    call_command("verify")
    execute(FORGED)
    with pytest.raises(CommandError):
        call_command("verify")
    assert "Entry 2 is not what was written." in capsys.readouterr().out
