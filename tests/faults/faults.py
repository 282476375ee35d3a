"""The kinds of fault, how they are drawn, and how each is done to an installation."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tests.faults.installation import Installation, Process
from tests.faults.ledger import Ledger
from tests.faults.researcher import Researcher

#: Shares of the kills.
KILLS = {
    "web worker": 6,
    "web master": 3,
    "gpu worker": 2,
    "cpu worker": 2,
    "pool process": 3,
    "training process": 3,
    "model process": 3,
    "valkey": 3,
    "postgres": 2,
    "postgres backend": 3,
}
OTHERS = ("broker cut", "disk full", "delivered twice", "lease moved", "soft shutdown")
#: One of each other kind for so many kills.
KILLS_PER_OTHER = 25
BROKER_CUT_S = 20.0
DISK_FULL_S = 6.0
SOFT_SHUTDOWN_S = 40.0
#: A victim that is not there, such as a training between two trainings, is waited for.
VICTIM_WITHIN_S = 45.0


@dataclass(frozen=True)
class Draw:
    """One fault as drawn. pick: from 0 to 1, which of the possible victims it is."""

    n: int
    kind: str
    pause_s: float
    pick: float


def draw(seed: int, kills: int, pause_s: tuple[float, float], without: Sequence[str] = ()) -> list[Draw]:
    """The faults of this seed in their order: so many kills in fixed shares, and the others among them."""
    chance = random.Random(seed)
    shares = [kind for kind, share in KILLS.items() if kind not in without for _ in range(share)]
    chance.shuffle(shares)
    # The first kinds of a short run are all different.
    order = sorted(range(len(shares)), key=lambda place: (shares[:place].count(shares[place]), place))
    kinds = [shares[order[n % len(order)]] for n in range(kills)]
    kinds += [kind for kind in OTHERS if kind not in without for _ in range(-(-kills // KILLS_PER_OTHER))]
    chance.shuffle(kinds)
    return [Draw(n, kind, chance.uniform(*pause_s), chance.random()) for n, kind in enumerate(kinds)]


@dataclass
class Storm:
    """Does faults to an installation and writes down each."""

    here: Installation
    researcher: Researcher
    ledger: Ledger
    say: Callable[[str], None]

    def rage(self, draws: Sequence[Draw]) -> None:
        """All faults in turn. A fault that found no victim comes again at the end, once."""
        missed = [one for one in draws if not self._strike(one)]
        for one in missed:
            self._strike(one)

    def _strike(self, one: Draw) -> bool:
        time.sleep(one.pause_s)
        act, kill = self._act(one)
        deadline = time.monotonic() + VICTIM_WITHIN_S
        while (found := act()) is None and time.monotonic() < deadline:
            time.sleep(0.1)
        counted = found is not None
        self.say(f"{one.n:>4} {one.kind}{'' if counted else ': no victim'}")
        self.ledger.write(**{**asdict(one), "kill": kill, "counted": counted, "at": time.time(), **(found or {})})
        return counted

    def _act(self, one: Draw) -> tuple[Callable[[], dict[str, Any] | None], bool]:
        """What to do; it returns what is to be written down, or None while there is no victim. And: is it a kill?"""
        others: dict[str, Callable[[], dict[str, Any] | None]] = {
            "broker cut": self._cut_broker,
            "disk full": self._fill_disk,
            "delivered twice": self._deliver_twice,
            "lease moved": lambda: self._move_lease(one.pick),
            "soft shutdown": lambda: self._shut_down_softly(one.pick),
        }
        if one.kind in others:
            return others[one.kind], False
        return lambda: self._kill(one.kind, one.pick), True

    # -- kills

    def _victims(self, kind: str) -> list[Process]:
        here = self.here
        if kind in here.services:
            return here.service(kind)
        victims: dict[str, Callable[[], list[Process]]] = {
            "web worker": lambda: here.children("web"),
            "web master": lambda: here.service("web"),
            "pool process": lambda: here.children("gpu worker", "cpu worker"),
            "training process": self._trainings,
            "model process": here.works,
            "postgres backend": here.backends,
        }
        return victims[kind]()

    def _trainings(self) -> list[Process]:
        trainings = self.researcher.trainings()
        return [found for found in self.here.works() if found.job in trainings]

    def _kill(self, kind: str, pick: float) -> dict[str, Any] | None:
        victims = self._victims(kind)
        if not victims:
            return None
        victim = victims[int(pick * len(victims))]
        met = self._attempts_under(victim)
        at = time.time()
        if not victim.kill():
            return None
        told: dict[str, Any] = {"at": at, "pid": victim.pid, "command": victim.command[:120], "jobs": met}
        if kind in self.here.services or kind == "web master":
            told["service"] = "web" if kind == "web master" else kind
        if kind == "web worker":
            told |= {"log": "web", "says": f"pid:{victim.pid}"}
        if kind == "postgres backend":
            told |= {"log": "postgres", "says": f"(PID {victim.pid}) was terminated by signal 9"}
        return told

    def _attempts_under(self, victim: Process) -> list[dict[str, Any]]:
        """The jobs whose work hangs on this process, with the attempts that are doing it."""
        return self.researcher.attempts(self.here.jobs_under(victim))

    # -- other faults

    def _cut_broker(self) -> dict[str, Any] | None:
        for broker in self.here.service("valkey"):
            at = time.time()
            os.kill(broker.pid, signal.SIGSTOP)
            try:
                time.sleep(BROKER_CUT_S)
            finally:
                os.kill(broker.pid, signal.SIGCONT)
            return {"at": at, "pid": broker.pid, "seconds": BROKER_CUT_S}
        return None

    def _fill_disk(self) -> dict[str, Any] | None:
        if not self.here.quota:
            return None
        filler, at, written = self.here.var / "filler", time.time(), 0
        with filler.open("wb", buffering=0) as file:
            filler.unlink()  # the space is free again when the file is closed, also should this process be killed
            while time.time() < at + DISK_FULL_S:
                try:
                    written += file.write(bytes(2**20))
                except OSError:
                    time.sleep(0.05)  # and what others give up in the meantime is taken too
        return {"at": at, "seconds": DISK_FULL_S, "bytes": written}

    def _deliver_twice(self) -> dict[str, Any] | None:
        """Every message again, those of jobs that are over too."""
        return {"at": time.time(), "messages": self.researcher.ring_all_again()}

    def _move_lease(self, pick: float) -> dict[str, Any] | None:
        """The clock of a lease jumps while its attempt runs: the next one begins, and the late one must not write."""
        at = time.time()
        met = self.researcher.expire_one(pick)
        return met and {"at": at, "jobs": [met]}

    def _shut_down_softly(self, pick: float) -> dict[str, Any] | None:
        """SIGTERM: a worker writes its checkpoint, gives its job back and ends."""
        names = ["gpu worker", "cpu worker"]
        name = names[int(pick * len(names))]
        for worker in self.here.service(name):
            met, at = self._attempts_under(worker), time.time()
            os.kill(worker.pid, signal.SIGTERM)
            while worker.is_alive and time.time() < at + SOFT_SHUTDOWN_S:
                time.sleep(0.1)
            took = round(time.time() - at, 1)
            return {"at": at, "pid": worker.pid, "service": name, "jobs": met, "seconds": took}
        return None
