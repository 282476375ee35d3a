"""What ties participants to the recruiter's ids: the key file, and the lists by which people are paid.

Nothing else of an export does. Whoever may have these files may `IDENTIFY` (study.trials.rights).

Payment does not wait for the study to close, but bonuses do: an amount says how often one person was right, which with
one strength is the rate of its condition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from django.db.models import Count, Q

from study.desk.exports import Withheld, as_csv
from study.lab.models import Pair
from study.trials import recruiters
from study.trials.models import Population, Session, Study, Trial

CENT: Final = Decimal("0.01")
NOTHING: Final = Decimal("0.00")
BY_HAND: Final = "decide by hand"
LATER: Final = "bonus once the study closes"
BONUSES_HIDDEN: Final = "Bonuses depend on right answers, which stay hidden until the study closes."
#: What may stand in a list that a recruiter takes in: an id with a comma or a line end in it would be another payment.
PLAIN_ID: Final = re.compile(r"[A-Za-z0-9]+")
#: Spreadsheets take a cell that begins so for a formula, and whoever opens the study's link writes the ids.
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
PAID: Final = (Session.State.COMPLETE, Session.State.SCREENED_OUT)
KEY_COLUMNS: Final = ("participant", "session", "state")
PAYMENT_COLUMNS: Final = ("participant", "session", "state", "base", "bonus", "total", "currency", "note")


@dataclass(frozen=True)
class PayRule:
    """What a session is worth."""

    base: Decimal
    bonus_per_correct: Decimal
    screened_out: Decimal

    @classmethod
    def of(cls, study: Study) -> PayRule:
        return cls(study.base_pay, study.bonus_per_correct, study.screened_out_pay)

    def due(self, state: str, right: int | None) -> tuple[Decimal, Decimal | None]:
        """(base, bonus) of a session that ended in `state` with so many right answers that count; half a cent goes up.

        The bonus is None where it depends on a number that is not told. Nothing by rule for who withdrew or timed out:
        those are decided on by hand.
        """
        if state == Session.State.COMPLETE:
            return cents(self.base), None if right is None else cents(right * self.bonus_per_correct)
        return (cents(self.screened_out) if state == Session.State.SCREENED_OUT else NOTHING), NOTHING


def cents(amount: Decimal) -> Decimal:
    """To whole cents, half up."""
    return amount.quantize(CENT, ROUND_HALF_UP)


def hidden_bonuses(study: Study) -> str:
    """Why nobody may know the study's bonuses yet; empty when everybody who pays may."""
    return BONUSES_HIDDEN if study.is_blind and study.bonus_per_correct else ""


@dataclass(frozen=True)
class Payment:
    """One participant's. person: the recruiter's id, empty where there is none; ids: all that the link had; bonus: None
    while it is hidden, and the total with it.
    """

    participant: str
    session: str
    state: str
    person: str
    ids: Mapping[str, str]
    base: Decimal
    bonus: Decimal | None

    @property
    def total(self) -> Decimal | None:
        return None if self.bonus is None else self.base + self.bonus

    @property
    def is_by_rule(self) -> bool:
        return self.state in PAID

    @property
    def note(self) -> str:
        if self.bonus is None:
            return LATER
        return "" if self.is_by_rule else BY_HAND


def payments(study: Study) -> Iterator[Payment]:
    """Of all real sessions that have ended, in order of arrival; excluded ones are paid all the same.

    A right answer counts in main and catch trials whose two images differ, so not in identity controls; none is counted
    while bonuses are hidden.
    """
    hidden = bool(hidden_bonuses(study))
    differs = Q(trials__pair=None) | ~Q(trials__pair__control=Pair.Control.IDENTITY)
    judged = Q(trials__phase__in=[Trial.Phase.MAIN, Trial.Phase.CATCH], trials__answer__correct=True)
    ended = study.sessions.filter(population=Population.REAL).exclude(state=Session.State.ACTIVE).order_by("pk")
    if study.bonus_per_correct and not hidden:
        ended = ended.annotate(right=Count("trials", filter=judged & differs))
    rule, recruiter = PayRule.of(study), recruiters.of(study)
    session: Any  # with the count
    for session in ended.iterator(chunk_size=500):
        base, bonus = rule.due(session.state, None if hidden else getattr(session, "right", 0))
        yield Payment(
            participant=f"P{session.pk}",
            session=session.public_code,
            state=session.state,
            person=_person(session.recruiter_ids, recruiter),
            ids=session.recruiter_ids,
            base=base,
            bonus=bonus,
        )


