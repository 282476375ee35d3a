"""docs/security.md says what is so."""

from __future__ import annotations

import re
from pathlib import Path

from django.conf import settings
from django.core.management import get_commands

from study.trials.rights import ALLOWED, Action, Role

ROOT = Path(__file__).resolve().parents[3]
SECURITY = (ROOT / "docs" / "security.md").read_text()
ROLES = re.compile(r"<!-- roles:.*?-->\n(.*?)\n<!-- end of roles -->", re.DOTALL)


def roles_table() -> str:
    head = ["| | " + " | ".join(Role.values) + " |", "|---|" + "---|" * len(Role)]
    rows = (
        f"| {action} | " + " | ".join("yes" if action in ALLOWED[role] else "" for role in Role) + " |"
        for action in Action
    )
    return "\n".join([*head, *rows])


def test_its_table_of_roles_is_in_step_with_the_code() -> None:
    match = ROLES.search(SECURITY)
    assert match is not None
    assert match[1] == roles_table()


def test_the_commands_that_it_names_are_there() -> None:
    named = set(re.findall(r"manage\.py (\w+)", SECURITY))
    assert {"verify_audit", "axes_reset", "remove_second_factor"} <= named
    assert named <= set(get_commands())


def test_its_numbers_are_those_of_the_settings() -> None:
    assert settings.SESSION_COOKIE_AGE == 12 * 3600
    assert settings.AXES_FAILURE_LIMIT == 5
    assert settings.AXES_COOLOFF_TIME.total_seconds() == 15 * 60
    assert (settings.DATA_UPLOAD_MAX_NUMBER_FIELDS, settings.DATA_UPLOAD_MAX_NUMBER_FILES) == (2000, 10)


def test_variables_of_the_environment_that_it_names_are_in_the_one_table() -> None:
    table = (ROOT / "docs" / "operations.md").read_text()
    named = set(re.findall(r"`([A-Z][A-Z_]{4,})`", SECURITY)) - {"DENY"}
    assert {"REQUIRE_TWO_FACTOR", "SESSION_HOURS"} <= named
    assert [name for name in sorted(named) if f"| `{name}` |" not in table] == []
