"""Participants at the servers, event by event: what they wait for a page, their images and an answer's acknowledgement.

A request passes web, database and, if it stores something, the disk, one after the other. Answers come when people give
them, whatever the server does: pages keep them and send them in the background. Images come as fast as they are served,
a few at a time, while a page of text is read.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from benchmarks.scaling.days import Drawn, Visit
from benchmarks.scaling.queues import GroupCommit, Station, Times, lognormal

START, IMAGE, ANSWER = "start", "image", "answer"
KINDS: Final = (START, IMAGE, ANSWER)
#: Draws of one kind that are made at a time.
DRAWN_AT_ONCE: Final = 4096


@dataclass(frozen=True)
class Work:
    """What one request of a kind takes, s: of a web processor, of the database's, and of the one writer of SQLite.

    stores: whether the disk has to have it before the reply.
    """

    web_s: float
    database_s: float
    writer_s: float = 0.0
    stores: bool = True


@dataclass(frozen=True)
class Servers:
    """What serves, and what it takes.

    Attributes:
        work: of each kind of request.
        web: processors.
        database: processors of its own; 0: it shares those of the web server.
        flush_s: what the disk takes to make durable all that waits; None: SQLite, whose one writer does.
        variation: coefficient of variation of what one request takes.
    """

    work: Mapping[str, Work]
    web: int
    database: int = 0
    flush_s: float | None = None
    variation: float = 0.5


@dataclass(frozen=True)
class Found:
    """What the simulated people met.

    Attributes:
        latencies: by kind, s from the request to the reply, without the network.
        first_block_s: from the start of each run until the images of its first block were there.
        unfinished: how many requests had no reply when the window ended.
        load: by name of the station, the share of its time that it was busy.
    """

    latencies: Mapping[str, Times]
    first_block_s: Times
    unfinished: int
    load: Mapping[str, float]

    def percentile(self, kind: str, share: float) -> float:
        return percentile(self.latencies[kind], share)


def percentile(values: Times, share: float) -> float:
    """NaN of nothing."""
    return float(np.quantile(values, share)) if len(values) else float("nan")


def simulate(drawn: Drawn, visit: Visit, servers: Servers, seed: int) -> Found:
    """Serve what comes, to begin with by idle servers."""
    crowd = _Crowd(visit, servers, _draws(servers.variation, seed))
    for came in drawn.starts.tolist():
        crowd.begin(came, crowd.run())
    for came in drawn.answers.tolist():
        crowd.begin(came, crowd.request(ANSWER))
    return crowd.until(drawn.seconds)


@dataclass(frozen=True)
class Loop:
    """People who think, from half to one and a half times `think_s`, and answer when the last answer is acknowledged.

    As benchmarks.side_by_side.closed_loop plays them.
    """

    people: int
    seconds: float
    think_s: float = 0.0


def closed_loop(loop: Loop, servers: Servers, seed: int) -> Found:
    """Serve these people's answers."""
    crowd = _Crowd(Visit(), servers, _draws(servers.variation, seed))
    for number in range(loop.people):
        crowd.begin(0.0, crowd.walk(loop.think_s, np.random.default_rng((seed, number))))
    return crowd.until(loop.seconds)


Steps = Iterator[float]


@dataclass
class _Crowd:
    """Those who are there, each as steps that give the time at which they go on."""

    visit: Visit
    servers: Servers
    draws: Iterator[float]
    now: float = 0.0
    latencies: dict[str, list[float]] = field(default_factory=lambda: {kind: [] for kind in KINDS})
    first_block_s: list[float] = field(default_factory=list)
    unfinished: int = 0
    _going_on: list[tuple[float, int, Steps]] = field(default_factory=list)
    _begun: int = 0

    def __post_init__(self) -> None:
        self.web = Station(self.servers.web)
        self.database = Station(self.servers.database) if self.servers.database else self.web
        self.writer = Station(1)
        self.disk = None if self.servers.flush_s is None else GroupCommit(self.servers.flush_s)

    def begin(self, when: float, steps: Steps) -> None:
        self._begun += 1
        heapq.heappush(self._going_on, (when, self._begun, steps))

    def until(self, seconds: float) -> Found:
        """Let time pass."""
        while self._going_on and self._going_on[0][0] < seconds:
            self.now, number, steps = self._going_on[0]
            if (then := next(steps, None)) is None:
                heapq.heappop(self._going_on)
            else:
                heapq.heapreplace(self._going_on, (then, number, steps))
        stations = {"web": self.web, "database": self.database, "writer": self.writer}
        return Found(
            {kind: np.array(found) for kind, found in self.latencies.items()},
            np.array(self.first_block_s),
            self.unfinished,
            {name: station.busy_s / (seconds * station.servers) for name, station in stations.items()},
        )

    # -- what people do

    def walk(self, think_s: float, chance: np.random.Generator) -> Steps:
        while True:
            yield self.now + think_s * chance.uniform(0.5, 1.5)
            yield from self.request(ANSWER)

    def run(self) -> Steps:
        page = _Page(self.now)
        yield from self.request(START)
        for _ in range(self.visit.at_once):
            self.begin(self.now, self._fetch(page))

    def _fetch(self, page: _Page) -> Steps:
        """One image after the other, until all that the page needs are asked for."""
        while page.asked < self.visit.images:
            page.asked += 1
            yield self.now + self.visit.network_s
            yield from self.request(IMAGE)
            page.arrived += 1
            if page.arrived == min(2 * self.visit.block, self.visit.images):
                self.first_block_s.append(self.now - page.began)

    def request(self, kind: str) -> Steps:
        came, work, takes = self.now, self.servers.work[kind], next(self.draws)
        self.unfinished += 1
        if self.database is self.web:
            yield self.web.serve(came, takes * (work.web_s + work.database_s))
        else:
            yield self.web.serve(came, takes * work.web_s)
            yield self.database.serve(self.now, takes * work.database_s)
        if work.stores:
            yield self.disk.serve(self.now) if self.disk else self.writer.serve(self.now, takes * work.writer_s)
        self.unfinished -= 1
        self.latencies[kind].append(self.now - came)


@dataclass
class _Page:
    """Of a participant, while it fetches images."""

    began: float
    asked: int = 0
    arrived: int = 0


def _draws(variation: float, seed: int) -> Iterator[float]:
    """Lognormal numbers of mean 1, without end."""
    rng = np.random.default_rng(seed)
    while True:
        yield from lognormal(rng, 1.0, variation, DRAWN_AT_ONCE).tolist()
