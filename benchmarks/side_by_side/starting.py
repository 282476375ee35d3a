"""How soon an installation is there, how light it is, and how much a page fetches: ours, oTree and a bare Django.

`manage.py serve` in an empty folder, and again when its tables are there; the application's import; the memory of its
processes after some answers; what the pages of a participant fetch; and the whole demonstration, once.
"""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

from benchmarks.checkout import ROOT
from benchmarks.side_by_side.answers import BARE, OURS
from benchmarks.side_by_side.contenders import PATIENCE_S, Contender, Django, installed, load, otree, running, served
from benchmarks.side_by_side.costs import Cost, children_of, cpu_seconds_of, memory_mb, of_command, resident_mb
from benchmarks.side_by_side.findings import Effort, Findings
from benchmarks.side_by_side.first_load import FirstLoad
from benchmarks.side_by_side.ours import SLUG
from benchmarks.side_by_side.rows import Row, alone, compared
from study.processes import free_port

#: Who answer before memory is looked at: 120 answers.
PEOPLE = 4
FIRST_PAGE = "/admin/login/"
#: What shows that all images of the run are there and its first button works.
RUN_IS_READY = "[data-go]:enabled"
#: How Celery's line in the log of each of the two workers ends.
READY, WORKERS = " ready.", 2
#: The bars of benchmarks/bench_workers.py and tests/e2e/test_loading.py.
MOST_MB, MOST_KB = 150.0, 100.0


@dataclass(frozen=True)
class Memory:
    """Of a server's processes, MB. largest: what the largest of them holds resident; all: what all hold together."""

    largest: float
    all: float

    @classmethod
    def of(cls, process: int) -> Memory:
        """What a process and those that it has started hold now."""
        return cls(max(map(resident_mb, (process, *children_of(process)))), memory_mb(process))

    @classmethod
    def of_all(cls, several: Sequence[Memory]) -> Memory:
        """Several servers taken together."""
        return cls(max(each.largest for each in several), sum(each.all for each in several))


@dataclass(frozen=True)
class Found:
    """The figures of all rounds, by whose and what they are."""

    costs: dict[str, list[Cost]] = field(default_factory=lambda: defaultdict(list))
    memory: dict[str, list[Memory]] = field(default_factory=lambda: defaultdict(list))
    loads: dict[str, list[FirstLoad]] = field(default_factory=lambda: defaultdict(list))


def measure(effort: Effort) -> Findings:
    """All rows about the start. Needs Chromium, and the network once, for oTree's environment."""
    found = Found()
    contenders = {"ours": _ours, "oTree": _otree, "bare": _bare}
    for number in range(effort.rounds):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            folder = effort.folder / f"{number}-{name}"
            folder.mkdir()
            contenders[name](folder, found)
            effort.tell(f"round {number + 1}, {name}: started, answered and looked at")
    effort.tell("the demonstration takes some minutes")
    found.costs["demo"].append(_demonstration(effort.folder / "demo"))
    return Findings(rows(found))


# -- the contenders


def _ours(folder: Path, found: Found) -> None:
    """`serve` twice in the same folder; then the pages, the answers and the memory; and the web server alone."""
    ours = installed("ours", OURS, "", folder)
    serving = {**ours.environment, "LOG_LEVEL": "INFO"}
    with _serve(folder, serving, found, "ours"):
        pass
    ours.ask("prepare")
    with _serve(folder, serving, found, "ours again") as (process, address):
        ours.address = address
        (ours.process,) = [child for child in children_of(process) if _role(child) == "web"]
        token = ours.participants(1)[0]["requests"][0]["path"].split("/")[2]
        found.loads["ours, consent"].append(_first_load(f"{address}/s/{SLUG}/"))
        found.loads["ours"].append(_first_load(f"{address}/run/{token}/", RUN_IS_READY))
        _answer(ours, folder)
        for role in ("web", "worker", "broker"):
            of_role = [Memory.of(child) for child in children_of(process) if _role(child) == role]
            found.memory[f"ours, {role}"].append(Memory.of_all(of_role))
    _alone(ours, 200, found)


