"""What reaches the screen and the clock: whole device pixels, one onset for both images, honest response times."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser

from study.trials import design
from study.trials.models import Study, TrialTrace
from tests.e2e.participant import PHONE, Participant
from tests.study.factories import make_study

Arrive = Callable[..., Participant]
SCALE = 4


def on_screen(person: Participant, n: int) -> NDArray[np.uint8]:
    """The device pixels inside the n-th canvas, from a screenshot: (height, width, 3)."""
    shot = np.asarray(Image.open(io.BytesIO(person.page.screenshot(scale="device"))).convert("RGB"))
    left, top, right, bottom = person.page.evaluate(
        """(n) => {
          const box = document.querySelectorAll("canvas")[n].getBoundingClientRect();
          return [box.left, box.top, box.right, box.bottom].map((x) => x * devicePixelRatio);
        }""",
        n,
    )
    assert left == pytest.approx(round(left), abs=0.05)
    assert top == pytest.approx(round(top), abs=0.05)
    return shot[round(top) : round(bottom), round(left) : round(right)]


def source(person: Participant, side: str) -> NDArray[np.uint8]:
    """The image as the server sends it for the first trial: (height, width, 3)."""
    reply = person.context.request.get(f"{person.page.url}i/0/{side}")
    return np.asarray(Image.open(io.BytesIO(reply.body())).convert("RGB"))


@pytest.mark.parametrize("ratio", [1, 1.1, 1.25, 1.5, 2, 3])
def test_every_image_pixel_is_k_by_k_device_pixels(
    study: Study, address: str, launch: Callable[..., Browser], ratio: float
) -> None:
    """With the ratio of the whole browser, as a screen or the page zoom sets it: emulated ones round differently."""
    browser = launch(f"--force-device-scale-factor={ratio}", "--window-size=1013,701")
    person = Participant(browser, address, viewport=None, no_viewport=True)
    person.begin(study)
    person.see("Practice 1")
    assert person.page.evaluate("devicePixelRatio") == pytest.approx(ratio)
    for n, side in enumerate(("left", "right")):
        enlarged = source(person, side).repeat(SCALE, axis=0).repeat(SCALE, axis=1)
        shown = on_screen(person, n)
        assert shown.shape == enlarged.shape
        assert np.array_equal(shown, enlarged)
    assert person.faults() == []
    browser.close()


def test_a_screen_too_narrow_gets_the_largest_whole_scale_that_fits(
    address: str, arrive: Arrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(design, "TIMING", {"fixation_ms": 20, "blank_ms": 20, "enable_after_ms": 0})
    study = make_study(strengths=(2.0,), base_images=12, trials_per_strength=2, size=64)
    person = arrive(**{**PHONE, "device_scale_factor": 1})
    person.begin(study)
    person.see("Practice 1")
    assert on_screen(person, 0).shape == (128, 128, 3)
    assert np.array_equal(on_screen(person, 1), source(person, "right").repeat(2, axis=0).repeat(2, axis=1))
    person.press("left")
    person.page.get_by_role("button", name="Continue").wait_for()
    assert TrialTrace.objects.get().details["scale"] == 2


def test_a_window_that_changes_during_a_trial_keeps_whole_pixels(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.begin(study)
    person.see("Practice 1")
    person.page.set_viewport_size({"width": 777, "height": 611})
    person.page.wait_for_timeout(100)
    enlarged = source(person, "left").repeat(SCALE, axis=0).repeat(SCALE, axis=1)
    assert np.array_equal(on_screen(person, 0), enlarged)


def test_both_images_appear_in_the_same_frame_and_the_response_is_timed_from_the_next(
    study: Study, arrive: Arrive
) -> None:
    person = arrive()
    person.page.add_init_script(
        """
        window.revealed = [];
        addEventListener("keydown", (event) => (window.pressed = event.timeStamp), true);
        const watch = (now) => {
          const canvases = [...document.querySelectorAll("canvas")];
          const shown = canvases.map((canvas) => getComputedStyle(canvas).visibility === "visible");
          if (shown.some(Boolean) && !window.pressed) window.revealed.push([now, ...shown]);
          requestAnimationFrame(watch);
        };
        requestAnimationFrame(watch);
        """
    )
    person.begin(study)
    person.see("Practice 1")
    person.page.wait_for_timeout(300)
    person.press("left")
    person.page.get_by_role("button", name="Continue").wait_for()
    revealed, pressed = person.page.evaluate("[window.revealed, window.pressed]")
    assert all(left and right for _, left, right in revealed)
    shown_for = pressed - revealed[0][0]
    trace = TrialTrace.objects.select_related("trial__answer").get()
    assert trace.trial.answer.rt_ms == pytest.approx(shown_for, abs=2.5 * trace.frame_ms)
    assert trace.frame_ms == pytest.approx(16.7, abs=2)
    assert trace.details["frames"] == pytest.approx(trace.trial.answer.rt_ms / trace.frame_ms, abs=30)


def test_a_press_too_soon_is_counted_but_is_no_answer(
    address: str, arrive: Arrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(design, "TIMING", {"fixation_ms": 20, "blank_ms": 20, "enable_after_ms": 1500})
    person = arrive()
    person.begin(make_study(strengths=(2.0,), base_images=12, trials_per_strength=2))
    person.see("Practice 1")
    person.page.wait_for_timeout(100)
    person.page.keyboard.press("ArrowLeft")
    person.page.wait_for_timeout(1600)
    person.page.keyboard.press("ArrowRight")
    person.page.get_by_role("button", name="Continue").wait_for()
    trace = TrialTrace.objects.select_related("trial__answer").get()
    assert trace.details["early_presses"] == 1
    assert trace.trial.answer.choice == "right"
    assert trace.trial.answer.rt_ms >= 1500


def test_losses_of_focus_and_the_pixel_ratio_are_recorded(study: Study, arrive: Arrive) -> None:
    person = arrive(device_scale_factor=1.25)
    person.begin(study)
    person.see("Practice 1")
    person.page.evaluate("window.dispatchEvent(new Event('blur'))")
    person.page.evaluate("window.dispatchEvent(new Event('blur'))")
    person.press("left")
    person.page.get_by_role("button", name="Continue").wait_for()
    trace = TrialTrace.objects.get()
    assert trace.focus_losses == 2
    assert (trace.device_pixel_ratio, trace.viewport_scale) == (1.25, 1)
    assert trace.details["trusted"] is True
    assert trace.details["input"] == "key"


def test_a_stalled_frame_counts_as_dropped(study: Study, arrive: Arrive) -> None:
    person = arrive()
    person.begin(study)
    person.see("Practice 1")
    person.page.wait_for_timeout(200)
    person.page.evaluate("{ const end = performance.now() + 150; while (performance.now() < end); }")
    person.page.wait_for_timeout(100)
    person.press("left")
    person.page.get_by_role("button", name="Continue").wait_for()
    assert TrialTrace.objects.get().dropped_frames >= 1


SIMULATED = """async (mode) => {
  const bitmap = await createImageBitmap(new ImageData(8, 8));
  const jsPsych = initJsPsych({ display_element: document.querySelector("#run") });
  const kept = [];
  await jsPsych.simulate(
    [{
      type: AfcPairPlugin, images: () => ({ left: bitmap, right: bitmap }), fixation_ms: 20, blank_ms: 20,
      on_answer: async (data) => (kept.push(data),
        { correct: true, altered_side: "left", text: "Correct.", button: "Continue" }),
    }],
    mode,
    { default: { data: { choice: "right", rt_ms: 300 } } },
  );
  return kept;
}"""


@pytest.mark.parametrize("mode", ["data-only", "visual"])
def test_the_plugin_simulates_a_person(study: Study, arrive: Arrive, mode: str) -> None:
    person = arrive()
    person.consent(study)
    person.page.locator("[data-go]:enabled").wait_for()
    kept: list[dict[str, Any]] = person.page.evaluate(SIMULATED, mode)
    assert [data["choice"] for data in kept] == ["right"]
    assert kept[0]["rt_ms"] >= 300
    if mode == "visual":
        assert kept[0]["trusted"] is False
