"""The five protocols: what is shown where and when, what answers, and what practice explains."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Locator, expect

from study.trials.models import Answer, TrialTrace
from tests.e2e.bench import PICTURES, SCALE, Bench, Picture, enlarged, noise, on_screen
from tests.e2e.participant import PHONE, Participant
from tests.study.factories import make_study

Open = Callable[..., Bench]
FLASHES_A_SECOND = 3
PROTOCOLS = list(PICTURES)
SIDED = ["afc", "flicker", "oddity"]
BRIEF = {"exposure_ms": 300, "gap_ms": 200}
#: Those that can be shown until the answer, and the one that cannot.
MOMENT: dict[str, tuple[dict[str, int], str]] = {protocol: ({}, "shown") for protocol in PROTOCOLS} | {
    "ifc": (BRIEF, "asked")
}
LARGEST = "(protocol) => Device.largestScale({ protocol, image: { width: 64, height: 64 } })"


def begin(bench: Bench, protocol: str, **more: object) -> None:
    """To the moment at which an answer counts."""
    timing, state = MOMENT[protocol]
    bench.start(protocol, timing=timing, **more)
    bench.until(state)
    bench.page.wait_for_timeout(80)  # the onset is the frame after


# --- what is shown


def test_side_by_side_both_images_appear_in_one_frame_and_stay_until_the_answer(bench: Open) -> None:
    page = bench()
    begin(page, "afc")
    page.key("ArrowLeft")
    page.kept()
    assert page.order() == [["fixation", None, None], ["shown", 1, 3], ["answered", None, None]]


def test_two_intervals_show_first_the_left_then_the_right_image_at_one_place(bench: Open) -> None:
    page = bench()
    begin(page, "ifc")
    page.key("2")
    page.kept()
    assert page.order() == [
        ["fixation", None],
        ["shown", 1],
        ["gap", None],
        ["shown", 3],
        ["asked", None],
        ["answered", None],
    ]


def test_two_intervals_are_each_followed_by_the_mask(bench: Open) -> None:
    page = bench()
    page.start("ifc", timing={**BRIEF, "mask_ms": 100})
    page.until("asked")
    page.page.wait_for_function("seen.at(-1)[1] === 'asked'")  # the state's onset is the frame after
    assert [row[0] for row in page.order()] == ["fixation", "shown", "masked", "gap", "shown", "masked", "asked"]


def test_flicker_alternates_the_pictures_of_one_place_and_leaves_the_other_as_it_is(bench: Open) -> None:
    page = bench()
    page.start("flicker", timing={"exposure_ms": 1000})
    page.until("asked")
    shown = [row[1:] for row in page.order() if row[0] == "shown"]
    assert shown == [[1, 3], [2, 3], [1, 3], [2, 3]]


def test_the_place_that_does_not_flicker_is_the_same_in_every_pixel(bench: Open) -> None:
    page = bench()
    page.start("flicker", timing={"flicker_ms": 167})
    page.until("shown")
    shots: list[tuple[Picture, Picture]] = []
    while len({shot[0].tobytes() for shot in shots}) < 2 or len(shots) < 6:
        shots.append((on_screen(page, 0), on_screen(page, 1)))
    assert all(np.array_equal(right, enlarged(noise(3))) for _, right in shots)


@pytest.mark.parametrize("asked_for", [167, 20])
def test_nothing_flickers_faster_than_three_flashes_a_second(bench: Open, asked_for: int) -> None:
    page = bench()
    page.start("flicker", timing={"flicker_ms": asked_for, "exposure_ms": 2500})
    page.until("asked")
    toggles = [row[0] for row in page.seen() if row[1] == "shown"]
    assert len(toggles) > 8
    seven = 2 * FLASHES_A_SECOND + 1  # so many changes within a second would be more than three flashes
    assert all(later - first > 990 for first, later in zip(toggles, toggles[seven - 1 :], strict=False))


def test_oddity_puts_one_pair_on_the_left_above_each_other_and_one_on_the_right(bench: Open) -> None:
    page = bench()
    begin(page, "oddity")
    assert page.order()[-1] == ["shown", 1, 3, 2, 3]
    boxes = [canvas.bounding_box() for canvas in page.page.locator("canvas").all()]
    corners = [(box["x"], box["y"]) for box in boxes if box]
    (left, top), (right, _), (_, bottom), _ = corners
    assert corners == [(left, top), (right, top), (left, bottom), (right, bottom)]
    assert left < right
    assert top < bottom


def test_yes_or_no_shows_one_image(bench: Open) -> None:
    page = bench()
    begin(page, "yes_no")
    page.key("ArrowRight")
    assert page.kept()["choice"] == "right"
    assert page.order() == [["fixation", None], ["shown", 1], ["answered", None]]


# --- the mask


@pytest.mark.parametrize("protocol", ["afc", "oddity", "yes_no"])
def test_the_mask_follows_the_exposure_and_is_the_same_at_every_place(bench: Open, protocol: str) -> None:
    page = bench()
    page.start(protocol, timing={"exposure_ms": 200, "mask_ms": 10_000})
    page.until("masked")
    masks = [on_screen(page, n) for n in range(page.page.locator("canvas").count())]
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    assert masks[0].std() > 10


@pytest.mark.parametrize("size", [64, 48])
def test_the_mask_has_the_pictures_mean_and_contrast_but_none_of_what_it_shows(bench: Open, size: int) -> None:
    page = bench()
    page.start("afc", size=size, timing={"exposure_ms": 200, "mask_ms": 10_000})
    page.until("masked")
    mask = on_screen(page, 0)[::SCALE, ::SCALE, 0].astype(float)
    for first in (1, 3):
        picture = noise(first, size).astype(float)
        spectrum = np.conj(np.fft.fft2(picture - picture.mean())) * np.fft.fft2(mask - mask.mean())
        matches = np.fft.ifft2(spectrum).real / (picture.std() * mask.std() * size**2)
        assert abs(matches).max() < 0.25  # at no shift
    assert mask.mean() == pytest.approx(noise(1, size).mean(), abs=4)
    assert mask.std() == pytest.approx(noise(1, size).std(), rel=0.15)


def test_a_mask_that_is_not_scrambled_would_be_noticed() -> None:
    """The comparison above, with the picture itself in the mask's place."""
    picture = noise(1, 64).astype(float)
    spectrum = np.abs(np.fft.fft2(picture - picture.mean())) ** 2
    assert np.fft.ifft2(spectrum).real.max() / (picture.var() * 64**2) == pytest.approx(1)


