"""What the environment decides: the database of each kind of process, and how safe production is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import environ
import pytest
from django.core.exceptions import ImproperlyConfigured

from study import database, logs
from study.database import COMMAND, WEB, WORKER, Process, configured, named_by, this_process
from study.settings import _number

ROOT = Path(__file__).resolve().parents[2]
POSTGRESQL = environ.Env.db_url_config("postgres://user:word@host:5433/name?sslmode=require")
NEEDED = {
    "SECRET_KEY": "s" * 25 + "0123456789abcdefghijklmnopqrstuvwxyz",
    "ALLOWED_HOSTS": "study.example.org",
    "DATABASE_URL": "postgres://user@localhost/name",
    "REDIS_URL": "redis://localhost",
}


def manage(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    command = [sys.executable, "-W", "error::RuntimeWarning", "manage.py", *words]
    return subprocess.run(command, cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False)


def options(process: Process, **more: Any) -> dict[str, Any]:
    return dict(configured(POSTGRESQL, process, var=Path("var"), **more)["OPTIONS"])


# --- production


def test_production_has_nothing_left_to_warn_of(tmp_path: Path) -> None:
    done = manage("check", "--deploy", "--fail-level", "DEBUG", PRODUCTION="1", BLINDSPOT_VAR=str(tmp_path), **NEEDED)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues (0 silenced)" in done.stdout


@pytest.mark.parametrize("missing", sorted(NEEDED))
def test_a_variable_that_production_lacks_is_named_in_one_sentence(missing: str, tmp_path: Path) -> None:
    given = {name: value for name, value in NEEDED.items() if name != missing}
    done = manage("check", PRODUCTION="1", BLINDSPOT_VAR=str(tmp_path), **given)
    assert done.returncode == 1
    assert done.stderr == f"PRODUCTION=1 needs {missing}: set it in the environment (docs/operations.md).\n"


# --- the database


def test_without_a_url_it_is_sqlite_whose_commits_survive_a_power_cut(tmp_path: Path) -> None:
    settings = configured(None, WEB, var=tmp_path)
    assert (settings["ENGINE"], settings["NAME"]) == (database.SQLITE, str(tmp_path / "blindspot.sqlite3"))
    assert "synchronous=FULL" in settings["OPTIONS"]["init_command"]
    assert settings["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert settings["CONN_HEALTH_CHECKS"]


@pytest.mark.parametrize(
    "url",
    [
        "nonsense",
        "mysql://user:geheim@host/name",
        "postgress://user:geheim@host/name",
        "postgres://user:geheim/x@host/name",
        "postgres://user:geheim@[host/name",
        "postgres://user:geheim@host",
        "sqlite://",
        "sqlite://:memory:",
        "sqlite://blindspot.sqlite3",
        "/var/lib/blindspot.sqlite3",
    ],
)
def test_an_address_of_no_database_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL must look like .+, but it .+\.$") as raised:
        named_by(url)
    assert "geheim" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_wrong_address_ends_every_command_even_the_check_before_deployment(tmp_path: Path) -> None:
    given = {**NEEDED, "DATABASE_URL": "mysql://user:geheim@host/name"}
    done = manage("check", "--deploy", PRODUCTION="1", BLINDSPOT_VAR=str(tmp_path), **given)
    assert done.returncode == 1
    assert done.stderr.startswith("DATABASE_URL must look like")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("url", ["postgres://user@host/name", "postgresql://user@host/name", "postgres:///?service=x"])
def test_postgresql_has_two_names(url: str) -> None:
    assert (named_by(url) or {})["ENGINE"] == database.POSTGRESQL


def test_a_file_is_named_after_three_slashes() -> None:
    found = named_by("sqlite:////srv/blindspot.sqlite3") or {}
    assert (found["ENGINE"], found["NAME"]) == (database.SQLITE, "/srv/blindspot.sqlite3")


def test_without_an_address_none_is_named() -> None:
    assert named_by("") is None


@pytest.mark.parametrize("given", ["abc", "-1", "1.5", "²"])
def test_a_number_that_is_none_is_refused_by_name(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMUM_FREE_MB", given)
    with pytest.raises(ImproperlyConfigured, match=rf"^MINIMUM_FREE_MB must be a whole number .*'{given}'"):
        _number("MINIMUM_FREE_MB", 500)


def test_a_level_of_logs_that_is_none_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_LEVEL", "loud")
    with pytest.raises(ImproperlyConfigured, match=r"^LOG_LEVEL is 'loud': it must be one of DEBUG, "):
        logs.configuration(environ.Env())


def test_a_number_that_is_not_given_is_the_usual_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIMUM_FREE_MB", "")
    assert _number("MINIMUM_FREE_MB", 500) == 500


def test_what_the_url_says_is_kept() -> None:
    settings = configured(POSTGRESQL, WEB, var=Path("var"))
    assert (settings["HOST"], settings["PORT"], settings["OPTIONS"]["sslmode"]) == ("host", 5433, "require")


def test_a_web_process_has_a_pool_that_is_as_large_as_told_and_hands_connections_back() -> None:
    settings = configured(POSTGRESQL, WEB, var=Path("var"), pool=7)
    assert settings["OPTIONS"]["pool"]["max_size"] == 7
    assert settings["CONN_MAX_AGE"] == 0


@pytest.mark.parametrize(("process", "pool"), [(WEB, 0), (WORKER, 4), (COMMAND, 4)])
def test_whoever_forks_or_wants_none_has_no_pool(process: Process, pool: int) -> None:
    settings = configured(POSTGRESQL, process, var=Path("var"), pool=pool)
    assert "pool" not in settings["OPTIONS"]
    assert settings["CONN_MAX_AGE"] is None


def test_pages_give_up_before_the_browser_does_and_workers_and_commands_may_take_longer() -> None:
    browser = (ROOT / "study/trials/static/trials/requests.js").read_text()
    assert "TIMEOUT_MS = 15_000" in browser
    assert WEB.lock_ms < WEB.statement_ms < 15_000 < WORKER.statement_ms
    assert COMMAND.statement_ms == 0


def test_a_migration_waits_less_long_for_a_lock_than_a_page_for_its_reply() -> None:
    assert 0 < COMMAND.lock_ms < 15_000


def test_each_kind_of_process_is_known_to_the_server_by_name_and_never_trades_safety_for_speed() -> None:
    for process in (WEB, WORKER, COMMAND):
        found = options(process)
        assert found["application_name"] == f"blindspot {process.name}"
        assert f"-c lock_timeout={process.lock_ms}" in found["options"]
        assert "-c synchronous_commit=on" in found["options"]


@pytest.mark.parametrize(
    ("argument", "modules", "expected"),
    [
        ("/x/bin/gunicorn", {"study.wsgi": sys}, WEB),
        ("/x/bin/celery", {}, WORKER),
        ("/x/celery/__main__.py", {}, WORKER),
        ("manage.py", {}, COMMAND),
    ],
)
def test_a_process_knows_what_it_is(
    argument: str, modules: dict[str, Any], expected: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "study.wsgi", raising=False)
    monkeypatch.setattr(sys, "argv", [argument, "worker"])
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    assert this_process() is expected
