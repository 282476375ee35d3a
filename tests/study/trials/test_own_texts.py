"""What a study's own texts look like on its pages: Markdown, consent and instructions, in each language."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from study.trials.models import Study
from tests.study.factories import answer_all, make_study, start

pytestmark = pytest.mark.django_db

LIST = "<ul>\n<li>one</li>\n<li>two</li>\n</ul>"


def page(client: Client, address: str, **more: Any) -> str:
    return client.get(address, **more).content.decode()


def test_the_information_is_markdown_below_the_title(client: Client) -> None:
    study = make_study(information="# Aim\n\n- one\n- two\n\n<script>alert(1)</script>")
    shown = page(client, f"/s/{study.slug}/")
    assert f"<h2>Aim</h2>\n{LIST}" in shown
    assert "<p>&lt;script&gt;alert(1)&lt;/script&gt;</p>" in shown


def test_consent_stands_above_the_box_that_agrees_to_it(client: Client) -> None:
    study = make_study(consent="I agree that\n\n- one\n- two")
    shown = page(client, f"/s/{study.slug}/")
    assert shown.index("<form") < shown.index("What you agree to") < shown.index(LIST) < shown.index('name="consent"')


def test_a_study_without_a_consent_of_its_own_has_no_such_heading(client: Client) -> None:
    assert "What you agree to" not in page(client, f"/s/{make_study().slug}/")


def test_consent_and_instructions_are_read_in_the_participants_language(client: Client) -> None:
    study = make_study(opened=False, consent="Yes to all.", instructions="Look *closely*.")
    study.translations.create(
        language="nl", title="Welk oog?", information="Kijk.", consent="Ja op alles.", instructions="Kijk *goed*."
    )
    study.open()
    assert "<p>Ja op alles.</p>" in page(client, f"/s/{study.slug}/?lang=nl")
    _, token = start(study, language="nl")
    run = page(client, f"/run/{token}/")
    assert "<p>Kijk <em>goed</em>.</p>" in run
    assert "Look" not in run


def test_instructions_stand_beside_the_built_in_ones_also_for_who_comes_back(client: Client) -> None:
    _, token = start(make_study(instructions="# Remember\n\nLook *closely*."))
    run = page(client, f"/run/{token}/")
    for template in ('<template id="instructions">', '<template id="resume">'):
        part = run.split(template)[1].split("</template>")[0]
        assert part.index('data-part="task"') < part.index("<h2>Remember</h2>") < part.index("data-go")


def test_debriefing_and_payment_are_markdown_below_their_headings(client: Client) -> None:
    study = make_study(debrief="# Why\n\nWe *moved* pixels.", payment="# When\n\nWithin **a week**.")
    assert "<h3>When</h3>\n<p>Within <strong>a week</strong>.</p>" in page(client, f"/s/{study.slug}/")
    session, token = start(study)
    answer_all(session)
    session.complete()
    assert "<h3>Why</h3>\n<p>We <em>moved</em> pixels.</p>" in page(client, f"/run/{token}/")


@pytest.mark.parametrize("end", ["screen_out", "time_out", "withdraw"])
def test_whoever_ends_early_reads_about_payment(client: Client, end: str) -> None:
    session, token = start(make_study(payment="Within **a week**."))
    getattr(session, end)(*(["practice"] if end == "screen_out" else []))
    assert "Within <strong>a week</strong>." in page(client, f"/run/{token}/")


# --- a study that is paused


@pytest.fixture
def paused() -> Study:
    study = make_study()
    study.pause()
    return study


def test_a_paused_study_asks_to_come_back_later(client: Client, paused: Study) -> None:
    reply = client.get(f"/s/{paused.slug}/")
    assert reply.status_code == 403
    assert "The study is paused" in reply.content.decode()
    assert "You are welcome to come back later" in reply.content.decode()
    assert 'name="start"' not in reply.content.decode()


def test_it_says_so_in_the_readers_language(client: Client) -> None:
    study = make_study(opened=False)
    study.translations.create(language="de", title="Welches Auge?", information="Schauen Sie.")
    study.open()
    study.pause()
    assert "Sie können gern später wiederkommen" in page(client, f"/s/{study.slug}/?lang=de")


def test_whoever_has_started_goes_on_while_the_study_is_paused(client: Client) -> None:
    study = make_study()
    session, token = start(study)
    study.pause()
    assert client.get(f"/run/{token}/plan").status_code == 200
    session.refresh_from_db()
    answer_all(session)
    session.complete()
    assert session.state == session.State.COMPLETE


def test_a_study_that_goes_on_takes_people_again(client: Client, paused: Study) -> None:
    paused.resume()
    assert client.get(f"/s/{paused.slug}/").status_code == 200