# --- what answers


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_arrow_keys_answer_in_every_protocol(bench: Open, protocol: str) -> None:
    page = bench()
    for key, choice in (("ArrowLeft", "left"), ("ArrowRight", "right"), ("ArrowDown", "unsure")):
        begin(page, protocol, not_sure=True)
        page.key(key)
        data = page.kept()
        assert (data["choice"], data["input"], data["trusted"]) == (choice, "key", True)
        page.over()


@pytest.mark.parametrize(("key", "choice"), [("1", "left"), ("2", "right")])
def test_intervals_are_also_answered_by_their_numbers(bench: Open, key: str, choice: str) -> None:
    page = bench()
    begin(page, "ifc")
    page.key(key)
    assert page.kept()["choice"] == choice


def test_intervals_are_not_answered_before_the_second_has_been_shown(bench: Open) -> None:
    page = bench()
    page.start("ifc", timing={**BRIEF, "gap_ms": 1000})
    page.until("gap")
    page.key("ArrowLeft")
    page.until("asked")
    page.page.wait_for_timeout(80)
    page.key("ArrowRight")
    data = page.kept()
    assert (data["choice"], data["early_presses"]) == ("right", 1)


def test_not_sure_is_there_only_where_the_study_offers_it(bench: Open) -> None:
    page = bench()
    begin(page, "afc")
    expect(page.page.get_by_role("button")).to_have_count(2)
    page.key("ArrowDown")
    page.key("ArrowLeft")
    data = page.kept()
    assert (data["choice"], data["early_presses"]) == ("left", 0)


def test_the_button_answers_not_sure(bench: Open) -> None:
    page = bench()
    begin(page, "afc", not_sure=True)
    page.page.get_by_role("button", name="Not sure").click()
    data = page.kept()
    assert (data["choice"], data["input"]) == ("unsure", "mouse")


@pytest.mark.parametrize("protocol", SIDED)
def test_a_picture_answers_for_its_side(bench: Open, protocol: str) -> None:
    page = bench()
    begin(page, protocol)
    page.page.get_by_role("img", name="Right image").last.click()
    data = page.kept()
    assert (data["choice"], data["input"]) == ("right", "mouse")


@pytest.mark.parametrize("protocol", ["ifc", "yes_no"])
def test_a_picture_that_belongs_to_no_side_answers_nothing(bench: Open, protocol: str) -> None:
    page = bench()
    page.start(protocol, timing={"exposure_ms": 400 if protocol == "ifc" else None})
    page.until("shown")
    page.page.locator("canvas").click()
    page.page.wait_for_timeout(200)
    assert page.page.evaluate("answers.length") == 0


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_touch_answers_on_a_phone(bench: Open, protocol: str) -> None:
    page = bench(**PHONE)
    begin(page, protocol)
    page.page.get_by_role("button", name="Right").tap()
    data = page.kept()
    assert (data["choice"], data["input"]) == ("right", "touch")


