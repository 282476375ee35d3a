"""What work costs: wall seconds, CPU-seconds of a process and its children, and the most memory it held at once."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

#: Starts a command, waits for it, and writes what it used. A small process: Linux counts the memory of whoever starts
#: a command as held by it.
_WAITS = """
import json, os, sys, time
began = time.perf_counter()
_, status, used = os.wait4(os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ), 0)
wall = time.perf_counter() - began
with open(sys.argv[1], "w") as told:
    json.dump([wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024], told)
sys.exit(os.waitstatus_to_exitcode(status) % 256)
"""


@dataclass(frozen=True)
class Cost:
    """Of one unit of what a row measures: an answer, a batch, a fit. None where it was not measured.

    Attributes:
        wall_s, cpu_s: seconds.
        peak_mb: the most resident memory of the process, MB; of a server, what its processes hold together after it.
    """

    wall_s: float | None = None
    cpu_s: float | None = None
    peak_mb: float | None = None


def median_cost(costs: Sequence[Cost]) -> Cost:
    """Each figure's median over the rounds."""
    return Cost(*(_median([getattr(cost, name) for cost in costs]) for name in ("wall_s", "cpu_s", "peak_mb")))


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def of_call(work: Callable[[], object], units: int = 1) -> Cost:
    """What a call in this process costs for each of its `units`; processes that it starts and ends are counted.

    Memory is that of this process: how much it held at most during the call, what it held before included.
    """
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    return Cost(wall / units, cpu / units, peak_mb(os.getpid()))


def of_command(
    command: Sequence[str | Path], environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> tuple[Cost, str]:
    """What a command costs from its start to its end, and what it printed; processes that it waits for are counted.

    Its memory is that of the largest of these processes. Raises subprocess.CalledProcessError, with the end of its
    errors as a note, when it fails.
    """
    words = [str(word) for word in command]
    with NamedTemporaryFile("r") as told:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _WAITS, told.name, *words],
            cwd=folder, env=dict(environment) if environment else None, capture_output=True, check=False, text=True,
        )  # fmt: skip
        if done.returncode:
            error = subprocess.CalledProcessError(done.returncode, words, done.stdout, done.stderr)
            error.add_note(done.stderr[-2000:])
            raise error
        return Cost(*json.load(told)), done.stdout


def cpu_seconds() -> float:
    """CPU-seconds so far of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def cpu_seconds_of(process: int | None) -> float:
    """CPU-seconds so far of a process, its descendants, and those of them that have ended; 0 for none."""
    found = dict(_statistics()) if process else {}
    spent = (sum(map(int, found[pid][11:15])) for pid in _family(process, found))
    return sum(spent) / os.sysconf("SC_CLK_TCK")


def memory_mb(process: int) -> float:
    """What a process and its descendants hold now, MB: shared pages are split among those who share them."""
    found = dict(_statistics())
    return sum(_field(pid, "smaps_rollup", "Pss") for pid in _family(process, found))


def children_of(process: int) -> list[int]:
    """The processes that this one has started and not yet buried, in the order of their numbers."""
    return sorted(pid for pid, figures in _statistics() if int(figures[1]) == process)


def resident_mb(process: int) -> float:
    """What one process holds resident now, MB, what it shares with others included."""
    return _field(process, "status", "VmRSS")


def peak_mb(process: int) -> float:
    """The most that one process has held resident, MB."""
    return _field(process, "status", "VmHWM")


def _field(pid: int, file: str, name: str) -> float:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _family(process: int | None, found: Mapping[int, Sequence[str]]) -> list[int]:
    family = {process}
    while grown := {pid for pid, figures in found.items() if int(figures[1]) in family} - family:
        family |= grown
    return [pid for pid in family if pid in found]


def _statistics() -> Iterator[tuple[int, list[str]]]:
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            yield int(folder.name), (folder / "stat").read_text().rpartition(")")[2].split()
