"""Fills the database of our application with answered trials: `... TRIALS`, a whole number of sessions.

Prints {"trials": how many there are, "bytes": {table: what it and its indexes take on disk}}. With DATABASE_URL and
BLINDSPOT_VAR of the server, which `ours` has made ready.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from benchmarks.side_by_side.ours import TRIALS, answer

if TYPE_CHECKING:
    from study.trials.models import Session, Study

#: What grows with every participant.
TABLES = ("trials_session", "trials_slot", "trials_sessionevent", "trials_trial", "trials_answer", "trials_trialtrace")
SCREEN = {"device": "computer", "device_pixel_ratio": 1.0, "window": "1280x800", "screen": "1920x1080", "gamut": "srgb"}
ON_DISK = {
    "postgresql": "SELECT pg_total_relation_size(%s)",
    "sqlite": "SELECT sum(d.pgsize) FROM dbstat d JOIN sqlite_master m ON m.name = d.name WHERE m.tbl_name = %s",
}


def fill(study: Study, trials: int) -> None:
    """So many answered trials in complete sessions of real people, who are all the same person."""
    from benchmarks.copies import copy, settle

    copy(complete_session(study), trials // TRIALS - 1)
    settle()


def complete_session(study: Study) -> Session:
    """A session of which the page has sent everything: its screen and all answers, all right, with their traces."""
    from study.trials.api import answer_fields

    session, token = study.start_session()
    attempt = session.begin_attempt()
    session.record_screen(attempt=attempt, scale=study.scale, px_per_mm=None, distance_mm=None, device=SCREEN)
    for trial in session.due_trials():
        said = json.loads(answer(token, trial.index)["body"]) | {"choice": trial.altered_side}
        session.record_answer(trial.index, attempt=attempt, **answer_fields(said))
    session.complete()
    return session


def sizes() -> dict[str, int]:
    """Bytes on disk of each table that grows, with its indexes."""
    from django.db import connection

    found = {}
    with connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(ON_DISK[connection.vendor], [table])
            found[table] = int(cursor.fetchone()[0])
    return found


def main() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "study.settings"
    django.setup()
    from study.trials.models import Answer, Study

    fill(Study.objects.get(), int(sys.argv[1]))
    print(json.dumps({"trials": Answer.objects.count(), "bytes": sizes()}))


if __name__ == "__main__":
    main()
