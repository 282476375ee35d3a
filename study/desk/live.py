"""The page "Live" of a study: how it is going while people take part. It brings itself up to date.

What it shows is counted once for all who look, in each web process at most every KEEP_S seconds, and less often where
that takes long: so that no more than a SHARE of the time goes into it. Nobody waits longer than PATIENCE_S: until a new
count is there, the one before is shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import floor
from threading import Lock
from typing import Any, Final

from django.db import DatabaseError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render as render_part
from django.utils import timezone
from django.utils.safestring import SafeString

from models.proportions import chance_p, wilson
from study.analysis.power_design import CONTROL_ALPHA
from study.bounded import Bounded, TookTooLong
from study.desk import counting
from study.desk.counting import IDENTITY, Condition, Figures
from study.desk.study_pages import StudyPage, render
from study.lab.charts import Series, bar_chart, line_chart
from study.lab.models import Pair
from study.trials.models import Population, Study
from study.trials.rights import Action

KEEP_S: Final = 5.0
SHARE: Final = 0.05
PATIENCE_S: Final = 0.3
#: Studies and populations that are kept an eye on at a time.
MOST_WATCHED: Final = 64
MEDIAN_BINS: Final = 12
#: Bins are no narrower than what their labels tell apart.
FINEST_BIN_S: Final = 0.01

#: What is counted as trouble, in words.
TROUBLES: Final = {
    "failed_saves": ("Answers that were saved only after tries that failed", "the page kept them and sent them again"),
    "different_answer": ("Second, different answers to a trial", "refused; the first stays"),
    "receipt": ("Imports of answers that never arrived by themselves", "from files that participants saved"),
    "damaged_image": ("Images that could not be shown", "see the server's log"),
}


# --- what is shown, counted now and then


@dataclass
class Watch:
    """The newest figures of one population of a study, kept for whoever looks."""

    study: int
    population: str
    with_rates: bool
    newest: Figures | None = None
    counted: Bounded[None] = field(init=False)

    def __post_init__(self) -> None:
        self.counted = Bounded(self._count, limit_s=PATIENCE_S, keep_s=KEEP_S)

    def figures(self) -> Figures | None:
        """Those of now, or the last ones while new ones take their time; None before the first are there.

        Raises DatabaseError where counting failed.
        """
        with suppress(TookTooLong):  # it goes on, and whoever asks next gets what comes of it
            self.counted()
        return self.newest

    def _count(self) -> None:
        began = time.monotonic()
        study = Study.objects.get(pk=self.study)
        self.newest = counting.figures(study, self.population, with_rates=self.with_rates)
        self.counted.keep_s = max(KEEP_S, (time.monotonic() - began) / SHARE)


_watched: dict[tuple[int, str, bool], Watch] = {}
_lock = Lock()


def watch(study: Study, population: str) -> Watch:
    """The watch over this population; one that shows what is hidden now is another."""
    key = (study.pk, population, shows_rates(study, population))
    with _lock:
        found = _watched.pop(key, None) or Watch(*key)
        _watched[key] = found  # at the end: the first is the one that was not looked at for longest
        while len(_watched) > MOST_WATCHED:
            del _watched[next(iter(_watched))]
    return found


def shows_rates(study: Study, population: str) -> bool:
    """Whether detection rates may be seen: those of people only once the study has closed, or its plan allows looks."""
    return population != Population.REAL or not study.is_blind


# --- the pages


def live(request: HttpRequest, study: Study) -> HttpResponse:
    """The page: the figures, and the script that brings them up to date."""
    population = _population(request)
    context = {"populations": Population.choices, **_figures(study, population)}
    return render(request, (study, "live", "Live"), "desk/live.html", context)


def live_figures(request: HttpRequest, study: Study) -> HttpResponse:
    """The figures alone, as HTML to put into the page."""
    population = _population(request)
    return render_part(request, "desk/live_figures.html", {"study": study, **_figures(study, population)})


def _population(request: HttpRequest) -> str:
    wanted = request.GET.get("population", "")
    return wanted if wanted in Population.values else Population.REAL


def _figures(study: Study, population: str) -> dict[str, Any]:
    """What the figures' template wants; without `figures` when there are none yet, with `failed` when it failed."""
    context: dict[str, Any] = {"population": population}
    try:
        found = watch(study, population).figures()
    except DatabaseError as error:
        return {**context, "failed": f"The tables could not be counted: {' '.join(str(error).split())}"}
    if found is None:
        return context
    return {
        **context,
        "figures": found,
        "age_s": (timezone.now() - found.at).total_seconds(),
        "hidden": not shows_rates(study, population),
        "conditions": [row(condition) for condition in found.conditions],
        "catch": pooled(condition for condition in found.conditions if condition.is_catch),
        "controls": [c for c in map(control, found.conditions) if c],
        "troubles": [(*TROUBLES[kind], *counted) for kind, counted in found.troubles.items()],
        "charts": [chart for chart in charts(found) if chart],
    }


