"""What participants do: studies, frozen designs, slots, sessions, planned trials, answers."""

from __future__ import annotations

import hashlib
import math
import secrets
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, Self

from django.core import signing
from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import IntegrityError, models, transaction
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac

from study.lab.models import Dataset, ModelRun, Pair, StoredImage, sha256_of
from study.lab.verification import Check
from study.trials import design as designs
from study.trials import recruiters
from study.trials.exceptions import (
    AlreadyTookPart,
    CannotOpen,
    ClientIdTaken,
    ConsentChanged,
    DifferentAnswer,
    Frozen,
    Full,
    NoSuchTrial,
    NotCleared,
    NotOpen,
    OutOfTurn,
    Over,
    Superseded,
    TrialsMissing,
)
from study.trials.plan import make_plan

PUBLIC_CODE_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # none that is easily taken for another
TOKEN_BYTES = 16
TICKET_SALT = "study.trials.simulation"


class Population(models.TextChoices):
    REAL = "real", "real"
    SIMULATED = "simulated", "simulated"
    PREVIEW = "preview", "preview"


class Side(models.TextChoices):
    LEFT = "left", "left"
    RIGHT = "right", "right"


def validate_strengths(strengths: Any) -> None:
    """A list of numbers above 0, each once."""
    numbers = isinstance(strengths, list) and all(type(s) in (int, float) and 0 < s < math.inf for s in strengths)
    if not numbers or len(set(strengths)) != len(strengths):
        raise ValidationError("Give a list of different numbers above 0, for example [0.5, 1, 2].")


class InsertOnlyQuerySet(models.QuerySet[Any]):
    """Rows that are written once. `erase` is the one way to take them away."""

    def update(self, **_: Any) -> NoReturn:
        raise Frozen(f"A stored {self.model._meta.verbose_name} cannot be changed.")

    def delete(self) -> NoReturn:
        raise Frozen(f"A stored {self.model._meta.verbose_name} cannot be deleted; withdraw or erase the session.")

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]

    def erase(self) -> int:
        return super().delete()[0]

    erase.alters_data = True  # type: ignore[attr-defined]
    erase.queryset_only = True  # type: ignore[attr-defined]


class InsertOnly(models.Model):
    """A row that is written once and never changed."""

    objects = InsertOnlyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise Frozen(f"A stored {self._meta.verbose_name} cannot be changed.")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise Frozen(f"A stored {self._meta.verbose_name} cannot be deleted; withdraw or erase the session.")


class StudyQuerySet(models.QuerySet["Study"]):
    def update(self, **values: Any) -> int:
        if not Study.DESIGN_FIELDS.isdisjoint(values) and self.exclude(state=Study.State.DRAFT).exists():
            raise Frozen("The design of a study that is open, or was, cannot change: amend it with a reason.")
        return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]


