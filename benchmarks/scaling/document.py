"""The tables of docs/scaling.md. Every figure says where it is from: measured, simulated, computed or assumed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.scaling import theory
from benchmarks.scaling.crowd import ANSWER, IMAGE, START, percentile
from benchmarks.scaling.days import BURST, PROFILES, SPREAD, Profile, Visit
from benchmarks.scaling.layouts import (
    DEFAULT,
    FULL,
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
from benchmarks.scaling.queues import lognormal, waits
from benchmarks.scaling.scenarios import PEOPLE, SEED, TRAININGS, Check, Scenario, Simulated
from benchmarks.scaling.trainings import Habits, Year, workers_for, year

#: s: what the statements of a web process, and the live view's, may take (study/database.py, study/desk/counting.py).
LIVE_LIMIT_S: Final = 20.0
#: Places of the two studies whose first pages are measured (benchmarks/side_by_side/contended.py).
FEW_PLACES, MANY_PLACES = 1_000, 100_000
#: h: that 95 % of the trainings may wait at the most.
PATIENCE_H: Final = 12.0
#: s: how long trainings take that nobody has measured here.
LONGER: Final[Mapping[str, float]] = {"an hour each": 3600.0, "eight hours each": 8 * 3600.0}
SWEEPS: Final[Mapping[int, int]] = {10: 1, 1_000: 20}


def table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Markdown."""
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def figure(value: float) -> str:
    """To two or three digits; — where there is none."""
    if math.isnan(value):
        return "—"
    if value >= 1000:
        return f"{float(f'{value:.2g}'):,.0f}"
    return f"{value:.3g}"


def percent(share: float) -> str:
    return "below 1 %" if share < 0.01 else f"{100 * share:,.0f} %"


def people(n: float) -> str:
    """Rounded down to two digits: as many still fit."""
    if math.isinf(n):
        return "any number"
    unit = 10.0 ** max(0, math.floor(math.log10(max(n, 1.0))) - 1)
    return f"{math.floor(n / unit) * unit:,.0f}"


