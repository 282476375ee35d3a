"""Texts as participants see them, for whoever writes them."""

from __future__ import annotations

import pytest
from django.urls import reverse

from study.trials.rights import Role
from tests.study.desk.researchers import signed_in
from tests.study.factories import make_study

pytestmark = pytest.mark.django_db


def test_every_text_is_shown_as_participants_read_it() -> None:
    study = make_study(
        opened=False,
        base_images=22,
        size=4,
        information="Compare **pictures**.",
        consent="I *agree*.",
        instructions="Look at the iris.",
        payment="3 euros.",
        debrief="Thank you.",
        eligibility="I see well.",
        withdrawal_deadline="1 May",
    )
    text = signed_in(study, Role.VIEWER).get(reverse("admin:study_texts", args=[study.pk])).content.decode()
    for part in (
        "Compare <strong>pictures</strong>.",
        "I <em>agree</em>.",
        "Look at the iris.",
        "3 euros.",
        "Thank you.",
        "I see well.",
        "1 May",
        study.contact,
        "trials/participant",
    ):
        assert part in text


def test_a_link_leads_to_each_language() -> None:
    study = make_study(opened=False, base_images=22, size=4)
    study.translations.create(language="de", title="Welches Auge?", information="Bilder.", payment="3 Euro.")
    page = signed_in(study, Role.VIEWER).get(reverse("admin:study_texts", args=[study.pk]), {"lang": "de"})
    text = page.content.decode()
    assert page["Content-Language"] == "de"
    assert "Welches Auge?" in text
    assert "Bezahlung" in text or "Vergütung" in text
    assert 'hreflang="en"' in text
