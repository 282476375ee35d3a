"""The recipe of docs/deployment.md that brings an installation from SQLite to PostgreSQL, followed to the letter."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.with_postgres import cluster

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BEFORE = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group, Permission
from tests.study.factories import answer_all, make_study, start
group = Group.objects.create(name="researchers")
group.permissions.set(Permission.objects.filter(codename__endswith="study"))
get_user_model().objects.create_superuser("admin", password="of-no-use").groups.add(group)
study = make_study()
session, _ = start(study)
answer_all(session)
"""
AFTER = """
from django.contrib.auth import get_user_model
from study.trials.models import Study
from tests.study.factories import start
assert get_user_model().objects.get(username="admin").groups.get().permissions.count() > 0
start(Study.objects.get())  # new rows get keys that are free
"""
RUN = """
import json, sys, django; django.setup()
from django.core.management import call_command
{before}
for line in json.loads(sys.argv[1]):
    call_command(*line)
{after}
"""


def recipe(command: str) -> list[list[str]]:
    """The lines of the recipe, from the one that begins with this command to the end of its block."""
    text = (ROOT / "docs" / "deployment.md").read_text()
    (block,) = (block for block in re.findall(r"```\n(.+?)```", text, re.DOTALL) if f"manage.py {command}" in block)
    return [shlex.split(line.split("#")[0])[2:] for line in block.splitlines() if "manage.py" in line]


def python(script: str, *arguments: str, **environment: str) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "study.settings", "REDIS_URL": "", **environment}
    subprocess.run([sys.executable, "-c", script, *arguments], cwd=ROOT, env=environment, check=True)


def rows(file: Path) -> list[str]:
    """What is dumped keeps milliseconds, and leaves them out where they are none: once they were less than one."""
    lines = file.read_text().replace(".000Z", "Z").splitlines()
    return sorted(json.dumps(json.loads(line), sort_keys=True) for line in lines)


def test_every_row_arrives_unchanged_and_work_goes_on(tmp_path: Path) -> None:
    moved, again = tmp_path / "blindspot.jsonl", tmp_path / "again.jsonl"

    def in_here(lines: list[list[str]], file: Path) -> str:
        return json.dumps([[word.replace("/safe/blindspot.jsonl", str(file)) for word in line] for line in lines])

    out, into = in_here(recipe("dumpdata"), moved), recipe("loaddata")
    python(RUN.format(before=BEFORE, after=""), out, BLINDSPOT_VAR=str(tmp_path / "old"), DATABASE_URL="")
    with cluster() as url:
        back = json.dumps(json.loads(in_here(into, moved)) + json.loads(in_here(recipe("dumpdata")[1:], again)))
        python(RUN.format(before="", after=AFTER), back, BLINDSPOT_VAR=str(tmp_path / "new"), DATABASE_URL=url)
    assert len(rows(moved)) > 50
    assert rows(moved) == rows(again)