def test_where_a_touch_leaves_the_pointer_over_a_button_it_looks_like_the_other(bench: Open) -> None:
    page = bench(**PHONE)
    begin(page, "afc")
    page.page.get_by_role("button", name="Left").hover()
    colours = "buttons => buttons.map((button) => getComputedStyle(button).backgroundColor)"
    left, right = page.page.locator(".afc-answer").evaluate_all(colours)
    assert left == right


def test_buttons_are_worked_by_tab_and_enter(bench: Open) -> None:
    page = bench()
    begin(page, "yes_no")
    page.page.get_by_role("button", name="Left").focus()
    page.key("Tab")
    page.key("Enter")
    data = page.kept()
    assert (data["choice"], data["input"]) == ("right", "click")


def test_the_buttons_come_when_a_fixed_exposure_is_over(bench: Open) -> None:
    page = bench()
    page.start("afc", timing={"exposure_ms": 500})
    page.until("shown")
    button = page.page.get_by_role("button", name="Left")
    expect(button).to_be_hidden(timeout=100)
    page.until("asked")
    expect(button).to_be_visible()


def test_other_keys_are_left_to_the_browser(bench: Open) -> None:
    page = bench()
    begin(page, "afc")
    page.page.evaluate("addEventListener('keydown', (event) => (window.prevented = event.defaultPrevented))")
    page.page.evaluate("addEventListener('keydown', (event) => event.preventDefault())")  # Alt and an arrow goes back
    for key in ("Control+ArrowLeft", "Alt+ArrowLeft", "a"):
        page.page.evaluate("delete window.prevented")
        page.key(key)
        assert page.page.evaluate("[prevented, answers.length]") == [False, 0], key


# --- practice


@pytest.mark.parametrize("protocol", SIDED)
def test_practice_frames_the_altered_place_and_shows_it_again(bench: Open, protocol: str) -> None:
    page = bench()
    begin(page, protocol, feedback=True)
    page.key("ArrowLeft")
    button = page.page.get_by_role("button", name="Continue")
    expect(button).to_be_focused()
    framed = page.page.locator("canvas.is-altered")
    assert {canvas.get_attribute("aria-label") for canvas in framed.all()} == {"Left image"}
    assert framed.count() == page.page.get_by_role("img", name="Left image").count()
    expect(framed.first).to_be_visible()
    button.click()
    page.page.wait_for_function("!document.querySelector('.afc-stage')")


def test_the_flicker_goes_on_beside_its_explanation(bench: Open) -> None:
    page = bench()
    begin(page, "flicker", feedback=True)
    page.key("ArrowLeft")
    page.until("explained")
    page.page.wait_for_timeout(900)
    explained = [row for row in page.order() if row[0] == "explained"]
    assert {row[1] for row in explained} == {1, 2}
    assert {row[2] for row in explained} == {3}


def test_practice_in_two_intervals_explains_in_words(bench: Open) -> None:
    page = bench()
    begin(page, "ifc", feedback=True)
    page.key("ArrowLeft")
    expect(page.page.locator(".afc-note p")).to_have_text("Correct.")
    expect(page.page.locator("canvas")).to_be_hidden()


def test_practice_with_one_image_shows_it_again(bench: Open) -> None:
    page = bench()
    page.start("yes_no", feedback=True, timing={"exposure_ms": 200, "mask_ms": 100})
    page.until("asked")
    page.page.wait_for_timeout(80)
    page.key("ArrowLeft")
    page.until("explained")
    page.page.wait_for_timeout(80)
    assert page.order()[-1] == ["explained", 1]
    expect(page.page.locator("canvas.is-altered")).to_have_count(0)


def test_whoever_hears_the_button_of_an_explanation_hears_what_it_explains(bench: Open) -> None:
    page = bench()
    begin(page, "afc", feedback=True)
    page.key("ArrowLeft")
    expect(page.page.get_by_role("button", name="Continue")).to_have_accessible_description("Correct.")


# --- robots


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_plugin_simulates_a_person(bench: Open, protocol: str) -> None:
    page = bench()
    timing, _ = MOMENT[protocol]
    person = {"data": {"choice": "right", "rt_ms": 250}}
    for mode in ("data-only", "visual"):
        page.prepare(protocol, timing=timing, feedback=True, simulation_options=person)
        page.page.evaluate("(mode) => void run(mode)", mode)
        data = page.kept()
        assert data["choice"] == "right"
        assert data["rt_ms"] >= 250
        assert data.get("trusted", False) is False
        page.over()


# --- pages in other directions, at other sizes, for other senses