class Study(models.Model):
    """One study: what is shown to whom. Frozen when it opens."""

    class State(models.TextChoices):
        DRAFT = "draft", "draft"
        OPEN = "open", "open"
        CLOSED = "closed", "closed"

    DESIGN_FIELDS = frozenset(
        {
            "slug", "dataset", "dataset_id", "model_run", "model_run_id", "participants", "strengths",
            "trials_per_strength", "trials_per_control", "catch_trials", "practice_trials", "bound", "scale", "seed",
            "information", "consent_version",
        }
    )  # fmt: skip

    slug = models.SlugField(unique=True)
    title = models.CharField(max_length=200)
    state = models.CharField(max_length=10, choices=State, default=State.DRAFT, editable=False)
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="studies")
    model_run = models.ForeignKey(
        ModelRun,
        models.PROTECT,
        related_name="studies",
        help_text="The backdoored model whose error shift is compared.",
    )
    participants = models.PositiveIntegerField(
        default=40, validators=[MinValueValidator(1)], help_text="Places for real participants."
    )
    strengths = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_strengths],
        help_text="Strengths of the main trials; empty: all that have pairs, but the gross one.",
    )
    trials_per_strength = models.PositiveIntegerField(
        default=8, help_text="Main trials of one session at each strength."
    )
    trials_per_control = models.PositiveIntegerField(
        default=4, help_text="Main trials of one session for each control."
    )
    catch_trials = models.PositiveIntegerField(default=8, validators=[MinValueValidator(1)])
    practice_trials = models.PositiveIntegerField(default=6)
    bound = models.FloatField(default=0.60, choices=[(0.60, ".60"), (0.55, ".55")])
    scale = models.PositiveIntegerField(
        default=4, validators=[MinValueValidator(1)], help_text="Device pixels per image pixel, along each side."
    )
    seed = models.BigIntegerField(default=1)
    information = models.TextField(blank=True, help_text="What participants read before they consent.")
    consent_version = models.CharField(max_length=20, default="1")
    contact = models.CharField(max_length=200, blank=True)
    ethics_reference = models.CharField(max_length=200, blank=True)
    completion_code = models.CharField(max_length=40, blank=True)
    return_url = models.URLField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    opened_at = models.DateTimeField(null=True, editable=False)

    objects = StudyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "studies"

    def __str__(self) -> str:
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        if changed := self._changed_design_fields():
            raise Frozen(_frozen_sentence(changed))
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        return reverse("trials:information", args=[self.slug])

    # --- the design and its freezing

    def clean(self) -> None:
        if changed := self._changed_design_fields():
            raise ValidationError(_frozen_sentence(changed))

    def _changed_design_fields(self) -> list[str]:
        names = sorted(self.DESIGN_FIELDS - {"dataset", "model_run"})
        stored = Study.objects.filter(pk=self.pk).exclude(state=self.State.DRAFT).values(*names).first()
        if stored is None:
            return []
        if self.state == self.State.DRAFT:  # loaded before it was opened
            return ["state"]
        return [name for name in names if stored[name] != getattr(self, name)]

    def consent_sha256(self) -> str:
        """Hash of what participants consent to: version and text."""
        return hashlib.sha256(f"{self.consent_version}\n{self.information}".encode()).hexdigest()

    def design_json(self) -> dict[str, Any]:
        """The design as it would be frozen now. Raises CannotOpen with what is missing."""
        return designs.describe(self)

    @property
    def current_design(self) -> DesignVersion | None:
        """The newest frozen version; None for a draft."""
        return self.design_versions.order_by("-n").first()

    def open(self) -> DesignVersion:
        """Freeze the design, make the places, let participants in. Raises CannotOpen with the one thing in the way."""
        with transaction.atomic():
            study = Study.objects.select_for_update().get(pk=self.pk)
            if study.state != self.State.DRAFT:
                raise CannotOpen(f"The study is {study.state} already.")
            version = study._freeze("opened")
            Study.objects.filter(pk=self.pk).update(state=self.State.OPEN, opened_at=timezone.now())
        self.refresh_from_db()
        return version

    def amend(self, reason: str, **changes: Any) -> DesignVersion:
        """Change design fields of an open study by a new version with a reason; sessions under way keep theirs.

        Conditions and stimuli stay those of the last version, whatever pairs were made since, unless one of the
        columns that decide them (`design.DECIDE_THE_CHOICE`) changes; then they are chosen anew.
        Raises CannotOpen when the study is not open, the reason is empty or the new design cannot be shown.
        """
        if not reason.strip():
            raise CannotOpen("A change of an open study needs a reason.")
        if unknown := set(changes) - (self.DESIGN_FIELDS - {"slug"}):
            raise CannotOpen(f"{', '.join(sorted(unknown))} is not part of the design.")
        with transaction.atomic():
            study = Study.objects.select_for_update().get(pk=self.pk)
            if study.state != self.State.OPEN:
                raise CannotOpen("Only an open study is amended; edit the draft itself.")
            before = {name: getattr(study, name) for name in changes}
            last = study.design_versions.latest("n")
            models.QuerySet(Study).filter(pk=self.pk).update(**changes)
            study.refresh_from_db()
            changed = {name for name in changes if getattr(study, name) != before[name]}
            kept = last.json if changed.isdisjoint(designs.DECIDE_THE_CHOICE) else None
            version = study._freeze(reason.strip(), kept)
        self.refresh_from_db()
        return version

    def _freeze(self, reason: str, kept: Mapping[str, Any] | None = None) -> DesignVersion:
        if refusal := self.dataset.display_refusal():
            raise CannotOpen(refusal)
        if not self.information.strip() or not self.contact.strip():
            raise CannotOpen("Participants need to read what the study is about and whom to ask: fill in both first.")
        try:
            self.full_clean()
        except ValidationError as error:
            said = "; ".join(f"{field}: {' '.join(words)}" for field, words in error.message_dict.items())
            raise CannotOpen(said) from error
        design = designs.describe(self, kept)
        designs.check_images(design)
        strengths = [cell["strength"] for cell in design["cells"] if not cell["control"]]
        models.QuerySet(Study).filter(pk=self.pk).update(strengths=strengths)  # an empty list no longer means "all"
        self._make_slots()
        n = (self.design_versions.aggregate(last=Max("n"))["last"] or 0) + 1
        return self.design_versions.create(n=n, json=design, sha256=sha256_of(design), reason=reason)

    def _make_slots(self) -> None:
        """As many places in every population as participants; places that nobody took and nobody needs go."""
        self.slots.filter(list_number__gte=self.participants, claimed_at=None, sessions=None).delete()
        Slot.objects.bulk_create(
            (
                Slot(study=self, population=population, list_number=n)
                for population in Population
                for n in range(self.participants)
            ),
            ignore_conflicts=True,
        )

    def close(self) -> None:
        """Take no new participants. Sessions under way may be finished."""
        if not Study.objects.filter(pk=self.pk, state=self.State.OPEN).update(state=self.State.CLOSED):
            raise NotOpen("The study is not open.")
        self.refresh_from_db()

    # --- arrivals

    def simulation_ticket(self) -> str:
        """Signed value of the `ticket` parameter that makes a start on the information page a simulated one."""
        return signing.dumps(self.slug, salt=TICKET_SALT)

    def is_simulation_ticket(self, ticket: str) -> bool:
        try:
            return bool(signing.loads(ticket, salt=TICKET_SALT) == self.slug)
        except signing.BadSignature:
            return False

    def free_places(self) -> int:
        """Places for real participants that nobody has taken."""
        return self.slots.filter(population=Population.REAL, claimed_at=None).count()

    def start_session(
        self,
        population: str = Population.REAL,
        recruiter_ids: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
        language: str = "en",
        consent_sha256: str | None = None,
    ) -> tuple[Session, str]:
        """Claim a place, store the whole plan and return the session with the token that opens it.

        `token` may be made beforehand (`new_token`), so that a form sent twice starts one session; `consent_sha256`
        is the hash of the text that was read (default: the one of the current design).
        Raises NotOpen, NotCleared, Full, ConsentChanged when the text that was read is no longer the study's, or
        AlreadyTookPart when the recruiter's id had a session of this study before.
        """
        token = token or new_token()
        ids = dict(recruiter_ids or {})
        try:
            with transaction.atomic():
                return self._start_session(population, ids, token, language, consent_sha256), token
        except IntegrityError:  # the same form, or the same person, came in at the same moment: now it is found
            with transaction.atomic():
                return self._start_session(population, ids, token, language, consent_sha256), token

    def _start_session(
        self, population: str, ids: dict[str, str], token: str, language: str, consent_sha256: str | None
    ) -> Session:
        started = self.sessions.filter(token_sha256=token_sha256(token)).first()
        if started is not None:
            return started
        recruiter_key = self._recruiter_key(population, ids)
        if recruiter_key and self.sessions.filter(recruiter_key=recruiter_key).exists():
            raise AlreadyTookPart
        design = self.current_design
        if design is None or not Study.objects.filter(pk=self.pk, state=self.State.OPEN).exists():
            raise NotOpen
        if Dataset.objects.get(studies=self).display_refusal():
            raise NotCleared
        if consent_sha256 not in (None, design.json["consent"]["sha256"]):
            raise ConsentChanged
        slot = self._claim_slot(population)
        session = self.sessions.create(
            design=design,
            slot=slot,
            population=population,
            public_code=new_public_code(),
            token_sha256=token_sha256(token),
            recruiter_ids=ids,
            recruiter_key=recruiter_key,
            seed=self._session_seed(slot),
            consent_sha256=design.json["consent"]["sha256"],
            language=language,
        )
        Trial.objects.bulk_create(
            Trial(session=session, index=i, phase=t.phase, pair_id=t.pair, altered_side=t.altered_side)
            for i, t in enumerate(make_plan(design.json, slot.list_number, session.seed))
        )
        session.log("started")
        return session

    def _claim_slot(self, population: str) -> Slot:
        """The free place with the lowest list. Only the real population has a quota; the others grow as needed."""
        free = self.slots.filter(population=population, claimed_at=None).order_by("list_number")
        slot = free.select_for_update(skip_locked=True).first()
        while slot is None and free.exists():  # somebody is about to take the last places: wait for the outcome
            slot = free.select_for_update().first()
        if slot is None and population == Population.REAL:
            raise Full
        if slot is None:
            Study.objects.select_for_update().get(pk=self.pk)
            last = self.slots.filter(population=population).aggregate(last=Max("list_number"))["last"]
            slot = Slot(study=self, population=population, list_number=last + 1)
        slot.claimed_at = timezone.now()
        slot.save()
        return slot

    def _recruiter_key(self, population: str, ids: Mapping[str, str]) -> str | None:
        person = recruiters.person(ids)
        if person is None or population != Population.REAL:
            return None
        return salted_hmac("study.trials.recruiter", f"{self.pk}:{person}", algorithm="sha256").hexdigest()

    def _session_seed(self, slot: Slot) -> int:
        """Secret for people; reproducible for robots, so that a demonstration comes out the same again."""
        if slot.population == Population.REAL:
            return secrets.randbits(63)
        material = f"{self.seed} {slot.population} {slot.list_number}"
        return int.from_bytes(hashlib.sha256(material.encode()).digest()[:8]) >> 1

    # --- what came out

    def trial_rows(self, population: str = Population.REAL, *, practice: bool = False) -> Iterator[dict[str, Any]]:
        """The trial table: one dict per answered trial of every session that was not withdrawn (see `export`)."""
        from study.trials.export import trial_rows

        return trial_rows(self, population, practice=practice)

    def session_rows(self, population: str = Population.REAL) -> Iterator[dict[str, Any]]:
        """One dict per session, the withdrawn ones included."""
        from study.trials.export import session_rows

        return session_rows(self, population)