@dataclass(frozen=True)
class Blocks:
    """What every table is made from."""

    measured: Measured
    rows: Mapping[str, Mapping[str, Any]]
    visit: Visit
    simulated: Sequence[Simulated]
    checks: Sequence[Check]

    def all(self) -> dict[str, str]:
        """By the names of the document's marks."""
        return {
            "short": self.short(),
            "costs": self.costs(),
            "assumed": self.assumed(),
            "first": self.first(),
            "uses": self.uses(),
            "waits": self.waits(),
            "amounts": self.amounts(),
            "walls": self.walls(),
            "trainings": self.trainings(),
            "checked": self.checked(),
        }

    # -- what carries

    def layout(self, n: float, profile: Profile) -> Layout:
        return first_to_carry((DEFAULT, SERVER), profile, n, self.visit, self.measured)

    def busiest(self, layout: Layout, profile: Profile, n: float) -> Use:
        return uses(layout, profile, n, self.visit, self.measured)[0]

    def short(self) -> str:
        lines = []
        for n in PEOPLE:
            for profile in PROFILES:
                layout = self.layout(n, profile)
                default = self.busiest(DEFAULT, profile, n)
                own = self.busiest(layout, profile, n)
                lines.append(
                    (f"{n:,}", profile.name, f"{default.part}, {percent(default.share)}", layout.what,
                     f"{own.part}, {percent(own.share)}")
                )  # fmt: skip
        for n in TRAININGS:
            found = self._week(n, self.measured.training_s, 1)
            lines.append(
                (f"{n:,} trainings a week", "", f"the one worker of `gpu`, {percent(found.load)}", "the default",
                 f"95 % wait {figure(found.hours(0.95))} h at the most")
            )  # fmt: skip
        head = ("a day", "who come", "used most on the default (computed)", "what carries it", "used most there (computed)")
        return table(head, lines)

    def first(self) -> str:
        """Per part of the default and of one server: at how many people a day it is at 70 and at 100 %."""
        lines = []
        for layout in (DEFAULT, SERVER):
            by_profile = [{u.part: u for u in uses(layout, p, 1.0, self.visit, self.measured)} for p in (SPREAD, BURST)]
            for part in sorted(by_profile[1], key=lambda part: -by_profile[1][part].share):
                figures = [people(found[part].people_at(share)) for found in by_profile for share in (FULL, 1.0)]
                lines.append((layout.name, part, *figures))
        head = ("layout", "part", "70 %: spread", "100 %: spread", "70 %: burst", "100 %: burst")
        return table(head, lines)

    def uses(self) -> str:
        lines = []
        for n in PEOPLE:
            for profile in PROFILES:
                for layout in dict.fromkeys((DEFAULT, self.layout(n, profile))):
                    told = uses(layout, profile, n, self.visit, self.measured)
                    lines.append((f"{n:,}", profile.name, layout.name, *(f"{u.part} {percent(u.share)}" for u in told)))
        return table(("a day", "who come", "layout", "first", "second", "third", "fourth", "fifth"), lines)

    def waits(self) -> str:
        lines = []
        for one in self.simulated:
            scenario, found = one.scenario, one.found
            each = [
                " / ".join(figure(1000 * found.percentile(kind, share)) for share in (0.5, 0.95, 0.99))
                for kind in (ANSWER, IMAGE, START)
            ]
            block = " / ".join(figure(percentile(found.first_block_s, share)) for share in (0.5, 0.95, 0.99))
            lines.append((f"{scenario.people:,}", scenario.profile.name, scenario.layout.name, *each, block))
        head = ("a day", "who come", "layout", "answer, ms", "image, ms", "start, ms", "first block of images, s")
        return table(head, lines)

    def amounts(self) -> str:
        lines = []
        for n in PEOPLE:
            stored, sent = (amount(n, self.visit, self.measured) for amount in (gb_a_day, image_gb_a_day))
            layout = self.layout(n, BURST)
            lines.append(
                (f"{n:,}", f"{n * self.visit.trials:,}", figure(stored), figure(365 * stored / 1000), figure(sent),
                 f"{connections(layout):,} of {USUAL_CONNECTIONS}", figure(layout.web * self.measured.web_mb / 1000))
            )  # fmt: skip
        head = (
            "a day", "trials a day", "PostgreSQL, GB a day", "TB a year", "images sent, GB a day",
            "connections (burst)", "memory of the web processes, GB (burst)",
        )  # fmt: skip
        return table(head, lines)

    # -- what it is made from

    def costs(self) -> str:
        return table(
            ("figure", "measured", "unit", "row of results.json", "commit"),
            (
                (source.what, figure(getattr(self.measured, name)), source.unit, f"`{source.row}`", self.rows[source.row]["commit"])
                for name, source in SOURCES.items()
            ),
        )

    def assumed(self) -> str:
        visit = self.visit
        lines = [(f"arrivals, {profile.name}", profile.what) for profile in PROFILES]
        lines += [
            ("a session", f"{visit.trials} trials, two images each, {figure(visit.mean_s / 60)} minutes"),
            ("from answer to answer", f"{visit.think_s:g} s on average, lognormal, coefficient of variation {visit.think_variation:g}"),
            ("the first pages", f"read for {visit.reading_s[0]:g} to {visit.reading_s[1]:g} s, while images are fetched {visit.at_once} at a time"),
            ("the network", f"{1000 * visit.network_s:g} ms to the page and back"),
            ("service times", f"lognormal around what was measured, coefficient of variation {figure(self.measured.variation)}: as far apart as the measured median and 99th percentile are"),
            ("page and plan of a run", "all of their CPU time is the web processes'"),
            *((f"the layout \"{one.name}\"", f"{one.what}; {one.network_gbit:g} Gbit/s, disk of {one.disk_gb:g} GB") for one in (DEFAULT, SERVER)),
        ]  # fmt: skip
        return table(("assumed", ""), lines)

    def walls(self) -> str:
        m = self.measured
        a_place_ms = (m.places_ms - m.few_places_ms) / (MANY_PLACES - FEW_PLACES)
        claim_ms = (m.claim_snapshot_ms - m.claim_ms) / 10_000
        trials = max(PEOPLE) * self.visit.trials
        lines = [
            ("live view", f"{figure(m.live_s)} s a million answers (measured)",
             f"gives up at {LIVE_LIMIT_S:g} s: about {figure(LIVE_LIMIT_S / m.live_s)} million answers, {figure(LIVE_LIMIT_S / m.live_s * 1e6 / trials)} days of {max(PEOPLE):,} people (computed)"),
            ("counting of free places", f"{figure(1000 * a_place_ms)} µs more on the first page for each place of the study (measured)",
             f"{max(PEOPLE):,} people in a study of as many places: {figure(a_place_ms / 1000 * max(PEOPLE) ** 2 / 3600)} CPU-hours a day for that alone (computed)"),
            ("claiming behind an old snapshot", f"{figure(1000 * claim_ms)} µs more for each place claimed since it began (measured)",
             f"a backup of an hour at {figure(max(PEOPLE) / 24)} starts an hour: {figure(claim_ms * max(PEOPLE) / 24)} ms a start in the end (computed)"),
            ("audit log", f"{figure(m.audit_per_s)} entries a second, however many write (measured)",
             "researchers write it, participants do not"),
            ("shared row locks", f"{figure(m.multixacts)} multixacts a start (measured)",
             f"PostgreSQL cleans up by force at 400 million: {figure(4e8 / max(m.multixacts, 1e-9) / max(PEOPLE))} days of {max(PEOPLE):,} starts (computed)"),
            ("report", f"{figure(m.report_s)} s for 240,000 trials (measured)",
             f"a day of {max(PEOPLE):,} people, if it stays in proportion: {figure(m.report_s * trials / 240_000 / 3600)} h (computed)"),
        ]  # fmt: skip
        return table(("what", "each", "and so"), lines)

    # -- trainings

    def _week(self, n: int, takes_s: float, workers: int) -> Year:
        return year(n, takes_s, workers, Habits(SWEEPS[n]), SEED)

    def trainings(self) -> str:
        m = self.measured
        kinds = {f"the default recipe, {figure(m.training_s)} s on one processor (measured)": m.training_s}
        kinds |= {f"{what} (assumed)": takes for what, takes in LONGER.items()}
        lines = []
        for n in TRAININGS:
            for what, takes_s in kinds.items():
                one, enough = self._week(n, takes_s, 1), workers_for(n, takes_s, PATIENCE_H, Habits(SWEEPS[n]), SEED)
                alone = "grows for ever" if one.load >= 1 else _hours(one)
                lines.append(
                    (f"{n:,}", what, percent(one.load), alone, str(enough.workers), percent(enough.load), _hours(enough))
                )
        head = (
            "a week", "each takes", "load of one worker", "waits, h", f"workers for p95 ≤ {PATIENCE_H:g} h", "their load",
            "waits, h",
        )  # fmt: skip
        return table(head, lines)

    # -- whether it can be believed

    def checked(self) -> str:
        against = table(
            ("queue", "mean wait by theory", "simulated", "apart by"),
            ((name, figure(one), figure(other), percent(abs(other / one - 1))) for name, one, other in by_theory()),
        )
        runs = table(
            ("run of `make bench`", "unit", "measured", "simulated", "simulated to measured"),
            ((c.what, c.unit, figure(c.measured), figure(c.simulated), f"{c.simulated / c.measured:.2f}") for c in self.checks),
        )  # fmt: skip
        return f"{against}\n\n{runs}"


def _hours(found: Year) -> str:
    return " / ".join(figure(found.hours(share)) for share in (0.5, 0.95, 0.99))


def by_theory(n: int = 200_000) -> list[tuple[str, float, float]]:
    """(queue, mean wait by theory, simulated), in units of the mean service."""
    import numpy as np

    rng = np.random.default_rng(SEED)

    def simulated(load: float, services: Any, servers: int = 1) -> float:
        return float(waits(np.cumsum(rng.exponential(1 / (load * servers), n)), services, servers).mean())

    return [
        ("M/M/1, load 0.7", theory.mean_wait_mm1(0.7, 1), simulated(0.7, rng.exponential(1, n))),
        ("M/D/1, load 0.7", theory.mean_wait_md1(0.7, 1), simulated(0.7, np.ones(n))),
        ("M/G/1, lognormal of variation 0.5, load 0.7", theory.mean_wait_mg1(0.7, 1, 0.5), simulated(0.7, lognormal(rng, 1, 0.5, n))),
        ("M/M/8, load 0.8", theory.mean_wait_mmc(6.4, 1, 8), simulated(0.8, rng.exponential(1, n), 8)),
    ]  # fmt: skip
