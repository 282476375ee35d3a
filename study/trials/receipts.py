"""Receipts: the answers that a participant's page could not send, saved as a file and imported by a researcher."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.db import transaction

from study.accounts import audit
from study.trials.api import Refused, answer_fields, finite
from study.trials.exceptions import DifferentAnswer, TrialsError
from study.trials.models import Session

FORMAT: Final = "blindspot-receipt-1"
MOST_TRIALS: Final = 10_000


class ReceiptError(ValueError):
    """A file that is no receipt, or one that does not fit its session. The message is one sentence."""


@dataclass(frozen=True)
class ReceiptAnswer:
    """One answer: the keyword arguments of `Session.record_answer`, but the attempt."""

    index: int
    client_id: uuid.UUID
    choice: str
    rt_ms: float
    trace: Mapping[str, Any]


@dataclass(frozen=True)
class Receipt:
    """The answers of the session with this public code that had not arrived, in order."""

    code: str
    answers: tuple[ReceiptAnswer, ...]

    def replay(self, *, dry_run: bool = False) -> int:
        """Store the answers as if they had arrived; returns how many were new. Those stored already stay as they are.

        `dry_run`: everything is checked and nothing is stored. Raises ReceiptError when there is no such session or it
        does not take the answers; then none of them is stored.
        """
        session = Session.objects.with_design().filter(public_code=self.code).first()
        if session is None:
            raise ReceiptError(f"There is no session with the code {self.code}: is this the right installation?")
        try:
            with transaction.atomic():
                new = session.import_answers([asdict(answer) for answer in self.answers])
                said = {"session": session.pk, "answers": new}
                audit.record("imported answers of a session of", session.study, after=said)
                transaction.set_rollback(dry_run)
        except DifferentAnswer as error:
            index = error.stored.trial.index
            raise ReceiptError(
                f"Trial {index} of session {self.code} has another answer already, which stays."
            ) from error
        except TrialsError as error:
            raise ReceiptError(f"Session {self.code} does not take these answers: {error}") from error
        return new


def parse(text: str | bytes) -> Receipt:
    """The receipt in a file's text. Raises ReceiptError with the first thing that is wrong with it."""
    try:
        content = json.loads(text, parse_constant=finite, parse_float=finite)
    except (ValueError, RecursionError):
        raise ReceiptError("This is no JSON: ask the participant for the file as it was saved.") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ReceiptError(f'This is no receipt: its "format" must be "{FORMAT}".')
    code, answers = content.get("code"), content.get("answers")
    if not isinstance(code, str) or not code.isalnum():
        raise ReceiptError('"code" must be the session\'s public code.')
    if not isinstance(answers, list) or not 0 < len(answers) <= MOST_TRIALS:
        raise ReceiptError(f'"answers" must be a list of 1 to {MOST_TRIALS} answers.')
    return Receipt(code, _in_order([_answer(n, answer) for n, answer in enumerate(answers, start=1)]))


def _answer(n: int, answer: Any) -> ReceiptAnswer:
    if not isinstance(answer, dict):
        raise ReceiptError(f"Answer {n} must be an object.")
    index = answer.get("index")
    if type(index) is not int or not 0 <= index < MOST_TRIALS:
        raise ReceiptError(f"Answer {n}: index must be a whole number from 0 to {MOST_TRIALS - 1}.")
    try:
        return ReceiptAnswer(index, **answer_fields(answer))
    except Refused as refusal:
        raise ReceiptError(f"Answer {n}: {refusal}") from refusal


def _in_order(answers: Sequence[ReceiptAnswer]) -> tuple[ReceiptAnswer, ...]:
    indices = [answer.index for answer in answers]
    if indices != sorted(set(indices)):
        raise ReceiptError("The answers must be in the order of their trials, one for each.")
    return tuple(answers)
