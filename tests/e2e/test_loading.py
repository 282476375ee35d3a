"""What is fetched before the first trial: little, checked, patient, and from nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Route, expect

import study.trials
from study.lab.models import Dataset
from study.trials.models import Study
from tests.e2e.participant import Participant

Arrive = Callable[..., Participant]
TRIALS = Path(study.trials.__file__).parent


def transferred(person: Participant) -> dict[str, int]:
    """Bytes of every reply's body as it crossed the wire, by address."""
    person.page.wait_for_load_state("networkidle")
    return {r.url: r.sizes()["responseBodySize"] for r in person.requests}


def test_the_first_load_is_at_most_100_kb_without_images(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.consent(study)
    person.page.locator("[data-go]:enabled").wait_for()
    sizes = {url: size for url, size in transferred(person).items() if "/i/" not in url}
    assert len([url for url in sizes if url.endswith(".js")]) == 6
    assert sum(sizes.values()) <= 100_000


def test_the_stylesheet_is_under_ten_kb() -> None:
    assert (TRIALS / "static/trials/participant.css").stat().st_size < 10_000


def test_pages_have_no_inline_script_or_style() -> None:
    for template in (TRIALS / "templates").rglob("*.html"):
        text = template.read_text()
        assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)", text), template.name


def test_a_damaged_image_is_fetched_again_and_never_shown(study: Study, arrive: Arrive) -> None:
    person = arrive()

    def damage(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, body=reply.body()[:-60] + b"\0" * 60)

    person.context.route("**/i/3/left", damage, times=2)
    person.begin(study)
    person.see("Practice 1")
    assert len([url for url in person.image_requests() if url.endswith("/i/3/left")]) == 3


def test_failing_images_are_tried_again_until_all_are_there(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("ERR_FAILED", "500")
    person.context.route("**/i/1/*", lambda route: route.abort(), times=3)
    person.context.route("**/i/5/right", lambda route: route.fulfill(status=500), times=4)
    person.consent(study)
    expect(person.page.locator("#notice")).to_contain_text("cannot be loaded")
    assert person.page.locator("[data-go]").is_disabled()
    person.go_on("Which one?")
    expect(person.page.locator("#notice")).to_be_hidden()
    person.see("Practice 1")


def test_images_that_lost_their_clearance_end_the_run_with_a_clear_page(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("403")
    person.consent(study)
    Dataset.objects.filter(pk=study.dataset_id).update(may_display_to_participants=False)
    person.page.reload()
    expect(person.page.get_by_role("heading", level=1)).to_have_text("The study is paused")
    asked = len(person.image_requests())
    person.page.wait_for_timeout(4_000)
    assert len(person.image_requests()) == asked


@pytest.mark.parametrize("status", [404, 410])
def test_images_of_a_run_that_is_over_are_not_asked_for_again(study: Study, arrive: Arrive, status: int) -> None:
    person = arrive()
    person.expect_failed_requests(str(status))
    person.context.route("**/i/*/*", lambda route: route.fulfill(status=status))
    person.consent(study)
    expect(person.page.get_by_role("heading", level=1)).to_have_text("This session has ended")


def test_at_most_six_images_are_in_flight(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.page.add_init_script(
        """
        const plain = window.fetch;
        window.most = 0;
        let flying = 0;
        window.fetch = async (address, options) => {
          if (!String(address).includes("/i/")) return plain(address, options);
          window.most = Math.max(window.most, (flying += 1));
          await new Promise((resolve) => setTimeout(resolve, 30));
          return plain(address, options).finally(() => (flying -= 1));
        };
        """
    )
    person.consent(study)
    person.page.locator("[data-go]:enabled").wait_for()
    assert person.page.evaluate("window.most") == 6
