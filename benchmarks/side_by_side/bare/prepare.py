"""Makes the bare view ready for the closed loop: `... prepare|participants N|stored`, as `ours` does for ours."""

from __future__ import annotations

import secrets
from typing import Any

from benchmarks.side_by_side.ours import TRIALS, answer, main


def prepare() -> None:
    from django.db import connection

    from benchmarks.side_by_side.bare.models import Answer, Session, Trial

    with connection.schema_editor() as editor:
        for model in (Session, Trial, Answer):
            editor.create_model(model)


def participants(n: int) -> list[dict[str, Any]]:
    from benchmarks.side_by_side.bare.models import Session, Trial

    found = []
    for _ in range(n):
        session = Session.objects.create(token=secrets.token_urlsafe(16))
        Trial.objects.bulk_create(
            Trial(session=session, index=index, altered_side=("left", "right")[index % 2]) for index in range(TRIALS)
        )
        found.append({"requests": [answer(session.token, index) for index in range(TRIALS)]})
    return found


def stored() -> int:
    from benchmarks.side_by_side.bare.models import Answer

    return Answer.objects.count()


if __name__ == "__main__":
    main("benchmarks.side_by_side.bare.settings", prepare, participants, stored)
