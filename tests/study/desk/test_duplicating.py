"""A new draft from a study."""

from __future__ import annotations

import pytest
from django.urls import reverse

from study.desk.duplicating import ITS_OWN
from study.trials.models import Study
from study.trials.rights import Role
from tests.study.desk.researchers import recorded, signed_in
from tests.study.factories import make_run, make_study

pytestmark = pytest.mark.django_db


def test_a_duplicate_is_a_draft_with_all_but_the_answers() -> None:
    study = make_study(opened=False, base_images=22, size=4, bound=0.55, retain_until="2100-01-01")
    study.start_session("preview")
    other = make_run("other", study.dataset, attack=study.model_run.attack)
    study.sources.create(model_run=other, strengths=[])
    study.translations.create(language="de", title="Welches Auge?", information="Bilder.")
    editor = signed_in(study, Role.EDITOR, "add_study")
    names = {"slug": "again", "title": "Once more"}
    page = editor.post(reverse("admin:study_duplicate", args=[study.pk]), names, follow=True)
    assert page.status_code == 200
    draft = Study.objects.get(slug="again")
    copied = [field.name for field in Study._meta.concrete_fields if field.name not in ITS_OWN]
    study.refresh_from_db()
    assert all(getattr(draft, name) == getattr(study, name) for name in copied)
    assert (draft.title, draft.state, draft.retain_until) == ("Once more", Study.State.DRAFT, None)
    assert [source.model_run for source in draft.sources.all()] == [other]
    assert draft.translations.get().title == "Welches Auge?"
    assert not draft.sessions.exists()
    assert not draft.design_versions.exists()
    assert recorded() == ["created", "admitted a member of"]


def test_who_duplicates_becomes_the_owner_beside_the_other_members() -> None:
    study = make_study(base_images=22, size=4)
    signed_in(study, Role.OWNER)
    viewer = signed_in(study, Role.VIEWER, "add_study")
    viewer.post(reverse("admin:study_duplicate", args=[study.pk]), {"slug": "mine", "title": "Mine"})
    roles = Study.objects.get(slug="mine").members.order_by("user_id").values_list("role", flat=True)
    assert list(roles) == [Role.OWNER, Role.OWNER]
    assert recorded() == ["created", "admitted a member of", "admitted a member of"]


def test_a_name_that_is_taken_is_refused_next_to_the_field() -> None:
    study = make_study(base_images=22, size=4)
    editor = signed_in(study, Role.EDITOR, "add_study")
    reply = editor.post(reverse("admin:study_duplicate", args=[study.pk]), {"slug": study.slug, "title": "x"})
    assert reply.status_code == 422
    assert reply.context["form"].errors["slug"]


def test_who_may_not_add_studies_duplicates_none() -> None:
    study = make_study(base_images=22, size=4)
    reply = signed_in(study, Role.OWNER).post(reverse("admin:study_duplicate", args=[study.pk]), {"slug": "a"})
    assert reply.status_code == 403
