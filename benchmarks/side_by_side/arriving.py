"""Makes our application ready for people who start: `... prepare|participants N|stored`, as `ours` does for answers.

A study of 200 trials. Of every participant `participants` prints {"start", "page", "plan"}: the consent form as it is
sent by the page of information, the page that this leads to, and the plan that the page asks for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any, NamedTuple
from urllib.parse import urlencode

from benchmarks.side_by_side import shown
from benchmarks.side_by_side.ours import main
from benchmarks.side_by_side.shown import SIDES, TRIALS

PLACES = 600
#: By how much two images' meetings with a cell may differ over any number of sessions (study.trials.plan.rotate).
MOST_MEETINGS_APART = 3


class Meeting(NamedTuple):
    """One planned trial. cell: what is done to the image, or the phase outside of the main one."""

    session: int
    stimulus: int
    cell: str
    side: str
    is_main: bool


def prepare() -> None:
    from django.core.management import call_command

    shown.prepare(PLACES, size=4)
    call_command("collectstatic", interactive=False, verbosity=0)


def participants(n: int) -> list[dict[str, Any]]:
    from django.core import signing

    from study.trials.models import Population, Study, new_token
    from study.trials.views import START_SALT, Visit

    study = Study.objects.get()
    visit, consent = asdict(Visit(Population.REAL, {}, "en")), study.consent_sha256("en")
    found = []
    for token in (new_token() for _ in range(n)):
        ticket = {"study": study.slug, "visit": visit, "token": token, "consent_sha256": consent}
        form = {"start": signing.dumps(ticket, salt=START_SALT, compress=True), "age": 34, "consent": "on"}
        found.append({
            "start": {
                "method": "POST", "path": f"/s/{study.slug}/start", "body": urlencode(form), "status": 302,
                "headers": {"Content-Type": "application/x-www-form-urlencoded"},
            },
            "page": {"method": "GET", "path": f"/run/{token}/"},
            "plan": {"method": "GET", "path": f"/run/{token}/plan"},
        })  # fmt: skip
    return found


def stored() -> int:
    """Sessions that have all their trials and are in balance; none if all together are not."""
    from study.trials.models import Trial

    rows = Trial.objects.values_list(
        "session", "base_image", "pair__strength", "pair__control", "altered_side", "phase"
    ).iterator(chunk_size=5000)
    found = (
        Meeting(
            session, stimulus, f"{strength:g}{control}" if phase == Trial.Phase.MAIN else phase, side, phase == "main"
        )
        for session, stimulus, strength, control, side, phase in rows
    )
    return whole_and_balanced(found)


def whole_and_balanced(meetings: Iterable[Meeting], trials: int = TRIALS) -> int:
    """How many sessions have so many trials, no image twice, and every cell equally often on both sides.

    0 if over all sessions an image meets a cell more often on one side than on the other, by more than one, or two
    images' meetings with a cell are further apart than they may be.
    """
    planned: Counter[int] = Counter()
    images: Counter[tuple[int, int]] = Counter()
    sides: Counter[tuple[int, str]] = Counter()
    leanings: Counter[tuple[str, int]] = Counter()
    numbers: Counter[tuple[str, int]] = Counter()
    for session, stimulus, cell, side, is_main in meetings:
        lean = 1 if side == SIDES[0] else -1
        planned[session] += 1
        images[session, stimulus] += 1
        sides[session, cell] += lean
        if is_main:
            numbers[cell, stimulus] += 1
            leanings[cell, stimulus] += lean
    faulty = {session for (session, _), n in images.items() if n > 1}
    faulty |= {session for (session, _), lean in sides.items() if lean}
    if any(abs(lean) > 1 for lean in leanings.values()) or _apart(numbers) > MOST_MEETINGS_APART:
        return 0
    return sum(n == trials and session not in faulty for session, n in planned.items())


def _apart(numbers: Counter[tuple[str, int]]) -> int:
    """The largest difference between two images' meetings with one cell."""
    stimuli = {stimulus for _, stimulus in numbers}
    of_cells = [[numbers[cell, stimulus] for stimulus in stimuli] for cell in {cell for cell, _ in numbers}]
    return max((max(of_cell) - min(of_cell) for of_cell in of_cells), default=0)


if __name__ == "__main__":
    main("study.settings", prepare, participants, stored)
