"""Simulated participants: they walk through a study by the same pages and addresses as people.

What they are shown comes from the server; the truth that observers of known truth need is read from the database.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import requests
from django.db import connection

from study.desk.observers import Observer, Population, Truth
from study.lab.models import Pair
from study.trials.models import Study, Trial, token_sha256

AT_ONCE = 4
TIMEOUT_S = 30


class SimulationError(RuntimeError):
    """The server did something that a participant's browser could not have gone on from."""


@dataclass(frozen=True)
class Walk:
    """One simulated participant's way through the study."""

    answered: int
    code: str


def simulate(
    study: Study,
    population: Population,
    *,
    base_url: str,
    participants: int,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> list[Walk]:
    """Send `participants` simulated people through an open study at `base_url`; the seed decides who they are.

    progress is called with the number of trials answered since the last call. Raises SimulationError, naming the
    address, when a page or image is not what a participant should get.
    """

    people = [
        _Participant(study, base_url, _browser(), population.draw(person), person)
        for person in range(seed * 1_000_003, seed * 1_000_003 + participants)
    ]

    def walk(person: _Participant) -> Walk:
        try:
            return person.walk(progress)
        finally:
            connection.close()  # this thread's own

    # One after another, so that the same seeds meet the same lists; the answers then come side by side.
    for person in people:
        person.consent()
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(walk, people))


def _browser() -> requests.Session:
    browser = requests.Session()
    browser.trust_env = False  # a proxy of the institute's cannot reach this machine's loopback
    return browser


@dataclass
class _Participant:
    study: Study
    base_url: str
    browser: requests.Session
    observer: Observer
    seed: int
    run_url: str = ""

    def walk(self, progress: Callable[[int], None] | None) -> Walk:
        """Answer every trial and complete; closes the browser."""
        with self.browser:
            return self._walk(progress)

    def _walk(self, progress: Callable[[int], None] | None) -> Walk:
        plan = self._json("GET", "plan")
        truth = self._truth()
        trials = [trial for trial in plan["trials"] if trial["index"] >= plan["next_index"]]
        for trial in trials:
            self._answer(trial["index"], plan["attempt"], truth[trial["index"]])
            if progress:
                progress(1)
        return Walk(len(trials), self._json("POST", "complete", json={})["code"])

    def consent(self) -> None:
        """Read the information page and start."""
        information = urljoin(self.base_url, self.study.get_absolute_url())
        page = self._request("GET", information, params={"ticket": self.study.simulation_ticket()})
        form = _ConsentForm(page.text)
        started = self._request(
            "POST", urljoin(page.url, form.action), data=form.accepted(), headers={"Referer": page.url}
        )
        if "/run/" not in started.url:
            raise SimulationError(f"Starting at {information} did not lead to a run but to {started.url}.")
        self.run_url = started.url

    def _answer(self, index: int, attempt: int, truth: Truth) -> None:
        response = self.observer.answer(self._image(index, "left"), self._image(index, "right"), truth)
        client_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.run_url}{index}")
        body = {"client_id": str(client_id), "attempt": attempt, "choice": response.choice, "rt_ms": response.rt_ms}
        stored = self._json("PUT", f"trials/{index}", json=body)
        if "id" not in stored:
            raise SimulationError(f"The answer to trial {index} at {self.run_url} was not acknowledged.")

    def _image(self, index: int, side: str) -> bytes:
        reply = self._request("GET", f"{self.run_url}i/{index}/{side}")
        promised = reply.headers.get("Repr-Digest", "")
        found = "sha-256=:" + base64.b64encode(hashlib.sha256(reply.content).digest()).decode() + ":"
        if promised != found:
            raise SimulationError(f"The image at {reply.url} is not what its Repr-Digest promises.")
        return reply.content

    def _truth(self) -> dict[int, Truth]:
        token = self.run_url.rstrip("/").rsplit("/", 1)[1]
        trials = Trial.objects.filter(session__token_sha256=token_sha256(token)).select_related("pair__attack")
        return {trial.index: _truth_of(trial) for trial in trials}

    def _json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        origin = {"Origin": self.base_url.rstrip("/")}
        reply: dict[str, Any] = self._request(method, self.run_url + path, headers=origin, **options).json()
        return reply

    def _request(self, method: str, url: str, **options: Any) -> requests.Response:
        try:
            reply = self.browser.request(method, url, timeout=TIMEOUT_S, **options)
        except requests.RequestException as error:
            raise SimulationError(f"{method} {url} had no answer ({type(error).__name__}): is it running?") from error
        if not reply.ok:
            raise SimulationError(f"{method} {reply.url} was answered with {reply.status_code}: {reply.text[:200]}")
        return reply


def _truth_of(trial: Trial) -> Truth:
    pair = trial.pair
    strength = 0.0 if pair.control == Pair.Control.IDENTITY else pair.strength
    return Truth(f"B{pair.base_image_id}", pair.attack.name, strength, pair.control, trial.altered_side)


class _ConsentForm(HTMLParser):
    """The form of the information page: where it goes, and its fields with every box ticked."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.action = ""
        self.fields: dict[str, str] = {}
        self.feed(page)
        if not self.action:
            raise SimulationError("The information page has no form to start with.")

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "form" and (given.get("method") or "").lower() == "post" and not self.action:
            self.action = given.get("action") or ""
        name = given.get("name")
        if tag == "input" and name and given.get("type") in {"hidden", "checkbox"}:
            self.fields[name] = given.get("value") or ("on" if given.get("type") == "checkbox" else "")

    def accepted(self) -> dict[str, str]:
        return self.fields
