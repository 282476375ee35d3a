"""Simulated participants at a real browser: Chromium is led through the pages that people see, by the keyboard.

Playwright, which belongs to `make dev`, is imported only when a browser is started.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

from django.db import connection

from study.desk.observers import Observer, Pictures, Population, Response
from study.desk.simulation import (
    AGE,
    DISTANCE_MM,
    PX_PER_MM,
    Progress,
    SimulationError,
    Truths,
    Walk,
    persons,
    picture_paths,
    truths_of,
    within_window,
)
from study.trials.models import Study

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request
    from playwright.sync_api import Response as Reply

WIDTH: Final = 1280
HEIGHT: Final = 800
TIMEOUT_MS: Final = 60_000
#: As short as an answer takes when nobody waits for it.
QUICK_MS: Final = 50.0
KEYS: Final = {"left": "ArrowLeft", "right": "ArrowRight", "unsure": "ArrowDown"}
#: CSS px by which Shift and an arrow change the outline of the card, and its first width.
CARD_STEP, CARD_START, CARD_MM = 10, 180, 85.6

#: What the page can wait for, in the order in which it is looked for.
PLACES: Final = {
    "reload": "[data-reload]",
    "card": ".ruler",
    "blind_spot": "[data-tell]",
    "distance": "#distance",
    "explained": '[data-state="explained"] .afc-note button',
    "screen": "[data-go]:enabled",
}
#: The word for what the page waits for, or null while it is busy. What was found once is marked and passed over.
WAITING_FOR: Final = """(places) => {
  if (document.readyState === "loading") return null;
  if (!document.querySelector("#run")) return "end";
  for (const [word, selector] of Object.entries(places)) {
    const node = document.querySelector(`#run ${selector}`);
    if (node && node.met !== word) {
      node.met = word;
      return word;
    }
  }
  return null;
}"""
#: Resolves so many ms after the pictures are painted; presses before that do not count.
COUNTS: Final = """async (ms) => {
  for (let frame = 0; frame < 2; frame += 1) await new Promise((resolve) => requestAnimationFrame(resolve));
  await new Promise((resolve) => setTimeout(resolve, ms));
}"""


def simulate_in_browser(
    study: Study,
    population: Population,
    *,
    base_url: str,
    participants: int,
    seed: int = 0,
    quick: bool = False,
    progress: Progress | None = None,
) -> list[Walk]:
    """Lead `participants` simulated people through an open study at `base_url`, one after another, in Chromium.

    quick: answers are not given at the observers' response times, but at once. Otherwise as
    `simulation.simulate`; raises SimulationError also when there is no browser to start.
    """
    with chromium() as browser:

        def walk(observer: Observer) -> Walk:
            context = browser.new_context(viewport={"width": WIDTH, "height": HEIGHT})
            context.set_default_timeout(TIMEOUT_MS)
            with context:
                visit = Visit(context.new_page(), study, base_url)
                visit.consent()
                return visit.walk(_Sitter(visit, observer, quick).answer, progress)

        return [walk(population.draw(person)) for person in persons(seed, participants)]


def executable() -> str:
    """The path of Chromium: that which has no windows, where it is installed, as a page in it costs less than half.

    Raises SimulationError when there is neither.
    """
    for name in ("chromium-headless-shell", "chromium"):
        if path := shutil.which(name):
            return path
    raise SimulationError("Chromium is missing: install it with `apt-get install chromium`.")


@contextmanager
def chromium(*arguments: str) -> Iterator[Browser]:
    """Chromium without a window. Raises SimulationError when it or Playwright is missing, or a page is stuck."""
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        raise SimulationError("Playwright is missing: `make dev` installs it.") from None
    path = executable()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--disable-gpu", "--disable-background-networking", *arguments]
        )
        try:
            yield browser
        except Error as error:
            raise SimulationError(f"The browser does not get on: {error.message.splitlines()[0]}") from error
        finally:
            browser.close()


class Visit:
    """One run in one page: from the information page to the end, whatever the design puts in between.

    plan: what the server said first. index, candidate: the trial that is shown or comes next, and which of its
    candidates, as the server's acknowledgements tell. complete: whether the page asked for the end.
    """

    def __init__(self, page: Page, study: Study, base_url: str) -> None:
        self.page = page
        self.study = study
        self.base_url = base_url
        self.plan: dict[str, Any] = {}
        self.index = 0
        self.candidate = 0
        self.complete = False
        page.on("request", self._notice)

    @property
    def run_url(self) -> str:
        return self.page.url.partition("?")[0]

    def consent(self) -> None:
        """Read the information page, fill in its form and start."""
        ticket = self.study.simulation_ticket()
        self.page.goto(urljoin(self.base_url, f"{self.study.get_absolute_url()}?ticket={ticket}"))
        form = self.page.locator("form.consent")
        for box in form.locator("input[type=checkbox]:visible, input[type=radio][value=yes]:visible").all():
            box.check()
        for number in form.locator("input[inputmode=numeric]:visible").all():
            number.fill(AGE)
        with self.page.expect_response("**/plan") as reply:
            self._enter("form.consent [type=submit]")
        self.plan = reply.value.json()
        self._follow(self.plan)

    def walk(self, answer: Callable[[], Response], progress: Progress | None = None) -> Walk:
        """Go on wherever the page waits; `answer` is asked when a trial is on the screen, for the response to it."""
        answered = 0
        while (waiting := self._waiting_for()) != "end":
            if waiting == "reload":
                raise SimulationError(f"The page stopped and says: {self.page.locator('#run h1').inner_text()}")
            if waiting == "trial":
                self._answer(answer())
                answered += 1
                if progress:
                    progress(1)
            else:
                getattr(self, f"_{waiting}")()
        code = self.page.locator("output")
        return Walk(answered, code.inner_text() if code.count() else "", self.complete)

    @property
    def _trial(self) -> str:
        """Selector of a stage that takes answers."""
        state = "shown" if self.plan["timing"]["exposure_ms"] is None else "asked"
        return f'.afc-stage[data-state="{state}"]'

    def _waiting_for(self) -> str:
        places = {"trial": self._trial, **PLACES}
        return str(self.page.wait_for_function(WAITING_FOR, arg=places).json_value())

    # --- what the page can wait for

    def _answer(self, response: Response) -> None:
        """Press the key that long after the trial was seen; without a choice, let the time pass."""
        from playwright.sync_api import Error

        with self.page.expect_response(self._is_answer, timeout=TIMEOUT_MS + response.rt_ms) as reply:
            if response.choice in KEYS:
                self.page.evaluate(COUNTS, max(response.rt_ms, self.plan["timing"]["enable_after_ms"]))
                self.page.keyboard.press(KEYS[response.choice])
        if not reply.value.ok:
            raise SimulationError(f"The answer to trial {self.index} was answered with {reply.value.status}.")
        try:
            self._follow(reply.value.json())
        except Error:
            return  # it was the last: the page has left, and what it was told is gone

    def _is_answer(self, reply: Reply) -> bool:
        return reply.request.method == "PUT" and reply.url.endswith(f"/trials/{self.index}")

    def _follow(self, told: dict[str, Any]) -> None:
        self.index, self.candidate = told["next_index"], told.get("candidate", 0)

    def _notice(self, request: Request) -> None:
        self.complete = self.complete or request.url.endswith("/complete")

    def _explained(self) -> None:
        self._enter("#run .afc-note button")

    def _screen(self) -> None:
        self._enter("#run [data-go]:enabled")

    def _card(self) -> None:
        for _ in range(round((PX_PER_MM * CARD_MM - CARD_START) / CARD_STEP)):
            self.page.keyboard.press("Shift+ArrowRight")

    def _blind_spot(self) -> None:
        self._enter("#run [data-tell]")

    def _distance(self) -> None:
        self.page.locator("#run #distance").fill(f"{DISTANCE_MM / 10:g}")
        self._enter("#run #distance")

    def _enter(self, selector: str) -> None:
        self.page.locator(selector).focus()
        self.page.keyboard.press("Enter")


class _Sitter:
    """An observer in front of a visit's page, who knows what the database knows."""

    def __init__(self, visit: Visit, observer: Observer, quick: bool) -> None:
        self.visit = visit
        self.observer = observer
        self.quick = quick
        # Playwright runs an event loop in this thread, in which Django refuses its database.
        with ThreadPoolExecutor(1) as thread:
            self.truths = thread.submit(_truths, visit.run_url).result()

    def answer(self) -> Response:
        visit = self.visit
        truth = self.truths[visit.index][visit.candidate]
        response = within_window(
            self.observer.answer(self._pictures() if self.observer.looks else {}, truth), visit.plan["timing"]
        )
        return Response(response.choice, min(response.rt_ms, QUICK_MS)) if self.quick else response

    def _pictures(self) -> Pictures:
        """The pictures on the screen, fetched once more: the same place has the same bytes."""
        visit = self.visit
        fetch = visit.page.context.request.get
        paths = picture_paths(visit.plan, visit.index, visit.candidate)
        return {side: [fetch(visit.run_url + path).body() for path in of] for side, of in paths.items()}


def _truths(run_url: str) -> Truths:
    try:
        return truths_of(run_url)
    finally:
        connection.close()  # this thread's own
