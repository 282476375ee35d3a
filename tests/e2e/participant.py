"""One person at a browser: what they do, and everything the browser noticed meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

KEYS = {"left": "ArrowLeft", "right": "ArrowRight"}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "is_mobile": True, "has_touch": True}
REPORT_VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));
"""
NO_LONGER_ASKED = """(count) => document.querySelector("#count")?.textContent !== count
  || document.querySelector('[data-state="shown"], [data-state="asked"], [data-state="gap"]') === null"""
#: Chromium's own words for a request that failed or got an error status; expected only where a test says so.
FAILED_REQUEST = re.compile("Failed to load resource: (net::(?P<name>[A-Z_]+)|.* status of (?P<status>[0-9]+))")


def profile(browser: Browser, **options: Any) -> BrowserContext:
    """A browser profile that nobody has used before, by default of a desk; its pages report what the policy stops."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
    context.set_default_timeout(15_000)
    context.add_init_script(REPORT_VIOLATIONS)
    return context


class Participant:
    """One page in a browser profile, and what can be done on a study's pages."""

    def __init__(self, context: BrowserContext, address: str, page: Page | None = None) -> None:
        self.address = address
        self.context = context
        self.requests: list[Request] = []
        self.console: list[str] = []
        self.errors: list[str] = []
        self.expected: set[str] = set()
        self.page = self.listen(page or context.new_page())

    def open_tab(self) -> Page:
        return self.listen(self.context.new_page())

    def listen(self, page: Page) -> Page:
        page.on("request", lambda request: self.requests.append(request))  # noqa: PLW0108  (it must be a function)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.errors.append(f"{error}"))
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        self.console.append(message.text)
        failed = FAILED_REQUEST.match(message.text)
        if failed and (failed["name"] or failed["status"]) in self.expected:
            return
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def expect_failed_requests(self, *kinds: str) -> None:
        """Statuses ("409") or Chromium's names ("ERR_FAILED") that this test provokes."""
        self.expected |= set(kinds)

    def faults(self) -> list[str]:
        """Console errors and warnings, policy violations, exceptions, and requests to any other host."""
        host = urlsplit(self.address).netloc
        foreign = [r.url for r in self.requests if not r.url.startswith(("blob:", "data:")) and host not in r.url]
        return self.errors + [f"request to another host: {url}" for url in foreign]

    def leave(self) -> None:
        self.context.close()

    # --- what a person does

    def open(self, study: Any, query: str = "") -> None:
        self.page.goto(f"{self.address}/s/{study.slug}/{query}")

    def consent(self, study: Any) -> None:
        self.open(study)
        self.fill_in()
        self.page.get_by_role("button", name="Start").click()
        self.page.wait_for_url("**/run/**")

    def fill_in(self) -> None:
        """The form as somebody fills it in who may and wants to take part."""
        age = self.page.locator("[name=age]")
        if age.count():
            age.fill("34")
        for yes in self.page.locator("[type=radio][value=yes]").all():
            yes.check()
        self.page.get_by_role("checkbox").check()

    def go_on(self, heading: str) -> None:
        """Leaves the screen with this heading, once its button works."""
        expect(self.page.get_by_role("heading", level=1)).to_contain_text(heading)
        self.page.locator("[data-go]").click()

    def begin(self, study: Any) -> None:
        """From the study's link to the first practice pair."""
        self.consent(study)
        if study.protocol == "flicker":
            self.go_on("This study flickers")
        self.go_on("")

    def see(self, pair: str) -> None:
        """Waits until this pair ("Practice 1", "Pair 7") is on the screen."""
        expect(self.page.locator("#count")).to_have_text(re.compile(f"^{pair} of"))
        self.page.locator('[data-state="shown"]').wait_for()

    def act(self, answer: Callable[[], None]) -> None:
        """Answers the pair on the screen. A press before the images are painted does not count: then once more."""
        count = self.page.locator("#count").inner_text()
        answer()
        while not self.has_gone_on(count):
            answer()

    def has_gone_on(self, count: str) -> bool:
        """Whether this pair goes, now or in the next second: a touch becomes a click a little later."""
        try:
            self.page.wait_for_function(NO_LONGER_ASKED, arg=count, timeout=1000)
        except PlaywrightTimeoutError:
            return False
        return True

    def press(self, side: str) -> None:
        self.act(lambda: self.page.keyboard.press(KEYS[side]))

    def practise(self, n: int = 2, side: str = "left") -> None:
        """All practice pairs with their feedback, and the screen after them."""
        for i in range(1, n + 1):
            self.see(f"Practice {i}")
            self.press(side)
            self.page.get_by_role("button", name="Continue").click()
        self.go_on("practice is over")

    def answer(self, pairs: range, side: str = "left") -> None:
        for i in pairs:
            self.see(f"Pair {i}")
            self.press(side)

    def code(self, timeout: float = 15_000) -> str:
        """The completion code of the last screen."""
        output = self.page.locator("output")
        output.wait_for(timeout=timeout)
        return output.inner_text()

    # --- what the browser asked for

    def image_requests(self) -> list[str]:
        return [r.url for r in self.requests if "/i/" in r.url]

    def answers_sent(self) -> list[int]:
        """Trial indices in the order in which their answers were sent."""
        return [int(r.url.rpartition("/")[2]) for r in self.requests if r.method == "PUT" and "/trials/" in r.url]
