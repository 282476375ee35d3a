"""Simulated participants: they walk through a study by the same pages and addresses as people.

What they are shown comes from the server; the truth that observers of known truth need is read from the database.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import requests
from django.db import connection

from study.desk.observers import Observer, Pictures, Population, Response, Truth
from study.lab.models import Pair
from study.trials import viewing
from study.trials.models import PracticeOutcome, Study, Trial, token_sha256

AT_ONCE = 4
TIMEOUT_S = 30
#: The screen that they sit at: a usual monitor at a usual distance.
PX_PER_MM = 4.0
DISTANCE_MM = 600.0

Progress = Callable[[int], None]
#: Is told of each person, by their seed, with the token of the run that they have begun.
Arrived = Callable[[int, str], None]
#: For each trial what is true of its candidates, in their order; of a trial without candidates, of its one pair.
Truths = Mapping[int, list[Truth]]
AGE = "34"


class SimulationError(RuntimeError):
    """The server did something that a participant's browser could not have gone on from."""


@dataclass(frozen=True)
class Walk:
    """One simulated participant's way through the study."""

    answered: int
    code: str
    passed: bool = True  # the practice; else the way ended there


def simulate(
    study: Study,
    population: Population,
    *,
    base_url: str,
    participants: int,
    seed: int = 0,
    been: Collection[int] = (),
    arrived: Arrived | None = None,
    progress: Progress | None = None,
) -> list[Walk]:
    """Send `participants` simulated people through a study at `base_url`; the seed decides who they are (`persons`).

    Those who have `been` there already stay away. progress is called with the number of trials answered since the last
    call. Raises SimulationError, naming the address, when a page or image is not what a participant should get.
    """
    people = [
        _Participant(person, study, base_url, _browser(), population.draw(person))
        for person in persons(seed, participants)
        if person not in been
    ]

    def walk(person: _Participant) -> Walk:
        try:
            return person.walk(progress)
        finally:
            connection.close()  # this thread's own

    # One after another, so that the same seeds meet the same lists; the answers then come side by side.
    for person in people:
        person.consent()
        if arrived:
            arrived(person.seed, token_of(person.run_url))
    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(walk, people))


def persons(seed: int, participants: int) -> range:
    """Seeds of so many people, no two of whom are in two groups of different seeds."""
    return range(seed * 1_000_003, seed * 1_000_003 + participants)


def token_of(run_url: str) -> str:
    return run_url.rstrip("/").rsplit("/", 1)[1]


def truths_of(run_url: str) -> Truths:
    """What the database knows of the trials of the run at this address."""
    trials = Trial.objects.filter(session__token_sha256=token_sha256(token_of(run_url)))
    shown = {trial.index: (trial, trial.candidates or [trial.pair_id]) for trial in trials}
    pairs = Pair.objects.select_related("attack").in_bulk({pk for _, pks in shown.values() for pk in pks})
    return {index: [_truth(pairs[pk], trial.altered_side) for pk in pks] for index, (trial, pks) in shown.items()}


def failed_practice(acknowledgement: Mapping[str, Any]) -> bool:
    """Whether this answer was the last of a practice that ends the run."""
    return bool(acknowledgement.get("practice", {}).get("outcome") == PracticeOutcome.FAILED)


def within_window(response: Response, timing: Mapping[str, Any]) -> Response:
    """The response, or none where the plan's response window is over by then."""
    window = timing["response_ms"]
    if window is None or response.rt_ms <= window + (timing["exposure_ms"] or 0):
        return response
    return Response("none", window + (timing["exposure_ms"] or 0))


def _truth(pair: Pair, altered_side: str) -> Truth:
    strength = 0.0 if pair.control == Pair.Control.IDENTITY else pair.strength
    return Truth(f"B{pair.base_image_id}", pair.attack.name, strength, pair.control, altered_side)


def _browser() -> requests.Session:
    browser = requests.Session()
    browser.trust_env = False  # a proxy of the institute's cannot reach this machine's loopback
    return browser


