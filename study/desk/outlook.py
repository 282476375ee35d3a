"""What a study of this design asks of participants and of the purse, before it opens."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from study.desk.counterbalancing import Balance, balance
from study.trials.duration import Duration, estimate

if TYPE_CHECKING:
    from study.trials.models import Study


@dataclass(frozen=True)
class Pay:
    """What is paid for one session, in a currency: `bonus` for each right answer to a pair that differs."""

    currency: str
    base: Decimal
    bonus: Decimal

    @classmethod
    def of(cls, study: Study) -> Pay:
        return cls(study.currency, Decimal(study.base_pay), Decimal(study.bonus_per_correct))


@dataclass(frozen=True)
class Cost:
    """What all places together cost: `guessing` when everybody is right half of the time, `right` when always."""

    currency: str
    guessing: Decimal
    right: Decimal


@dataclass(frozen=True)
class Outlook:
    """Trials of one session by use, how long it takes, what all places cost, and how the pictures are shared out."""

    practice: int
    rounds: int
    main: int
    controls: int
    catch: int
    duration: Duration
    participants: int
    cost: Cost
    balance: Balance

    @property
    def trials(self) -> int:
        """Of one session, with one round of practice."""
        return self.practice + self.main + self.controls + self.catch


def outlook(design: Mapping[str, Any], pay: Pay) -> Outlook:
    """Of a design in the present format."""
    practice, cells = design["practice"], design["cells"]
    controls = sum(cell["trials"] for cell in cells if cell["control"])
    main = sum(cell["trials"] for cell in cells if not cell["control"])
    catch = len(design["catch"]["stimuli"])
    same = sum(cell["trials"] for cell in cells if cell["control"] == "identity")
    return Outlook(
        practice=len(practice["stimuli"]) // practice["rounds"],
        rounds=practice["rounds"],
        main=main,
        controls=controls,
        catch=catch,
        duration=estimate(design),
        participants=design["participants"],
        cost=_cost(pay, design["participants"], main + controls + catch - same),
        balance=balance(design),
    )


def _cost(pay: Pay, participants: int, with_bonus: int) -> Cost:
    right = pay.base + pay.bonus * with_bonus
    return Cost(pay.currency, participants * (pay.base + right) / 2, participants * right)
