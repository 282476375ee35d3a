"""Makes our application ready to show pictures: `... prepare|participants N|stored`, as `ours` does for answers.

A study of 200 trials with pairs of 64 x 64 pixels. `participants` prints {"run", "plain", "pair_bytes"}: of every
session the requests for both pictures of each trial, as its page asks for them and as plain files; and what the two
files of a trial take on average.
"""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.side_by_side.ours import main, stored

TRIALS = 200
SIZE = 64
SIDES = ("left", "right")
#: Where whitenoise has the files.
PLAIN = "files"


def prepare(participants: int = 1, size: int = SIZE) -> None:
    from django.core.management import call_command

    from tests.study.factories import make_study

    call_command("migrate", verbosity=0)
    make_study(
        base_images=TRIALS, size=size, strengths=(0.5, 1.0, 2.0, 4.0), participants=participants,
        trials_per_strength=40, trials_per_control=8, catch_trials=10, practice_trials=6,
    )  # fmt: skip


def participants(n: int) -> dict[str, Any]:
    """Of so many sessions; robots, so that no quota is in the way."""
    from study.trials.models import Population, Study

    study = Study.objects.get()
    run, plain, sizes = [], [], []
    for _ in range(n):
        session, token = study.start_session(Population.SIMULATED)
        places = [(trial, side) for trial in session.trials.select_related("pair__base_image") for side in SIDES]
        files = [trial.image(side) for trial, side in places]
        run.append({"requests": [_get(f"/run/{token}/i/{trial.index}/{side}") for trial, side in places]})
        plain.append({"requests": [_get(f"/{PLAIN}/{image.file}") for image in files]})
        sizes += [len(image.read()) for image in files]
    return {"run": run, "plain": plain, "pair_bytes": len(SIDES) * statistics.fmean(sizes)}


def _get(path: str) -> dict[str, str]:
    return {"method": "GET", "path": path}


if __name__ == "__main__":
    main("study.settings", prepare, participants, stored)