@dataclass
class _Participant:
    seed: int
    study: Study
    base_url: str
    browser: requests.Session
    observer: Observer
    run_url: str = ""

    def walk(self, progress: Progress | None) -> Walk:
        """Answer every trial that is due and complete; closes the browser."""
        with self.browser:
            return self._walk(progress)

    def _walk(self, progress: Progress | None) -> Walk:
        plan = self._json("GET", "plan")
        self._json("PUT", "screen", json=_screen(plan))
        truths = truths_of(self.run_url)
        answered, following = 0, plan
        while (index := following["next_index"]) in truths:
            candidate = following.get("candidate", 0)
            following = self._answer(plan, index, candidate, truths[index][candidate])
            answered += 1
            if progress:
                progress(1)
            if failed_practice(following):
                return Walk(answered, code="", passed=False)
        return Walk(answered, self._json("POST", "complete", json={})["code"])

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

    def _answer(self, plan: Mapping[str, Any], index: int, candidate: int, truth: Truth) -> dict[str, Any]:
        """Look and answer; what the server says then."""
        response = within_window(self.observer.answer(self._pictures(plan, index, candidate), truth), plan["timing"])
        client_id = uuid.uuid5(uuid.NAMESPACE_URL, f"{self.run_url}{index}")
        body = {
            "client_id": str(client_id),
            "attempt": plan["attempt"],
            "choice": response.choice,
            "rt_ms": response.rt_ms,
        }
        stored = self._json("PUT", f"trials/{index}", json=body)
        if "id" not in stored:
            raise SimulationError(f"The answer to trial {index} at {self.run_url} was not acknowledged.")
        return stored

    def _pictures(self, plan: Mapping[str, Any], index: int, candidate: int) -> Pictures:
        return {side: [self._image(path) for path in of] for side, of in picture_paths(plan, index, candidate).items()}

    def _image(self, path: str) -> bytes:
        reply = self._request("GET", self.run_url + path)
        promised = reply.headers.get("Repr-Digest", "")
        found = "sha-256=:" + base64.b64encode(hashlib.sha256(reply.content).digest()).decode() + ":"
        if promised != found:
            raise SimulationError(f"The image at {reply.url} is not what its Repr-Digest promises.")
        return reply.content

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


def picture_paths(plan: Mapping[str, Any], index: int, candidate: int = 0) -> dict[str, list[str]]:
    """Where the pictures of a trial are, by side, from the run's own address on."""
    numbers = range(candidate * plan["frames"], (candidate + 1) * plan["frames"])
    return {side: [f"i/{index}/{side}" + (f"/{n}" if n else "") for n in numbers] for side in plan["sides"]}


def _screen(plan: Mapping[str, Any]) -> dict[str, Any]:
    """What a page reports of its screen when it has measured what the plan asks for."""
    card, distance = plan["calibration"] == "card", plan["distance"] != "none"
    scale = plan["scale"] or viewing.scale_for(
        plan["image_degrees"], plan["image"]["width"], viewing.px_per_degree(PX_PER_MM, DISTANCE_MM)
    )
    return {
        "attempt": plan["attempt"],
        "scale": scale,
        "device": "computer",
        "device_pixel_ratio": 1.0,
        "calibration": "card_long" if card else None,
        "px_per_mm": PX_PER_MM if card else None,
        "distance": plan["distance"] if distance else None,
        "distance_mm": DISTANCE_MM if distance else None,
    }


class _ConsentForm(HTMLParser):
    """The form of the information page: where it goes, and its fields as somebody fills them in who may take part.

    Every box ticked, every question answered with "yes", the age given; text fields are left alone, and so the one
    that people cannot see.
    """

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
        name, value = given.get("name"), given.get("value") or ""
        if tag != "input" or not name:
            return
        kind = given.get("type") or "text"
        if kind in {"hidden", "checkbox"} or (kind == "radio" and value == "yes"):
            self.fields[name] = value or ("on" if kind == "checkbox" else "")
        elif kind == "number" or given.get("inputmode") == "numeric":
            self.fields[name] = AGE

    def accepted(self) -> dict[str, str]:
        return self.fields