@contextmanager
def _serve(folder: Path, environment: Mapping[str, str], found: Found, name: str) -> Iterator[tuple[int, str]]:
    """`manage.py serve`, from its first page and its workers' readiness on: its process id and address."""
    port, begun, logged = free_port(), time.perf_counter(), _ready_lines(folder)
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    with running(command, ROOT, environment, folder / "serve.log", port) as process:
        address = f"http://127.0.0.1:{port}"
        _until_answered(f"{address}{FIRST_PAGE}", 200)
        found.costs[name].append(_since(begun, process))
        while _ready_lines(folder) < logged + WORKERS:
            if time.perf_counter() > begun + PATIENCE_S:
                raise SystemExit(f"The workers do not get ready; their logs are in {folder / 'log'}.")
            time.sleep(0.02)
        found.costs[f"{name}, workers"].append(_since(begun, process))
        yield process, address


def _ready_lines(folder: Path) -> int:
    """How often a worker of the installation said that it is ready."""
    logs = (folder / "log").glob("worker-*.log")
    return sum(line.endswith(READY) for log in logs for line in log.read_text().splitlines())


def _role(process: int) -> str:
    command = Path(f"/proc/{process}/cmdline").read_text()
    return next((role for word, role in (("gunicorn", "web"), ("celery", "worker")) if word in command), "broker")


def _otree(folder: Path, found: Found) -> None:
    """As oTree's `prodserver` starts its web server, which makes its tables at the first start."""
    begun = time.perf_counter()
    with otree("pages", folder / "project") as contender:
        _until_answered(f"{contender.address}/", 200)
        found.costs["oTree"].append(_since(begun, contender.process))
        arrival = contender.participants(1)[0]["before"][0]["path"]
        found.loads["oTree"].append(_first_load(f"{contender.address}{arrival}"))
        _answer(contender, folder)
        found.memory["oTree"].append(Memory.of(contender.process))


def _bare(folder: Path, found: Found) -> None:
    """The bare view under the same web server, which has no page and says so."""
    bare = installed("bare", BARE, f"sqlite:///{folder}/database.sqlite3", folder)
    bare.ask("prepare")
    _alone(bare, 404, found)
    with served(bare):
        _answer(bare, folder)
        found.memory["bare"].append(Memory.of(bare.process))


def _alone(installation: Django, status: int, found: Found) -> None:
    """The web server without the rest, when the tables are there; and what the import of the application is of it."""
    begun = time.perf_counter()
    with served(installation):
        _until_answered(f"{installation.address}{FIRST_PAGE}", status)
        found.costs[f"{installation.name}, web"].append(_since(begun, installation.process))
    command = [sys.executable, "-c", f"import {installation.application}"]
    cost, _ = of_command(command, installation.environment, ROOT)
    found.costs[f"{installation.name}, import"].append(cost)


def _demonstration(folder: Path) -> Cost:
    """What `make demo` does once everything is set up, from nothing; the memory is that of its largest process."""
    folder.mkdir()
    environment = installed("demo", OURS, "", folder).environment
    return of_command([sys.executable, "manage.py", "demo"], environment, ROOT)[0]


# -- how they are measured


