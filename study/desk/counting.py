"""What a study's tables hold by now, counted by the database: sessions, answers and what went wrong.

Nothing here goes through trials one by one in Python, and where detection rates are to stay hidden, none is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Count, F, IntegerField, OuterRef, Q, QuerySet, Subquery, Value, Window
from django.db.models.functions import Coalesce, RowNumber, TruncDay, TruncHour
from django.utils import timezone

from study.lab import about
from study.lab.models import Job, Pair
from study.trials import duration
from study.trials.export import SCREEN_WORDS
from study.trials.models import Answer, Choice, Session, SessionEvent, Study, Trial
from study.trials.models.sessions import EXCLUDED, FAILED_SAVES

LONGEST_S: Final = 20
#: How PostgreSQL counts: on one processor, for people answer meanwhile; without files, which a million answers need
#: no more than this to avoid; and not for ever.
MANNERS: Final = {
    "max_parallel_workers_per_gather": "0",
    "work_mem": "128MB",
    "statement_timeout": f"{LONGEST_S}s",
}
PRESENT: Final = timedelta(minutes=5)
BY_HOUR: Final = timedelta(days=3)
#: Sessions that a distribution of response times is made from.
TIMED_SESSIONS: Final = 200
NEWEST: Final = 20
JOBS: Final = 5
IDENTITY: Final = Pair.Control.IDENTITY


@dataclass(frozen=True)
class Condition:
    """Answers to one kind of trial. strength: None where it would tell how people did, as adaptive ones do.

    left, right: None where "yes" and "no" would tell how people did. given: answers in time. correct: of those given
    in time; None where it is hidden.
    """

    attack: str
    strength: float | None
    control: str
    is_catch: bool
    left: int | None
    right: int | None
    unsure: int
    late: int
    given: int
    correct: int | None


@dataclass(frozen=True)
class Arrivals:
    """How many sessions began in each hour or day that had any, in order."""

    by_hour: bool
    counts: Sequence[tuple[datetime, int]]

    def without_gaps(self) -> list[tuple[datetime, int]]:
        """The same, with a 0 for every hour or day between in which nobody came."""
        if not self.counts:
            return []
        step, counted = timedelta(hours=1) if self.by_hour else timedelta(days=1), dict(self.counts)
        first, last = self.counts[0][0], self.counts[-1][0]
        return [(first + n * step, counted.get(first + n * step, 0)) for n in range((last - first) // step + 1)]


@dataclass(frozen=True)
class Figures:
    """A study's progress at one moment.

    states: sessions by state; present: under way and heard of in the last minutes; excluded: by rule; left_at: the
    share of the sessions that are over which answered at least 0, 1, 2, ... trials; medians_s: of the newest complete
    sessions, in seconds; troubles: how often each kind was met, and by how many sessions; trials: of a whole session.
    """

    at: datetime
    states: Mapping[str, int]
    present: int
    wanted: int
    excluded: Mapping[str, int]
    arrivals: Arrivals
    left_at: Sequence[float]
    trials: int
    conditions: Sequence[Condition]
    medians_s: Sequence[float]
    troubles: Mapping[str, tuple[int, int]]
    devices: Mapping[str, int]
    newest: Sequence[Any]
    jobs: Sequence[Job]

    @property
    def arrived(self) -> int:
        return sum(self.states.values())

    @property
    def in_time(self) -> int:
        """Those who came to the end and were not left out: their places count."""
        return self.states.get(Session.State.COMPLETE, 0) - sum(self.excluded.values())


def figures(study: Study, population: str, *, with_rates: bool) -> Figures:
    """Count everything of one population. with_rates: whether right answers of conditions may be counted.

    Raises django.db.OperationalError where PostgreSQL would take longer than LONGEST_S.
    """
    with transaction.atomic():
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("; ".join(f"SET LOCAL {name} = '{value}'" for name, value in MANNERS.items()))
        return _figures(study, population, with_rates)


def _figures(study: Study, population: str, with_rates: bool) -> Figures:
    now, sessions = timezone.now(), study.sessions_of(population)
    present = sessions.filter(state=Session.State.ACTIVE, seen_at__gte=now - PRESENT)
    return Figures(
        at=now,
        states=_counts(sessions, "state"),
        present=present.count(),
        wanted=study.participants,
        excluded=_counts(_events(sessions).filter(kind=EXCLUDED), "data__rule"),
        arrivals=_arrivals(sessions),
        left_at=_left_at(sessions),
        trials=_trials(study),
        conditions=_conditions(study, population, with_rates),
        medians_s=_medians_s(sessions),
        troubles=_troubles(sessions),
        devices=_devices(sessions),
        newest=newest(study, population, NEWEST),
        jobs=list(about.with_names(Job.objects.filter(parameters__study=study.pk)).order_by("-created_at")[:JOBS]),
    )


def with_progress(sessions: QuerySet[Session]) -> QuerySet[Any]:
    """The same sessions, each with how many trials are due (`due`) and answered (`stored`): for the few of a page."""
    trials = Trial.objects.filter(session=OuterRef("pk")).order_by()
    return sessions.annotate(
        due=_how_many(trials.filter(skipped=None)), stored=_how_many(trials.filter(answer__isnull=False))
    )


def newest(study: Study, population: str, n: int) -> list[Any]:
    """The sessions that began last, with their progress."""
    sessions = study.sessions_of(population).order_by("-pk").defer("recruiter_ids", "recruiter_key")
    return list(with_progress(sessions)[:n])


def _how_many(trials: QuerySet[Trial]) -> Any:
    counted = trials.values("session").annotate(n=Count("pk")).values("n")
    return Coalesce(Subquery(counted), Value(0), output_field=IntegerField())


def _counts(rows: QuerySet[Any], column: str) -> dict[str, int]:
    return dict(rows.order_by().values_list(column).annotate(n=Count("pk")).order_by("-n", column))


def _events(sessions: QuerySet[Session]) -> QuerySet[SessionEvent]:
    return SessionEvent.objects.filter(session__in=sessions)


def _arrivals(sessions: QuerySet[Session]) -> Arrivals:
    first, last = (sessions.order_by(order).values_list("created_at", flat=True).first() for order in ("pk", "-pk"))
    by_hour = first is None or last is None or last - first < BY_HOUR
    moment = (TruncHour if by_hour else TruncDay)("created_at")
    counted = sessions.annotate(moment=moment).order_by().values("moment").annotate(n=Count("pk")).order_by("moment")
    return Arrivals(by_hour, list(counted.values_list("moment", "n")))


def _devices(sessions: QuerySet[Session]) -> dict[str, int]:
    """Kinds of device; pages may claim others, which are not repeated."""
    counted = _counts(sessions.exclude(device={}), "device__device")
    return {kind: counted[kind] for kind in SCREEN_WORDS["device"] if kind in counted}


def _troubles(sessions: QuerySet[Session]) -> dict[str, tuple[int, int]]:
    kinds = (FAILED_SAVES, "different_answer", "receipt", "damaged_image")
    rows = _events(sessions).filter(kind__in=kinds).order_by().values("kind")
    counted = rows.annotate(n=Count("pk"), of=Count("session", distinct=True)).values_list("kind", "n", "of")
    found = {kind: (n, of) for kind, n, of in counted}
    return {kind: found.get(kind, (0, 0)) for kind in kinds}


def _trials(study: Study) -> int:
    design = study.designs_that_count.defer("json").order_by("-n").first()
    return duration.trials_of_a_session(design.now) if design else 0


def _left_at(sessions: QuerySet[Session]) -> list[float]:
    """Somebody who came to the end had no trial left to answer; whoever withdrew took the answers along, but not how
    many they were."""
    over = sessions.exclude(state=Session.State.ACTIVE)
    complete, n = over.filter(state=Session.State.COMPLETE).count(), over.count()
    stopped = Answer.objects.filter(
        trial__session__in=over.filter(state__in=[Session.State.TIMED_OUT, Session.State.SCREENED_OUT])
    )
    kept = stopped.order_by().values("trial__session").annotate(n=Count("pk")).values_list("n", flat=True)
    erased = _events(over.filter(state=Session.State.WITHDRAWN)).filter(kind__in=["withdrawn", "erased"])
    answered = Counter([*kept, *(taken or 0 for taken in erased.values_list("data__answers", flat=True))])
    answered[0] += n - complete - sum(answered.values())
    if not n:
        return []
    last = max(answered, default=0) + 1
    gone = accumulate((answered[k] for k in range(last)), initial=0)
    return [(n - left) / n for left in gone]


def _conditions(study: Study, population: str, with_rates: bool) -> list[Condition]:
    """One pass over the answers; what the pairs are is looked up afterwards, for there are few."""
    versions = list(study.designs_that_count.defer("json"))
    adaptive = any(version.now["adaptive"] for version in versions)
    pair = Coalesce("trial__pair", "trial__choice__pair") if adaptive else F("trial__pair")
    answers = Answer.objects.filter(trial__session__design__in=versions, trial__session__population=population)
    grouped = (
        answers.exclude(trial__phase=Trial.Phase.PRACTICE)
        .annotate(pair=pair)
        .order_by()
        .values("pair", "trial__phase", "choice")
        .annotate(n=Count("pk"), right=Count("pk", filter=Q(correct=True)))
        .values_list("pair", "trial__phase", "choice", "n", "right")
    )
    rows = list(grouped)
    pairs = {
        key: kind
        for key, *kind in Pair.objects.filter(pk__in={row[0] for row in rows})
        .values_list("pk", "attack__name", "strength", "control")
        .iterator()
    }
    choices: dict[tuple[Any, ...], Counter[str]] = {}
    for key, phase, choice, n, right in rows:
        attack, strength, control = pairs[key]
        hidden = adaptive and not with_rates and not control and phase == Trial.Phase.MAIN
        place = (phase == Trial.Phase.CATCH, control, attack, None if hidden else strength)
        choices.setdefault(place, Counter()).update({choice: n, "right answers": right})
    order = sorted(choices, key=lambda place: (*place[:3], place[3] or 0.0))
    yes_no = any(version.now["protocol"] == Study.Protocol.YES_NO for version in versions)
    return [_condition(place, choices[place], with_rates, yes_no) for place in order]


def _condition(place: tuple[Any, ...], counted: Counter[str], with_rates: bool, yes_no: bool) -> Condition:
    """Catch trials and identical pairs say nothing about what people can see: whether they are right may be known."""
    is_catch, control, attack, strength = place
    may_tell = with_rates or is_catch or control == IDENTITY
    left, right, unsure = (counted[choice] for choice in (Choice.LEFT, Choice.RIGHT, Choice.UNSURE))
    return Condition(
        attack=attack,
        strength=0.0 if control == IDENTITY else strength,
        control=control,
        is_catch=is_catch,
        left=left if may_tell or not yes_no else None,
        right=right if may_tell or not yes_no else None,
        unsure=unsure,
        late=counted[Choice.NONE],
        given=left + right + unsure,
        correct=counted["right answers"] if may_tell else None,
    )


def _medians_s(sessions: QuerySet[Session]) -> list[float]:
    """The median response time of each of the newest complete sessions, by rising time."""
    timed = sessions.filter(state=Session.State.COMPLETE).order_by("-pk").values_list("pk", flat=True)[:TIMED_SESSIONS]
    given = Answer.objects.filter(trial__session__in=list(timed)).exclude(choice=Choice.NONE)
    session = F("trial__session")
    ranked = given.exclude(trial__phase=Trial.Phase.PRACTICE).annotate(
        place=Window(RowNumber(), partition_by=session, order_by=[F("rt_ms"), F("pk")]),
        of=Window(Count("pk"), partition_by=session),
    )
    middle = ranked.filter(place__gte=F("of") / 2.0, place__lte=F("of") / 2.0 + 1)
    times: dict[int, list[float]] = {}
    for whose, rt_ms in middle.order_by().values_list("trial__session", "rt_ms"):
        times.setdefault(whose, []).append(rt_ms)
    return sorted(sum(two) / len(two) / 1000 for two in times.values())
