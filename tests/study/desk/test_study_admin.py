"""The builder: the form of a study, who may do what with it, and what stands beside it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from study.accounts.models import AuditEntry
from study.analysis.models import Analysis
from study.desk.presets import PRESETS
from study.trials.models import Population, Study
from study.trials.rights import Role
from tests.study.desk.researchers import recorded, signed_in
from tests.study.factories import make_run, make_study

pytestmark = pytest.mark.django_db

LIST = "admin:trials_study_changelist"
ADD = "admin:trials_study_add"


def draft(**fields: Any) -> Study:
    return make_study(opened=False, base_images=22, size=4, **fields)


def page_of(study: Study, name: str = "change") -> str:
    return reverse(f"admin:trials_study_{name}", args=[study.pk])


def sent_by(page: Any) -> dict[str, Any]:
    """What a browser sends for a form of the admin that nobody has touched."""
    context = page.context
    sets = [inline.formset for inline in context["inline_admin_formsets"]]
    forms = [context["adminform"].form, *(formset.management_form for formset in sets)]
    forms += [form for formset in sets for form in formset.forms]
    said = {form.add_prefix(name): form[name].value() for form in forms for name in form.fields}
    return {name: value for name, value in said.items() if value is not None and value is not False}


def save(client: Client, study: Study, **changes: Any) -> Any:
    """Change the form of a study as a browser does; the page that follows."""
    reply = client.post(page_of(study), {**sent_by(client.get(page_of(study))), **changes}, follow=True)
    study.refresh_from_db()
    return reply


def errors_of(reply: Any) -> dict[str, list[str]]:
    return dict(reply.context["adminform"].form.errors)


# --- adding


def test_a_new_study_begins_with_what_it_should_answer() -> None:
    page = signed_in(None, None, "add_study").get(reverse(ADD)).content.decode()
    assert all(f"?preset={preset.name}" in page for preset in PRESETS)


def test_a_preset_fills_the_form() -> None:
    form = signed_in(None, None, "add_study").get(reverse(ADD), {"preset": "flicker-upper-bound"}).context["adminform"]
    assert form.form["protocol"].value() == "flicker"


def test_whoever_creates_a_study_owns_it() -> None:
    other = draft()
    client = signed_in(None, None, "add_study")
    form = sent_by(client.get(reverse(ADD), {"preset": ""}))
    new = {**form, "title": "New", "slug": "new", "model_run": other.model_run_id}
    page = client.post(reverse(ADD), new, follow=True)
    study = Study.objects.get(slug="new")
    assert page.redirect_chain[-1][0] == page_of(study)
    assert study.dataset == other.dataset
    assert [member.role for member in study.members.all()] == [Role.OWNER]
    assert set(recorded()) == {"created", "admitted a member of"}


def test_who_may_not_add_studies_cannot() -> None:
    client = signed_in()
    assert client.get(reverse(ADD)).status_code == 403
    assert client.post(reverse(ADD), {}).status_code == 403


def test_only_models_that_can_be_shown_are_offered() -> None:
    study = draft()
    make_run("unseen", study.dataset, attack=study.model_run.attack)
    form = signed_in(study, Role.OWNER).get(page_of(study)).context["adminform"].form
    assert [run.name for run in form.fields["model_run"].queryset] == [study.model_run.name]


def test_without_a_model_the_form_says_where_to_make_one() -> None:
    page = signed_in(None, None, "add_study").get(reverse(ADD), {"preset": ""})
    said = page.context["adminform"].form.fields["model_run"].help_text
    assert reverse("admin:lab_modelrun_train") in said
    assert reverse("admin:lab_pair_make") in said


# --- who sees and does what


def test_researchers_find_their_own_studies_in_the_list() -> None:
    mine = draft(title="My own")
    draft(title="Somebody else's")
    page = signed_in(mine, Role.VIEWER).get(reverse(LIST)).content.decode()
    assert "My own" in page
    assert "Somebody else" not in page


def test_a_study_of_others_is_not_there() -> None:
    study = draft()
    outsider = signed_in(None, None, "add_study", "view_study", "change_study", "delete_study")
    assert {outsider.get(page_of(study, name)).status_code for name in ("change", "delete", "history")} == {404}


@pytest.mark.parametrize(
    ("role", "may_save", "may_delete", "may_share"),
    [
        (Role.VIEWER, False, False, False),
        (Role.ANALYST, False, False, False),
        (Role.EDITOR, True, False, False),
        (Role.OWNER, True, True, True),
    ],
)
def test_roles_decide_who_saves_deletes_and_shares(
    role: Role, may_save: bool, may_delete: bool, may_share: bool
) -> None:
    study = draft()
    client = signed_in(study, role)
    page = client.get(page_of(study))
    assert ("_save" in page.content.decode()) == may_save
    assert any(inline.opts.opts.model_name == "member" for inline in page.context["inline_admin_formsets"]) == may_share
    assert (client.get(page_of(study, "delete")).status_code == 200) == may_delete
    if not may_save:
        assert client.post(page_of(study), {"title": "Other"}).status_code == 403


def test_a_study_that_was_opened_keeps_its_models_texts_and_design() -> None:
    study = make_study(base_images=22, size=4)
    study.members.all().delete()
    page = signed_in(study, Role.OWNER).get(page_of(study))
    forms = page.context["inline_admin_formsets"]
    assert [inline.opts.opts.model_name for inline in forms if inline.has_change_permission] == ["member"]
    assert Study.DESIGN_FIELDS.isdisjoint(page.context["adminform"].form.fields)
    assert "adaptive_trials" not in str(page.context["adminform"].fieldsets)


# --- deleting


def test_an_owner_deletes_a_draft_with_what_it_was_tried_with() -> None:
    study = draft()
    study.start_session(Population.PREVIEW)
    Analysis.objects.create(study=study, population="simulated", data_sha256="d" * 64, report_path="r")
    client = signed_in(study, Role.OWNER)
    page = client.get(page_of(study, "delete"))
    assert "What it was tried with goes along" in page.content.decode()
    assert dict(page.context["model_count"]) == {"studies": 1, "sessions": 1, "reports": 1}
    client.post(page_of(study, "delete"), {"post": "yes"})
    assert not Study.objects.filter(pk=study.pk).exists()
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.before["slug"]) == ("deleted", study.slug)


# --- saving


def test_a_change_is_recorded_with_what_was_and_became() -> None:
    study = draft()
    save(signed_in(study, Role.EDITOR), study, bound="0.55")
    assert study.bound == 0.55
    entry = AuditEntry.objects.get(action="changed")
    assert (entry.before, entry.after) == ({"bound": 0.6}, {"bound": 0.55})


def test_strengths_are_ticked() -> None:
    study = draft()
    client = signed_in(study, Role.EDITOR)
    assert 'type="checkbox" name="strengths" value="0.5"' in client.get(page_of(study)).content.decode()
    save(client, study, strengths=["2.0"])
    assert study.strengths == [2.0]


def test_what_cannot_be_is_refused_next_to_its_field() -> None:
    study = draft()
    refused = {
        "strengths": (["3.0"], "There are no pairs of this model at strength 3.0"),
        "mask_ms": ("100", "A mask follows a fixed exposure"),
        "currency": ("eur", "three letters of the currency"),
        "retain_until": ("2020-01-01", "Choose a day to come"),
    }
    reply = save(signed_in(study, Role.EDITOR), study, **{name: value for name, (value, _) in refused.items()})
    errors = errors_of(reply)
    assert set(errors) == set(refused)
    assert all(said in errors[name][0] for name, (_, said) in refused.items())


def test_a_translation_is_checked_against_the_study_as_it_is_being_saved() -> None:
    study = draft(eligibility="I see well.")
    study.translations.create(language="de", title="Welches?", information="Bilder.", eligibility="Ich sehe gut.")
    both = {"eligibility": "I see well.\nI am awake.", "translations-0-eligibility": "Ich sehe gut.\nIch bin wach."}
    save(signed_in(study, Role.EDITOR), study, **both)
    assert study.eligibility.splitlines() == ["I see well.", "I am awake."]


def test_owners_name_members() -> None:
    study = draft()
    owner = signed_in(study, Role.OWNER)
    new = get_user_model().objects.create(username="new")
    added = {"members-TOTAL_FORMS": "2", "members-1-user": new.pk, "members-1-role": Role.ANALYST}
    save(owner, study, **added)
    assert study.role_of(new) == Role.ANALYST
    entry = AuditEntry.objects.get()
    assert entry.action == "admitted a member of"
    assert entry.after == {"researcher": "new", "role": Role.ANALYST}


def test_the_last_owner_stays() -> None:
    study = draft()
    reply = save(signed_in(study, Role.OWNER), study, **{"members-0-role": Role.VIEWER})
    assert "Name at least one owner" in reply.content.decode()
    assert [member.role for member in study.members.all()] == [Role.OWNER]


def test_every_setting_has_a_help_text() -> None:
    study = draft()
    study.translations.create(language="de", title="Welches?", information="Bilder.")
    page = signed_in(study, Role.OWNER).get(page_of(study))
    inlines = [inline.formset for inline in page.context["inline_admin_formsets"]]
    forms = [page.context["adminform"].form, *(formset.empty_form for formset in inlines)]
    own = ("id", "study", "DELETE")
    assert [
        f"{form.prefix}-{name}"
        for form in forms
        for name, f in form.fields.items()
        if not f.help_text and name not in own
    ] == []


# --- beside the form


def test_a_draft_shows_its_numbers_and_what_is_missing() -> None:
    study = draft(contact="", base_pay="2.50")
    text = signed_in(study, Role.VIEWER).get(page_of(study)).content.decode()
    assert "<strong>22</strong>" in text
    assert "15.00 EUR" in text
    assert "Say whom participants may ask" in text
    assert "other field at strength 2" in text


def test_numbers_are_calculated_for_a_form_that_is_not_saved() -> None:
    study = draft()
    client = signed_in(study, Role.EDITOR)
    form = {**sent_by(client.get(page_of(study))), "catch_trials": "1", "base_pay": "x"}
    reply = client.post(reverse("admin:study_numbers", args=[study.pk]), form)
    assert reply.status_code == 422
    assert "Base pay" in reply.content.decode()
    form["base_pay"] = "10"
    reply = client.post(reverse("admin:study_numbers", args=[study.pk]), form)
    assert "60.00 EUR" in reply.content.decode()
    assert "<strong>21</strong>" in reply.content.decode()
    study.refresh_from_db()
    assert study.catch_trials == 2


def test_a_studys_page_reads_no_session() -> None:
    study = make_study(base_images=22, size=4)
    study.start_session()
    client = signed_in(study, Role.OWNER)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        client.get(page_of(study))
    assert not [
        query["sql"] for query in queries if "trials_session" in query["sql"] or '"trials_trial"' in query["sql"]
    ]
