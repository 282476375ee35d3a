"""Simulated participants with the manners of the real page: they keep an answer until the server says it is stored.

The manners are those of static/trials/outbox.js and requests.js: the same answer is sent again, with the same id and
ever longer pauses, until it is acknowledged; a superseded page loads the plan anew. Some reload the page on the way,
and some send an acknowledged answer once more, as a page does whose reply was lost.
"""

from __future__ import annotations

import hashlib
import random
import re
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import requests

from study.desk.simulation import picture_paths
from tests.faults.ledger import Ledger

TIMEOUT_S = 15.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
RELOADS, REPEATS = 0.02, 0.05  # shares of the trials
SCREEN = {"device": "computer", "device_pixel_ratio": 1.0}

Plan = dict[str, Any]


class Stuck(Exception):  # noqa: N818
    """This participant cannot go on; the message says why."""


@dataclass
class Crowd:
    """So many participants at a time: whoever has finished is followed by another, until `close`."""

    address: str
    study: str
    size: int
    think_s: float
    seed: int
    acknowledgements: Ledger
    visits: Ledger
    closing: threading.Event = field(default_factory=threading.Event)
    leaving: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Crowd:
        self.threads = [
            threading.Thread(target=self._take_part, args=(seat,), daemon=True) for seat in range(self.size)
        ]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self.leaving.set()
        for thread in self.threads:
            thread.join()

    def finish(self, seconds: float) -> None:
        """Nobody new arrives; those who are there have so many seconds to finish, then they count as stuck."""
        self.closing.set()
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self.leaving.set()
        for thread in self.threads:
            thread.join()

    def _take_part(self, seat: int) -> None:
        for visit in range(10**6):
            if self.closing.is_set():
                return
            participant = Participant(self, f"{seat}.{visit}")
            try:
                participant.walk()
            except (Stuck, KeyError, ValueError) as error:
                participant.error = f"{type(error).__name__}: {error}"
            finally:
                participant.browser.close()
                self.visits.write(
                    participant=participant.name,
                    session=participant.session,
                    code=participant.code,
                    error=participant.error,
                    answered=participant.answered,
                    tries=participant.tries,
                )


class Participant:
    """One person at one browser."""

    def __init__(self, crowd: Crowd, name: str) -> None:
        self.crowd, self.name = crowd, name
        self.chance = random.Random(f"{crowd.seed} {name}")
        self.browser = requests.Session()
        self.browser.trust_env = False
        self.run_url = self.session = self.code = self.error = ""
        self.answered = self.tries = 0

    def walk(self) -> None:
        """From the information page to the code. Raises Stuck."""
        self._arrive()
        plan = self._load()
        while (index := plan["next_index"]) < len(plan["trials"]):
            self._look(plan, index)
            plan = self._answer(plan, index)
            if self.chance.random() < RELOADS:
                plan = self._load()
        reply = self._ask("POST", self.run_url + "complete", json={})
        if reply.status_code != 200:
            raise Stuck(f"complete was answered with {reply.status_code}: {reply.text[:200]}")
        self.code = reply.json()["code"]

    def _arrive(self) -> None:
        """Reads the information and consents. The form sent twice leads to one run, so it is sent until it does."""
        information = f"{self.crowd.address}/s/{self.crowd.study}/"
        page = self._ask("GET", information)
        ticket = re.search(r'name="start" value="([^"]+)"', page.text)
        if ticket is None:
            raise Stuck(f"The information page has no form: {page.status_code} {page.text[:200]}")
        reply = self._ask("POST", information + "start", data={"start": ticket[1], "consent": "on"})
        if "/run/" not in reply.url:
            raise Stuck(f"The form led to {reply.url}: {reply.status_code}")
        self.run_url = reply.url
        self.session = hashlib.sha256(self.run_url.rstrip("/").rsplit("/", 1)[1].encode()).hexdigest()

    def _load(self) -> Plan:
        """What a page does when it is loaded: the plan, and how the screen is."""
        while True:
            reply = self._ask("GET", self.run_url + "plan")
            if reply.status_code != 200:
                raise Stuck(f"plan was answered with {reply.status_code}: {reply.text[:200]}")
            plan: Plan = reply.json()
            screen = {"attempt": plan["attempt"], "scale": plan["scale"], **SCREEN}
            if self._ask("PUT", self.run_url + "screen", json=screen).status_code != 409:  # else: superseded by itself
                return plan

    def _look(self, plan: Plan, index: int) -> None:
        for paths in picture_paths(plan, index).values():
            for path in paths:
                reply = self._ask("GET", self.run_url + path)
                if reply.status_code != 200:
                    raise Stuck(f"image {path} was answered with {reply.status_code}: {reply.text[:200]}")
        self._pause(self.crowd.think_s * self.chance.uniform(0.5, 1.5))

    def _answer(self, plan: Plan, index: int) -> Plan:
        """Sends until it is acknowledged; returns the plan as it then is."""
        answer = {
            "client_id": str(uuid.UUID(int=self.chance.getrandbits(128), version=4)),
            "choice": self.chance.choice(plan["sides"]),
            "rt_ms": round(self.chance.uniform(400, 2000), 1),
        }
        while True:
            reply = self._ask("PUT", f"{self.run_url}trials/{index}", json={**answer, "attempt": plan["attempt"]})
            body = reply.json()
            if reply.status_code in (200, 201):
                self._acknowledged(index, answer, reply.status_code, body)
                break
            if (reply.status_code, body.get("error")) not in ((409, "superseded"), (425, "out_of_turn")):
                raise Stuck(f"trial {index} was answered with {reply.status_code}: {reply.text[:200]}")
            self._pause(FIRST_PAUSE_S)
            plan = self._load()
        if self.chance.random() < REPEATS:
            reply = self._ask("PUT", f"{self.run_url}trials/{index}", json={**answer, "attempt": plan["attempt"]})
            if reply.status_code != 200:
                raise Stuck(f"trial {index}, sent again, was answered with {reply.status_code}: {reply.text[:200]}")
            self._acknowledged(index, answer, reply.status_code, reply.json())
        return {**plan, "next_index": body["next_index"]}

    def _acknowledged(self, index: int, answer: dict[str, Any], status: int, body: dict[str, Any]) -> None:
        self.answered += 1
        self.crowd.acknowledgements.write(
            session=self.session,
            index=index,
            client_id=answer["client_id"],
            choice=answer["choice"],
            status=status,
            id=body["id"],
        )

    def _ask(self, method: str, url: str, **options: Any) -> requests.Response:
        """Asks until the server says something final: anything but 429 and 5xx."""
        headers = {} if "data" in options or method == "GET" else {"Origin": self.crowd.address}
        failures = 0
        while True:
            try:
                reply = self.browser.request(method, url, timeout=TIMEOUT_S, headers=headers, **options)
                if reply.status_code < 500 and reply.status_code != 429:
                    return reply
                said = f"{reply.status_code} {reply.text[:200]}"
            except requests.RequestException as error:
                said = type(error).__name__
            failures += 1
            self.tries += 1
            longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures - 1, 10))
            self._pause(longest * self.chance.uniform(0.5, 1.0), said=f"{method} {url.rsplit('/', 1)[1]}: {said}")

    def _pause(self, seconds: float, said: str = "still answering") -> None:
        if self.crowd.leaving.wait(seconds):
            raise Stuck(f"did not finish in time; last: {said}")
