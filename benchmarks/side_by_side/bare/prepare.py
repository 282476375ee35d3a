"""Makes the bare view ready for the closed loop: `... prepare|participants N|stored`, as `ours` does for ours."""

from __future__ import annotations

import json
import os
import secrets
import sys
import uuid
from typing import Any

from benchmarks.side_by_side.ours import HEADERS, TRACE, TRIALS


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
        found.append({"requests": [_answer(session.token, index) for index in range(TRIALS)]})
    return found


def _answer(token: str, index: int) -> dict[str, Any]:
    said = {"client_id": str(uuid.uuid4()), "attempt": 1, "choice": "left", "rt_ms": 512.5, **TRACE}
    return {"method": "PUT", "path": f"/run/{token}/trials/{index}", "headers": HEADERS, "body": json.dumps(said)}


def stored() -> int:
    from benchmarks.side_by_side.bare.models import Answer

    return Answer.objects.count()


def main(verb: str, *arguments: str) -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.side_by_side.bare.settings"
    django.setup()
    match verb:
        case "prepare":
            prepare()
        case "participants":
            print(json.dumps(participants(int(arguments[0]))))
        case "stored":
            print(stored())


if __name__ == "__main__":
    main(*sys.argv[1:])
