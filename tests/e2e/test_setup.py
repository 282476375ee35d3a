"""Before the first pair: what a device has to be, how its screen is measured, and what the server is told.

The page is the real one with its scripts and policy. Except in the last tests of the server, its replies are played, so
that every one can be had.
"""

from __future__ import annotations

import io
import mimetypes
import re
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import pytest
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, Route, expect

from study.trials import viewing
from study.trials.models import Session
from tests.e2e import axe
from tests.e2e.participant import PHONE, REPORT_VIOLATIONS, Participant
from tests.study.factories import make_study

ADDRESS = "http://localhost/run/token/"
POLICY = "default-src 'self'; img-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'"
TABLET = {"viewport": {"width": 820, "height": 1180}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
CARD_MM = {"card_long": 85.6, "card_short": 53.98}
PLAN: dict[str, Any] = {
    "attempt": 3,
    "next_index": 0,
    "protocol": "afc",
    "not_sure": False,
    "adaptive": False,
    "scale": 4,
    "image_degrees": None,
    "image": {"width": 64, "height": 64},
    "sides": ["left", "right"],
    "frames": 1,
    "calibration": "none",
    "distance": "none",
    "phones": True,
    "tablets": True,
    "timing": {
        "fixation_ms": 500,
        "exposure_ms": None,
        "mask_ms": 0,
        "gap_ms": 500,
        "flicker_ms": 500,
        "response_ms": None,
        "blank_ms": 400,
        "enable_after_ms": 250,
    },
    "break_every": 40,
    "trials": [{"index": 0, "phase": "trial"}],
}
CARD = {"calibration": "card"}
TOLD = {"calibration": "card", "distance": "told"}
BLIND_SPOT = {"calibration": "card", "distance": "blind_spot"}
IN_DEGREES = {**TOLD, "scale": None}


class Setup:
    """One participant on the run's page, and a server that says what a test wants it to say."""

    def __init__(
        self, browser: Browser, *, dir: str = "ltr", plan: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self.plan = PLAN | (plan or {})
        self.direction = dir
        self.context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        self.context.set_default_timeout(10_000)
        self.context.add_init_script(REPORT_VIOLATIONS)
        self.context.route("**/*", self.serve)
        self.screens: list[dict[str, Any]] = []
        self.reasons: list[str] = []
        self.failures: list[int | str] = []  # what becomes of the next tries to tell the server about the screen
        self.loads = 0
        self.faults: list[str] = []
        self.page = self.context.new_page()
        self.page.on("console", lambda m: m.type == "error" and self.faults.append(m.text))
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))
        self.page.goto(ADDRESS)

    # --- the server

    def serve(self, route: Route) -> None:
        path = route.request.url.removeprefix("http://localhost")
        name = path.removeprefix("/run/token/")
        if path.startswith("/static/"):
            self.serve_static(route, path.removeprefix("/static/"))
        elif path == name:
            route.fulfill(status=404, body="")
        elif name == "":
            self.loads += 1
            route.fulfill(body=self.html(), content_type="text/html", headers={"Content-Security-Policy": POLICY})
        elif name == "plan":
            route.fulfill(json=self.plan)
        elif name == "screen":
            self.take_screen(route)
        elif name == "screen-out":
            self.reasons.append(route.request.post_data_json["reason"])
            route.fulfill(json={"code": "", "return_url": ""})
        elif name.startswith("i/"):
            route.fulfill(body=self.image(), content_type="image/png")
        else:
            route.abort()

    def image(self) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (self.plan["image"]["width"], self.plan["image"]["height"])).save(file, "PNG")
        return file.getvalue()

    def serve_static(self, route: Route, name: str) -> None:
        found = finders.find(name)
        assert isinstance(found, str), name
        route.fulfill(path=found, content_type=mimetypes.guess_type(name)[0] or "text/plain")

    def take_screen(self, route: Route) -> None:
        assert route.request.method == "PUT"
        failure = self.failures.pop(0) if self.failures else None
        if failure == "offline":
            return route.abort()
        if isinstance(failure, int):
            return route.fulfill(status=failure, json={"error": "superseded" if failure == 409 else "bad_body"})
        self.screens.append(route.request.post_data_json)
        return route.fulfill(json={"px_per_degree": 40.0})

    def html(self) -> str:
        context = {
            "session": {"public_code": "AB12"},
            "study": {"title": "Eyes", "contact": "lab@example.org"},
            "texts": {"title": "Eyes"},
            "design": {"protocol": self.plan["protocol"]},
        }
        html = render_to_string("trials/run.html", context)
        return re.sub(r'dir="\w+"', f'dir="{self.direction}"', html, count=1)

    # --- the participant

    def heading(self, text: str) -> None:
        expect(self.page.get_by_role("heading", level=1)).to_have_text(text)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    def press_times(self, name: str, times: int) -> None:
        """By the keyboard, which is quicker than going there with the mouse each time."""
        button = self.page.get_by_role("button", name=name, exact=True)
        button.focus()
        for _ in range(times):
            self.page.keyboard.press("Enter")

    @property
    def outline(self) -> Locator:
        return self.page.locator(".outline")

    def outline_width(self) -> float:
        box = self.outline.bounding_box()
        assert box
        return box["width"]

    def lay_card(self, css_px_per_mm: float, side: str = "card_long") -> float:
        """Makes the outline as wide as a card on a screen of this density, as near as steps of 1 px come."""
        target = round(css_px_per_mm * CARD_MM[side])
        self.outline.wait_for()
        missing = target - round(self.outline_width())
        self.press_times("Much larger", missing // 10)
        self.press_times("Larger", missing % 10)
        assert self.outline_width() == pytest.approx(target, abs=0.5)
        self.press("It fits")
        return target / CARD_MM[side]

    def tell(self, distance: str) -> None:
        self.page.get_by_label("Distance in centimetres").fill(distance)
        self.press("Go on")

    def through(self) -> dict[str, Any]:
        """What the server was told, once the page has gone on to the instructions."""
        expect(self.page.locator("[data-loading]")).to_be_attached()
        return self.screens[-1]


Visit = Callable[..., Setup]
Arrive = Callable[..., Participant]


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    visits: list[Setup] = []

    def bring(plan: dict[str, Any] | None = None, **options: Any) -> Setup:
        visits.append(Setup(browser, plan=plan, **options))
        return visits[-1]

    yield bring
    for setup in visits:
        setup.context.close()
        unexpected = [fault for fault in setup.faults if not fault.startswith("Failed to load resource")]
        assert unexpected == []


# --- nothing to ask


def test_with_nothing_to_ask_the_server_is_told_about_the_screen_and_nothing_is_shown(visit: Visit) -> None:
    told = visit().through()
    assert told == {
        "attempt": 3,
        "scale": 4,
        "device": "computer",
        "device_pixel_ratio": 1,
        "viewport_scale": 1,
        "window": "1280x800",
        "screen": "1280x800",
        "gamut": "srgb",
        "high_dynamic_range": False,
        "touch_points": 0,
        "px_per_mm": None,
        "calibration": None,
        "distance_mm": None,
        "distance": None,
    }


def test_a_page_zoom_that_makes_the_ratio_fractional_is_fine(visit: Visit) -> None:
    told = visit(device_scale_factor=1.1).through()
    assert told["device_pixel_ratio"] == pytest.approx(1.1)
    assert told["scale"] == 4


# --- devices that will not do


@pytest.mark.parametrize(("kind", "options"), [("phone", PHONE), ("tablet", TABLET)])
def test_a_device_the_study_does_not_allow_is_refused_with_the_reason(
    visit: Visit, kind: str, options: dict[str, Any]
) -> None:
    person = visit({f"{kind}s": False}, **options)
    person.heading(f"This study does not work on a {kind}")
    assert "on a computer" in person.page.locator("main").inner_text()
    person.press("I cannot do this on this device")
    expect(person.page.locator("main")).to_be_visible()
    person.page.wait_for_function("performance.getEntriesByType('navigation')[0].type === 'reload'")
    assert person.reasons == ["device"]
    assert person.screens == []


@pytest.mark.parametrize(("kind", "options"), [("computer", {}), ("phone", PHONE), ("tablet", TABLET)])
def test_a_device_is_named_for_what_it_is(visit: Visit, kind: str, options: dict[str, Any]) -> None:
    assert visit({"scale": 1}, **options).through()["device"] == kind


def test_a_computer_takes_part_where_phones_and_tablets_may_not(visit: Visit) -> None:
    assert visit({"phones": False, "tablets": False}).through()["device"] == "computer"


def test_a_window_too_small_has_to_be_enlarged_and_then_goes_on_by_itself(visit: Visit) -> None:
    person = visit(viewport={"width": 500, "height": 400}, screen={"width": 1280, "height": 800})
    person.heading("The images do not fit")
    facts = person.page.locator("main dl")
    expect(facts).to_contain_text("500 × 400")
    assert "larger" in person.page.locator("main p:visible").first.inner_text()
    person.page.set_viewport_size({"width": 500, "height": 700})
    expect(facts).to_contain_text("500 × 700")
    assert person.screens == []
    person.page.set_viewport_size({"width": 700, "height": 700})
    assert person.through()["window"] == "700x700"


def test_leaving_for_a_window_too_small_gives_that_reason(visit: Visit) -> None:
    person = visit(viewport={"width": 500, "height": 400})
    with person.page.expect_response("**/screen-out"):
        person.press("I cannot do this on this device")
    assert person.reasons == ["window"]


def test_a_phone_whose_longer_side_has_the_room_is_to_be_turned(visit: Visit) -> None:
    image = {"width": 280, "height": 150}
    person = visit({"image": image}, **PHONE)
    person.heading("The images do not fit")
    expect(person.page.get_by_text("turn your device on its side")).to_be_visible()
    person.page.set_viewport_size({"width": 844, "height": 390})
    assert person.through()["window"] == "844x390"


def test_a_screen_that_can_never_show_the_images_says_so(visit: Visit) -> None:
    person = visit({"scale": 40}, **PHONE)
    expect(person.page.get_by_text("This screen is too small")).to_be_visible()
    expect(person.page.get_by_text("turn your device")).to_be_hidden()


@pytest.mark.parametrize("protocol", ["afc", "flicker", "oddity", "ifc", "yes_no"])
def test_the_window_that_is_asked_for_is_just_large_enough(visit: Visit, protocol: str) -> None:
    """Also in the trial, which has a layout of its own: every canvas lies inside the window, beside the others."""
    frames = {"flicker": 2, "oddity": 2}.get(protocol, 1)
    person = visit({"protocol": protocol, "frames": frames}, viewport={"width": 200, "height": 100})
    needed = person.page.locator('[data-value="needed"]')
    expect(needed).to_have_text(re.compile(r"\d+ × \d+"))
    width, height = (int(side) for side in needed.inner_text().split(" × "))
    for smaller in ({"width": width - 2, "height": height}, {"width": width, "height": height - 2}):
        person.page.set_viewport_size(smaller)
        expect(person.page.locator('[data-value="present"]')).to_have_text(f"{smaller['width']} × {smaller['height']}")
    person.page.set_viewport_size({"width": width, "height": height})
    if protocol == "flicker":
        person.press("I want to take part")
    person.through()
    person.page.locator("[data-go]").click()
    person.page.locator(".afc-stage").wait_for()
    assert person.page.evaluate("document.documentElement.clientWidth") == width
    boxes = [canvas.bounding_box() for canvas in person.page.locator(".afc-images canvas").all()]
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    assert all(box and box["y"] >= 0 and box["y"] + box["height"] <= height for box in boxes)
    places = {(round(box["x"]), round(box["y"])) for box in boxes if box}
    assert len(places) == len(boxes)


def test_a_small_laptop_has_room_for_two_pairs_above_each_other(visit: Visit) -> None:
    visit({"protocol": "oddity", "frames": 2}, viewport={"width": 1280, "height": 720}).through()


def test_pinch_zoom_has_to_be_undone(visit: Visit) -> None:
    person = visit({"calibration": "card", "scale": 1}, **PHONE)
    person.outline.wait_for()
    browser_session = person.context.new_cdp_session(person.page)

    def pinch(scale: int) -> None:
        browser_session.send("Emulation.setPageScaleFactor", {"pageScaleFactor": scale})

    def load(route: Route) -> None:
        pinch(2)
        route.fallback()

    person.page.route("**/plan", load)
    person.page.reload()
    person.heading("The page is magnified")
    pinch(1)
    person.heading("How large is your screen?")


# --- the card


@pytest.mark.parametrize("ratio", [1, 2])
def test_a_card_on_the_screen_gives_device_pixels_per_millimetre(visit: Visit, ratio: int) -> None:
    person = visit(CARD, device_scale_factor=ratio)
    css_px_per_mm = person.lay_card(3.78)
    told = person.through()
    assert told["px_per_mm"] == pytest.approx(css_px_per_mm * ratio, rel=0.002)
    assert told["calibration"] == "card_long"
    assert told["distance_mm"] is None


def test_a_phone_is_measured_by_the_cards_short_side(visit: Visit) -> None:
    person = visit({**CARD, "scale": 1}, **PHONE)
    css_px_per_mm = person.lay_card(6.04, "card_short")
    told = person.through()
    assert told["px_per_mm"] == pytest.approx(css_px_per_mm * 3, rel=0.002)
    assert told["calibration"] == "card_short"


def test_the_card_can_be_laid_the_other_way_and_back(visit: Visit) -> None:
    person = visit(CARD)
    box = person.outline.bounding_box()
    assert box
    assert box["width"] / box["height"] == pytest.approx(85.6 / 53.98, rel=0.01)
    person.press("The card is wider than the screen")
    box = person.outline.bounding_box()
    assert box
    assert box["height"] / box["width"] == pytest.approx(85.6 / 53.98, rel=0.01)
    person.lay_card(4.0, "card_short")
    assert person.through()["calibration"] == "card_short"


def test_an_outline_nobody_touched_is_no_measurement(visit: Visit) -> None:
    person = visit(CARD)
    person.press("It fits")
    expect(person.page.get_by_role("alert").filter(visible=True)).to_contain_text("not been changed")
    person.lay_card(3.78)
    assert person.through()["px_per_mm"] == pytest.approx(3.78, abs=0.02)


@pytest.mark.parametrize("key", ["Home", "End"])
def test_a_screen_that_cannot_be_is_not_believed(visit: Visit, key: str) -> None:
    person = visit(CARD, viewport={"width": 1900, "height": 1300})
    person.page.get_by_label("Width of the outline").press(key)
    person.press("It fits")
    expect(person.page.get_by_role("alert").filter(visible=True)).to_contain_text("No screen is like that")
    assert person.screens == []


def test_the_outline_follows_slider_and_arrow_keys(visit: Visit) -> None:
    person = visit(CARD)
    start = person.outline_width()
    for key, step in (("ArrowRight", 1), ("Shift+ArrowRight", 10), ("ArrowLeft", -1), ("Shift+ArrowLeft", -10)):
        before = person.outline_width()
        person.page.keyboard.press(key)
        assert person.outline_width() == pytest.approx(before + step)
    slider = person.page.get_by_label("Width of the outline")
    slider.fill(str(start + 50))
    assert person.outline_width() == pytest.approx(start + 50)
    slider.focus()
    person.page.keyboard.press("ArrowRight")
    assert person.outline_width() > start + 50


def test_the_outline_never_grows_out_of_the_window(visit: Visit) -> None:
    person = visit({**CARD, "scale": 1}, **PHONE)
    person.page.get_by_label("Width of the outline").press("End")
    box = person.outline.bounding_box()
    assert box
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 390
    assert person.page.evaluate("document.documentElement.scrollWidth") == 390


# --- the distance


@pytest.mark.parametrize(("typed", "distance_mm"), [("57", 570), ("62,5", 625), (" 20 ", 200), ("150", 1500)])
def test_a_told_distance_is_stored_in_millimetres(visit: Visit, typed: str, distance_mm: float) -> None:
    person = visit(TOLD)
    person.lay_card(3.78)
    person.tell(typed)
    told = person.through()
    assert (told["distance_mm"], told["distance"]) == (distance_mm, "told")


def test_a_distance_that_cannot_be_is_asked_again_with_the_range(visit: Visit) -> None:
    person = visit({"distance": "told"})
    field = person.page.get_by_label("Distance in centimetres")
    for typed in ("", "19", "151", "600", "an arm"):
        person.tell(typed)
        expect(person.page.get_by_role("alert").filter(visible=True)).to_contain_text("from 20 to 150")
        assert field.get_attribute("aria-invalid") == "true"
        expect(field).to_be_focused()
    person.tell("60")
    told = person.through()
    assert (told["distance_mm"], told["px_per_mm"]) == (600, None)


def test_pressing_enter_twice_does_not_load_the_page_again(visit: Visit) -> None:
    person = visit({"distance": "told"})
    person.failures = ["offline"]
    person.page.get_by_label("Distance in centimetres").fill("60")
    person.page.keyboard.press("Enter")
    person.page.keyboard.press("Enter")
    assert person.through()["distance_mm"] == 600
    assert person.loads == 1


#: How far the middle of the dot is from that of the cross, CSS px; null while there is no dot.
SEPARATION = """() => {
  const [cross, dot] = [".sight .afc-fixation", ".dot"].map((s) => document.querySelector(s));
  if (!cross || dot.hidden) return null;
  const middle = (node) => node.getBoundingClientRect().left + node.getBoundingClientRect().width / 2;
  return middle(cross) - middle(dot);
}"""


def watch_dot(person: Setup, separation_mm: float, css_px_per_mm: float) -> None:
    """Waits until the dot is so far from the cross."""
    person.page.wait_for_function(f"(px) => ({SEPARATION})() >= px", arg=separation_mm * css_px_per_mm, polling="raf")


def blind_spot(person: Setup, separation_mm: float, css_px_per_mm: float, press: Callable[[], None]) -> float:
    """Presses five times once the dot is so far away; the median of where it then was, in mm.

    A busy machine presses late, as a slow person does: what counts is where the dot was at the press.
    """
    person.page.evaluate(
        f"""() => {{
          window.pressed = [];
          const note = () => {{
            const separation = ({SEPARATION})();
            if (separation !== null) window.pressed.push(separation);
          }};
          for (const type of ["keydown", "pointerdown"]) window.addEventListener(type, note, {{ capture: true }});
        }}"""
    )
    for n in range(1, 6):
        expect(person.page.get_by_text(f"Dot {n} of 5")).to_be_attached()
        watch_dot(person, separation_mm, css_px_per_mm)
        press()
    where = median(person.page.evaluate("window.pressed")) / css_px_per_mm
    assert where >= separation_mm
    return float(where)


def test_the_blind_spot_gives_the_distance_by_keyboard(visit: Visit) -> None:
    person = visit(BLIND_SPOT)
    css_px_per_mm = person.lay_card(3.78)
    expect(person.page.locator(".sight .afc-fixation")).to_be_visible()
    person.page.get_by_role("button", name="Start").press("Space")
    where = blind_spot(person, 70.0, css_px_per_mm, lambda: person.page.keyboard.press("Space"))
    told = person.through()
    assert told["distance"] == "blind_spot"
    assert told["distance_mm"] == pytest.approx(viewing.distance_from_blind_spot(where), rel=0.06)
    assert 0 <= told["distance_spread_mm"] < 60
    assert told["distance_misses"] == 0


def test_the_blind_spot_gives_the_distance_by_touch(visit: Visit) -> None:
    landscape = {**PHONE, "viewport": {"width": 844, "height": 390}}
    person = visit({**BLIND_SPOT, "scale": 1}, **landscape)
    css_px_per_mm = person.lay_card(6.04)
    person.page.get_by_role("button", name="Start").tap()
    field = person.page.locator(".sight")
    where = blind_spot(person, 60.0, css_px_per_mm, lambda: field.tap(position={"x": 200, "y": 20}))
    assert person.through()["distance_mm"] == pytest.approx(viewing.distance_from_blind_spot(where), rel=0.06)


def test_a_dot_that_never_vanishes_comes_again(visit: Visit) -> None:
    person = visit({**BLIND_SPOT, "scale": 1}, viewport={"width": 520, "height": 800})
    person.lay_card(4.0)
    person.press("Start")
    expect(person.page.get_by_role("alert").filter(visible=True)).to_contain_text("reached the edge", timeout=10_000)
    expect(person.page.get_by_text("Dot 1 of 5")).to_be_attached()
    person.press("Type the distance instead")
    person.tell("60")
    assert person.through()["distance"] == "told"


def test_a_distance_from_the_blind_spot_that_cannot_be_is_not_believed(visit: Visit) -> None:
    person = visit(BLIND_SPOT)
    css_px_per_mm = person.lay_card(3.78)
    person.press("Start")
    blind_spot(person, 42.0, css_px_per_mm, lambda: person.page.keyboard.press("Space"))
    expect(person.page.get_by_role("alert").filter(visible=True)).to_contain_text("cannot be right")
    expect(person.page.get_by_role("button", name="Start")).to_be_focused()
    assert person.screens == []


def test_a_window_too_narrow_for_the_blind_spot_asks_for_the_distance(visit: Visit) -> None:
    person = visit({**BLIND_SPOT, "scale": 1}, **PHONE)
    person.lay_card(6.04, "card_short")
    person.tell("35")
    assert person.through()["distance"] == "told"


# --- sizes in degrees


@pytest.mark.parametrize("degrees", [4.0, 5.3])
def test_a_size_in_degrees_takes_the_nearest_whole_scale(visit: Visit, degrees: float) -> None:
    person = visit({**IN_DEGREES, "image_degrees": degrees})
    person.lay_card(3.78)
    person.tell("60")
    told = person.through()
    per_degree = viewing.px_per_degree(told["px_per_mm"], told["distance_mm"])
    assert told["scale"] == viewing.scale_for(degrees, 64, per_degree)
    assert told["scale"] in (2, 3)


def test_a_size_no_whole_scale_comes_near_is_refused_and_can_be_measured_again(visit: Visit) -> None:
    person = visit({**IN_DEGREES, "image_degrees": 1.0})
    person.lay_card(3.78)
    person.tell("60")
    person.heading("The images would have the wrong size")
    expect(person.page.get_by_role("button", name="I cannot do this on this device")).to_have_attribute(
        "data-screen-out", "size"
    )
    person.press("Measure again")
    person.lay_card(3.78)
    person.tell("100")
    assert person.through()["scale"] == 1


def test_a_size_in_degrees_that_needs_a_larger_window_says_so(visit: Visit) -> None:
    person = visit({**IN_DEGREES, "image_degrees": 10.0}, viewport={"width": 700, "height": 800})
    person.lay_card(3.78)
    person.tell("60")
    person.heading("The images do not fit")
    person.page.set_viewport_size({"width": 1280, "height": 800})
    assert person.through()["scale"] == 6


# --- measured before


def measured(visit: Visit) -> Setup:
    person = visit(TOLD)
    person.lay_card(3.78)
    person.tell("60")
    person.through()
    return person


def test_a_reload_offers_what_was_measured(visit: Visit) -> None:
    person = measured(visit)
    person.page.reload()
    person.heading("Your screen is measured already")
    person.press("Yes, go on")
    person.through()
    first, second = person.screens
    assert first == second


def test_what_was_measured_can_be_measured_again(visit: Visit) -> None:
    person = measured(visit)
    person.page.reload()
    person.press("Measure again")
    person.lay_card(4.0)
    person.tell("70")
    assert person.through()["distance_mm"] == 700


def test_another_ratio_is_measured_anew(visit: Visit) -> None:
    person = measured(visit)
    change_ratio(person, 2)
    person.page.reload()
    person.heading("How large is your screen?")


def change_ratio(person: Setup, ratio: float) -> None:
    metrics = {"width": 1280, "height": 800, "deviceScaleFactor": ratio, "mobile": False}
    person.context.new_cdp_session(person.page).send("Emulation.setDeviceMetricsOverride", metrics)


def test_a_page_zoom_changed_during_set_up_is_noticed(visit: Visit) -> None:
    person = visit(TOLD)
    person.lay_card(3.78)
    change_ratio(person, 2)
    person.tell("60")
    expect(person.page.get_by_text("zoom has changed")).to_be_visible()
    person.lay_card(3.0)
    person.tell("60")
    told = person.through()
    assert told["device_pixel_ratio"] == 2
    assert told["px_per_mm"] == pytest.approx(6.0, abs=0.03)


# --- the server


@pytest.mark.parametrize("failure", ["offline", 500, 503])
def test_a_failed_try_is_repeated(visit: Visit, failure: int | str) -> None:
    person = visit(CARD)
    person.failures = [failure, failure]
    person.lay_card(3.78)
    assert person.through()["calibration"] == "card_long"
    assert person.failures == []


def test_a_long_outage_is_told_and_outlived(visit: Visit) -> None:
    person = visit(CARD)
    person.failures = ["offline"] * 7
    person.lay_card(3.78)
    person.heading("One moment…")
    while len(person.failures) > 1:
        person.page.evaluate("dispatchEvent(new Event('online'))")
        person.page.wait_for_timeout(100)
    expect(person.page.get_by_text("There is no connection")).to_be_visible()
    while person.failures:
        person.page.evaluate("dispatchEvent(new Event('online'))")
        person.page.wait_for_timeout(100)
    person.page.evaluate("dispatchEvent(new Event('online'))")
    person.through()


def test_a_run_that_is_over_loads_the_page_that_says_so(visit: Visit) -> None:
    person = visit(CARD)
    person.failures = [410]
    with person.page.expect_navigation():
        person.lay_card(3.78)
    assert person.loads == 2


@pytest.mark.parametrize(("status", "heading"), [(409, "Open in another tab"), (422, "Something went wrong")])
def test_a_refusal_stops_this_tab(visit: Visit, status: int, heading: str) -> None:
    person = visit(CARD)
    person.failures = [status]
    person.lay_card(3.78)
    person.heading(heading)


def test_the_session_keeps_what_was_measured(address: str, arrive: Arrive) -> None:
    person = arrive()
    person.consent(make_study(calibration="card", distance="told"))
    person.page.get_by_label("Width of the outline").fill("342.4")
    person.page.get_by_role("button", name="It fits").click()
    person.page.get_by_label("Distance in centimetres").fill("60")
    person.page.get_by_role("button", name="Go on").click()
    person.page.locator("[data-loading]").wait_for(state="attached")
    session = Session.objects.get()
    assert session.px_per_degree == pytest.approx(viewing.px_per_degree(4.0, 600.0))
    assert session.device["calibration"] == "card_long"


def test_somebody_on_a_device_that_will_not_do_is_screened_out(address: str, arrive: Arrive) -> None:
    person = arrive(**PHONE)
    person.consent(make_study(allow_phones=False))
    person.page.get_by_role("button", name="I cannot do this on this device").click()
    expect(person.page.get_by_role("button", name="I cannot do this on this device")).to_have_count(0)
    assert Session.objects.get().state == Session.State.SCREENED_OUT


# --- for robots and for everybody


def test_a_simulated_run_reports_a_usual_screen(visit: Visit) -> None:
    person = visit()
    person.through()
    data = person.page.evaluate(
        """async (plan) => {
          const jsPsych = initJsPsych();
          await jsPsych.simulate([{ type: SetupPlugin, plan }], "data-only");
          const [{ scale, ratio, px_per_degree }] = jsPsych.data.get().values();
          return { scale, ratio, px_per_degree };
        }""",
        {**PLAN, **IN_DEGREES, "image_degrees": 4.0},
    )
    told = person.screens[-1]
    assert told["px_per_mm"] == pytest.approx(96 / 25.4)
    assert told["scale"] == viewing.scale_for(4.0, 64, viewing.px_per_degree(told["px_per_mm"], told["distance_mm"]))
    assert data == {"scale": told["scale"], "ratio": 1, "px_per_degree": 40.0}


def test_all_of_it_works_by_keyboard_alone(visit: Visit) -> None:
    person = visit(TOLD)
    keyboard = person.page.keyboard
    person.heading("How large is your screen?")
    expect(person.page.get_by_role("heading", level=1)).to_be_focused()
    for _ in range(14):
        keyboard.press("Shift+ArrowRight")
    while person.page.evaluate("document.activeElement.textContent") != "It fits":
        keyboard.press("Tab")
    assert person.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    keyboard.press("Enter")
    person.heading("How far are your eyes from the screen?")
    keyboard.press("Tab")
    keyboard.type("60")
    keyboard.press("Enter")
    told = person.through()
    assert told["px_per_mm"] == pytest.approx(320 / 85.6)
    assert told["distance_mm"] == 600


NARROW = {"viewport": {"width": 320, "height": 640}, "is_mobile": True, "has_touch": True}
PAGES = {
    "card": ("How large is your screen?", {**CARD, "scale": 1}),
    "distance": ("How far are your eyes from the screen?", {"distance": "told", "scale": 1}),
    "phone": ("This study does not work on a phone", {"phones": False}),
    "window": ("The images do not fit", {"scale": 9}),
}


@pytest.mark.parametrize("direction", ["ltr", "rtl"])
@pytest.mark.parametrize("page", PAGES)
def test_narrow_screens_and_large_text_need_no_sideways_scrolling(visit: Visit, page: str, direction: str) -> None:
    heading, plan = PAGES[page]
    person = visit(plan, dir=direction, **NARROW)
    person.heading(heading)
    assert sideways(person.page) == 0
    person.page.evaluate("document.documentElement.style.fontSize = '200%'")
    assert sideways(person.page) == 0


@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing(visit: Visit, page: str) -> None:
    heading, plan = PAGES[page]
    person = visit(plan, **NARROW)
    person.heading(heading)
    assert [axe.told(violation) for violation in axe.violations(person.page)] == []


def test_axe_finds_nothing_at_the_blind_spot(visit: Visit) -> None:
    person = visit(BLIND_SPOT)
    person.lay_card(3.78)
    person.press("Start")
    expect(person.page.locator(".dot")).to_be_visible()
    assert [axe.told(violation) for violation in axe.violations(person.page)] == []


def sideways(page: Page) -> int:
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def test_the_outline_keeps_its_left_edge_in_right_to_left_pages(visit: Visit) -> None:
    person = visit(CARD, dir="rtl")
    before = person.outline.bounding_box()
    person.press("Much larger")
    after = person.outline.bounding_box()
    assert before
    assert after
    assert after["x"] == before["x"]
    assert after["width"] == before["width"] + 10
