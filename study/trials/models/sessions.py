"""Sessions: one participant's run from the consent to the end."""

from __future__ import annotations

import hashlib
import math
import random
import secrets
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.crypto import salted_hmac

from study.lab.models import Dataset, Pair
from study.trials import adaptive, erasures, recruiters, robots, viewing
from study.trials.exceptions import (
    AlreadyTookPart,
    ClientIdTaken,
    ConsentChanged,
    DifferentAnswer,
    NoSuchTrial,
    NotCleared,
    NotOffered,
    NotOpen,
    OutOfTurn,
    Over,
    Superseded,
    TrialsMissing,
)
from study.trials.exclusions import Answers, ExclusionRules, Missed
from study.trials.export import SCREEN_WORDS
from study.trials.insert_only import InsertOnly
from study.trials.models.choices import Choice, Population, Side
from study.trials.models.studies import DesignVersion, Slot, Study
from study.trials.models.trials import AdaptiveChoice, Answer, SkippedTrial, Trial, TrialTrace
from study.trials.models.turns import Turn, store
from study.trials.plan import make_plan
from study.trials.protocols import LAYOUTS, Layout

PUBLIC_CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # none that is easily taken for another
TOKEN_BYTES = 16
SEEN_EVERY = timedelta(seconds=10)
KEPT_EVENTS = (  # by a session that is erased
    "started", "complete", "screened_out", "timed_out", "withdrawn", "erased", "forgotten",
)  # fmt: skip
FORGOTTEN = "forgotten"  # kind of an event: who it was is no longer known
EXCLUDED = "excluded"  # kind of an event: a rule of the design leaves the session out
FAILED_SAVES = "failed_saves"  # kind of an event: an answer arrived after tries that failed, so the page says


def new_token() -> str:
    """128 random bits that open a run to whoever has them."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def new_public_code() -> str:
    return "".join(secrets.choice(PUBLIC_CODE_LETTERS) for _ in range(10))


class SessionQuerySet(models.QuerySet["Session"]):
    def with_design(self) -> Self:
        """With study and design, but without the design's JSON, which is long (see `DesignVersion.now`)."""
        return self.select_related("study", "design").defer("design__json")

    def by_token(self, token: str) -> Session:
        """Raises Session.DoesNotExist for an unknown token."""
        return self.with_design().get(token_sha256=token_sha256(token))

    def record_answer(self, token: str, index: int, **given: Any) -> tuple[Answer, bool]:
        """As `Session.record_answer`, for whoever has the token; nothing is read twice.

        Raises Session.DoesNotExist for an unknown token.
        """
        return self.model._record_answer(index, {"token_sha256": token_sha256(token)}, **given)

    def unheard_of_since(self, limit: datetime) -> Self:
        """Sessions under way that no page load and no answer has come from since then."""
        return self.filter(state=Session.State.ACTIVE, seen_at__lt=limit)

    def start(
        self,
        study: Study,
        population: str,
        recruiter_ids: Mapping[str, str],
        *,
        token: str | None,
        language: str,
        consent_sha256: str | None,
    ) -> tuple[Session, str]:
        """See `Study.start_session`."""
        token = token or new_token()
        if population != Population.REAL and study.state == Study.State.DRAFT:
            study.draft_version()  # reads files, which had better not happen within the transaction
        arrival = Arrival(study, population, recruiter_ids, token, language, consent_sha256)
        try:
            with transaction.atomic():
                return arrival.session(), token
        except IntegrityError:  # the same form, or the same person, came in at the same moment: now it is found
            with transaction.atomic():
                return arrival.session(), token


@dataclass(frozen=True)
class Arrival:
    """Somebody who has consented and is about to start."""

    study: Study
    population: str
    recruiter_ids: Mapping[str, str]
    token: str
    language: str
    consent_sha256: str | None

    def session(self) -> Session:
        """The session of this token: the one that there is, or a new one with its place and plan."""
        study = self.study
        started = study.sessions.filter(token_sha256=token_sha256(self.token)).first()
        if started is not None:
            return started
        recruiter_key = self._recruiter_key()
        if recruiter_key and study.sessions.filter(recruiter_key=recruiter_key).exists():
            raise AlreadyTookPart
        design = self._design()
        if Dataset.objects.get(studies=study).display_refusal():
            raise NotCleared
        consented = study.consent_sha256(self.language)
        if self.consent_sha256 not in (None, consented):
            raise ConsentChanged
        slot = study.claim_slot(self.population)
        session = study.sessions.create(
            design=design,
            slot=slot,
            population=self.population,
            public_code=new_public_code(),
            token_sha256=token_sha256(self.token),
            recruiter_ids=self.recruiter_ids,
            recruiter_key=recruiter_key,
            seed=self._seed(slot, design),
            consent_sha256=consented,
            language=self.language,
        )
        Trial.objects.plan(session, make_plan(design.now, slot.list_number, session.seed))
        session.log("started")
        return session

    def _design(self) -> DesignVersion:
        """What is shown: the newest frozen design, in a draft what the draft is now. A draft shows people nothing."""
        self.study.refresh_from_db(fields=["state"])
        if not self.study.lets_in(self.population):
            raise self.study.not_open()
        if self.study.state == Study.State.DRAFT:
            return Study.objects.get(pk=self.study.pk).draft_version()
        design = self.study.current_design
        if design is None:
            raise NotOpen
        return design

    def _recruiter_key(self) -> str | None:
        person = recruiters.person(self.recruiter_ids, recruiters.of(self.study))
        if person is None or self.population != Population.REAL:
            return None
        return salted_hmac("study.trials.recruiter", f"{self.study.pk}:{person}", algorithm="sha256").hexdigest()

    def _seed(self, slot: Slot, design: DesignVersion) -> int:
        """Secret for people; reproducible for robots, so that a demonstration comes out the same again."""
        if slot.population == Population.REAL:
            return secrets.randbits(63)
        # A place that was given back: its plan must not come a second time. What a draft was tried with does not count.
        earlier = slot.sessions.filter(design__draft=design.draft).count()
        material = f"{self.study.seed} {slot.population} {slot.list_number}" + (f" {earlier}" if earlier else "")
        return int.from_bytes(hashlib.sha256(material.encode()).digest()[:8]) >> 1


