"""Work in a process of its own, and contenders who are asked in turn."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import ParamSpec, TypeVar

from benchmarks.side_by_side.costs import Cost, of_call

RATE = "images/CPU-s"

Given = ParamSpec("Given")
Found = TypeVar("Found")


def in_a_process(work: Callable[Given, Found], *given: Given.args, **named: Given.kwargs) -> Found:
    """What the work comes to in a fresh process of one thread: what it imports and sets does not stay in this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_one_thread) as process:
        return process.submit(work, *given, **named).result()


def _one_thread() -> None:
    """As `models.run` sets it, before torch is imported."""
    os.environ.update({"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"})


def stay_on_one_core() -> None:
    """This process and those that it starts share one core, where the system can be told so."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def by_turns(
    contenders: Mapping[str, Callable[[], object]], rounds: int, seconds: float = 0.0
) -> dict[str, list[Cost]]:
    """What one call of each contender costs in every round; each other round their order is reversed.

    Each is called as often as fills so many seconds of a round, at least once, and before the first round without
    being counted.
    """
    calls = {name: _calls(work, seconds) for name, work in contenders.items()}
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    for turn in range(rounds):
        for name in list(contenders)[:: -1 if turn % 2 else 1]:
            costs[name].append(of_call(partial(_repeat, contenders[name], calls[name]), calls[name]))
    return costs


def _calls(work: Callable[[], object], seconds: float) -> int:
    work()
    return math.ceil(seconds / (of_call(work).wall_s or 1.0)) if seconds else 1


def _repeat(work: Callable[[], object], times: int) -> None:
    for _ in range(times):
        work()


def per_cpu_second(n: int, costs: Sequence[Cost]) -> list[float]:
    """How many a CPU-second yields in every round, where a call makes n of them."""
    return [n / cost.cpu_s for cost in costs if cost.cpu_s]
