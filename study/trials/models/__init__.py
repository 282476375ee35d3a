"""What participants do: studies and their frozen designs, sessions, planned trials, answers."""

from study.trials.models.choices import Choice, Population, Side
from study.trials.models.sessions import (
    PracticeOutcome,
    Session,
    SessionEvent,
    new_public_code,
    new_token,
    token_sha256,
)
from study.trials.models.studies import DesignVersion, Slot, Study, StudyTexts, Translation, validate_strengths
from study.trials.models.trials import AdaptiveChoice, Answer, SkippedTrial, Trial, TrialTrace

__all__ = [
    "AdaptiveChoice", "Answer", "Choice", "DesignVersion", "Population", "PracticeOutcome", "Session",
    "SessionEvent", "Side", "SkippedTrial", "Slot", "Study", "StudyTexts", "Translation", "Trial", "TrialTrace",
    "new_public_code", "new_token", "token_sha256", "validate_strengths",
]  # fmt: skip