def _frozen_sentence(changed: list[str]) -> str:
    return f"The study has been opened, so its design cannot change ({', '.join(changed)}): amend it with a reason."


class DesignVersion(InsertOnly):
    """The design and analysis plan of an open study, as JSON with its hash. A change is a new version."""

    study = models.ForeignKey(Study, models.PROTECT, related_name="design_versions")
    n = models.PositiveIntegerField()
    json = models.JSONField()
    sha256 = models.CharField(max_length=64)
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["study", "n"], name="one_design_per_version")]

    def __str__(self) -> str:
        return f"{self.study.slug} v{self.n}"

    def matches(self) -> bool:
        """Whether nothing of the frozen design has changed since."""
        return not self.faults()

    def faults(self) -> list[str]:
        """What has changed since it was frozen, one sentence each: the stored design, a row that it names, or, for
        the newest version, a column of the study. What was made since changes nothing.
        """
        if sha256_of(self.json) != self.sha256:
            return ["The stored design does not have its SHA-256."]
        faults = [f"Not what it was when the design was frozen: {what}." for what in designs.changed_rows(self.json)]
        if not self.study.design_versions.filter(n__gt=self.n).exists():
            study = Study.objects.get(pk=self.study_id)
            faults += [
                f"The study says otherwise than its design: {c}." for c in designs.changed_settings(self.json, study)
            ]
        return faults

    @classmethod
    def checks(cls) -> list[Check]:
        """For `manage.py verify`: whether each frozen design still holds."""
        versions = cls.objects.select_related("study").order_by("study__slug", "n")
        return [Check("frozen designs", f"design {version}", version.verify) for version in versions]

    def verify(self) -> None:
        """Raises ValueError with all that has changed since it was frozen."""
        if faults := self.faults():
            raise ValueError(" ".join(faults))