# --- figures in words and pictures


@dataclass(frozen=True)
class Rate:
    """A share of right answers with its interval; off_chance: whether that is a fault."""

    correct: int
    n: int
    off_chance: bool = False

    @property
    def percent(self) -> str:
        return f"{100 * self.correct / self.n:.0f} %"

    @property
    def interval(self) -> str:
        """Wilson's, at 95 %."""
        low, high = wilson(self.correct, self.n)
        return f"{100 * low:.0f} to {100 * high:.0f} %"


@dataclass(frozen=True)
class Row:
    """A condition as the table shows it."""

    name: str
    counted: Condition
    rate: Rate | None


def row(condition: Condition) -> Row:
    return Row(name(condition), condition, rate(condition))


def rate(condition: Condition) -> Rate | None:
    """None where it is hidden, and where nobody has answered yet."""
    return Rate(condition.correct, condition.given) if condition.correct is not None and condition.given else None


def name(condition: Condition) -> str:
    strength = "" if condition.strength is None else f", strength {condition.strength:g}"
    if condition.is_catch:
        return f"catch trials: {condition.attack}{strength}"
    if condition.control == IDENTITY:
        return f"identity control of {condition.attack}"
    kind = f"{Pair.Control(condition.control).label} control of " if condition.control else ""
    return f"{kind}{condition.attack}{strength}"


def pooled(conditions: Iterable[Condition]) -> Rate | None:
    rates = [found for condition in conditions if (found := rate(condition))]
    return Rate(sum(r.correct for r in rates), sum(r.n for r in rates)) if rates else None


def control(condition: Condition) -> Row | None:
    """An identity control, at which nobody can be better than chance."""
    found = rate(condition) if condition.control == IDENTITY else None
    if found is None:
        return None
    off_chance = chance_p(found.correct, found.n) < CONTROL_ALPHA
    return Row(name(condition), condition, Rate(found.correct, found.n, off_chance))


def charts(found: Figures) -> list[SafeString]:
    """Arrivals, drop-off and response times; empty text for what there is nothing of yet."""
    by_hour = found.arrivals.by_hour
    unit, moment, axis = ("hour", "%a %H:00", "day and hour (UTC)") if by_hour else ("day", "%d %b", "day (UTC)")
    still_there = [(k, 100 * share) for k, share in enumerate(found.left_at)]
    if still_there and found.trials > still_there[-1][0]:
        still_there.append((found.trials, still_there[-1][1]))
    return [
        bar_chart(
            f"Arrivals by {unit}",
            [(f"{at:{moment}}", n) for at, n in found.arrivals.without_gaps()],
            x_label=axis,
            y_label="sessions begun",
        ),
        line_chart(
            "Drop-off by trial",
            [Series("still there", still_there)],
            x_label="trials answered, practice included",
            y_label="% still there, of the sessions that are over",
        ),
        bar_chart(
            "Median response times",
            binned(found.medians_s),
            x_label="median of a session, s",
            y_label="complete sessions",
        ),
    ]


def binned(values: Sequence[float], bins: int = MEDIAN_BINS) -> list[tuple[str, float]]:
    """How many of these sorted values, s, lie in each of some bins of one width: (where it begins, how many)."""
    if not values:
        return []
    low = floor(values[0] / FINEST_BIN_S) * FINEST_BIN_S
    width = max((values[-1] - low) / bins, FINEST_BIN_S)
    counted = [0] * min(bins, int((values[-1] - low) / width) + 1)
    for value in values:
        counted[min(int((value - low) / width), len(counted) - 1)] += 1
    return [(f"{low + n * width:.2f}", float(count)) for n, count in enumerate(counted)]


PAGES: Final = (
    StudyPage("live", live, Action.VIEW, "Live"),
    StudyPage("live/figures", live_figures, Action.VIEW),
)
