"""The tables of docs/scaling.md. Each says of its figures whether they are measured, simulated, computed or assumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.scaling.crowd import ANSWER, IMAGE, START, percentile
from benchmarks.scaling.days import BURST, PROFILES, SPREAD, Profile, Visit, demand
from benchmarks.scaling.layouts import (
    BITS,
    DEFAULT,
    FULL,
    MB,
    SERVER,
    USUAL_CONNECTIONS,
    Layout,
    Use,
    connections,
    first_to_carry,
    gb_a_day,
    image_gb_a_day,
    uses,
)
from benchmarks.scaling.measured import SOURCES, Measured
from benchmarks.scaling.scenarios import PEOPLE, SEED, Check, Simulated, by_theory
from benchmarks.scaling.trainings import (
    CLOSES_H,
    FEW,
    MANY,
    OPENS_H,
    PATIENCE_H,
    SWEEP,
    VARIATION,
    Year,
    workers_for,
    year,
)
from benchmarks.side_by_side.contended import FEW as FEW_PLACES
from benchmarks.side_by_side.contended import MANY as MANY_PLACES
from benchmarks.side_by_side.contended import TAKEN

#: s: how long a statement of the live view may take (study/desk/counting.py).
LIVE_LIMIT_S: Final = 20.0
#: After so many shared row locks PostgreSQL cleans up by itself (its autovacuum_multixact_freeze_max_age).
MULTIXACTS: Final = 4e8
REPORTED: Final = 240_000
#: s: how long trainings take that nobody has measured here.
LONGER: Final[Mapping[str, float]] = {"an hour each": 3600.0, "eight hours each": 8 * 3600.0}
SHARES: Final = (0.5, 0.95, 0.99)


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *lines))


def figure(value: float) -> str:
    """To two or three digits; — where there is none."""
    if math.isnan(value):
        return "—"
    if abs(value) >= 1000:
        return f"{float(f'{value:.2g}'):,.0f}"
    return f"{value:.2g}" if abs(value) < 10 else f"{value:.0f}"


def percent(share: float) -> str:
    return "below 1 %" if share < 0.01 else f"{100 * share:,.0f} %"


def people(n: float) -> str:
    """Rounded down to two digits: as many still fit."""
    unit = 10.0 ** max(0, math.floor(math.log10(max(n, 1.0))) - 1)
    return f"{math.floor(n / unit) * unit:,.0f}"


@dataclass(frozen=True)
class Blocks:
    """What every table is made from; rows: of benchmarks/results.json, by their ids."""

    measured: Measured
    rows: Mapping[str, Mapping[str, Any]]
    visit: Visit
    simulated: Sequence[Simulated]
    checks: Sequence[Check]

    def makers(self) -> dict[str, Callable[[], str]]:
        """What makes each table, by the name of its marks in the document."""
        tables = (
            self.short, self.costs, self.assumed, self.first, self.uses, self.waits, self.amounts, self.walls,
            self.trainings, self.checked,
        )  # fmt: skip
        return {make.__name__: make for make in tables}

    # -- what carries

    def _uses(self, layout: Layout, profile: Profile, n: float) -> list[Use]:
        return uses(layout, profile, n, self.visit, self.measured)

    def _layout(self, n: float, profile: Profile) -> Layout:
        return first_to_carry((DEFAULT, SERVER), profile, n, self.visit, self.measured)

    def short(self) -> str:
        """Of each step what breaks first, and what carries it."""
        lines = []
        for n in PEOPLE:
            for profile in PROFILES:
                default, layout = self._uses(DEFAULT, profile, n)[0], self._layout(n, profile)
                own = self._uses(layout, profile, n)[0]
                used = (f"{default.part}, {percent(default.share)}", layout.what, f"{own.part}, {percent(own.share)}")
                lines.append((f"{n:,} people a day", profile.name, *used))
        for n in (FEW, MANY):
            found = year(n, self.measured.training_s, 1, SEED)
            load = f"its worker of the queue gpu, {percent(found.load)}"
            lines.append((f"{n:,} trainings a week", "by day", load, "the default", load))
        head = ("step", "they come", "on the default breaks first", "what carries it", "used most of that")
        return table(head, lines)

    def first(self) -> str:
        """At how many people a day each part of the default and of one server is at 70 and at 100 %."""
        lines = []
        for layout in (DEFAULT, SERVER):
            spread, burst = ({use.part: use for use in self._uses(layout, p, 1.0)} for p in (SPREAD, BURST))
            for part in burst:
                at = [people(by_part[part].people_at(share)) for by_part in (spread, burst) for share in (FULL, 1.0)]
                lines.append((layout.name, part, *at))
        return table(("layout", "part", "70 %: spread", "100 %: spread", "70 %: burst", "100 %: burst"), lines)

    def uses(self) -> str:
        """How much of each part is used at each step."""
        lines = []
        for n in PEOPLE:
            for profile in PROFILES:
                for layout in dict.fromkeys((DEFAULT, self._layout(n, profile))):
                    told = (f"{use.part} {percent(use.share)}" for use in self._uses(layout, profile, n))
                    lines.append((f"{n:,}", profile.name, layout.name, *told))
        return table(("a day", "they come", "layout", "first", "second", "third", "fourth", "fifth"), lines)

    def waits(self) -> str:
        """How long people wait at each step on the layout that carries it."""
        lines = []
        for one in self.simulated:
            scenario, found = one.scenario, one.found
            each = (_three(found.latencies[kind], 1000) for kind in (ANSWER, IMAGE, START))
            who = (f"{scenario.people:,}", scenario.profile.name, scenario.layout.name)
            lines.append((*who, *each, _three(found.first_block_s)))
        head = ("a day", "they come", "layout", "answer, ms", "image, ms", "start, ms", "first block of images, s")
        return table(head, lines)

    def amounts(self) -> str:
        """What each step stores, sends and holds."""
        lines = []
        for n in PEOPLE:
            layout, images = self._layout(n, BURST), demand(BURST, n, self.visit).images.max()
            stored, sent = (amount(n, self.visit, self.measured) for amount in (gb_a_day, image_gb_a_day))
            mbit = BITS * images * self.measured.pair_bytes / 2 / MB
            kept = f"{connections(layout):,}" if connections(layout) else "SQLite"
            memory = figure(layout.web * self.measured.web_mb / 1000)
            lines.append(
                (f"{n:,}", f"{n * self.visit.trials:,}", figure(stored), figure(sent), figure(mbit), kept, memory)
            )
        head = (
            "a day", "trials a day", "stored, GB a day", "images sent, GB a day", "at the most, Mbit/s (burst)",
            f"connections, of {USUAL_CONNECTIONS} usual (burst)", "memory of the web processes, GB (burst)",
        )  # fmt: skip
        return table(head, lines)

    # -- what it is made from

    def costs(self) -> str:
        """Every figure that was measured."""
        lines = []
        for name, source in SOURCES.items():
            row = self.rows[source.row]
            value = figure(getattr(self.measured, name))
            lines.append((source.what, value, source.unit, f"`{source.row}`", f"{row['measured']}, {row['commit']}"))
        return table(("figure", "measured", "unit", "row of results.json", "when, of which commit"), lines)

    def assumed(self) -> str:
        """Every figure that was not."""
        visit, variation = self.visit, figure(self.measured.variation)
        lines = [
            *((f"arrivals, *{profile.name}*", profile.what) for profile in PROFILES),
            ("a session", f"{visit.trials} trials of two images each, {figure(visit.mean_s / 60)} minutes"),
            (
                "from answer to answer",
                f"{visit.think_s:g} s on average, lognormal, coefficient of variation {visit.think_variation:g}",
            ),
            (
                "the first pages",
                "read for {:g} to {:g} s, while all images are fetched, {} at a time; the first block of {} trials "
                "counts".format(*visit.reading_s, visit.at_once, visit.block),
            ),
            ("an image", f"{figure(self.measured.pair_bytes / 2)} bytes, as measured; larger ones in proportion"),
            ("the network", f"{1000 * visit.network_s:g} ms to the page and back"),
            (
                "service times",
                f"lognormal around the measured mean, coefficient of variation {variation}: as far apart as the "
                "measured median and 99th percentile of answers are",
            ),
            ("page and plan of a run", "all of their CPU time is the web processes'"),
            *(
                (f'the layout "{one.name}"', f"{one.what}; {one.network_gbit:g} Gbit/s to the participants")
                for one in (DEFAULT, SERVER)
            ),
            (
                "trainings",
                f"submitted on five days a week from {OPENS_H:g} to {CLOSES_H:g}, {MANY:,} a week as sweeps of "
                f"{SWEEP}; their length is lognormal, coefficient of variation {VARIATION:g}",
            ),
        ]
        return table(("assumed", ""), lines)

    def walls(self) -> str:
        """What becomes of the points where everybody stands in one line."""
        m, n = self.measured, max(PEOPLE)
        trials = n * self.visit.trials
        a_place_s = max(0.0, m.places_ms - m.few_places_ms) / (MANY_PLACES - FEW_PLACES) / 1000
        a_claim_ms = max(0.0, m.claim_snapshot_ms - m.claim_ms) / TAKEN
        million = LIVE_LIMIT_S / m.live_s
        lines = [
            (
                "the live view",
                f"{figure(m.live_s)} s for a million answers",
                f"gives up after {LIVE_LIMIT_S:g} s a statement: at {figure(million)} million answers at the earliest, "
                f"which {n:,} people a day give within {figure(24 * million * 1e6 / trials)} hours",
            ),
            (
                "the first page",
                f"{figure(1e6 * a_place_s)} µs more for each place of the study",
                f"{n:,} people, a study of as many places: {figure(a_place_s * n**2 / 3600)} processor-hours a day",
            ),
            (
                "a place behind an old snapshot",
                f"{figure(1000 * a_claim_ms)} µs more for each place that was claimed since",
                f"after an hour of {n:,} people within it: {figure(a_claim_ms * n)} ms more for each start",
            ),
            (
                "the audit log",
                f"{figure(m.audit_per_s)} entries a second, however many write",
                "participants write none",
            ),
            (
                "row locks that starts share",
                f"{figure(m.multixacts)} multixacts a start",
                f"{figure(MULTIXACTS / max(m.multixacts, 0.01) / n)} days of {n:,} starts until PostgreSQL cleans up "
                "by itself",
            ),
            (
                "a report",
                f"{figure(m.report_s)} s and {figure(m.report_mb)} MB for {REPORTED:,} trials",
                f"a day of {n:,} people, if both stay in proportion: {figure(m.report_s * trials / REPORTED / 3600)} h "
                f"and {figure(m.report_mb * trials / REPORTED / 1000)} GB",
            ),
        ]  # fmt: skip
        return table(("what", "measured", "and so (computed)"), lines)

    def trainings(self) -> str:
        """How long trainings wait for one worker, and for as many as it takes."""
        measured = f"the default recipe, {figure(self.measured.training_s)} s of one processor (measured)"
        kinds = {measured: self.measured.training_s} | {f"{what} (assumed)": s for what, s in LONGER.items()}
        lines = []
        for n in (FEW, MANY):
            for what, takes_s in kinds.items():
                one, enough = year(n, takes_s, 1, SEED), workers_for(n, takes_s, SEED)
                alone = "for ever longer" if one.load >= 1 else _hours(one)
                lines.append(
                    (
                        f"{n:,}",
                        what,
                        percent(one.load),
                        alone,
                        str(enough.workers),
                        percent(enough.load),
                        _hours(enough),
                    )
                )
        head = (
            "a week", "each takes", "load of one worker", "they wait, h", f"workers for 95 % within {PATIENCE_H:g} h",
            "their load", "they wait, h",
        )  # fmt: skip
        return table(head, lines)

    # -- whether it can be believed

    def checked(self) -> str:
        """The simulation beside theory, and beside the runs of the benchmark."""
        queues = [
            (name, f"{theory:.3f}", f"{found:.3f}", f"{found / theory:.2f}") for name, theory, found in by_theory()
        ]
        runs = [
            (check.what, check.unit, figure(check.measured), figure(check.simulated), f"{check.ratio:.2f}")
            for check in self.checks
        ]
        first = table(("queue", "mean wait, in services, by theory", "simulated", "simulated to theory"), queues)
        second = table(("run of `make bench`", "unit", "measured", "simulated", "simulated to measured"), runs)
        return f"{first}\n\n{second}"


def _three(values: Any, times: float = 1.0) -> str:
    return " / ".join(figure(times * percentile(values, share)) for share in SHARES)


def _hours(found: Year) -> str:
    return _three(found.waits, 1 / 3600)