class Slot(models.Model):
    """A place in one population, with the number of the list (row of the balanced plan) that its session gets."""

    study = models.ForeignKey(Study, models.CASCADE, related_name="slots")
    population = models.CharField(max_length=10, choices=Population)
    list_number = models.PositiveIntegerField()
    claimed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["study", "population", "list_number"], name="one_slot_per_list")]

    def __str__(self) -> str:
        return f"{self.study.slug} {self.population} {self.list_number}"


def new_token() -> str:
    """128 random bits that open a run to whoever has them."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def new_public_code() -> str:
    return "".join(secrets.choice(PUBLIC_CODE_LETTERS) for _ in range(10))


class SessionQuerySet(models.QuerySet["Session"]):
    def by_token(self, token: str) -> Session:
        """Raises Session.DoesNotExist for an unknown token."""
        return self.select_related("study").get(token_sha256=token_sha256(token))


class Session(models.Model):
    """One participant's run through a study."""

    class State(models.TextChoices):
        ACTIVE = "active", "active"
        COMPLETE = "complete", "complete"
        WITHDRAWN = "withdrawn", "withdrawn"

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
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    attempt = models.PositiveIntegerField(
        default=0, help_text="Counts page loads; an older tab is told that it is superseded."
    )
    consent_sha256 = models.CharField(max_length=64)
    language = models.CharField(max_length=10, default="en")
    px_per_degree = models.FloatField(null=True, blank=True)
    device = models.JSONField(default=dict, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    completed_at = models.DateTimeField(null=True, blank=True)

    objects = SessionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["study", "recruiter_key"], name="one_session_per_recruiter_id"),
        ]

    def __str__(self) -> str:
        return f"{self.study.slug} {self.public_code}"

    def log(self, kind: str, **data: Any) -> SessionEvent:
        return self.events.create(kind=kind, data=data)

    def _locked(self) -> Self:
        """This session as it is now, locked until the transaction ends. What was read before may be out of date."""
        return type(self).objects.select_for_update().get(pk=self.pk)  # type: ignore[return-value]

    @property
    def progress(self) -> tuple[int, int]:
        """(answered, planned) trials."""
        return Answer.objects.filter(trial__session=self).count(), self.trials.count()

    def next_index(self) -> int:
        """The first trial without an answer; the number of trials once all have one."""
        first = self.trials.filter(answer=None).values_list("index", flat=True).order_by("index").first()
        return self.trials.count() if first is None else first

    def begin_attempt(self) -> int:
        """A page has loaded the plan: from now on only this attempt may answer. Returns its number, from 1."""
        with transaction.atomic():
            session = self._locked()
            if session.state == self.State.WITHDRAWN:
                raise Over
            if session.state == self.State.ACTIVE:
                session.attempt += 1
                session.save(update_fields=["attempt"])
        self.attempt = session.attempt
        return session.attempt

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

        `attempt` is the number that `begin_attempt` gave the page, `choice` a side, `trace` what TrialTrace holds.
        Raises NoSuchTrial, Over, OutOfTurn, Superseded, ClientIdTaken, or DifferentAnswer, which is logged; then
        nothing is stored.
        """
        try:
            with transaction.atomic():
                return self._record_answer(
                    index, client_id=client_id, attempt=attempt, choice=choice, rt_ms=rt_ms, trace=dict(trace or {})
                )
        except DifferentAnswer as error:
            self.log(
                "different_answer", index=index, stored=error.stored.choice, choice=choice, rt_ms=rt_ms, attempt=attempt
            )
            raise
        except IntegrityError:
            raise ClientIdTaken from None

    def _record_answer(
        self, index: int, *, client_id: uuid.UUID, attempt: int, choice: str, rt_ms: float, trace: dict[str, Any]
    ) -> tuple[Answer, bool]:
        session = self._locked()
        if session.state == self.State.WITHDRAWN:
            raise Over
        trial = session.trials.select_related("answer").filter(index=index).first()
        if trial is None:
            raise NoSuchTrial(f"The plan has no trial {index}.")
        stored = getattr(trial, "answer", None)
        if stored is not None and (stored.client_id, stored.choice, stored.rt_ms) == (client_id, choice, rt_ms):
            return stored, False
        if session.state == self.State.COMPLETE:
            raise Over
        if stored is not None:
            raise DifferentAnswer(stored)
        if attempt != session.attempt:
            raise Superseded
        if session.trials.filter(index__lt=index, answer=None).exists():
            raise OutOfTurn(f"An earlier trial than {index} has no answer yet.")
        answer = Answer.objects.create(
            trial=trial,
            client_id=client_id,
            attempt=attempt,
            choice=choice,
            correct=choice == trial.altered_side,
            rt_ms=rt_ms,
        )
        TrialTrace.objects.create(trial=trial, **trace)
        return answer, True

    def complete(self) -> str:
        """End the session once every trial has its answer; returns the completion code, the same on every call.

        Raises TrialsMissing with the indices, or Over when the session was withdrawn.
        """
        with transaction.atomic():
            session = self._locked()
            if session.state == self.State.WITHDRAWN:
                raise Over
            missing = list(session.trials.filter(answer=None).values_list("index", flat=True).order_by("index"))
            if missing:
                raise TrialsMissing(missing)
            if session.state == self.State.ACTIVE:
                session.state = self.State.COMPLETE
                session.completed_at = timezone.now()
                session.save(update_fields=["state", "completed_at"])
                session.log("complete")
        self.refresh_from_db()
        return self.study.completion_code or self.public_code

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
            TrialTrace.objects.filter(trial__session=session).erase()
            session.events.filter(kind="different_answer").erase()
            if session.state != self.State.WITHDRAWN:
                session.log(event, answers=answers)
                self.study.slots.filter(sessions=session).update(claimed_at=None)
            session.state = self.State.WITHDRAWN
            session.recruiter_ids, session.device, session.px_per_degree = {}, {}, None
            if forget_recruiter_key:
                session.recruiter_key = None
            session.save()
        self.refresh_from_db()


class Trial(InsertOnly):
    """One planned trial. Stored before the first is shown; never changed."""

    class Phase(models.TextChoices):
        PRACTICE = "practice", "practice"
        MAIN = "main", "main"
        CATCH = "catch", "catch"

    session = models.ForeignKey(Session, models.CASCADE, related_name="trials")
    index = models.PositiveIntegerField()
    phase = models.CharField(max_length=10, choices=Phase)
    pair = models.ForeignKey(Pair, models.PROTECT, related_name="trials")
    altered_side = models.CharField(max_length=5, choices=Side)

    class Meta:
        ordering = ["session", "index"]
        constraints = [models.UniqueConstraint(fields=["session", "index"], name="one_trial_per_index")]

    def __str__(self) -> str:
        return f"{self.session} #{self.index}"

    def image(self, side: str) -> StoredImage:
        """The image on this side."""
        return self.pair if side == self.altered_side else self.pair.base_image


class Answer(InsertOnly):
    """The answer to a trial: inserted once, never changed."""

    trial = models.OneToOneField(Trial, models.CASCADE, related_name="answer")
    client_id = models.UUIDField(unique=True, default=uuid.uuid4)
    attempt = models.PositiveIntegerField()
    choice = models.CharField(max_length=5, choices=Side, help_text="The side chosen as altered.")
    correct = models.BooleanField()
    rt_ms = models.FloatField()
    received_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.trial}: {self.choice}"

    def feedback(self) -> dict[str, Any] | None:
        """What a participant learns from it: in practice whether it was right; in the study nothing."""
        if self.trial.phase != Trial.Phase.PRACTICE:
            return None
        return {"correct": self.correct, "altered": self.trial.altered_side}


class TrialTrace(InsertOnly):
    """How a trial was displayed, as the browser measured it."""

    trial = models.OneToOneField(Trial, models.CASCADE, related_name="trace")
    frame_ms = models.FloatField(null=True, help_text="Median frame interval.")
    dropped_frames = models.PositiveIntegerField(null=True)
    focus_losses = models.PositiveIntegerField(null=True)
    device_pixel_ratio = models.FloatField(null=True)
    viewport_scale = models.FloatField(null=True)
    details = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"trace of {self.trial}"


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
