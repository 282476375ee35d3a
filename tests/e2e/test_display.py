"""What reaches the screen: whole device pixels in every protocol, or a pause that says why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from django.test.testcases import LiveServerThread
from playwright.sync_api import Browser, expect

from study.trials.models import TrialTrace
from tests.e2e.bench import PICTURES, SCALE, Bench, enlarged, noise, on_screen
from tests.e2e.participant import PHONE, Participant, profile
from tests.study.factories import make_study

Open = Callable[..., Bench]
WINDOW = {"width": 1013, "height": 701}
SLOW = {"exposure_ms": 4000, "gap_ms": 100}
REASONS = {"ratio": "The zoom of this page", "zoom": "The page is magnified", "window": "no longer fit"}


@contextmanager
def screen_of(launch: Callable[..., Browser], server: LiveServerThread, ratio: float) -> Iterator[Bench]:
    """A whole browser of this ratio, as a screen or the page zoom sets it: emulated ones round differently."""
    size = "{width},{height}".format(**WINDOW)
    browser = launch(f"--force-device-scale-factor={ratio}", f"--window-size={size}")
    window = profile(browser, viewport=None, no_viewport=True)
    bench = Bench(window, f"http://localhost:{server.port}")
    assert bench.page.evaluate("devicePixelRatio") == pytest.approx(ratio)
    try:
        yield bench
    finally:
        browser.close()
    assert bench.faults() == []


def change(person: Participant, ratio: float) -> None:
    """What happens to a page that is moved to another screen."""
    metrics = {"width": 1280, "height": 800, "deviceScaleFactor": ratio, "mobile": False}
    person.context.new_cdp_session(person.page).send("Emulation.setDeviceMetricsOverride", metrics)


# --- whole device pixels


@pytest.mark.parametrize("ratio", [1, 1.1, 1.25, 1.5, 2, 3])
def test_every_image_pixel_is_k_by_k_device_pixels(
    launch: Callable[..., Browser], server: LiveServerThread, ratio: float
) -> None:
    with screen_of(launch, server, ratio) as bench:
        bench.start("afc")
        bench.until("shown")
        assert np.array_equal(on_screen(bench, 0), enlarged(noise(1)))
        assert np.array_equal(on_screen(bench, 1), enlarged(noise(3)))


@pytest.mark.parametrize(("protocol", "firsts"), [("oddity", [1, 3, 2, 3]), ("yes_no", [1])])
@pytest.mark.parametrize("ratio", [1.25, 1.5])
def test_so_they_are_at_every_place(
    launch: Callable[..., Browser], server: LiveServerThread, protocol: str, firsts: list[int], ratio: float
) -> None:
    with screen_of(launch, server, ratio) as bench:
        bench.start(protocol)
        bench.until("shown")
        assert bench.page.locator("canvas").count() == len(firsts)
        for n, first in enumerate(firsts):
            assert np.array_equal(on_screen(bench, n), enlarged(noise(first)))


def test_so_they_are_in_both_intervals(launch: Callable[..., Browser], server: LiveServerThread) -> None:
    with screen_of(launch, server, 1.5) as bench:
        bench.start("ifc", timing=SLOW)
        for interval in (1, 3):
            bench.page.wait_for_function(f"seen.at(-1)[1] === 'shown' && seen.at(-1)[2] === {interval}")
            assert np.array_equal(on_screen(bench, 0), enlarged(noise(interval)))


def test_so_they_are_in_both_pictures_that_flicker(launch: Callable[..., Browser], server: LiveServerThread) -> None:
    with screen_of(launch, server, 1.5) as bench:
        bench.start("flicker", timing={"flicker_ms": 2000})
        for picture in (1, 2):
            bench.page.wait_for_function(f"seen.at(-1)[1] === 'shown' && seen.at(-1)[2] === {picture}")
            assert np.array_equal(on_screen(bench, 0), enlarged(noise(picture)))
            assert np.array_equal(on_screen(bench, 1), enlarged(noise(3)))


def test_a_window_in_which_the_pictures_still_fit_keeps_whole_pixels(bench: Open) -> None:
    page = bench()
    page.start("afc")
    page.until("shown")
    page.page.set_viewport_size({"width": 777, "height": 611})
    page.page.wait_for_timeout(100)
    assert np.array_equal(on_screen(page, 0), enlarged(noise(1)))
    assert page.order()[-1][0] == "shown"


def test_the_mapping_of_pixels_is_recorded(bench: Open) -> None:
    page = bench(device_scale_factor=1.25)
    page.start("afc")
    page.until("shown")
    page.page.wait_for_timeout(80)
    page.key("ArrowLeft")
    data = page.kept()
    assert (data["device_pixel_ratio"], data["viewport_scale"], data["scale"]) == (1.25, 1, SCALE)
    assert (data["window"], data["screen"], data["pauses"]) == ("1280x800", "1280x800", 0)
    assert data["gamut"] in {"srgb", "p3", "rec2020", "unknown"}


# --- pauses


def expect_pause(bench: Bench, reason: str) -> None:
    """The pictures are hidden, the page says why, and there is no going on."""
    expect(bench.page.get_by_role("heading", level=1)).to_have_text("Paused: your screen has changed")
    expect(bench.page.get_by_role("heading", level=1)).to_be_focused()
    expect(bench.page.locator(".afc-cover [role=status]")).to_contain_text(REASONS[reason])
    expect(bench.page.locator(".afc-cover [data-if]:visible")).to_have_count(1)
    expect(bench.page.locator("canvas").first).to_be_hidden()
    expect(bench.page.get_by_role("button", name="Go on")).to_be_disabled()
    expect(bench.page.get_by_role("button", name="Check my screen again")).to_be_enabled()


@pytest.mark.parametrize("protocol", list(PICTURES))
def test_a_change_of_the_pixel_ratio_pauses_the_trial_until_it_is_undone(bench: Open, protocol: str) -> None:
    page = bench()
    page.start(protocol, timing={"exposure_ms": 1500 if protocol == "ifc" else None}, ratio=1)
    page.until("shown")
    change(page, ratio=1.25)
    expect_pause(page, "ratio")
    change(page, ratio=1)
    expect(page.page.locator(".afc-cover [role=status]")).to_contain_text("The images fit again")
    page.page.get_by_role("button", name="Go on").click()
    page.until("asked" if protocol == "ifc" else "shown")
    page.page.wait_for_timeout(80)
    states = [row[0] for row in page.order()]
    assert states[states.index("paused") + 1] == "fixation"
    page.key("ArrowLeft")
    data = page.kept()
    assert (data["pauses"], data["choice"], data["device_pixel_ratio"]) == (1, "left", 1)


def test_a_window_that_became_too_small_pauses_the_trial(bench: Open) -> None:
    page = bench(viewport={"width": 1280, "height": 1000})
    page.start("oddity", size=64)
    page.until("shown")
    page.page.set_viewport_size({"width": 500, "height": 800})
    expect_pause(page, "window")
    page.page.set_viewport_size({"width": 1280, "height": 1000})
    page.page.get_by_role("button", name="Go on").click()
    page.until("shown")
    page.page.wait_for_timeout(80)
    assert np.array_equal(on_screen(page, 3), enlarged(noise(3, 64)))
    page.key("ArrowLeft")
    assert page.kept()["pauses"] == 1


def test_a_pinched_page_pauses_the_trial(bench: Open) -> None:
    page = bench(**PHONE)
    page.start("afc")
    page.until("shown")
    session = page.context.new_cdp_session(page.page)
    session.send("Emulation.setPageScaleFactor", {"pageScaleFactor": 2})
    expect_pause(page, "zoom")
    session.send("Emulation.setPageScaleFactor", {"pageScaleFactor": 1})
    page.page.get_by_role("button", name="Go on").tap()
    page.until("shown")


def test_a_trial_whose_screen_has_changed_before_it_begins_shows_nothing_first(bench: Open) -> None:
    page = bench()
    page.start("afc", ratio=2)
    expect_pause(page, "ratio")
    assert all(first is None for row in page.order() for first in row[1:])


def test_nothing_is_answered_during_a_pause(bench: Open) -> None:
    page = bench()
    page.start("afc", ratio=1)
    page.until("shown")
    page.page.wait_for_timeout(80)
    change(page, ratio=2)
    expect_pause(page, "ratio")
    page.key("ArrowLeft")
    page.page.wait_for_timeout(300)
    assert page.page.evaluate("answers.length") == 0
    change(page, ratio=1)
    page.page.get_by_role("button", name="Go on").click()
    page.until("shown")
    page.page.wait_for_timeout(80)
    page.key("ArrowRight")
    data = page.kept()
    assert (data["choice"], data["early_presses"]) == ("right", 0)


def test_pauses_that_follow_each_other_are_all_counted(bench: Open) -> None:
    page = bench()
    page.start("afc", ratio=1)
    for _ in range(2):
        page.until("shown")
        change(page, ratio=1.5)
        expect_pause(page, "ratio")
        change(page, ratio=1)
        page.page.get_by_role("button", name="Go on").click()
    page.until("shown")
    page.page.wait_for_timeout(80)
    page.key("ArrowRight")
    assert page.kept()["pauses"] == 2


def test_a_screen_that_stays_changed_is_checked_again_by_a_new_start(
    address: str, arrive: Callable[..., Participant]
) -> None:
    study = make_study(base_images=12, strengths=(2.0,), trials_per_strength=2, enable_after_ms=0)
    person = arrive()
    person.begin(study)
    person.see("Practice 1")
    change(person, ratio=2)
    person.page.get_by_role("button", name="Check my screen again").click()
    person.go_on("Which one?")
    person.see("Practice 1")
    person.press("left")
    person.page.get_by_role("button", name="Continue").wait_for()
    trace = TrialTrace.objects.get()
    assert (trace.device_pixel_ratio, trace.pauses, trace.details["scale"]) == (2, 0, SCALE)
