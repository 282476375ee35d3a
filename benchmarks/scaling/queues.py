"""Queues, simulated: first come, first served, by one or several equal servers.

`waits` is for what comes whatever the server does; `Station` takes one arrival at a time, for what comes of how earlier
ones were served. Both are held against theory (`theory`) by tests.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]


def waits(arrivals: Times, services: Times, servers: int = 1) -> Times:
    """How long each waits, s, before its service begins.

    arrivals: (n,) rising, s. services: (n,) of each, s. Raises ValueError for arrivals out of order and no server.
    """
    if len(arrivals) and np.any(np.diff(arrivals) < 0):
        raise ValueError("Arrivals must be given in the order of their times.")
    if servers < 1:
        raise ValueError(f"A queue needs at least one server, not {servers}.")
    if servers == 1:
        return _waits_for_one(arrivals, services)
    free = [0.0] * servers if not len(arrivals) else [float(arrivals[0])] * servers
    found = np.empty(len(arrivals))
    for number, (came, takes) in enumerate(zip(arrivals.tolist(), services.tolist(), strict=True)):
        begins = max(came, free[0])
        found[number] = begins - came
        heapq.heapreplace(free, begins + takes)
    return found


def _waits_for_one(arrivals: Times, services: Times) -> Times:
    """Lindley's recursion: the work that came so far, less the least that it ever was ahead of the clock."""
    if not len(arrivals):
        return np.empty(0)
    walk = np.concatenate(([0.0], np.cumsum(services[:-1] - np.diff(arrivals))))
    return walk - np.minimum.accumulate(walk)


@dataclass
class Station:
    """Equal servers with one queue, which are told of arrivals in the order of their times."""

    servers: int
    busy_s: float = 0.0
    _free: list[float] = field(init=False)

    def __post_init__(self) -> None:
        if self.servers < 1:
            raise ValueError(f"A queue needs at least one server, not {self.servers}.")
        self._free = [0.0] * self.servers

    def serve(self, came: float, takes: float) -> float:
        """When the service of who came then, and takes so long, is over."""
        begins = max(came, self._free[0])
        heapq.heapreplace(self._free, begins + takes)
        self.busy_s += takes
        return begins + takes


@dataclass
class GroupCommit:
    """A disk that makes whatever waits durable at once: who comes during a flush is in the next one."""

    flush_s: float
    busy_s: float = 0.0
    _ends: float = -np.inf

    def serve(self, came: float) -> float:
        """When what was written then is durable. Arrivals come in the order of their times."""
        if came > self._ends - self.flush_s:  # the last flush has begun without it: it is in the next one
            self._ends = max(came, self._ends) + self.flush_s
            self.busy_s += self.flush_s
        return self._ends


def lognormal(rng: np.random.Generator, mean: float, variation: float, n: int) -> Times:
    """(n,) draws, of this mean and this coefficient of variation."""
    sigma = np.sqrt(np.log1p(variation**2))
    return rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, n)
