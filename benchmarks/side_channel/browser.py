"""What a browser sees of a run: every request and reply as the network layer has it, and the document of each trial."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from study.desk.browsing import HEIGHT, TIMEOUT_MS, WIDTH, Visit, chromium
from study.desk.observers import Response
from study.desk.simulation import Progress

if TYPE_CHECKING:
    from playwright.sync_api import Browser, CDPSession, ConsoleMessage, Page

    from study.trials.models import Study

RECORDER = Path(__file__).with_name("recorder.js")
BUFFER = 256 * 1024 * 1024


@dataclass
class Exchange:
    """One request and its reply, as DevTools tells them; `sent` and `finished` are seconds on the browser's clock."""

    number: int
    url: str
    method: str
    sent: float
    request: dict[str, Any]
    request_headers: dict[str, str] = field(default_factory=dict)
    response: dict[str, Any] = field(default_factory=dict)
    headers_text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    pieces: list[tuple[int, int]] = field(default_factory=list)
    finished: float = 0.0
    wire_bytes: float = 0.0
    body: bytes | None = None

    @property
    def path(self) -> str:
        """From the run's own address on."""
        return self.url.partition("/run/")[2].partition("/")[2]


@dataclass
class Shown:
    """One trial as it was shown: the document's states since the last answer, the console's words, and the answer."""

    index: int
    states: list[dict[str, Any]]
    console: list[str]
    choice: str


@dataclass
class Run:
    """All that the browser saw of one run."""

    token: str
    plan: dict[str, Any]
    trials: list[Shown]
    exchanges: list[Exchange]


class Wire:
    """Listens to the network of one page by the DevTools protocol."""

    def __init__(self, page: Page) -> None:
        self.exchanges: dict[str, Exchange] = {}
        self.extra: dict[str, dict[str, Any]] = {}
        self.cdp: CDPSession = page.context.new_cdp_session(page)
        for name in (
            "requestWillBeSent", "requestWillBeSentExtraInfo", "responseReceived", "responseReceivedExtraInfo",
            "dataReceived", "loadingFinished",
        ):  # fmt: skip
            self.cdp.on(f"Network.{name}", getattr(self, f"_{name}"))
        self.cdp.send("Network.enable", {"maxTotalBufferSize": BUFFER, "maxResourceBufferSize": BUFFER})

    def read_bodies(self) -> None:
        """Fetch the bodies that have come since the last time; the browser drops them when the page is left."""
        for identifier, exchange in list(self.exchanges.items()):
            if exchange.finished and exchange.body is None:
                reply = self.cdp.send("Network.getResponseBody", {"requestId": identifier})
                body = reply["body"]
                exchange.body = base64.b64decode(body) if reply["base64Encoded"] else body.encode()

    def _requestWillBeSent(self, event: dict[str, Any]) -> None:  # noqa: N802
        request = event["request"]
        if "/run/" not in request["url"] or not request["url"].partition("/run/")[2].partition("/")[2]:
            return
        identifier = event["requestId"]
        self.exchanges[identifier] = Exchange(
            len(self.exchanges), request["url"], request["method"], event["timestamp"], request
        )
        for handler, late in self.extra.pop(identifier, {}).items():
            getattr(self, handler)(late)

    def _requestWillBeSentExtraInfo(self, event: dict[str, Any]) -> None:  # noqa: N802
        if exchange := self._of(event, "_requestWillBeSentExtraInfo"):
            exchange.request_headers = event["headers"]

    def _responseReceived(self, event: dict[str, Any]) -> None:  # noqa: N802
        if exchange := self.exchanges.get(event["requestId"]):
            exchange.response = event["response"]

    def _responseReceivedExtraInfo(self, event: dict[str, Any]) -> None:  # noqa: N802
        if exchange := self._of(event, "_responseReceivedExtraInfo"):
            exchange.headers, exchange.headers_text = event["headers"], event.get("headersText", "")

    def _dataReceived(self, event: dict[str, Any]) -> None:  # noqa: N802
        if exchange := self.exchanges.get(event["requestId"]):
            exchange.pieces.append((event["dataLength"], event["encodedDataLength"]))

    def _loadingFinished(self, event: dict[str, Any]) -> None:  # noqa: N802
        if exchange := self.exchanges.get(event["requestId"]):
            exchange.finished, exchange.wire_bytes = event["timestamp"], event["encodedDataLength"]

    def _of(self, event: dict[str, Any], handler: str) -> Exchange | None:
        """The exchange of an event that may come before the one that begins it; then it is kept for later."""
        exchange = self.exchanges.get(event["requestId"])
        if exchange is None:
            self.extra.setdefault(event["requestId"], {})[handler] = event
        return exchange


def walk_runs(study: Study, base_url: str, runs: int, seed: int, progress: Progress) -> Iterator[Run]:
    """Walk so many participants, who guess, through the study; what the browser saw of each."""
    with chromium() as browser:
        for n in range(runs):
            yield _walk(browser, study, base_url, random.Random(f"{seed} {n}"), progress)


def _walk(browser: Browser, study: Study, base_url: str, rng: random.Random, progress: Progress) -> Run:
    with browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}) as context:
        context.set_default_timeout(TIMEOUT_MS)
        page = context.new_page()
        page.add_init_script(path=RECORDER)
        wire = Wire(page)
        console: list[str] = []
        page.on("console", lambda message: console.append(_words(message)))
        visit = Visit(page, study, base_url)
        trials: list[Shown] = []

        def answer() -> Response:
            wire.read_bodies()
            choice = rng.choice(("left", "right"))
            trials.append(Shown(visit.index, page.evaluate("recorder.take()"), console[:], choice))
            console.clear()
            return Response(choice, 0.0)

        visit.consent()
        token = visit.run_url.rstrip("/").rsplit("/", 1)[1]
        visit.walk(answer, progress)
        return Run(token, visit.plan, trials, list(wire.exchanges.values()))


def _words(message: ConsoleMessage) -> str:
    return json.dumps([message.type, message.text])
