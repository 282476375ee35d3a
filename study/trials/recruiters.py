"""Where participants come from and are sent back to: parameters in the link, codes, return URLs.

Prolific's and SONA's conventions are those of their documentation for researchers.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import quote, urlsplit

from django.core.exceptions import ValidationError

if TYPE_CHECKING:
    from study.trials.models import Session, Study

logger = logging.getLogger(__name__)

Outcome = Literal["complete", "screened_out"]

LONGEST_ID: Final = 100
PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")
PARAMETER: Final = re.compile(r"\w{1,40}", re.ASCII)
HOST: Final = re.compile(r"[a-z0-9.-]+", re.ASCII)
#: Browsers read "\" as "/" and drop line ends, so such a URL may lead elsewhere than it seems to.
URL_CHARACTERS: Final = re.compile(r"[!-\[\]-~]+")
UNFILLED: Final = re.compile(r"[{}%<>]")
NO_IDS: Final = frozenset({"", "undefined", "null", "none"})
PROLIFIC_RETURN: Final = "https://app.prolific.com/submissions/complete?cc={code}"


@dataclass(frozen=True)
class Recruiter:
    """How one recruiter's links are read, and which return URLs it needs.

    `person`: parameters that say who somebody is, the first that a link has counts; `submission`: those that name this
    visit; `hosts`: where it may send people back to besides the study's own list; `complete`, `screened_out`: its
    return URLs where the study has none; `aliases`: what else the person is called in return URLs.
    """

    person: tuple[str, ...]
    submission: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    complete: str = ""
    screened_out: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def placeholders(self) -> frozenset[str]:
        """What a return URL of this recruiter may name."""
        return frozenset({"code", "person", *self.aliases, *self.person, *self.submission})


PRESETS: Final[Mapping[str, Recruiter]] = {
    # A plain link keeps known ids too: nobody takes part twice because the study forgot to name its recruiter.
    "plain": Recruiter(("participant", "PROLIFIC_PID", "sona_id"), ("STUDY_ID", "SESSION_ID")),
    "prolific": Recruiter(
        ("PROLIFIC_PID",), ("STUDY_ID", "SESSION_ID"), ("app.prolific.com",), PROLIFIC_RETURN, PROLIFIC_RETURN
    ),
    "sona": Recruiter(("sona_id",), aliases=("survey_code",)),
}


def of(study: Study) -> Recruiter:
    """The recruiter of a study. Raises ValueError, in a sentence, for parameters that are no such map."""
    return PRESETS.get(study.recruiter) or custom(study.recruiter_parameters)


def custom(parameters: Any) -> Recruiter:
    """A recruiter from {"person": "pid", "submission": ["a", "b"]}. Raises ValueError for anything else."""
    known = isinstance(parameters, Mapping) and set(parameters) <= {"person", "submission"}
    person, submission = (parameters.get("person"), parameters.get("submission", [])) if known else (None, [])
    names = [person, *submission] if isinstance(submission, list) else [None]
    if not all(isinstance(name, str) and PARAMETER.fullmatch(name) for name in names) or len({*names}) < len(names):
        raise ValueError(
            'Say which parameters of the link to read, as {"person": "pid", "submission": ["session"]}: '
            "different names of letters, digits and _."
        )
    return Recruiter((person,), tuple(submission))  # type: ignore[arg-type]


def ids_from(parameters: Mapping[str, str], recruiter: Recruiter) -> dict[str, str]:
    """The recruiter's ids among a link's parameters; those that are no ids are left out.

    A placeholder that nobody filled in, as {{%PROLIFIC_PID%}}, would make one person of all who come by the link.
    """
    found = {name: parameters.get(name, "").strip() for name in (*recruiter.person, *recruiter.submission)}
    return {name: value for name, value in found.items() if _is_id(value)}


def _is_id(value: str) -> bool:
    filled_in = not UNFILLED.search(value) and value.lower() not in NO_IDS
    return filled_in and len(value) <= LONGEST_ID and value.isprintable()


def person(ids: Mapping[str, str], recruiter: Recruiter = PRESETS["plain"]) -> str | None:
    """What is the same for all visits of one person; None for a link that names nobody."""
    return next((f"{name}={ids[name]}" for name in recruiter.person if name in ids), None)


def return_url(template: str, values: Mapping[str, str], hosts: Collection[str]) -> str:
    """The address that a template leads to: its {placeholders} replaced by percent-encoded values.

    hosts: lower-case host names without ports. Raises ValueError, in a sentence, unless the address is https (http on
    this machine is fine), its host is one of them, and every placeholder has a value.
    """
    if not URL_CHARACTERS.fullmatch(template):
        raise ValueError("A return URL has no spaces, no line ends and no backslashes.")
    place = urlsplit(template)
    host = place.hostname or ""
    if place.scheme != "https" and not (place.scheme == "http" and _is_this_machine(host)):
        raise ValueError(f"A return URL begins with https://, not like {template!r}.")
    if host not in hosts or "@" in place.netloc:
        raise ValueError(
            f"The return URL leads to {place.netloc!r}, which is not on the study's list of hosts: add it."
        )
    if unknown := set(PLACEHOLDER.findall(template)) - set(values):
        known = ", ".join(f"{{{name}}}" for name in sorted(values))
        raise ValueError(f"The return URL names {{{min(unknown)}}}, but there is only {known}.")
    return PLACEHOLDER.sub(lambda found: quote(values[found[1]], safe=""), template)


def return_link(study: Study, outcome: Outcome, session: Session) -> str | None:
    """Where a session that ended so may go back to; None without a way back."""
    return _link(study, outcome, session.recruiter_ids, session.code)


def turned_away_link(study: Study, ids: Mapping[str, str]) -> str | None:
    """Where somebody with these recruiter's ids goes back to who may not start; None without a way back."""
    return _link(study, "screened_out", ids, study.screened_out_code)


