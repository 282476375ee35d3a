"""After the opening: pause, resume, more places, amendments, the end."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from study.accounts.models import AuditEntry
from study.desk.running import AMENDABLE, AmendForm
from study.trials.models import Study
from study.trials.rights import Role
from tests.study.desk.researchers import images_brought, recorded, signed_in
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db


@pytest.fixture
def study() -> Study:
    return make_study(base_images=22, size=4)


@pytest.fixture
def editor(study: Study) -> Client:
    return signed_in(study, Role.EDITOR)


def act(client: Client, study: Study, page: str, **data: Any) -> Any:
    reply = client.post(reverse(f"admin:study_{page}", args=[study.pk]), data, follow=True)
    study.refresh_from_db()
    return reply


def amendment(study: Study, **changes: Any) -> dict[str, Any]:
    """What a browser sends for the amendment's form with these settings changed."""
    form = AmendForm(study)
    said = {name: form[name].value() for name in form.fields}
    return {name: value for name, value in {**said, **changes}.items() if value is not None and value is not False}


def test_a_study_is_paused_and_resumed(study: Study, editor: Client) -> None:
    assert "is paused" in act(editor, study, "pause").content.decode()
    assert study.state == Study.State.PAUSED
    act(editor, study, "resume")
    assert study.state == Study.State.OPEN
    assert recorded() == ["paused", "resumed"]


def test_a_verb_out_of_place_says_so_and_is_not_recorded(study: Study, editor: Client) -> None:
    assert "The study is not paused." in act(editor, study, "resume").content.decode()
    assert recorded() == []


@pytest.mark.parametrize("page", ["pause", "resume"])
def test_states_do_not_change_by_looking(study: Study, editor: Client, page: str) -> None:
    assert editor.get(reverse(f"admin:study_{page}", args=[study.pk])).status_code == 405


def test_closing_says_what_follows_and_wants_the_name(study: Study, editor: Client) -> None:
    asked = editor.get(reverse("admin:study_close", args=[study.pk])).content.decode()
    assert "The study is unblinded" in asked
    assert act(editor, study, "close", slug="another").status_code == 422
    assert study.state == Study.State.OPEN
    act(editor, study, "close", slug=study.slug)
    assert study.state == Study.State.CLOSED
    assert recorded() == ["closed"]


def test_images_are_brought_before_the_transaction_that_amends(
    study: Study, editor: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = images_brought(monkeypatch)
    act(editor, study, "quota", participants=8, reason="Two more were promised.")
    act(editor, study, "amend", **amendment(study, minimum_age=16, reason="The board allowed it."))
    assert (study.participants, study.minimum_age, waiting) == (8, 16, [False, False])


def test_the_quota_goes_up_with_a_reason(study: Study, editor: Client) -> None:
    act(editor, study, "quota", participants=8, reason="Two more were promised.")
    assert study.participants == 8
    entry = AuditEntry.objects.get(action="raised the quota of")
    assert (entry.before, entry.after["participants"]) == ({"participants": 6}, 8)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"participants": 6, "reason": "x"}, "greater than or equal to 7"),
        ({"participants": 8, "reason": " "}, "a change of an open study needs a reason"),
    ],
)
def test_a_quota_that_does_not_go_up_or_has_no_reason_is_refused(
    study: Study, editor: Client, data: dict[str, Any], said: str
) -> None:
    reply = act(editor, study, "quota", **data)
    assert (reply.status_code, study.participants) == (422, 6)
    assert said in reply.content.decode()


def test_an_amendment_is_a_new_version_of_what_changed(study: Study, editor: Client) -> None:
    data = amendment(study, reason="It was too slow.", blank_ms=200)
    shown = act(editor, study, "amend", **data).content.decode()
    assert study.blank_ms == 200
    assert study.current_design is not None
    assert (study.current_design.n, study.current_design.reason) == (2, "It was too slow.")
    assert "timing.blank_ms" in shown
    entry = AuditEntry.objects.get(action="amended")
    assert (entry.before, entry.after) == ({"blank_ms": 400}, {"blank_ms": 200, "reason": "It was too slow."})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "Nothing is different from what it was"),
        ({"mask_ms": 100}, "A mask follows a fixed exposure"),
        ({"trials_per_control": 3}, "give it an even number"),
        ({"strengths": "[9]"}, "no pairs at strength 9"),
    ],
)
def test_an_amendment_that_cannot_be_leaves_the_study_as_it_was(
    study: Study, editor: Client, changes: dict[str, Any], said: str
) -> None:
    reply = act(editor, study, "amend", **amendment(study, reason="Why not.", **changes))
    assert reply.status_code == 422
    assert said in reply.content.decode()
    assert study.design_versions.count() == 1
    assert recorded() == []


def test_a_text_is_mended_in_every_language_by_one_version() -> None:
    study = make_study(opened=False, base_images=22, size=4, contact="e@example.org")
    study.translations.create(language="de", title="Welches?", information="Bilder.", debrief="Danke.")
    study.open()
    first = study.current_design
    data = {**amendment(study, reason="A slip."), "information": "Pictures.", "de-information": "Augen."}
    shown = act(signed_in(study, Role.EDITOR), study, "amend", **data)
    assert shown.status_code == 200
    assert study.translations.get().information == "Augen."
    assert study.translations.get().debrief == "Danke."
    version = study.current_design
    assert first is not None
    assert version is not None
    assert (version.n, version.matches()) == (2, True)
    consent, before = version.json["consent"], first.json["consent"]
    assert consent["translations"] == {"de": study.consent_sha256("de")} != before["translations"]
    assert consent["sha256"] != before["sha256"]
    assert AuditEntry.objects.get(action="amended").after["de-information"] == "Augen."


def test_line_ends_of_a_browser_change_no_text(study: Study) -> None:
    study.information = "One.\nTwo.\n"
    form = AmendForm(study, {"information": "One.\r\nTwo."})
    form.is_valid()
    assert "information" not in form.changes


def test_whom_a_study_asks_and_what_it_is_about_cannot_be_amended() -> None:
    assert {"slug", "model_run", "participants", "language", "seed", "retention"}.isdisjoint(AMENDABLE)
    assert {"bound", "debrief", "looks_allowed", "base_pay"} <= set(AMENDABLE)


@pytest.mark.parametrize("page", ["pause", "resume", "quota", "amend", "close"])
@pytest.mark.parametrize("role", [Role.VIEWER, Role.ANALYST])
def test_who_only_looks_or_analyses_runs_nothing(study: Study, page: str, role: Role) -> None:
    assert act(signed_in(study, role), study, page, slug=study.slug).status_code == 403


@pytest.mark.parametrize("page", ["quota", "amend", "close"])
def test_a_draft_has_no_such_pages(page: str) -> None:
    study = make_study(opened=False, base_images=22, size=4)
    assert signed_in(study, Role.OWNER).get(reverse(f"admin:study_{page}", args=[study.pk])).status_code == 404
