"""Reports in the admin: asked for by a click, made by a job, read by whoever may view the study, and by nobody else."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.urls import reverse

from study.accounts.models import AuditEntry
from study.analysis import folder
from study.analysis.models import HIDDEN, Analysis
from study.desk import analysing
from study.desk.admin.reports import POLICY
from study.desk.report_summary import GONE, changes, lines, summary
from study.lab import files
from study.lab.models import Job
from study.trials.models import Population, Session, Study
from study.trials.rights import Role
from tests.study.desk.researchers import signed_in
from tests.study.factories import answer, make_study, start

pytestmark = pytest.mark.django_db

MAY_READ = ("view_analysis", "view_study")


def content(**changed: Any) -> dict[str, Any]:
    row = {"attack": "wanet", "strength": 2.0, "n": 40, "proportion_correct": 0.55, "two_way_low": 0.5,
           "two_way_high": 0.6, "verdict": "inconclusive"}  # fmt: skip
    return {
        "simulated": True, "exploratory": [], "data_sha256": "d" * 64, "commit": "abc",
        "design": {"sha256": None, "matches": True}, "conditions": [row | changed],
    }  # fmt: skip


def make_report(study: Study, population: str = Population.SIMULATED, name: str = "1", **changed: Any) -> Analysis:
    out = Path(settings.MEDIA_ROOT) / "reports" / name / "1"
    made = {
        "report.json": json.dumps(content(**changed)).encode(),
        "report.html": b"<!doctype html><title>Report</title>",
        "report.pdf": b"%PDF-",
        "figures/a.svg": b"<svg/>",
        "trials.csv": b"participant\n",
    }
    folder.replace(out, made)
    return Analysis.objects.record(study, out, population)


@pytest.fixture
def study() -> Study:
    return make_study(base_images=22, size=4)


@pytest.fixture
def answered(study: Study) -> Study:
    """With one answer of a simulated participant."""
    one_answer(study, Population.SIMULATED)
    return study


def one_answer(study: Study, population: str) -> Session:
    session, _ = start(study, population)
    answer(session, 0)
    return session


def page(study: Study) -> str:
    return reverse("admin:study_reports", args=[study.pk])


def file_of(analysis: Analysis, name: str = "report.html") -> str:
    return reverse("admin:analysis_report", args=[analysis.pk, name])


# --- having one made


def test_a_click_submits_the_analysis_and_writes_it_down(answered: Study) -> None:
    reply = signed_in(answered, Role.ANALYST, *MAY_READ).post(page(answered), {"population": "simulated"})
    job = Job.objects.get(kind=Job.Kind.ANALYSE)
    assert (reply.status_code, job.parameters["study"], job.parameters["population"]) == (302, answered.pk, "simulated")
    entry = AuditEntry.objects.get(action="analysed")
    assert entry.after == {"population": "simulated"}


def test_whoever_only_views_the_study_has_no_report_made(answered: Study) -> None:
    client = signed_in(answered, Role.VIEWER, *MAY_READ)
    assert b"Have a report made" not in client.get(page(answered)).content
    assert client.post(page(answered), {"population": "simulated"}).status_code == 403
    assert not Job.objects.exists()


def test_a_population_without_answers_is_refused_next_to_the_field(study: Study) -> None:
    reply = signed_in(study, Role.ANALYST, *MAY_READ).post(page(study), {"population": "simulated"})
    assert reply.status_code == 422
    assert reply.context["form"].errors == {
        "population": ["There are no simulated answers yet: there is nothing to analyse."]
    }


def test_answers_of_people_are_not_analysed_while_the_study_is_blind(study: Study) -> None:
    one_answer(study, Population.REAL)
    reply = signed_in(study, Role.OWNER, *MAY_READ).post(page(study), {"population": "real"})
    assert reply.context["form"].errors == {"population": [HIDDEN]}
    assert not Job.objects.exists()


def test_a_job_that_was_submitted_earlier_is_refused_once_the_study_is_blind(study: Study) -> None:
    job = Job.objects.submit(Job.Kind.ANALYSE, {"study": study.pk, "population": "real", "data": ""})
    with pytest.raises(ValueError, match="stay hidden"):
        analysing.analysis(job, Path())


def test_the_same_answers_are_one_job_and_a_new_answer_makes_another(answered: Study) -> None:
    first = analysing.submit(answered, Population.SIMULATED)
    assert analysing.submit(answered, Population.SIMULATED) == first
    one_answer(answered, Population.SIMULATED)
    assert analysing.submit(answered, Population.SIMULATED) != first


def test_what_a_draft_was_tried_with_is_not_analysed_later() -> None:
    study = make_study(opened=False, base_images=22, size=4)
    one_answer(study, Population.SIMULATED)
    tried = analysing.data_of(study, Population.SIMULATED)
    study.open()
    reply = signed_in(study, Role.ANALYST, *MAY_READ).post(page(study), {"population": "simulated"})
    assert "There are no simulated answers yet" in reply.content.decode()
    empty = analysing.data_of(study, Population.SIMULATED)
    one_answer(study, Population.PREVIEW)
    assert tried != empty == analysing.data_of(study, Population.SIMULATED)


def test_another_choice_of_exclusions_is_another_job(answered: Study) -> None:
    client = signed_in(answered, Role.ANALYST, *MAY_READ)
    client.post(page(answered), {"population": "simulated"})
    client.post(page(answered), {"population": "simulated", "no_exclusions": "on", "bound": "0.55"})
    departures = [job.parameters.get("departures") for job in Job.objects.order_by("created_at")]
    assert departures == [None, {"bound": 0.55, "no_exclusions": True}]


def test_what_the_process_wrote_is_shared_and_recorded_with_its_job(
    answered: Study, shared_in_memory: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = analysing.submit(answered, Population.SIMULATED)
    work = analysing.analysis(job, Path())
    made = {"report.json": json.dumps(content()).encode(), "report.html": b"page"}
    monkeypatch.setattr(analysing, "write", lambda study, out, *_: folder.replace(out, made))
    result = analysing.carry_out(work.specification, lambda: False)
    work.publish(result)
    work.record(result)
    analysis = Analysis.objects.get(job=job)
    assert analysing.report_of(job) == analysis.pk
    files.path(f"{analysis.folder}/report.html").unlink()
    assert analysis.read("report.html") == b"page"  # from the storage


# --- reading it


@pytest.mark.parametrize("role", list(Role))
def test_every_member_reads_the_report(study: Study, role: Role) -> None:
    analysis = make_report(study)
    reply = signed_in(study, role, *MAY_READ).get(file_of(analysis))
    assert (reply.status_code, reply.content) == (200, b"<!doctype html><title>Report</title>")


def test_to_somebody_without_a_role_the_report_does_not_exist(study: Study) -> None:
    analysis = make_report(study)
    stranger = signed_in(None, None, *MAY_READ)
    archive = reverse("admin:analysis_zip", args=[analysis.pk])
    addresses = [page(study), file_of(analysis), archive]
    assert [stranger.get(address).status_code for address in addresses] == [404, 404, 404]
    listed = stranger.get(reverse("admin:analysis_analysis_changelist"))
    assert list(listed.context["cl"].queryset) == []


def test_the_page_of_a_report_runs_nothing_and_loads_nothing(study: Study, admin_client: Client) -> None:
    reply = admin_client.get(file_of(make_report(study)))
    assert reply["Content-Security-Policy"] == POLICY
    assert "sandbox" in POLICY
    assert "script" not in POLICY
    assert reply["Content-Type"] == "text/html; charset=utf-8"


def test_other_pages_keep_the_strict_policy(study: Study, admin_client: Client) -> None:
    make_report(study)
    assert "unsafe-inline" not in admin_client.get(page(study))["Content-Security-Policy"]


def test_data_files_are_saved_and_not_shown(study: Study, admin_client: Client) -> None:
    analysis = make_report(study)
    assert (
        admin_client.get(file_of(analysis, "trials.csv"))["Content-Disposition"] == 'attachment; filename="trials.csv"'
    )
    assert "Content-Disposition" not in admin_client.get(file_of(analysis, "figures/a.svg"))


@pytest.mark.parametrize("name", ["../1/report.html", "/etc/passwd", "%2e%2e/%2e%2e/x", "figures", "none.html"])
def test_only_files_of_the_report_are_served(study: Study, admin_client: Client, name: str) -> None:
    analysis = make_report(study)
    outside = Path(settings.MEDIA_ROOT) / "reports" / "1" / "report.html"
    outside.write_bytes(b"outside")
    address = file_of(analysis, "X").replace("X", name)
    assert admin_client.get(address).status_code == 404


def test_a_file_that_was_changed_on_the_disk_is_not_served(study: Study, admin_client: Client) -> None:
    analysis = make_report(study)
    files.path(f"{analysis.folder}/report.html").write_bytes(b"forged")
    assert admin_client.get(file_of(analysis)).status_code == 404
    files.path(f"{analysis.folder}/report.json").write_bytes(b"{}")
    assert summary(analysis).refusal == GONE


def test_a_report_on_people_is_closed_while_the_study_is_blind(study: Study, admin_client: Client) -> None:
    analysis = make_report(study, Population.REAL)
    assert admin_client.get(file_of(analysis)).status_code == 403
    said = admin_client.get(page(study)).content.decode()
    assert HIDDEN in said
    assert "inconclusive" not in said
    assert "inconclusive" not in admin_client.get(reverse("admin:analysis_analysis_changelist")).content.decode()
    study.close()
    assert admin_client.get(file_of(analysis)).status_code == 200


def test_all_files_come_in_one_archive(study: Study, admin_client: Client) -> None:
    analysis = make_report(study)
    reply = admin_client.get(reverse("admin:analysis_zip", args=[analysis.pk]))
    archive = zipfile.ZipFile(io.BytesIO(reply.getvalue()))
    name = f"{study.slug}-simulated-report-{analysis.pk}"
    assert archive.read(f"{name}/figures/a.svg") == b"<svg/>"
    assert len(archive.namelist()) == 6  # files.csv besides


# --- the list


def test_the_list_has_a_line_with_its_verdict_for_each_condition(study: Study, admin_client: Client) -> None:
    make_report(study)
    said = admin_client.get(page(study)).content.decode()
    assert "wanet, s = 2" in said
    assert "PC .550 (.500 to .600)" in said
    assert "inconclusive" in said
    assert "simulated: says nothing about people" in said


def test_a_report_tells_what_the_one_before_said_otherwise(study: Study) -> None:
    before = make_report(study)
    after = make_report(study, name="2", n=80, verdict="detectable")
    (change,) = changes(summary(before), summary(after))
    assert (change.before.verdict, change.after.verdict, change.after.n) == ("inconclusive", "detectable", 80)
    assert changes(summary(before), summary(before)) == []


def test_an_adaptive_study_is_told_by_its_thresholds() -> None:
    threshold = {
        "attack": "wanet",
        "population": "pooled",
        "method": "Weibull, x",
        "threshold": 1.23456,
        "low": 1,
        "high": 2,
    }
    (line,) = lines({"conditions": [], "thresholds": [threshold]})
    assert (line.found, line.verdict) == ("threshold 1.23 (1 to 2)", "")


def test_a_report_of_the_command_is_listed_where_it_lies(study: Study, tmp_path: Path, admin_client: Client) -> None:
    folder.replace(tmp_path / "out", {"report.json": json.dumps(content()).encode(), "report.html": b"page"})
    analysis = Analysis.objects.record(study, tmp_path / "out", Population.SIMULATED)
    assert (analysis.folder, analysis.files) == ("", {})
    assert admin_client.get(reverse("admin:analysis_analysis_change", args=[analysis.pk])).status_code == 200
    assert admin_client.get(file_of(analysis)).status_code == 404