@pytest.mark.parametrize("protocol", SIDED)
def test_left_stays_left_on_a_page_that_runs_from_right_to_left(bench: Open, protocol: str) -> None:
    page = bench()
    page.page.evaluate("document.documentElement.dir = 'rtl'")
    begin(page, protocol)
    for role in ("img", "button"):
        kind = "image" if role == "img" else ""
        left = page.page.get_by_role(role, name=f"Left {kind}".strip()).first.bounding_box()
        right = page.page.get_by_role(role, name=f"Right {kind}".strip()).first.bounding_box()
        assert left
        assert right
        assert left["x"] + left["width"] < right["x"]
    page.key("ArrowLeft")
    assert page.kept()["choice"] == "left"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_nothing_has_to_be_scrolled_sideways_on_a_phone(bench: Open, protocol: str) -> None:
    page = bench(**PHONE)
    begin(page, protocol, not_sure=True, size=64)
    assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
    for button in page.page.get_by_role("button").all():
        box = button.bounding_box()
        assert box
        assert min(box["width"], box["height"]) >= 44


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_in_a_low_window_pictures_and_answers_are_in_view_and_so_is_the_explanation(bench: Open, protocol: str) -> None:
    page = bench(**{**PHONE, "viewport": {"width": 844, "height": 390}})
    scale = page.page.evaluate(LARGEST, protocol)
    page.start(protocol, size=64, scale=scale, not_sure=True, feedback=True, timing=MOMENT[protocol][0])
    page.until(MOMENT[protocol][1])
    needed = page.page.locator("canvas, .afc-answer")
    assert page.page.evaluate("scrollY") > 0
    assert [part for part in needed.all() if not inside(page, part)] == []
    page.page.wait_for_timeout(80)
    page.key("ArrowLeft")
    page.until("explained")
    needed = page.page.locator("canvas, .afc-note p, .button-main")
    assert [part for part in needed.all() if not inside(page, part)] == []


def inside(page: Bench, part: Locator) -> bool:
    """Whether all of it is in the window, to a pixel."""
    box, window = part.bounding_box(), page.page.viewport_size
    assert box
    assert window
    return box["y"] >= -1 and box["y"] + box["height"] <= window["height"] + 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_pictures_keep_their_place_from_the_fixation_to_the_explanation(bench: Open, protocol: str) -> None:
    page = bench()
    page.page.evaluate(
        """() => {
          window.places = new Set();
          const look = () => {
            for (const canvas of document.querySelectorAll("canvas")) {
              const { left, top } = canvas.getBoundingClientRect();
              places.add(`${left} ${top}`);
            }
            requestAnimationFrame(look);
          };
          look();
        }"""
    )
    begin(page, protocol, feedback=True, not_sure=True)
    page.key("ArrowLeft")
    page.until("explained")
    assert page.page.evaluate("places.size") == page.page.locator("canvas").count()


def test_nothing_but_the_stimulus_moves_when_reduced_motion_is_asked_for(bench: Open) -> None:
    page = bench(reduced_motion="reduce")
    page.page.evaluate(
        """() => {
          window.moving = 0;
          const look = () => {
            moving += document.getAnimations().length;
            requestAnimationFrame(look);
          };
          look();
        }"""
    )
    begin(page, "flicker", feedback=True)
    page.page.wait_for_timeout(600)
    page.key("ArrowLeft")
    page.until("explained")
    page.page.get_by_role("button", name="Continue").hover()
    page.page.wait_for_timeout(100)
    assert page.page.evaluate("moving") == 0
    first = [row[1] for row in page.order() if row[0] == "shown"]
    assert all(now != then for now, then in pairwise(first))


# --- in a study


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_in_a_study_the_answer_is_stored_with_its_trace(
    address: str, arrive: Callable[..., Participant], protocol: str
) -> None:
    timing, state = MOMENT[protocol]
    fields: dict[str, Any] = {"protocol": protocol, "not_sure": True, **timing}
    person = arrive()
    person.consent(make_study(base_images=12, strengths=(2.0,), trials_per_strength=2, **fields))
    go, stage = person.page.locator("[data-go]:enabled"), person.page.locator(".afc-stage")
    go.or_(stage).wait_for()
    while not stage.count():
        go.click()
        go.or_(stage).wait_for()
    person.page.locator(f'[data-state="{state}"]').wait_for()
    person.page.wait_for_timeout(400)
    person.page.keyboard.press("ArrowDown")
    person.page.get_by_role("button", name="Continue").wait_for()
    assert Answer.objects.get().choice == "unsure"
    trace = TrialTrace.objects.get()
    assert trace.onset_ms
    assert trace.offset_ms
    assert trace.offset_ms > trace.onset_ms
    assert (trace.pauses, trace.focus_losses, trace.device_pixel_ratio) == (0, 0, 1)
    assert ("first_onset_ms" in trace.details) is (protocol == "ifc")
