"""What is fetched before the first trial: little, checked, patient, and from nowhere else."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Request, Route, expect

import study.trials
from study.lab.models import Dataset
from study.trials.models import Session, Study
from tests.e2e.conftest import QUICK
from tests.e2e.participant import Participant
from tests.study.factories import make_study

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


def test_images_of_a_run_that_is_over_lead_to_its_last_page(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.expect_failed_requests("410")
    person.context.route("**/i/0/left", end_and_continue, times=1)
    person.consent(study)
    expect(person.page.locator("#run")).to_have_count(0)
    asked = len(person.image_requests())
    person.page.wait_for_timeout(1_000)
    assert len(person.image_requests()) == asked


def end_and_continue(route: Route) -> None:
    Session.objects.get().time_out()
    route.continue_()


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


def indices_asked_for(person: Participant) -> set[int]:
    return {int(url.split("/i/")[1].split("/")[0]) for url in person.image_requests()}


def test_the_first_block_is_waited_for_and_the_rest_comes_while_pages_are_read(address: str, arrive: Arrive) -> None:
    study = make_study(strengths=(2.0,), base_images=12, trials_per_strength=2, break_every=5, **QUICK)
    person = arrive()
    held: list[Route] = []
    person.context.route(re.compile(r"/i/(7|8|9|10|11)/"), lambda route: held.append(route))  # noqa: PLW0108
    person.consent(study)
    button = person.page.locator("[data-go]")
    expect(button).to_be_enabled()
    button.click()
    expect(button).to_be_disabled()  # until nothing is in flight
    assert person.page.locator("[data-state]").count() == 0
    assert len(held) <= 6
    for route in held:
        route.continue_()
    held.clear()
    person.see("Practice 1")
    asked = person.image_requests()
    person.press("left")
    person.page.get_by_role("button", name="Continue").click()
    person.see("Practice 2")
    assert person.image_requests() == asked
    assert not held


def test_a_block_is_complete_before_its_first_trial(address: str, arrive: Arrive) -> None:
    study = make_study(strengths=(2.0,), base_images=12, trials_per_strength=2, break_every=5, **QUICK)
    person = arrive()
    person.expect_failed_requests("500")
    broken = re.compile(r"/i/11/right")
    person.context.route(broken, lambda route: route.fulfill(status=500))
    person.begin(study)
    person.practise()
    person.answer(range(1, 6))
    expect(person.page.get_by_role("heading", level=1)).to_have_text("Time for a short break")
    expect(person.page.locator("#notice")).to_contain_text("cannot be loaded")
    assert person.page.locator("[data-go]").is_disabled()
    person.context.unroute(broken)
    person.go_on("Time for a short break")
    person.see("Pair 6")
    assert indices_asked_for(person) == set(range(12))


def test_a_second_round_of_practice_is_loaded_only_when_it_is_needed(address: str, arrive: Arrive) -> None:
    study = make_study(
        strengths=(2.0,), base_images=14, trials_per_strength=2, practice_correct=2, practice_rounds=2, **QUICK
    )
    person = arrive()
    person.begin(study)
    sides = list(Session.objects.get().trials.order_by("index").values_list("altered_side", flat=True))
    for i in range(2):
        person.see(f"Practice {i + 1}")
        person.press("left" if sides[i] == "right" else "right")
        assert indices_asked_for(person).isdisjoint({2, 3})
        person.page.get_by_role("button", name="Continue").click()
    person.go_on("A little more practice")
    person.see("Practice 1")
    assert {2, 3} <= indices_asked_for(person)


@pytest.mark.slow
def test_a_session_of_sixty_trials_transfers_its_images_and_at_most_300_kb(address: str, arrive: Arrive) -> None:
    study = make_study(strengths=(2.0,), base_images=70, trials_per_strength=50, practice_trials=2, **QUICK)
    person = arrive()
    person.begin(study)
    person.practise()
    for start in (1, 30):
        person.answer(range(start, start + 29))
        if start == 1:
            person.go_on("Time for a short break")
    person.code()
    person.page.wait_for_load_state("networkidle")
    images = sum(r.sizes()["responseBodySize"] for r in person.requests if "/i/" in r.url)
    assert sum(with_headers(request) for request in person.requests) - images <= 300_000


def with_headers(request: Request) -> int:
    """Bytes of a request and its reply, headers included."""
    size = request.sizes()
    sent = size["requestHeadersSize"] + size["requestBodySize"]
    return sent + size["responseHeadersSize"] + size["responseBodySize"]
