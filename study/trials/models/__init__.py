"""What participants do: studies and their frozen designs, sessions, planned trials, answers."""

from study.trials.models.choices import Choice, Population, Side
from study.trials.models.members import Member
from study.trials.models.sessions import (
    PracticeOutcome,
    Session,
    SessionEvent,
    new_public_code,
    new_token,
    token_sha256,
)
from study.trials.models.studies import (
    DesignVersion,
    Slot,
    Source,
    Study,
    StudyTexts,
    Translation,
    validate_strengths,
)
from study.trials.models.trials import AdaptiveChoice, Answer, SkippedTrial, Trial, TrialTrace

__all__ = [
    "AdaptiveChoice", "Answer", "Choice", "DesignVersion", "Member", "Population", "PracticeOutcome",
    "Session", "SessionEvent", "Side", "SkippedTrial", "Slot", "Source", "Study", "StudyTexts", "Translation",
    "Trial", "TrialTrace", "new_public_code", "new_token", "token_sha256", "validate_strengths",
]  # fmt: skip
