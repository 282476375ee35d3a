"""Trials, planned before the first is shown, and what came of them. Every row is written once."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from django.db import models
from django.db.models import Q

from study.lab.models import BaseImage, Pair, StoredImage
from study.trials.exceptions import (
    NoSuchTrial,
)
from study.trials.insert_only import InsertOnly, InsertOnlyQuerySet
from study.trials.models.choices import Choice, Side
from study.trials.models.statements import insert_many
from study.trials.plan import PlannedTrial

if TYPE_CHECKING:
    from study.trials.models.sessions import Session


#: All columns of a trial but its id, in the order in which a plan is stored.
PLANNED: Final = (
    "session_id", "index", "phase", "round", "base_image_id", "pair_id", "altered_side", "altered_frame", "candidates",
)  # fmt: skip


class TrialQuerySet(InsertOnlyQuerySet):
    def plan(self, session: Session, planned: Iterable[PlannedTrial]) -> None:
        """Store the whole plan of a session, in order."""
        insert_many(
            Trial,
            PLANNED,
            (
                (
                    session.pk, index, trial.phase, trial.round, trial.stimulus, trial.pair, trial.altered_side,
                    trial.altered_frame, json.dumps(trial.candidates),
                )
                for index, trial in enumerate(planned)
            ),
        )  # fmt: skip


class Trial(InsertOnly):
    """One planned trial. Stored before the first is shown; never changed."""

    class Phase(models.TextChoices):
        PRACTICE = "practice", "practice"
        MAIN = "main", "main"
        CATCH = "catch", "catch"

    session = models.ForeignKey("trials.Session", models.CASCADE, related_name="trials")
    index = models.PositiveIntegerField()
    phase = models.CharField(max_length=10, choices=Phase)
    round = models.PositiveIntegerField(default=0, help_text="Of practice, from 1.")
    base_image = models.ForeignKey(BaseImage, models.PROTECT, related_name="trials")
    pair = models.ForeignKey(
        Pair, models.PROTECT, null=True, related_name="trials", help_text="Empty: chosen from the answers before."
    )
    altered_side = models.CharField(max_length=5, choices=Side)
    altered_frame = models.PositiveIntegerField(
        default=0, help_text="Which of two pictures at the altered side is the altered one."
    )
    candidates = models.JSONField(default=list, help_text="Pairs that the page loads, one of which is shown.")

    objects = TrialQuerySet.as_manager()  # type: ignore[misc]

    class Meta:
        ordering = ["session", "index"]
        constraints = [
            models.UniqueConstraint(fields=["session", "index"], name="one_trial_per_index"),
            models.UniqueConstraint(fields=["session", "base_image"], name="one_trial_per_base_image"),
            models.CheckConstraint(condition=Q(altered_side__in=Side.values), name="altered_image_has_a_side"),
        ]

    def __str__(self) -> str:
        return f"{self.session} #{self.index}"

    @property
    def shown_pair(self) -> Pair | None:
        """The pair of this trial, planned or chosen; None while it is not chosen yet."""
        choice = getattr(self, "choice", None)
        return self.pair or (choice.pair if choice else None)

    @property
    def candidate(self) -> int | None:
        """Which of the candidates is shown; None where there are none, or it is not chosen yet."""
        if not self.candidates:
            return None
        if self.pair_id is None:
            choice = getattr(self, "choice", None)
            return self.candidates.index(choice.pair_id) if choice else None
        return random.Random(f"candidate {self.session.seed} {self.index}").randrange(len(self.candidates))  # noqa: S311

    def image(self, side: str, number: int = 0) -> StoredImage:
        """The image with this number at this side: number = candidate x pictures at a place + picture.

        Raises NoSuchTrial when there is none.
        """
        layout = self.session.layout
        candidate, frame = divmod(number, layout.frames)
        pair = self._candidate(candidate)
        if pair is None or not layout.has(side, frame):
            raise NoSuchTrial(f"Trial {self.index} has no image {number} there.")
        altered = layout.is_altered(side, frame, altered_side=self.altered_side, altered_frame=self.altered_frame)
        return pair if altered else pair.base_image

    def _candidate(self, number: int) -> Pair | None:
        """The pair with this number. Candidates are looked up, also those of a catch trial, whose pair is planned:
        the time that it takes would tell it apart.
        """
        if not self.candidates:
            return self.pair if number == 0 else None
        candidates = Pair.objects.select_related("base_image")
        return candidates.get(pk=self.candidates[number]) if number < len(self.candidates) else None

    def answered(self, choice: str, *, client_id: uuid.UUID, attempt: int, rt_ms: float) -> Answer:
        """The answer, to be stored; what is right is decided here and nowhere else."""
        side = self.session.coin(self.index) if choice == Choice.UNSURE else choice
        return Answer(
            trial=self,
            client_id=client_id,
            attempt=attempt,
            choice=choice,
            side="" if choice == Choice.NONE else side,
            correct=None if choice == Choice.NONE else side == self.altered_side,
            rt_ms=rt_ms,
        )


class SkippedTrial(InsertOnly):
    """A planned trial that became unnecessary: it needs no answer."""

    trial = models.OneToOneField(Trial, models.CASCADE, related_name="skipped")
    reason = models.CharField(max_length=100)
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.trial}: {self.reason}"


class AdaptiveChoice(InsertOnly):
    """The strength of a trial in an adaptive session, as chosen from the answers before it. An append-only log.

    Catch and control trials are in it with their planned pair (see `Session._choose_pair`).
    """

    trial = models.OneToOneField(Trial, models.CASCADE, related_name="choice")
    pair = models.ForeignKey(Pair, models.PROTECT, related_name="choices")
    posterior = models.JSONField(help_text="What was known of the threshold when it was chosen.")
    at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.trial}: {self.pair}"


class Answer(InsertOnly):
    """The answer to a trial: inserted once, never changed."""

    trial = models.OneToOneField(Trial, models.CASCADE, related_name="answer")
    client_id = models.UUIDField(unique=True, default=uuid.uuid4)
    attempt = models.PositiveIntegerField()
    choice = models.CharField(max_length=6, choices=Choice, help_text="What was answered.")
    side = models.CharField(
        max_length=5, choices=Side, blank=True, help_text='The side counted as chosen; of "not sure", a coin decides.'
    )
    correct = models.BooleanField(null=True, help_text="Empty where no answer came in time.")
    rt_ms = models.FloatField()
    received_at = models.DateTimeField(auto_now_add=True)

    #: The index of the trial after it, where that is known without asking.
    known_next_index: int | None = None

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(choice=Choice.NONE, side="", correct=None)
                | Q(~Q(choice=Choice.NONE), side__in=Side.values, correct__isnull=False),
                name="answer_is_judged_unless_none",
            ),
            models.CheckConstraint(condition=Q(rt_ms__gte=0), name="response_time_is_not_negative"),
        ]

    def __str__(self) -> str:
        return f"{self.trial}: {self.choice}"

    def feedback(self) -> dict[str, Any] | None:
        """What a participant learns from it: in practice whether it was right; in the study nothing."""
        if self.trial.phase != Trial.Phase.PRACTICE:
            return None
        return {"correct": bool(self.correct) and self.choice != Choice.UNSURE, "altered": self.trial.altered_side}

    def following(self) -> Trial | None:
        """The trial after this one, None after the last. The same whenever it is asked for."""
        later = self.trial.session.trials.filter(index__gt=self.trial.index, skipped=None)
        return later.select_related("choice").order_by("index").first()

    def consequences(self) -> dict[str, Any]:
        """What the page learns from the acknowledgement, the same on every repeat."""
        if self.known_next_index is not None:
            return {"next_index": self.known_next_index}
        session = self.trial.session
        outcome, following = session.practice_outcome(self.trial), self.following()
        found = {
            "next_index": following.index if following else session.trials.count(),
            "feedback": self.feedback(),
            "practice": asdict(outcome) if outcome else None,
            "candidate": following.candidate if following else None,
        }
        return {name: value for name, value in found.items() if value is not None}


class TrialTrace(InsertOnly):
    """How a trial was displayed, as the browser measured it."""

    trial = models.OneToOneField(Trial, models.CASCADE, related_name="trace")
    onset_ms = models.FloatField(null=True, help_text="When the images appeared, by the page's clock.")
    offset_ms = models.FloatField(null=True, help_text="When they went.")
    frame_ms = models.FloatField(null=True, help_text="Median frame interval.")
    dropped_frames = models.PositiveIntegerField(null=True)
    focus_losses = models.PositiveIntegerField(null=True)
    device_pixel_ratio = models.FloatField(null=True)
    viewport_scale = models.FloatField(null=True)
    pauses = models.PositiveIntegerField(null=True, help_text="How often the trial began anew, as the window changed.")
    details = models.JSONField(default=dict)

    #: Of `details`: what analyses need. Sizes of screen and window, and what else a page says, describe one device.
    ABOUT_THE_ANSWER = frozenset(
        {"scale", "frames", "input", "trusted", "early_presses", "first_onset_ms", "first_offset_ms"}
    )

    def __str__(self) -> str:
        return f"trace of {self.trial}"

    def without_device(self) -> TrialTrace:
        """Itself again, to be stored in its place, without what describes the device."""
        kept = {field.attname: getattr(self, field.attname) for field in self._meta.concrete_fields}
        details = {name: value for name, value in self.details.items() if name in self.ABOUT_THE_ANSWER}
        return TrialTrace(**{**kept, "details": details})
