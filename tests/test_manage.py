"""The command line: one sentence for what its surroundings do to it, and nothing made where nothing was asked for."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.utils import IntegrityError, OperationalError, ProgrammingError

import manage
from study import places, sentences

ROOT = Path(__file__).resolve().parents[1]
Fault = Callable[[], object]


@pytest.fixture(autouse=True)
def _usual_umask() -> Iterator[None]:
    usual = os.umask(0o022)
    yield
    os.umask(usual)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What a command ends with that meets this fault."""

    def run(fault: Fault, *words: str) -> Any:
        monkeypatch.setattr(sys, "argv", ["manage.py", "verify", *words])
        monkeypatch.setattr("django.core.management.execute_from_command_line", lambda argv: fault())
        with pytest.raises(SystemExit) as ended:
            manage.main()
        return ended.value.code

    monkeypatch.delenv("DEBUG", raising=False)
    return run


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where this installation's SQLite file would be."""
    path = tmp_path / "place" / "blindspot.sqlite3"
    monkeypatch.setitem(connection.settings_dict, "NAME", str(path))
    return path


def raising(error: Exception) -> Fault:
    def fault() -> None:
        raise error

    return fault


def asking(path: Path, statement: str, mode: str = "rwc") -> Fault:
    def fault() -> None:
        with (
            connection.wrap_database_errors,
            closing(sqlite3.connect(f"file:{path}?mode={mode}", uri=True)) as database,
        ):
            database.execute(statement)

    return fault


# -- settings


def test_a_wrong_setting_is_its_sentence(told: Callable[..., Any]) -> None:
    assert told(raising(ImproperlyConfigured("LOG_FORMAT is 'x'."))) == "LOG_FORMAT is 'x'."


# -- the database


def test_a_server_that_is_away_is_named_in_one_line(told: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "postgresql")
    said = "connection to server failed: Connection refused\n\tIs the server running on that host?\n"
    assert told(raising(OperationalError(said))) == (
        "The database that DATABASE_URL names cannot be used: connection to server failed: Connection refused "
        "Is the server running on that host?"
    )


def test_a_damaged_file_leads_to_the_backups(told: Callable[..., Any], database: Path) -> None:
    database.parent.mkdir()
    database.write_bytes(b"nothing that SQLite has written" * 100)
    sentence = told(asking(database, "SELECT 1 FROM sqlite_master"))
    assert sentence.startswith(f"{database} is damaged (file is not a database)")
    assert "`manage.py restore FILE --replace`" in sentence


def test_missing_tables_lead_to_migrate(told: Callable[..., Any], database: Path) -> None:
    database.parent.mkdir()
    sentence = told(asking(database, "SELECT 1 FROM lab_job"))
    assert "(no such table: lab_job): run `manage.py migrate`" in sentence


def test_a_read_only_database_is_told_with_its_place(told: Callable[..., Any], database: Path) -> None:
    database.parent.mkdir()
    database.touch()
    sentence = told(asking(database, "CREATE TABLE t (x)", mode="ro"))
    assert sentence.startswith(f"The database {database} cannot be written (attempt to write a readonly database)")
    assert sentence.endswith("or set BLINDSPOT_VAR.")


def test_a_database_in_a_folder_that_is_not_there_is_a_mistyped_place(told: Callable[..., Any], database: Path) -> None:
    assert told(asking(database, "SELECT 1")) == sentences.no_installation(database.parent)


# -- files