def _person(ids: Mapping[str, str], recruiter: recruiters.Recruiter) -> str:
    return next((ids[name] for name in recruiter.person if name in ids), "")


@dataclass(frozen=True)
class Totals:
    """What a page says before the lists are fetched. bonus: None while it is hidden, and the total with it; unnamed:
    paid by rule, but without an id that a list can hold.
    """

    state: str
    sessions: int
    base: Decimal
    bonus: Decimal | None
    unnamed: int

    @property
    def total(self) -> Decimal | None:
        return None if self.bonus is None else self.base + self.bonus

    @property
    def known(self) -> Decimal:
        """As much of the total as is not hidden."""
        return self.base + (self.bonus or NOTHING)

    @property
    def label(self) -> str:
        return str(Session.State(self.state).label)

    @property
    def is_by_rule(self) -> bool:
        return self.state in PAID


def totals(of: Iterable[Payment]) -> list[Totals]:
    """By how sessions ended; what ended no session is left out."""
    by_state: dict[str, list[Payment]] = {}
    for payment in of:
        by_state.setdefault(payment.state, []).append(payment)
    return [
        Totals(
            state=state,
            sessions=len(paid),
            base=sum((payment.base for payment in paid), NOTHING),
            bonus=_sum(payment.bonus for payment in paid),
            unnamed=sum(payment.is_by_rule and not PLAIN_ID.fullmatch(payment.person) for payment in paid),
        )
        for state in Session.State.values
        if (paid := by_state.get(state))
    ]


def _sum(amounts: Iterable[Decimal | None]) -> Decimal | None:
    """None as soon as one of them is hidden."""
    known = list(amounts)
    return None if None in known else sum((amount for amount in known if amount is not None), NOTHING)


# --- files


def key_file(study: Study) -> Iterator[bytes]:
    """CSV: who a participant is to the recruiter. Keep it apart from the answers. Erased sessions have no ids."""
    sessions = study.sessions.filter(population=Population.REAL).order_by("pk")
    names = id_names(study)
    rows = (
        {"participant": f"P{pk}", "session": code, "state": state, **_ids(ids, names)}
        for pk, code, state, ids in sessions.values_list("pk", "public_code", "state", "recruiter_ids").iterator()
    )
    return as_csv((*KEY_COLUMNS, *names), rows)


def payment_list(study: Study) -> Iterator[bytes]:
    """CSV for any recruiter: every session that has ended, what it is owed by rule, and what is decided by hand."""
    names = id_names(study)
    rows = (
        {name: getattr(payment, name) for name in ("participant", "session", "state", "base", "bonus", "total", "note")}
        | {"currency": study.currency, **_ids(payment.ids, names)}
        for payment in payments(study)
    )
    return as_csv((*PAYMENT_COLUMNS, *names), rows)


def approvals(study: Study) -> Iterator[bytes]:
    """Ids of complete sessions, one a line: whose submission is approved, or who gets the credit."""
    return (
        f"{payment.person}\n".encode()
        for payment in payments(study)
        if payment.state == Session.State.COMPLETE and PLAIN_ID.fullmatch(payment.person)
    )


def bonuses(study: Study) -> Iterator[bytes]:
    """Lines "id,amount" as Prolific's bulk bonus payment takes them: bonuses, and what those get who were screened out,
    whose submission is not approved. Raises Withheld while bonuses are hidden.
    """
    if said := hidden_bonuses(study):
        raise Withheld(said)
    return _bonus_lines(study)


def _bonus_lines(study: Study) -> Iterator[bytes]:
    for payment in payments(study):
        amount = payment.bonus if payment.state == Session.State.COMPLETE else payment.total
        if amount and PLAIN_ID.fullmatch(payment.person):
            yield f"{payment.person},{amount}\n".encode()


def id_names(study: Study) -> tuple[str, ...]:
    """Parameters of links, as columns of the files above: the recruiter's, and what else an earlier one left."""
    recruiter = recruiters.of(study)
    stored = study.sessions.filter(population=Population.REAL).values_list("recruiter_ids", flat=True).iterator()
    found = sorted({name for ids in stored for name in ids})
    return tuple(dict.fromkeys((*recruiter.person, *recruiter.submission, *found)))


def _ids(ids: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    return {name: harmless(ids.get(name, "")) for name in names}


def harmless(cell: str) -> str:
    """With an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell
