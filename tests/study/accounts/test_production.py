"""What the environment decides about the door."""

from __future__ import annotations

import runpy
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from study import places

ROOT = Path(__file__).resolve().parents[3]
PRODUCTION = {
    "PRODUCTION": "1",
    "SECRET_KEY": "s" * 60,
    "ALLOWED_HOSTS": "study.example.org",
    "DATABASE_URL": "postgres://user@localhost/name",
    "REDIS_URL": "redis://localhost",
}

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Settings:
    """The settings under this environment, on an empty disk."""
    monkeypatch.setattr(places, "VAR", tmp_path / "new")
    for name in (*PRODUCTION, "SESSION_HOURS", "REQUIRE_TWO_FACTOR", "DEBUG"):
        monkeypatch.delenv(name, raising=False)

    def read(**environment: str) -> dict[str, Any]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "study" / "settings.py"))

    return read


def test_in_production_everybody_needs_a_second_factor(settings_of: Settings) -> None:
    assert settings_of(**PRODUCTION)["REQUIRE_TWO_FACTOR"] is True


def test_production_may_do_without(settings_of: Settings) -> None:
    assert settings_of(**PRODUCTION, REQUIRE_TWO_FACTOR="0")["REQUIRE_TWO_FACTOR"] is False


def test_on_ones_own_machine_a_second_factor_is_a_choice(settings_of: Settings) -> None:
    assert settings_of()["REQUIRE_TWO_FACTOR"] is False


def test_in_production_cookies_travel_over_https_to_this_host_alone(settings_of: Settings) -> None:
    settings = settings_of(**PRODUCTION)
    assert settings["SESSION_COOKIE_SECURE"]
    assert settings["CSRF_COOKIE_SECURE"]
    assert settings["SESSION_COOKIE_NAME"].startswith("__Host-")


def test_the_hours_of_a_session_are_a_choice(settings_of: Settings) -> None:
    assert settings_of(SESSION_HOURS="8")["SESSION_COOKIE_AGE"] == 8 * 3600


def test_a_session_of_no_hours_is_refused_by_name(settings_of: Settings) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^SESSION_HOURS must be a whole number of at least 1, not '0'"):
        settings_of(SESSION_HOURS="0")


def test_there_is_no_usual_key_and_one_that_is_made_is_its_owners_alone(settings_of: Settings, tmp_path: Path) -> None:
    first = str(settings_of()["SECRET_KEY"])
    kept = tmp_path / "new" / "secret_key"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert str(settings_of()["SECRET_KEY"]) == first == kept.read_text()
    kept.unlink()
    assert str(settings_of()["SECRET_KEY"]) != first


def test_the_debug_pages_are_never_shown_in_production(settings_of: Settings) -> None:
    assert settings_of(**PRODUCTION, DEBUG="1")["DEBUG"] is False
