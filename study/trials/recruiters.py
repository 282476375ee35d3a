"""How participants arrive: the parameters that recruiters put into the link."""

from __future__ import annotations

from collections.abc import Mapping

#: Parameters that are kept. The first of PERSON that is there names the person; the rest names the submission.
PERSON = ("PROLIFIC_PID", "sona_id", "participant")
SUBMISSION = ("STUDY_ID", "SESSION_ID")
LONGEST_ID = 100


def ids_from(parameters: Mapping[str, str]) -> dict[str, str]:
    """The recruiter's ids among a link's parameters; empty, overlong and unprintable ones are left out."""
    found = {name: parameters.get(name, "").strip() for name in (*PERSON, *SUBMISSION)}
    return {name: value for name, value in found.items() if 0 < len(value) <= LONGEST_ID and value.isprintable()}


def person(ids: Mapping[str, str]) -> str | None:
    """What is the same for all visits of one person; None for a plain link."""
    return next((f"{name}={ids[name]}" for name in PERSON if name in ids), None)
