"""The trial plugin alone on a page of its own, pictures and timing as a test wants them, and a log of the frames."""

from __future__ import annotations

import io
from itertools import pairwise
from typing import Any

import numpy as np
from django.template.loader import render_to_string
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import BrowserContext

from tests.e2e.participant import Participant

Picture = NDArray[np.uint8]

SCALE = 4
SCRIPTS = (
    "vendor/jspsych-8.3.0/jspsych.min.js", "trials/screen.js", "trials/device.js", "trials/protocols.js",
    "trials/frames.js", "trials/mask.js", "trials/stage.js", "trials/presentation.js", "trials/trial.js",
)  # fmt: skip
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/trials/participant.css">{scripts}</head>
<body class="is-run"><header class="run-head">Bench</header><main id="run"></main>{paused}</body></html>"""
#: Logs [frame time, state, first pixel of each visible canvas or null] whenever one of them changes. It is heard before
#: the plugin in every frame, so it sees what the frame before has painted.
WATCH = """
window.seen = [];
window.frames = [];
const probe = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const pixel = (canvas) => {
  if (getComputedStyle(canvas).visibility !== "visible" || !canvas.checkVisibility()) return null;
  probe.drawImage(canvas, 0, 0, 1, 1, 0, 0, 1, 1);
  return probe.getImageData(0, 0, 1, 1).data[0];
};
const watch = (now) => {
  const stage = document.querySelector(".afc-stage");
  const look = stage ? [stage.dataset.state, ...[...stage.querySelectorAll("canvas")].map(pixel)] : [null];
  if (JSON.stringify(look) !== JSON.stringify(seen.at(-1)?.slice(1))) seen.push([now, ...look]);
  frames.push(now);
  requestAnimationFrame(watch);
};
requestAnimationFrame(watch);
"""
START = """async ([pictures, parameters, feedback]) => {
  const bitmap = ([width, height, grey]) => {
    const data = new ImageData(width, height);
    grey.forEach((value, i) => data.data.set([value, value, value, 255], 4 * i));
    return createImageBitmap(data);
  };
  const images = {};
  for (const side of Object.keys(pictures)) images[side] = await Promise.all(pictures[side].map(bitmap));
  window.answers = [];
  const jsPsych = initJsPsych({ display_element: document.querySelector("#run") });
  const trial = {
    type: TrialPlugin,
    images: () => images,
    on_answer: async (data) => (answers.push(data), feedback),
    ...parameters,
  };
  window.run = (mode) => (mode ? jsPsych.simulate([trial], mode) : jsPsych.run([trial]));
}"""
TIMING: dict[str, Any] = {
    "fixation_ms": 100, "exposure_ms": None, "mask_ms": 0, "gap_ms": 300, "flicker_ms": 250, "response_ms": None,
    "blank_ms": 20, "enable_after_ms": 0,
}  # fmt: skip
LABELS = {
    "left": "Left", "right": "Right", "unsure": "Not sure", "left_image": "Left image", "right_image": "Right image",
}  # fmt: skip
#: What a trial of each protocol has to show, known by the first pixel of each picture.
PICTURES: dict[str, dict[str, list[int]]] = {
    "afc": {"left": [1], "right": [3]},
    "ifc": {"left": [1], "right": [3]},
    "flicker": {"left": [1, 2], "right": [3, 3]},
    "oddity": {"left": [1, 2], "right": [3, 3]},
    "yes_no": {"left": [1]},
}
FEEDBACK = {"correct": True, "altered_side": "left", "text": "Correct.", "button": "Continue"}


def noise(first: int, size: int = 16) -> Picture:
    """A picture (size, size) of noise that is known by its first pixel."""
    picture = np.random.default_rng(first).integers(40, 200, (size, size), dtype=np.uint8)
    picture[0, 0] = first
    return picture


def enlarged(picture: Picture, scale: int = SCALE) -> NDArray[np.uint8]:
    """Each pixel as scale x scale pixels: (height * scale, width * scale, 3)."""
    return np.repeat(picture.repeat(scale, axis=0).repeat(scale, axis=1)[..., None], 3, axis=2)


def on_screen(person: Participant, n: int) -> NDArray[np.uint8]:
    """The device pixels inside the n-th canvas, from a screenshot: (height, width, 3). Its corner is a whole one."""
    shot = np.asarray(Image.open(io.BytesIO(person.page.screenshot(scale="device"))).convert("RGB"))
    edges = person.page.evaluate(
        """(n) => {
          const { left, top, right, bottom } = document.querySelectorAll("canvas")[n].getBoundingClientRect();
          return [left, top, right, bottom].map((x) => x * devicePixelRatio);
        }""",
        n,
    )
    left, top, right, bottom = (round(edge) for edge in edges)
    assert np.allclose(edges, [left, top, right, bottom], atol=0.05)
    return shot[top:bottom, left:right]


class Bench(Participant):
    """A participant whose page is the plugin's."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        super().__init__(context, address)
        scripts = "".join(f'<script defer src="/static/{script}"></script>' for script in SCRIPTS)
        page = PAGE.format(scripts=scripts, paused=render_to_string("trials/paused.html"))
        self.page.route("**/bench/", lambda route: route.fulfill(body=page, content_type="text/html"))
        self.page.add_init_script(WATCH)
        self.page.goto(f"{address}/bench/")

    def prepare(
        self, protocol: str, *, size: int = 16, feedback: bool = False, timing: Any = None, **more: Any
    ) -> None:
        """Makes a trial ready. `timing`: what differs from TIMING; `more`: further parameters of the plugin."""
        parameters = {
            "protocol": protocol, "scale": SCALE, "labels": LABELS, "prompt": "Which one?",
            "timing": {**TIMING, **(timing or {})}, **more,
        }  # fmt: skip
        pictures = {
            side: [[size, size, noise(first, size).flatten().tolist()] for first in held]
            for side, held in PICTURES[protocol].items()
        }
        self.page.evaluate(START, [pictures, parameters, FEEDBACK if feedback else None])

    def start(self, protocol: str, **more: Any) -> None:
        """Begins a trial."""
        self.prepare(protocol, **more)
        self.page.evaluate("void run()")

    def until(self, state: str) -> None:
        self.page.locator(f'[data-state="{state}"]').wait_for()

    def key(self, name: str) -> None:
        self.page.keyboard.press(name)

    def kept(self) -> dict[str, Any]:
        """The answer with its trace, when it has been given."""
        self.page.wait_for_function("answers.length > 0")
        data: dict[str, Any] = self.page.evaluate("answers[0]")
        return data

    def over(self) -> None:
        """Waits until the trial is over, and forgets it: the next may begin on the same page."""
        self.page.wait_for_function("!document.querySelector('.afc-stage')")
        self.page.evaluate("seen.length = 0")

    def seen(self) -> list[list[Any]]:
        """[frame time, state, first pixel of each canvas], one row whenever something changed."""
        rows: list[list[Any]] = self.page.evaluate("seen")
        return rows

    def order(self) -> list[list[Any]]:
        """[state, first pixel of each canvas] from the fixation on, without times."""
        return [row[1:] for row in self.seen() if row[1]]

    def durations(self, state: str) -> list[float]:
        """How long each look of this state lasted, ms; the present one is left out."""
        return [later[0] - row[0] for row, later in pairwise(self.seen()) if row[1] == state]

    def frame(self) -> float:
        """The median frame, ms."""
        return float(np.median(np.diff(self.page.evaluate("frames"))))