def test_a_place_that_is_a_file_is_told_with_what_to_do(
    told: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    var = tmp_path / "file"
    var.touch()
    monkeypatch.setattr(sentences, "VAR", var)
    assert told(lambda: places.make(var)) == (
        f"{var}: File exists. {var} must be a folder that this user can write to: see to that, or set BLINDSPOT_VAR."
    )


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_a_place_that_cannot_be_written_is_told_with_what_to_do(
    code: int, told: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentences, "VAR", tmp_path)
    path = str(tmp_path / "run" / "lock")
    sentence = told(raising(OSError(code, os.strerror(code), path)))
    assert sentence.startswith(f"{path}: {os.strerror(code)}. {tmp_path} must be a folder that this user can write to")


def test_another_file_is_told_without_talk_of_this_place(told: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    assert told(path.read_text) == f"{path}: No such file or directory."


# -- what still shows its traceback


@pytest.mark.parametrize(
    "error", [KeyError("x"), ValueError("x"), IntegrityError("x"), ProgrammingError("x")], ids=repr
)
def test_a_bug_shows_its_traceback(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.core.management.execute_from_command_line", lambda argv: raising(error)())
    with pytest.raises(type(error)):
        manage.main()


@pytest.mark.parametrize(("words", "debug"), [(["--traceback"], "0"), ([], "1")])
def test_whoever_looks_into_it_gets_the_traceback(
    words: list[str], debug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEBUG", debug)
    monkeypatch.setattr(sys, "argv", ["manage.py", "verify", *words])
    monkeypatch.setattr("django.core.management.execute_from_command_line", lambda argv: raising(OSError("x"))())
    with pytest.raises(OSError, match="x"):
        manage.main()


def test_a_fault_ends_the_process_non_zero_with_one_line_and_help_makes_nothing(tmp_path: Path) -> None:
    var = tmp_path / "place"
    environment = {**os.environ, "BLINDSPOT_VAR": str(var), "DATABASE_URL": ""}
    command = [sys.executable, "manage.py"]
    fault = subprocess.run(
        [*command, "showmigrations"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (fault.returncode, fault.stderr) == (1, f"{sentences.no_installation(var)}\n")
    subprocess.run([*command, "verify", "--help"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    assert not var.exists()


# -- a mistyped place

ASKING = [
    ["verify"],
    ["backup"],
    ["export_study", "pilot", "--out", "out"],
    ["analyze_study", "pilot", "--out", "out"],
    ["sweep_files"],
    ["sweep_jobs"],
    ["fetch_files"],
]


@pytest.mark.parametrize("command", ASKING, ids=lambda command: command[0])
def test_a_mistyped_place_is_no_new_installation(command: list[str], database: Path) -> None:
    with pytest.raises(CommandError, match=r"^There is no installation at .*/place: check BLINDSPOT_VAR"):
        call_command(*command)
    assert not database.parent.exists()


@pytest.mark.parametrize("command", ASKING, ids=lambda command: command[0])
def test_a_database_without_tables_is_no_installation(
    command: list[str], database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.parent.mkdir()
    database.touch()
    monkeypatch.setattr(connection.introspection, "table_names", list)
    with pytest.raises(CommandError, match=r"blindspot.sqlite3 has no tables: check DATABASE_URL"):
        call_command(*command)


# -- for the eyes of its owner


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_place_is_for_its_owner_alone(tmp_path: Path) -> None:
    places.make(tmp_path / "new" / "var")
    assert mode(tmp_path / "new" / "var") == 0o700


def test_an_older_place_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    places.make(tmp_path)
    assert mode(tmp_path) == 0o700


def test_a_folder_that_all_share_stays_open(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    places.make(tmp_path)
    assert mode(tmp_path) == 0o1777


def test_what_a_command_writes_is_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tmp_path / "trials.csv"
    monkeypatch.setattr("django.core.management.execute_from_command_line", lambda argv: written.touch())
    manage.main()
    assert mode(written) == 0o600


def test_a_worker_that_is_started_by_hand_writes_for_its_owner_alone(tmp_path: Path) -> None:
    from celery.signals import celeryd_init

    import study.celery  # noqa: F401 (its receivers)

    celeryd_init.send(sender="worker@here", instance=None, conf=None, options=None)
    (tmp_path / "model").touch()
    assert mode(tmp_path / "model") == 0o600


@pytest.mark.django_db
def test_migrating_closes_the_place(settings: Any) -> None:
    settings.VAR.chmod(0o755)
    call_command("migrate", verbosity=0)
    assert mode(settings.VAR) == 0o700