def _until_answered(address: str, status: int) -> None:
    """Raises SystemExit when there is no such answer for too long."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        with suppress(OSError):  # it does not listen yet
            if _status(address) == status:
                return
        time.sleep(0.02)
    raise SystemExit(f"{address} does not answer with {status}.")


def _status(address: str) -> int:
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE_S) as reply:  # noqa: S310
            return int(reply.status)
    except urllib.error.HTTPError as refused:
        return refused.code


def _since(begun: float, process: int) -> Cost:
    """What a server has cost by now, with all the processes that it has started."""
    return Cost(time.perf_counter() - begun, cpu_seconds_of(process), memory_mb(process))


def _answer(contender: Contender, folder: Path) -> None:
    """All answers of some people, one after the other. Raises SystemExit when one is refused or lost."""
    told = load(contender, folder, PEOPLE, PEOPLE, PATIENCE_S)
    if told.faults:
        raise SystemExit(f"{contender.name} refused or lost {told.faults} answers: {dict(told.statuses)}.")


def _first_load(address: str, *selector: str) -> FirstLoad:
    command = [sys.executable, "-m", "benchmarks.side_by_side.first_load", address, *selector]
    _, printed = of_command(command, folder=ROOT)
    return FirstLoad.read(json.loads(printed))


# -- rows


def rows(found: Found) -> list[Row]:
    """What stands beside ours does nearly the same; docs/benchmarks.md says what it does not."""
    demo = found.costs["demo"]
    return [
        *rows_of_starts(found.costs),
        *rows_of_memory(found.memory),
        *rows_of_pages(found.loads),
        alone("demo.seconds", "`manage.py demo` from nothing to the report", _seconds(demo), "s").costing(ours=demo),
    ]


def rows_of_starts(costs: Mapping[str, Sequence[Cost]]) -> list[Row]:
    """Seconds until something is there, with what it took."""

    def row(id: str, what: str, ours: str, peer: str = "", limit: str = "") -> Row:
        others = {who: costs[name] for who, name in (("peer", peer), ("limit", limit)) if name}
        seconds = {who: _seconds(each) for who, each in others.items()}
        return beside(id, what, _seconds(costs[ours]), "s", **seconds).costing(ours=costs[ours], **others)

    return [
        row("start.first_page_s", "`serve` in an empty folder, to the first page", "ours", peer="oTree"),
        row("start.workers_s", "the same, until both workers wait for jobs", "ours, workers"),
        row("start.again_s", "`serve` where everything is there, to the first page", "ours again"),
        row("start.again_workers_s", "the same, until both workers wait for jobs", "ours again, workers"),
        row("start.web_s", "the web server alone, to the first reply", "ours, web", limit="bare, web"),
        row("web.import_s", "a Python that imports the application", "ours, import", limit="bare, import"),
    ]


def rows_of_memory(memory: Mapping[str, Sequence[Memory]]) -> list[Row]:
    """What processes hold after 120 answers."""
    largest = {name: [each.largest for each in figures] for name, figures in memory.items()}
    together = {name: [each.all for each in figures] for name, figures in memory.items()}
    return [
        beside(
            "web.rss_mb", "a web process after 120 answers, resident", largest["ours, web"], "MB",
            peer=largest["oTree"], limit=largest["bare"], most=MOST_MB,
        ),
        beside(
            "web.pss_mb", "all processes of the web server, what they share counted once", together["ours, web"], "MB",
            peer=together["oTree"], limit=together["bare"],
        ),
        beside("workers.rss_mb", "the larger of two waiting workers, resident", largest["ours, worker"], "MB"),
        beside("workers.pss_mb", "both with the processes that wait in them", together["ours, worker"], "MB"),
        beside("broker.rss_mb", "the broker, resident", largest["ours, broker"], "MB"),
    ]  # fmt: skip


def rows_of_pages(loads: Mapping[str, Sequence[FirstLoad]]) -> list[Row]:
    """What pages fetch that nobody has opened before."""
    sent = {name: [each.sent_kb for each in figures] for name, figures in loads.items()}
    plain = {name: [each.plain_kb for each in figures] for name, figures in loads.items()}
    return [
        beside(
            "page.first_load_kb", "the page of the trials without their images, as sent", sent["ours"], "kB",
            peer=sent["oTree"], most=MOST_KB,
        ),
        beside("page.first_load_kb.plain", "the same unpacked", plain["ours"], "kB", peer=plain["oTree"]),
        beside("page.consent_kb", "the page of information and consent, as sent", sent["ours, consent"], "kB"),
        beside("page.consent_kb.plain", "the same unpacked", plain["ours, consent"], "kB"),
    ]  # fmt: skip


def beside(  # noqa: PLR0917
    id: str, what: str, ours: Sequence[float], unit: str, peer: Sequence[float] = (), limit: Sequence[float] = (),
    most: float | None = None,
) -> Row:  # fmt: skip
    """A row of a figure that may have a bar itself, with a peer's and a limit's beside it, where there are such.

    The ratio is ours to the peer's, else to the limit's.
    """
    row = alone(id, what, ours, unit, most=most)
    if not (other := peer or limit):
        return row
    ratio = compared(id, what, ours, other, unit)
    return replace(
        row, peer=median(peer) if peer else None, limit=median(limit) if limit else None,
        ratio=ratio.ratio, spread=ratio.spread,
    )  # fmt: skip


def _seconds(costs: Sequence[Cost]) -> list[float]:
    return [cost.wall_s for cost in costs if cost.wall_s is not None]
