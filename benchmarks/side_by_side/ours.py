"""Makes our application ready for the closed loop: `... prepare|participants N|stored`.

With DATABASE_URL and BLINDSPOT_VAR of the server. A session has 30 trials that ask for one answer each.
"""

from __future__ import annotations

import json
import os
import sys
import uuid
from collections.abc import Callable
from typing import Any

TRIALS = 30
SLUG = "side-by-side"
#: What the page tells with an answer of how it was shown.
TRACE = {
    "onset_ms": 1234.5, "offset_ms": 1980.25, "frame_ms": 16.67, "frames": 45, "dropped_frames": 0, "focus_losses": 0,
    "device_pixel_ratio": 1.0, "viewport_scale": 1.0, "scale": 4, "pauses": 0, "input": "key", "trusted": True,
    "early_presses": 0, "window": "1280x800", "screen": "1920x1080", "gamut": "srgb",
}  # fmt: skip
HEADERS = {"Content-Type": "application/json", "Sec-Fetch-Site": "same-origin"}


def prepare() -> None:
    from django.core.management import call_command

    from tests.study.factories import make_study

    call_command("migrate", verbosity=0)
    make_study(
        slug=SLUG, base_images=TRIALS, size=16, participants=1, trials_per_strength=10, trials_per_control=2,
        catch_trials=4, practice_trials=0,
    )  # fmt: skip


def participants(n: int) -> list[dict[str, Any]]:
    """So many sessions whose page has loaded the plan; robots, so that no quota is in the way."""
    from study.trials.models import Population, Study

    study = Study.objects.get()
    found = []
    for _ in range(n):
        session, token = study.start_session(Population.SIMULATED)
        attempt = session.begin_attempt()
        found.append({"requests": [answer(token, index, attempt) for index in range(session.trials.count())]})
    return found


def answer(token: str, index: int, attempt: int = 1) -> dict[str, Any]:
    """The request that the page sends for one trial."""
    said = {"client_id": str(uuid.uuid4()), "attempt": attempt, "choice": "left", "rt_ms": 512.5, "trace": TRACE}
    return {"method": "PUT", "path": f"/run/{token}/trials/{index}", "headers": HEADERS, "body": json.dumps(said)}


def stored() -> int:
    from study.trials.models import Answer

    return Answer.objects.count()


def main(
    settings: str, prepare: Callable[[], None], participants: Callable[[int], Any], stored: Callable[[], int]
) -> None:
    """Do under these settings what the command line asks for."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = settings
    django.setup()
    match sys.argv[1:]:
        case ["prepare"]:
            prepare()
        case ["participants", n]:
            print(json.dumps(participants(int(n))))
        case ["stored"]:
            print(stored())


if __name__ == "__main__":
    main("study.settings", prepare, participants, stored)