def _link(study: Study, outcome: Outcome, ids: Mapping[str, str], code: str) -> str | None:
    """None also where the URL names what this person lacks, for then it leads nowhere useful.

    A URL that was saved unchecked and is refused now is logged; the participant has the code without it.
    """
    try:
        recruiter = of(study)
        template = _template(study, recruiter, outcome)
        values = _values(recruiter, ids, code)
        named = set(PLACEHOLDER.findall(template)) & recruiter.placeholders
        if not template or not all(values[name] for name in named):
            return None
        return return_url(template, values, _hosts(study, recruiter))
    except ValueError as error:
        logger.error("Participants of %s are not sent back: %s", study.slug, error)
        return None


def check(study: Study) -> None:
    """Raises ValidationError, by field, for parameters, hosts or return URLs that could not work."""
    try:
        recruiter = of(study)
    except ValueError as error:
        raise ValidationError({"recruiter_parameters": str(error)}) from error
    if not isinstance(study.return_hosts, list) or not all(map(_is_host, study.return_hosts)):
        raise ValidationError({"return_hosts": 'Give a list of host names, for example ["example.org"].'})
    values = dict.fromkeys(recruiter.placeholders, "x")
    problems = {}
    if "{code}" in recruiter.complete and not study.completion_code:
        problems["completion_code"] = "This recruiter needs a completion code to send people back: fill it in."
    for field in ("return_url", "screened_out_url"):
        try:
            if template := getattr(study, field):
                return_url(template, values, _hosts(study, recruiter))
        except ValueError as error:
            problems[field] = str(error)
    if problems:
        raise ValidationError(problems)


def _template(study: Study, recruiter: Recruiter, outcome: Outcome) -> str:
    if outcome == "complete":
        return study.return_url or recruiter.complete
    return study.screened_out_url or recruiter.screened_out


def _values(recruiter: Recruiter, ids: Mapping[str, str], code: str) -> dict[str, str]:
    who = next((ids[name] for name in recruiter.person if name in ids), "")
    named = {name: ids.get(name, "") for name in (*recruiter.person, *recruiter.submission)}
    return {**named, **dict.fromkeys(recruiter.aliases, who), "person": who, "code": code}


def _hosts(study: Study, recruiter: Recruiter) -> frozenset[str]:
    return frozenset({*(host.lower() for host in study.return_hosts), *recruiter.hosts})


def _is_host(host: Any) -> bool:
    return isinstance(host, str) and HOST.fullmatch(host.lower()) is not None


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
