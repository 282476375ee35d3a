"""How long a session takes to begin, by its trials and by the sessions there: `... ROUNDS STARTS POSTMASTER`.

A start is what a start in a web process is but for HTTP: a place is claimed, the plan is made and stored. Prints a list
of {"trials", "sessions": there before the first round, "cost": of a start}, a batch of so many starts each, the studies
in turn. On PostgreSQL, whose process id tells its part of the CPU time; with DATABASE_URL and BLINDSPOT_VAR.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmarks.side_by_side.costs import Cost, cpu_seconds_of, of_call

if TYPE_CHECKING:
    from study.trials.models import Study

TRIALS_EACH = (50, 100, 200, 400)
SESSIONS = (10, 100, 1000, 5000)
#: Of the sessions that are there, and of those that begin beside them.
USUAL = 50


@dataclass(frozen=True)
class Batch:
    """Starts of one study. sessions: how many it had before the first round."""

    trials: int
    sessions: int
    cost: Cost

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Batch:
        """As it was printed."""
        return cls(**{**said, "cost": Cost(**said["cost"])})


def measured(rounds: int, starts: int, postmaster: int) -> Iterator[Batch]:
    """The batches of all rounds; every other round in the opposite order."""
    from benchmarks.copies import settle

    place = rounds * starts + 1
    studies = [(trials, 0, study_of(trials, place)) for trials in TRIALS_EACH]
    studies += [(USUAL, sessions, with_sessions(sessions, place)) for sessions in SESSIONS]
    for _, _, study in studies:
        study.start_session()  # what the first start of a process reads is read
    settle()
    for number in range(rounds):
        for trials, sessions, study in studies[:: -1 if number % 2 else 1]:
            yield Batch(trials, sessions, _cost(study, starts, postmaster))


def _cost(study: Study, starts: int, postmaster: int) -> Cost:
    """Of one start. The database's part comes in hundredths of a second, so it wants many."""

    def work() -> None:
        for _ in range(starts):
            study.start_session()

    before = cpu_seconds_of(postmaster)
    cost = of_call(work, starts)
    assert cost.cpu_s is not None
    return replace(cost, cpu_s=cost.cpu_s + (cpu_seconds_of(postmaster) - before) / starts)


def study_of(trials: int, participants: int) -> Study:
    """An open study with so many trials a session, none of them practice: 50 of them or a multiple."""
    from tests.study.factories import make_study

    share = trials // 50
    return make_study(
        base_images=trials, size=4, participants=participants, trials_per_strength=20 * share,
        trials_per_control=2 * share, catch_trials=4 * share, practice_trials=0,
    )  # fmt: skip


def with_sessions(sessions: int, further: int) -> Study:
    """A study that so many have finished and so many more may join."""
    from benchmarks.copies import copy
    from benchmarks.side_by_side.filled import complete_session

    study = study_of(USUAL, sessions + further)
    copy(complete_session(study), sessions - 1)
    return study


def main() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "study.settings"
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    rounds, starts, postmaster = map(int, sys.argv[1:])
    print(json.dumps([asdict(batch) for batch in measured(rounds, starts, postmaster)]))


if __name__ == "__main__":
    main()