class Session(models.Model):
    """One participant's run through a study."""

    class State(models.TextChoices):
        ACTIVE = "active", "active"
        COMPLETE = "complete", "complete"
        WITHDRAWN = "withdrawn", "withdrawn"
        SCREENED_OUT = "screened_out", "screened out"
        TIMED_OUT = "timed_out", "timed out"

    study = models.ForeignKey(Study, models.PROTECT, related_name="sessions")
    design = models.ForeignKey(DesignVersion, models.PROTECT, related_name="sessions")
    slot = models.ForeignKey(Slot, models.PROTECT, null=True, related_name="sessions")
    population = models.CharField(max_length=10, choices=Population)
    public_code = models.CharField(
        max_length=12, unique=True, help_text="What a participant quotes to have data erased."
    )
    token_sha256 = models.CharField(max_length=64, unique=True, editable=False)
    recruiter_ids = models.JSONField(default=dict, blank=True)
    recruiter_key = models.CharField(  # noqa: DJ001
        max_length=64, null=True, editable=False, help_text="Keyed hash of the recruiter's id: one session for each."
    )  # null, not "": any number of sessions may have none
    seed = models.BigIntegerField()
    state = models.CharField(max_length=12, choices=State, default=State.ACTIVE)
    attempt = models.PositiveIntegerField(
        default=0, help_text="Counts page loads; an older tab is told that it is superseded."
    )
    consent_sha256 = models.CharField(max_length=64)
    language = models.CharField(max_length=10, default="en")
    scale = models.PositiveIntegerField(null=True, blank=True, help_text="Device pixels per image pixel, as shown.")
    px_per_degree = models.FloatField(null=True, blank=True, help_text="Device pixels per degree of visual angle.")
    device = models.JSONField(default=dict, blank=True, help_text="What the screen's set-up found.")
    created_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField(default=timezone.now, help_text="Last page load or answer, to within 10 s.")
    completed_at = models.DateTimeField(null=True, blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["study", "recruiter_key"], name="one_session_per_recruiter_id"),
            models.CheckConstraint(
                condition=~Q(state="complete") | Q(completed_at__isnull=False), name="complete_sessions_say_when"
            ),
        ]
        indexes = [
            models.Index(
                fields=["study", "population", "seen_at"], condition=Q(state="active"), name="sessions_under_way"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.study.slug} {self.public_code}"

    def log(self, kind: str, **data: Any) -> SessionEvent:
        return self.events.create(kind=kind, data=data)

    @property
    def layout(self) -> Layout:
        """Places and pictures of a trial under the session's protocol."""
        return LAYOUTS[self.design.now["protocol"]]

    def flags(self) -> list[str]:
        """Signs that a script is answering. They are shown to researchers and exclude nobody."""
        given = TrialTrace.objects.filter(trial__session=self).exclude(trial__answer__choice=Choice.NONE)
        answers = given.values_list("trial__answer__rt_ms", "details")
        return robots.flags(
            [{**details, "rt_ms": rt_ms} for rt_ms, details in answers], self.events.values_list("kind", flat=True)
        )

    def _locked(self) -> Self:
        """This session as it is now, locked until the transaction ends. What was read before may be out of date."""
        return type(self).objects.with_design().select_for_update(of=("self",)).get(pk=self.pk)  # type: ignore[return-value]

    @property
    def progress(self) -> tuple[int, int]:
        """(answered, planned) trials; those that became unnecessary are not counted."""
        return Answer.objects.filter(trial__session=self).count(), self.trials.filter(skipped=None).count()

    def due_trials(self) -> models.QuerySet[Trial]:
        """Trials that have no answer and still need one, in order."""
        return self.trials.filter(answer=None, skipped=None).order_by("index")

    def next_index(self) -> int:
        """The first trial that is due; the number of trials once none is."""
        first = self.due_trials().values_list("index", flat=True).first()
        return self.trials.count() if first is None else first

    def candidate(self, index: int) -> int | None:
        """Which of its candidates trial `index` shows; None where it has none."""
        if not self.design.now["adaptive"]:
            return None
        trial = self.trials.select_related("choice").filter(index=index).first()
        return trial.candidate if trial else None

    def begin_attempt(self) -> int:
        """A page has loaded the plan: from now on only this attempt may answer. Returns its number, from 1.

        Raises Over when the session has ended, or ends now because the participant was away for too long.
        """
        with transaction.atomic():
            session = self._locked()
            if session.is_away():
                session.time_out()
            ended = session.state not in (self.State.ACTIVE, self.State.COMPLETE)
            if session.state == self.State.ACTIVE:
                session.attempt += 1
                session.seen_at = timezone.now()
                session.save(update_fields=["attempt", "seen_at"])
                if session.design.now["adaptive"]:
                    session._choose_pair(session._first_due())
        self.refresh_from_db(fields=["state", "attempt", "seen_at"])
        if ended:
            raise Over
        return session.attempt  # not self.attempt: another page may have begun since

    def is_away(self) -> bool:
        """Whether nothing was heard of the participant for longer than the design allows."""
        away = timezone.now() - self.seen_at
        return self.state == self.State.ACTIVE and away > timedelta(hours=self.design.now["resume_hours"])

    def record_screen(
        self, *, attempt: int, scale: int, px_per_mm: float | None, distance_mm: float | None, device: Mapping[str, Any]
    ) -> None:
        """Keep how the screen shows the images: `scale` and `px_per_mm` in device pixels, `device` as it was found.

        Raises Over, Superseded, or ValueError for a screen or distance that cannot be, or was not measured as designed.
        """
        self._require_measured(px_per_mm, distance_mm)
        px_per_degree = viewing.px_per_degree(px_per_mm, distance_mm) if px_per_mm and distance_mm else None
        self._require_scale(scale, px_per_degree)
        with transaction.atomic():
            session = self._locked()
            if session.state != self.State.ACTIVE:
                raise Over
            if attempt != session.attempt:
                raise Superseded
            session.scale, session.px_per_degree, session.device = scale, px_per_degree, dict(device)
            session.save(update_fields=["scale", "px_per_degree", "device"])
            found = {**device, "scale": scale, "px_per_degree": px_per_degree, "attempt": attempt}
            session.events.create(kind="screen", data=found)
        self.refresh_from_db()

    def _require_measured(self, px_per_mm: float | None, distance_mm: float | None) -> None:
        display = self.design.now["display"]
        if display["calibration"] != Study.Calibration.NONE and not px_per_mm:
            raise ValueError("The design asks for a calibrated screen.")
        if display["distance"] != Study.Distance.NONE and not distance_mm:
            raise ValueError("The design asks for a viewing distance.")

    def _require_scale(self, scale: int, px_per_degree: float | None) -> None:
        design = self.design.now
        display, width = design["display"], design["image"]["width"] * design["display"]["enlargement"]
        wanted = display["scale"]
        if display["image_degrees"]:
            if px_per_degree is None:
                raise ValueError("A size in degrees needs a calibrated screen and a distance.")
            wanted = viewing.scale_for(display["image_degrees"], width, px_per_degree)
        if scale != wanted:
            raise ValueError(f"The design shows images at scale {wanted}, not {scale}.")

    def record_answer(
        self,
        index: int,
        *,
        client_id: uuid.UUID,
        attempt: int,
        choice: str,
        rt_ms: float,
        trace: Mapping[str, Any] | None = None,
    ) -> tuple[Answer, bool]:
        """Store the answer to trial `index`; (answer, True), or (the stored one, False) when it is sent again.

        `attempt` is the number that `begin_attempt` gave the page, `choice` a Choice, `trace` what TrialTrace holds.
        What follows from the answer (the outcome of a practice round, the strength of the next adaptive trial) is
        stored with it. Raises NoSuchTrial, Over, OutOfTurn, Superseded, ClientIdTaken, NotOffered, or DifferentAnswer,
        which is logged; then nothing is stored.
        """
        return self._record_answer(
            index, {"id": self.pk}, attempt=attempt, trace=trace, client_id=client_id, choice=choice, rt_ms=rt_ms
        )

    @classmethod
    def _record_answer(
        cls, index: int, key: Mapping[str, Any], *, attempt: int, trace: Mapping[str, Any] | None = None, **given: Any
    ) -> tuple[Answer, bool]:
        """See `record_answer`; `key` as `Turn.take` wants it."""
        try:
            with transaction.atomic():
                turn = Turn.take(index, **key)
                return turn.session._take_turn(turn, attempt, given, dict(trace or {}))
        except DifferentAnswer as error:
            stored, told = error.stored, {name: given[name] for name in ("choice", "rt_ms")}
            stored.trial.session.log("different_answer", index=index, stored=stored.choice, attempt=attempt, **told)
            raise
        except IntegrityError:
            raise ClientIdTaken from None

    def _take_turn(
        self, turn: Turn, attempt: int, given: Mapping[str, Any], trace: Mapping[str, Any]
    ) -> tuple[Answer, bool]:
        trial, stored = turn.trial, turn.answer
        if self.state == self.State.WITHDRAWN:
            raise Over
        if trial is None:
            raise NoSuchTrial(f"The plan has no trial {turn.index}.")
        if stored is not None and all(getattr(stored, name) == value for name, value in given.items()):
            return self._with_next(stored, turn), False
        if self.state != self.State.ACTIVE:
            raise Over
        if stored is not None:
            raise DifferentAnswer(stored)
        if attempt != self.attempt:
            raise Superseded
        if turn.skipped or turn.early:
            raise OutOfTurn(f"Trial {turn.index} is not the next one.")
        self._require_offered(given["choice"])
        self._require_screen()
        answer = trial.answered(attempt=attempt, **given)
        store(answer, TrialTrace(trial=trial, **trace))
        if failed := trace.get("details", {}).get(FAILED_SAVES):
            self.log(FAILED_SAVES, index=turn.index, tries=failed)
        self._be_seen()
        self._judge_practice(trial)
        if self.state == self.State.ACTIVE and self.design.now["adaptive"]:
            self._choose_pair(answer.following())
        return self._with_next(answer, turn), True

    def _with_next(self, answer: Answer, turn: Turn) -> Answer:
        """The answer, which knows what comes after it where nothing that was answered changes that."""
        if answer.trial.phase != Trial.Phase.PRACTICE and not self.design.now["adaptive"]:
            answer.known_next_index = turn.next_index
        return answer

    def _be_seen(self) -> None:
        """Note that the participant is there; not with every answer, for it costs a write."""
        now = timezone.now()
        if now - self.seen_at >= SEEN_EVERY:
            Session.objects.filter(pk=self.pk).update(seen_at=now)

    def _require_offered(self, choice: str) -> None:
        design = self.design.now
        offered = {*Side.values} | ({Choice.UNSURE} if design["not_sure"] else set())
        if choice not in offered | ({Choice.NONE} if design["timing"]["response_ms"] else set()):
            raise NotOffered(f'"{choice}" is not among the answers of this study.')

    def _require_screen(self) -> None:
        """What was shown on a screen that nobody measured has no size in degrees."""
        if self.scale is None and self.design.now["display"]["calibration"] != Study.Calibration.NONE:
            raise OutOfTurn("The screen is measured before the first trial.")

    def _judge_practice(self, trial: Trial) -> None:
        """After the last trial of a practice round: go on, try once more, or end kindly."""
        outcome = self.practice_outcome(trial)
        if outcome is None:
            return
        later_rounds = self.trials.filter(phase=Trial.Phase.PRACTICE, round__gt=trial.round)
        if outcome.outcome == PracticeOutcome.PASSED:
            self._skip(later_rounds, "practice passed")
        if outcome.outcome == PracticeOutcome.FAILED:
            self.screen_out("practice")

    def practice_outcome(self, trial: Trial) -> PracticeOutcome | None:
        """What a round of practice has come to, if `trial` was its last."""
        if trial.phase != Trial.Phase.PRACTICE:
            return None
        a_round = self.trials.filter(phase=Trial.Phase.PRACTICE, round=trial.round)
        if a_round.filter(index__gt=trial.index).exists():
            return None
        rule = self.design.now["practice"]
        return PracticeOutcome.of_round(
            correct=a_round.filter(answer__correct=True).exclude(answer__choice=Choice.UNSURE).count(),
            needed=rule["correct"],
            of=a_round.count(),
            last=trial.round == rule["rounds"],
        )

    def _first_due(self) -> Trial | None:
        return self.due_trials().select_related("choice").first()

    def _choose_pair(self, trial: Trial | None) -> None:
        """In an adaptive study: choose and log the pair of this trial from all answers so far, or stop early.

        Trials whose pair is planned go through the same work: otherwise the time a reply takes would tell them apart.
        """
        rule = self.design.now["adaptive"]
        if not rule or trial is None or trial.phase == Trial.Phase.PRACTICE or hasattr(trial, "choice"):
            return
        history = list(
            AdaptiveChoice.objects.filter(trial__session=self, trial__pair=None, trial__answer__correct__isnull=False)
            .order_by("trial__index")
            .values_list("pair__strength", "trial__answer__correct")
        )
        quest = adaptive.Quest.of(rule["strengths"])
        posterior = quest.posterior(history)
        summary, strength = quest.summary(posterior), quest.next_strength(posterior)
        stop = adaptive.StopRule(most=rule["most"], minimum=rule["minimum"], sd=rule["sd"])
        if trial.pair_id is None and adaptive.stops(stop, len(history), summary):
            self._skip(self.due_trials().filter(pair=None), "threshold known well enough")
            self._choose_pair(self._first_due())
            return
        levels = Pair.objects.filter(pk__in=trial.candidates)
        pair = levels.get(strength=strength) if trial.pair_id is None else levels.get()
        AdaptiveChoice.objects.create(trial=trial, pair=pair, posterior=asdict(summary))

    def _skip(self, trials: models.QuerySet[Trial], reason: str) -> None:
        SkippedTrial.objects.bulk_create(SkippedTrial(trial=trial, reason=reason) for trial in trials)

    def complete(self) -> str:
        """End the session once every trial that is due has its answer; returns the completion code, on every call.

        Raises TrialsMissing with the indices, or Over when the session has ended otherwise.
        """
        with transaction.atomic():
            session = self._locked()
            if session.state not in (self.State.ACTIVE, self.State.COMPLETE):
                raise Over
            if missing := list(session.due_trials().values_list("index", flat=True)):
                raise TrialsMissing(missing)
            if session.state == self.State.ACTIVE:
                session.state = self.State.COMPLETE
                session.completed_at = timezone.now()
                session.save(update_fields=["state", "completed_at"])
                session.log("complete")
                session._give_way_if_excluded()
        self.refresh_from_db()
        return self.code

    def _give_way_if_excluded(self) -> None:
        """Whoever breaks a rule of the design is never counted: somebody else takes the place."""
        judged = Answer.objects.filter(trial__session=self).exclude(trial__phase=Trial.Phase.PRACTICE)
        answers = list(judged.select_related("trial__trace"))
        given = [answer for answer in answers if answer.choice != Choice.NONE]
        missed = Missed(len(answers) - len(given), of=len(answers))
        (rule,) = ExclusionRules.of_design(self.design.now).broken(_of_one_person(given), [missed.share])
        if rule:
            self.log(EXCLUDED, rule=rule)
            self._free_place()

    @property
    def code(self) -> str:
        """What the participant brings back to the recruiter; empty while there is nothing to bring back."""
        if self.state == self.State.COMPLETE:
            return self.study.completion_code or self.public_code
        return self.study.screened_out_code if self.state == self.State.SCREENED_OUT else ""

    def screen_out(self, reason: str) -> None:
        """End the session of somebody who cannot go on; the place is free again. Once is enough.

        Raises Over when the session has ended otherwise.
        """
        if self._end(self.State.SCREENED_OUT, reason=reason) != self.State.SCREENED_OUT:
            raise Over

    def time_out(self) -> None:
        """End a session whose participant stayed away too long. The answers are kept; the place is free again."""
        self._end(self.State.TIMED_OUT)

    def time_out_if_away(self) -> bool:
        """The same, unless the participant is back meanwhile; whether the session has ended so."""
        return self.is_away() and self._end(self.State.TIMED_OUT, still=Session.is_away) == self.State.TIMED_OUT

    def _end(self, state: str, still: Callable[[Session], bool] = lambda _: True, **data: Any) -> str:
        """Move an active session to `state` and free its place, if it `still` is so; returns the state it then has."""
        with transaction.atomic():
            session = self._locked()
            if session.state == self.State.ACTIVE and still(session):
                session._move_to(state)
                session._free_place()
                session.log(state, **data)
        self.refresh_from_db()
        return self.state

    @property
    def _place(self) -> models.QuerySet[Slot]:
        """Its place; none where the study was opened since a draft was tried with it, and took its places back."""
        given_back = self.design.draft and self.study.state != Study.State.DRAFT
        return Slot.objects.none() if given_back or self.slot_id is None else Slot.objects.filter(pk=self.slot_id)

    def _free_place(self) -> None:
        """Somebody else may have the place by now: then it stays theirs."""
        held = (self.State.ACTIVE, self.State.COMPLETE)
        others = Session.objects.filter(slot=self.slot_id, state__in=held, design__draft=self.design.draft)
        others = others.exclude(pk=self.pk).exclude(events__kind=EXCLUDED)
        if not others.exists():
            self._place.update(claimed_at=None)

    def import_answers(self, answers: Sequence[Mapping[str, Any]]) -> int:
        """Store answers that never arrived by themselves (keyword arguments of `record_answer` but the attempt).

        They are put in as the newest attempt's, in order; those that are stored already stay. The session is completed
        when nothing is missing any more, also when it had timed out; then it has its place again, unless that is
        somebody else's by now. As long as something is missing, what has timed out stays so. Returns how many were new.
        Raises what `record_answer` raises; then none of them is stored.
        """
        with transaction.atomic():
            session = self._locked()
            had_timed_out = session.state == self.State.TIMED_OUT
            if had_timed_out:
                session._move_to(self.State.ACTIVE)
            new = 0
            for answer in sorted(answers, key=lambda answer: answer["index"]):
                new += session.record_answer(**{**answer, "attempt": session.attempt})[1]
            if new:
                session.log("receipt", answers=len(answers), new=new)
            session = session._locked()
            if session.state == self.State.ACTIVE and not session.due_trials().exists():
                session._take_place()
                session.complete()
            elif session.state == self.State.ACTIVE and had_timed_out:
                session._move_to(self.State.TIMED_OUT)
        self.refresh_from_db()
        return new

    def _move_to(self, state: str) -> None:
        self.state = state
        self.save(update_fields=["state"])

    def _take_place(self) -> None:
        self._place.filter(claimed_at=None).update(claimed_at=timezone.now())

    def example(self) -> Pair | None:
        """The pair that the debriefing shows: the clearest of practice, else of the catch trials."""
        shown = self.trials.exclude(phase=Trial.Phase.MAIN).exclude(pair=None).order_by("index")
        first = shown.select_related("pair__base_image__dataset").first()
        return first.pair if first else None

    def coin(self, index: int) -> str:
        """The side that "not sure" counts as in trial `index`: fair, and the same whenever it is asked for."""
        return random.Random(f"coin {self.seed} {index}").choice(Side.values)  # noqa: S311

    def withdraw(self) -> None:
        """Erase the answers, the traces and what is known of the person; the place is free again. Once is enough."""
        self._erase("withdrawn", forget_recruiter_key=False)

    def erase(self) -> None:
        """As `withdraw`, on request and by a researcher; the recruiter's id is forgotten altogether."""
        self._erase("erased", forget_recruiter_key=True)

    def _erase(self, event: str, *, forget_recruiter_key: bool) -> None:
        with transaction.atomic():
            session = self._locked()
            answers = Answer.objects.filter(trial__session=session).erase()
            for told in (TrialTrace, AdaptiveChoice, SkippedTrial):
                told.objects.filter(trial__session=session).erase()
            session.events.exclude(kind__in=KEPT_EVENTS).erase()
            if session.state != self.State.WITHDRAWN:
                session.log(event, answers=answers)
                if session.state in (self.State.ACTIVE, self.State.COMPLETE):
                    session._free_place()
            session.state = self.State.WITHDRAWN
            session.recruiter_ids, session.device = {}, {}
            session.scale = session.px_per_degree = None
            if forget_recruiter_key:
                session.recruiter_key = None
            session.save()
            session._note_erasure(event)
        self.refresh_from_db()

    def forget_person(self) -> None:
        """Erase what tells who somebody is, and keep the answers: the recruiter's ids, and what describes the device.

        A session under way ends. Once is enough.
        """
        self.time_out()
        with transaction.atomic():
            session = self._locked()
            session.recruiter_ids, session.recruiter_key = {}, None
            session.device = {name: word for name, word in session.device.items() if word in SCREEN_WORDS.get(name, ())}
            session.save(update_fields=["recruiter_ids", "recruiter_key", "device"])
            session.events.filter(kind="screen").erase()
            traces = list(TrialTrace.objects.filter(trial__session=session))
            TrialTrace.objects.filter(trial__session=session).erase()
            TrialTrace.objects.bulk_create(trace.without_device() for trace in traces)
            if not session.events.filter(kind=FORGOTTEN).exists():
                session.log(FORGOTTEN)
            session._note_erasure(FORGOTTEN)
        self.refresh_from_db()

    def _note_erasure(self, what: str) -> None:
        """Also outside of the database. Of people: nobody wants back what robots are."""
        if self.population == Population.REAL:
            transaction.on_commit(partial(erasures.note, self, what), robust=True)


def _of_one_person(given: Sequence[Answer]) -> Answers:
    """What one participant answered in time, as the exclusion rules want it."""
    losses = [getattr(getattr(answer.trial, "trace", None), "focus_losses", None) for answer in given]
    return Answers(
        person=np.zeros(len(given), np.intp),
        left=np.array([answer.side == Side.LEFT for answer in given], bool),
        correct=np.array([answer.correct for answer in given], bool),
        is_catch=np.array([answer.trial.phase == Trial.Phase.CATCH for answer in given], bool),
        unsure=np.array([answer.choice == Choice.UNSURE for answer in given], bool),
        rt_ms=np.array([answer.rt_ms for answer in given], float),
        focus_losses=np.array([math.nan if n is None else n for n in losses], float),
    )


@dataclass(frozen=True)
class PracticeOutcome:
    """What a round of practice has come to: passed, again (there is another round) or failed."""

    PASSED: ClassVar = "passed"
    AGAIN: ClassVar = "again"
    FAILED: ClassVar = "failed"

    outcome: str
    correct: int
    needed: int
    of: int

    @classmethod
    def of_round(cls, *, correct: int, needed: int, of: int, last: bool) -> PracticeOutcome:
        outcome = cls.PASSED if correct >= needed else cls.FAILED if last else cls.AGAIN
        return cls(outcome, correct, needed, of)


class SessionEvent(InsertOnly):
    """Something that happened to a session. Append-only."""

    session = models.ForeignKey(Session, models.CASCADE, related_name="events")
    kind = models.CharField(max_length=40)
    data = models.JSONField(default=dict)
    at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["session", "at"]

    def __str__(self) -> str:
        return f"{self.session}: {self.kind}"
