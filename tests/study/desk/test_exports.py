"""What leaves the server of a study, by page and by command, and what does not."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from study.accounts.models import AuditEntry
from study.analysis.models import HIDDEN
from study.desk import exports, zipping
from study.desk.exports import TABLES, File
from study.trials.export import SESSION_COLUMNS, TRIAL_COLUMNS
from study.trials.models import Population, Session, Study
from study.trials.rights import Role
from tests.study.desk.researchers import signed_in
from tests.study.factories import answer_all, make_study, start

pytestmark = pytest.mark.django_db


@pytest.fixture
def study() -> Study:
    """Closed, with one answered session of somebody whom the recruiter calls p1."""
    study = make_study(base_images=22, size=4)
    answer_all(start(study, recruiter_ids={"PROLIFIC_PID": "p1"})[0])
    study.close()
    return study


@pytest.fixture
def open_study() -> Study:
    study = make_study(base_images=22, size=4)
    answer_all(start(study)[0])
    return study


def fetch(client: Client, study: Study, **said: Any) -> Any:
    said = {"population": "real", **said}
    return client.post(reverse("admin:study_data", args=[study.pk]), said)


def content(reply: Any) -> bytes:
    assert reply.streaming
    return b"".join(reply.streaming_content)


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


# --- the page


def test_the_trial_table_has_a_row_per_trial_and_names_the_population(study: Study, admin_client: Client) -> None:
    reply = fetch(admin_client, study, format="trials")
    assert f'filename="{study.slug}-real-trials.csv"' in reply["Content-Disposition"]
    rows = table(content(reply))
    assert (len(rows), {row["population"] for row in rows}) == (20, {"real"})
    assert list(rows[0]) == list(TRIAL_COLUMNS)


def test_practice_trials_come_on_request(study: Study, admin_client: Client) -> None:
    rows = table(content(fetch(admin_client, study, format="trials", practice="on")))
    assert [row["phase"] for row in rows].count("practice") == 2


def test_an_erased_session_is_a_row_of_the_session_table_alone(study: Study, admin_client: Client) -> None:
    Session.objects.get().erase()
    (row,) = table(content(fetch(admin_client, study, format="sessions")))
    assert (row["state"], row["answered"]) == ("withdrawn", "0")
    assert table(content(fetch(admin_client, study, format="trials"))) == []


def test_everything_comes_as_one_json_object(study: Study, admin_client: Client) -> None:
    found = json.loads(content(fetch(admin_client, study, format="json")))
    assert (len(found["trials"]), len(found["sessions"])) == (20, 1)
    assert found["trials"][0]["rt_ms"] == 800.0
    assert found["designs"][0]["sha256"] == study.current_design.sha256  # type: ignore[union-attr]
    assert set(found["columns"]["sessions"]) == set(SESSION_COLUMNS)


def test_no_export_names_the_recruiters_ids(study: Study, admin_client: Client) -> None:
    for chosen in ("trials", "sessions", "json"):
        assert b"p1" not in content(fetch(admin_client, study, format=chosen))


def test_answers_of_a_blind_study_are_refused_next_to_the_field(open_study: Study, admin_client: Client) -> None:
    for chosen in ("trials", "sessions", "json", "psych-ds"):
        reply = fetch(admin_client, open_study, format=chosen)
        assert reply.status_code == 422
        assert HIDDEN in reply.context["form"].errors["population"]
    assert not AuditEntry.objects.filter(action="exported").exists()


def test_simulated_answers_of_a_blind_study_may_be_fetched(open_study: Study, admin_client: Client) -> None:
    answer_all(start(open_study, Population.SIMULATED)[0])
    reply = fetch(admin_client, open_study, format="trials", population="simulated")
    assert {row["population"] for row in table(content(reply))} == {"simulated"}


def test_the_page_counts_nothing_that_a_draft_was_tried_with(admin_client: Client) -> None:
    study = make_study(opened=False, base_images=22, size=4)
    study.start_session(Population.PREVIEW)
    page = reverse("admin:study_data", args=[study.pk])
    assert [counted.sessions for counted in admin_client.get(page).context["counts"]] == [1]
    study.open()
    assert admin_client.get(page).context["counts"] == []


def test_a_plan_that_allows_looks_allows_exports(admin_client: Client) -> None:
    study = make_study(base_images=22, size=4, looks_allowed=True)
    answer_all(start(study)[0])
    assert len(table(content(fetch(admin_client, study, format="trials")))) == 20


def test_an_unknown_format_is_refused_in_a_sentence(study: Study, admin_client: Client) -> None:
    reply = fetch(admin_client, study, format="xlsx")
    assert reply.status_code == 422
    assert "Choose one of the files below." in reply.content.decode()


def test_a_fetched_file_is_in_the_audit_log_without_a_word_of_participants(study: Study, admin_client: Client) -> None:
    content(fetch(admin_client, study, format="trials"))
    entry = AuditEntry.objects.get(action="exported")
    assert entry.after == {"what": "trials", "population": "real", "practice": False}
    assert Session.objects.get().public_code not in entry.subject


@pytest.mark.parametrize(("role", "status"), [(Role.VIEWER, 403), (Role.ANALYST, 200)])
def test_an_analyst_may_export_and_a_viewer_may_not(study: Study, role: Role, status: int) -> None:
    assert fetch(signed_in(study, role), study, format="trials").status_code == status


# --- in pieces


def test_rows_are_sent_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "BLOCK", 20)
    pieces = list(exports.as_csv(["a"], ({"a": f"{i:06d}"} for i in range(9))))
    assert len(pieces) > 2
    assert b"".join(pieces).decode().splitlines() == ["a", *(f"{i:06d}" for i in range(9))]


def test_a_zip_is_sent_while_its_files_are_still_being_made() -> None:
    made = []

    def endless() -> Iterator[bytes]:
        for i in range(1000):
            made.append(i)
            yield bytes(str(i), "ascii") * 10_000

    sent = zipping.zipped([File("a.csv", endless())], "out")
    while not next(sent):
        pass
    assert 0 < len(made) < 100


def test_a_zip_holds_what_was_put_in() -> None:
    files = [File("a.csv", iter([b"1,", b"2"])), File("data/b.csv", [b"x"])]
    with zipfile.ZipFile(io.BytesIO(b"".join(zipping.zipped(files, "out")))) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "out/a.csv": b"1,2",
            "out/data/b.csv": b"x",
        }


def test_every_column_has_a_meaning() -> None:
    assert [column for names in TABLES.values() for column in names if not exports.meaning(column)] == []


# --- manage.py export_study


def export(study: Study, out: Path, **options: Any) -> list[str]:
    call_command("export_study", study.slug, out=out, verbosity=0, **options)
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def test_the_command_writes_trials_sessions_and_the_frozen_design(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert export(study, out) == ["design.json", "sessions.csv", "trials.csv"]
    assert len(table((out / "trials.csv").read_bytes())) == 20
    assert list(table((out / "sessions.csv").read_bytes())[0]) == list(SESSION_COLUMNS)


def test_the_exported_design_has_the_frozen_hash(study: Study, tmp_path: Path) -> None:
    export(study, tmp_path)
    design = study.current_design
    assert design is not None
    assert hashlib.sha256((tmp_path / "design.json").read_bytes()).hexdigest() == design.sha256


def test_an_exported_table_can_be_analysed(study: Study, tmp_path: Path) -> None:
    from study.analysis.frames import read_csv

    export(study, tmp_path)
    assert len(read_csv(tmp_path / "trials.csv")) == 20


def test_files_of_another_population_are_named_so(study: Study, tmp_path: Path) -> None:
    assert export(study, tmp_path / "out", population="simulated") == [
        "design.json", "sessions-simulated.csv", "trials-simulated.csv",
    ]  # fmt: skip


def test_the_command_writes_json_and_psych_ds_too(study: Study, tmp_path: Path) -> None:
    assert export(study, tmp_path / "json", format="json") == [f"{study.slug}-real.json"]
    assert "dataset_description.json" in export(study, tmp_path / "psych-ds", format="psych-ds")


def test_the_command_refuses_a_blind_study(open_study: Study, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"stay hidden until the study closes.*--unblind REASON"):
        export(open_study, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unblinding_by_command_takes_a_reason_that_is_written_down(open_study: Study, tmp_path: Path) -> None:
    assert "trials.csv" in export(open_study, tmp_path, unblind="The ethics board asked.")
    assert AuditEntry.objects.get(action="exported").after["although blind"] == "The ethics board asked."
    with pytest.raises(CommandError, match="stay hidden"):
        export(open_study, tmp_path, unblind="  ")


def test_exporting_an_unknown_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="There is no study 'nowhere'"):
        call_command("export_study", "nowhere", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_exporting_to_a_place_that_is_a_file_is_refused(study: Study, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot be written"):
        export(study, tmp_path / "file")
