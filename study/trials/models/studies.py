"""Studies, the texts and frozen designs they have, and their places."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core import signing
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Max, Q
from django.urls import reverse
from django.utils import timezone

from study.lab.files import StoredFile
from study.lab.models import SCREEN_PX_PER_DEGREE, Dataset, ModelRun, sha256_of
from study.lab.verification import Check
from study.trials import design as designs
from study.trials import images, recruiters, sources
from study.trials.exceptions import (
    CannotOpen,
    Frozen,
    Full,
    NotOpen,
    Paused,
)
from study.trials.insert_only import InsertOnly
from study.trials.models.choices import Population
from study.trials.models.members import Member
from study.trials.rights import ALLOWED, Action, Role

if TYPE_CHECKING:
    from study.accounts.models import User
    from study.trials.models.sessions import Session

SHORTEST_FLICKER_MS = 167  # two pictures make a flash; WCAG 2.3.1 allows three flashes a second
TICKET_SALT = "study.trials.simulation"
KEPT_AS_TOLD = "Participants were told until when their data are kept: choose that day, or an earlier one."
ERASED_AS_TOLD = "Participants were told that everything but the count is erased: it cannot be less now."


def validate_strengths(strengths: Any) -> None:
    """A list of numbers above 0, each once."""
    numbers = isinstance(strengths, list) and all(type(s) in (int, float) and 0 < s < math.inf for s in strengths)
    if not numbers or len(set(strengths)) != len(strengths):
        raise ValidationError("Give a list of different numbers above 0, for example [0.5, 1, 2].")


class StudyQuerySet(models.QuerySet["Study"]):
    def update(self, **values: Any) -> int:
        if not Study.DESIGN_FIELDS.isdisjoint(values) and self.exclude(state=Study.State.DRAFT).exists():
            raise Frozen("The design of a study that is open, or was, cannot change: amend it with a reason.")
        if "retain_until" in values and self.kept_longer(values["retain_until"]).exists():
            raise Frozen(KEPT_AS_TOLD)
        return super().update(**values)

    update.alters_data = True  # type: ignore[attr-defined]

    def kept_longer(self, until: date | None) -> StudyQuerySet:
        """Those that were opened, and whose data would be kept longer than participants were told."""
        told = self.exclude(state=Study.State.DRAFT).exclude(retain_until=None)
        return told if until is None else told.filter(retain_until__lt=until)

    def visible_to(self, user: User) -> StudyQuerySet:
        """Those that this researcher has a role on; all for a superuser."""
        return self if user.is_superuser else self.filter(members__user=user)

    def allowing(self, user: User, action: Action) -> StudyQuerySet:
        """Those that this researcher may do that with."""
        roles = [role for role, actions in ALLOWED.items() if action in actions]
        return self if user.is_superuser else self.filter(members__user=user, members__role__in=roles)


class Study(models.Model):
    """One study: what is shown to whom. Frozen when it opens."""

    class State(models.TextChoices):
        DRAFT = "draft", "draft"
        OPEN = "open", "open"
        PAUSED = "paused", "paused"
        CLOSED = "closed", "closed"

    class Protocol(models.TextChoices):
        AFC = "afc", "two images side by side"
        IFC = "ifc", "two intervals, one after the other"
        FLICKER = "flicker", "flicker: one of two places toggles"
        ODDITY = "oddity", "two pairs, one of which differs"
        YES_NO = "yes_no", "one image, yes or no"

    class Procedure(models.TextChoices):
        CONSTANT = "constant", "constant stimuli"
        ADAPTIVE = "adaptive", "adaptive (QUEST+)"

    class Calibration(models.TextChoices):
        NONE = "none", "none"
        CARD = "card", "with a bank card"

    class Distance(models.TextChoices):
        NONE = "none", "not asked for"
        TOLD = "told", "told by the participant"
        BLIND_SPOT = "blind_spot", "measured by the blind spot"

    class Retention(models.TextChoices):
        IDENTITY = "identity", "what tells who somebody is"
        EVERYTHING = "everything", "everything but the count"

    class Recruiter(models.TextChoices):
        PLAIN = "plain", "plain link"
        PROLIFIC = "prolific", "Prolific"
        SONA = "sona", "SONA"
        CUSTOM = "custom", "other"

    #: Columns that may change while the study is open: whom to ask, and how people come and go.
    OPEN_FIELDS = frozenset(
        {
            "id", "title", "state", "contact", "ethics_reference", "completion_code", "return_url", "created_at",
            "opened_at", "recruiter", "recruiter_parameters", "return_hosts", "screened_out_code", "screened_out_url",
            "retain_until", "erased_at",
        }
    )  # fmt: skip
    DESIGN_FIELDS: frozenset[str]

    slug = models.SlugField(unique=True)
    language = models.CharField(
        max_length=10, choices=settings.LANGUAGES, default="en", help_text="Of the texts below."
    )
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
    catch_trials = models.PositiveIntegerField(
        default=8, validators=[MinValueValidator(1)], help_text="Grossly altered pairs among the main trials."
    )
    practice_trials = models.PositiveIntegerField(default=6, help_text="With feedback, in one round.")
    practice_correct = models.PositiveIntegerField(
        default=4, help_text="Right answers in a round that are enough to go on; 0: any number."
    )
    practice_rounds = models.PositiveIntegerField(
        default=2, validators=[MinValueValidator(1)], help_text="Rounds to reach them in; then the session ends kindly."
    )
    break_every = models.PositiveIntegerField(
        default=40, validators=[MinValueValidator(1)], help_text="Trials between two breaks."
    )
    protocol = models.CharField(
        max_length=10, choices=Protocol, default=Protocol.AFC, help_text="What a trial shows and asks."
    )
    procedure = models.CharField(
        max_length=10,
        choices=Procedure,
        default=Procedure.CONSTANT,
        help_text="Strengths planned beforehand, or chosen from the answers; then the report gives thresholds only.",
    )
    adaptive_trials = models.PositiveIntegerField(
        default=40, validators=[MinValueValidator(2)], help_text="Adaptive studies: the most trials of the attack."
    )
    adaptive_minimum = models.PositiveIntegerField(default=20, help_text="Adaptive studies: the fewest.")
    adaptive_sd = models.FloatField(
        default=0.0,
        validators=[MinValueValidator(0)],
        help_text="Adaptive studies: stop when the posterior SD of log2 threshold is below this; 0: never early.",
    )
    not_sure = models.BooleanField(default=False, help_text='Offer "not sure", which counts as a guess.')
    fixation_ms = models.PositiveIntegerField(default=500, help_text="Cross before the images.")
    exposure_ms = models.PositiveIntegerField(null=True, blank=True, help_text="Empty: until the answer.")
    mask_ms = models.PositiveIntegerField(default=0, help_text="After a fixed exposure; 0: no mask.")
    gap_ms = models.PositiveIntegerField(default=500, help_text="Blank between two intervals.")
    flicker_ms = models.PositiveIntegerField(
        default=500,
        validators=[MinValueValidator(SHORTEST_FLICKER_MS)],
        help_text="How long each picture of a flickering place stays. At least 167: three flashes a second at most.",
    )
    response_ms = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(500)],
        help_text="Time to answer, from the onset or from the end of a fixed exposure. Empty: any time.",
    )
    blank_ms = models.PositiveIntegerField(default=400, help_text="Empty screen after an answer.")
    enable_after_ms = models.PositiveIntegerField(default=250, help_text="Earlier presses do not count.")
    median_rt_below_ms = models.PositiveIntegerField(
        default=300, help_text="Whoever has a median response time below this is left out; 0: nobody."
    )
    fast_above_share = models.FloatField(
        default=0.2,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="Whoever gives a larger share of the answers than this within 200 ms is left out; 1: nobody.",
    )
    focus_above_share = models.FloatField(
        default=0.1,
        validators=[MinValueValidator(0), MaxValueValidator(1)],
        help_text="Whoever leaves the page on a larger share of the trials than this is left out; 1: nobody.",
    )
    bound = models.FloatField(
        default=0.60,
        choices=[(0.60, ".60"), (0.55, ".55")],
        help_text="The proportion correct that claims are tested against.",
    )
    scale = models.PositiveIntegerField(
        default=4, validators=[MinValueValidator(1)], help_text="Device pixels per image pixel, along each side."
    )
    image_degrees = models.FloatField(
        null=True,
        blank=True,
        help_text="Width of an image in degrees, instead of the scale; screens that cannot come near are refused.",
    )
    enlargement = models.PositiveIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(8)],
        help_text="Smooth enlargement on the server, the same for every image; 1: none.",
    )
    calibration = models.CharField(
        max_length=10, choices=Calibration, default=Calibration.NONE, help_text="How the size of a pixel is found."
    )
    distance = models.CharField(
        max_length=10, choices=Distance, default=Distance.NONE, help_text="How the viewing distance is found."
    )
    allow_phones = models.BooleanField(default=True, help_text="Whether phones may be used.")
    allow_tablets = models.BooleanField(default=True, help_text="Whether tablets may be used.")
    resume_hours = models.PositiveIntegerField(
        default=24, validators=[MinValueValidator(1)], help_text="How long a participant may stay away and go on."
    )
    seed = models.BigIntegerField(default=1, help_text="Decides which images are used for what.")
    minimum_age = models.PositiveIntegerField(default=18, help_text="Younger people are turned away; 0: no question.")
    information = models.TextField(blank=True, help_text="What participants read before they consent.")
    eligibility = models.TextField(blank=True, help_text="Who may take part: statements to confirm, one a line.")
    payment = models.TextField(blank=True, help_text="What is paid, and when; also to those who stop.")
    withdrawal_deadline = models.CharField(
        max_length=200, blank=True, help_text="Until when answers can be erased on request."
    )
    consent = models.TextField(
        blank=True, db_default="", help_text="What they agree to, beside the usual; above the button."
    )
    instructions = models.TextField(blank=True, db_default="", help_text="Before practice, beside the usual.")
    debrief = models.TextField(blank=True, help_text="What participants learn at the end.")
    consent_version = models.CharField(max_length=20, default="1", help_text="Shown below the consent form.")
    recruiter = models.CharField(
        max_length=10, choices=Recruiter, default=Recruiter.PLAIN, help_text="Whose links participants come by."
    )
    recruiter_parameters = models.JSONField(
        default=dict, blank=True, help_text='Other recruiters: {"person": "pid", "submission": ["session"]}.'
    )
    return_hosts = models.JSONField(
        default=list, blank=True, help_text="Hosts that participants may be sent back to, as a list."
    )
    contact = models.CharField(max_length=200, blank=True, help_text="Whom participants may ask; on every page.")
    ethics_reference = models.CharField(max_length=200, blank=True, help_text="On every page.")
    completion_code = models.CharField(max_length=40, blank=True, help_text="Empty: each participant's public code.")
    return_url = models.CharField(
        max_length=400, blank=True, help_text="Where the last page leads; may hold {code}, {person} and parameters."
    )
    screened_out_code = models.CharField(
        max_length=40, blank=True, help_text="For those who cannot go on; empty: none."
    )
    screened_out_url = models.CharField(max_length=400, blank=True, help_text="The same, for those who cannot go on.")
    currency = models.CharField(
        max_length=3, default="EUR", db_default="EUR", help_text="Of the payments, as ISO 4217 writes it."
    )
    base_pay = models.DecimalField(
        max_digits=8,
        decimal_places=2,
        default=0,
        db_default=0,
        validators=[MinValueValidator(0)],
        help_text="Of a complete session.",
    )
    bonus_per_correct = models.DecimalField(
        max_digits=8,
        decimal_places=3,
        default=0,
        db_default=0,
        validators=[MinValueValidator(0)],
        help_text="For each right answer to a pair that differs, practice left out; 0: no bonus.",
    )
    screened_out_pay = models.DecimalField(
        max_digits=8,
        decimal_places=2,
        default=0,
        db_default=0,
        validators=[MinValueValidator(0)],
        help_text="Of who cannot go on.",
    )
    looks_allowed = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Detection rates may be looked at before the study closes. Stopping when they please is not valid.",
    )
    research_question = models.TextField(
        blank=True, db_default="", help_text="For the preregistration: what is asked, and why."
    )
    hypotheses = models.TextField(blank=True, db_default="", help_text="For the preregistration: one a line.")
    sample_size_reason = models.TextField(
        blank=True,
        db_default="",
        help_text="For the preregistration: why so many participants; the planner's power, for example.",
    )
    retain_until = models.DateField(
        null=True, blank=True, help_text="On this day what is chosen next is erased by itself. Empty: never."
    )
    retention = models.CharField(
        max_length=10,
        choices=Retention,
        default=Retention.IDENTITY,
        db_default="identity",
        help_text="What is erased then.",
    )
    created_at = models.DateTimeField(auto_now_add=True)
    opened_at = models.DateTimeField(null=True, editable=False)
    erased_at = models.DateTimeField(null=True, editable=False, help_text="When the retention date was acted on.")

    objects = StudyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "studies"

    def __str__(self) -> str:
        return self.title

    def save(self, *args: Any, **kwargs: Any) -> None:
        if changed := self._changed_design_fields():
            raise Frozen(_frozen_sentence(changed))
        if self._is_kept_longer():
            raise Frozen(KEPT_AS_TOLD)
        super().save(*args, **kwargs)

    def get_absolute_url(self) -> str:
        return reverse("trials:information", args=[self.slug])

    # --- researchers

    def may(self, user: User, action: Action) -> bool:
        """Whether this researcher may do that with the study."""
        return action in self.allowed_to(user)

    def allowed_to(self, user: User) -> frozenset[Action]:
        """All that this researcher may do with the study."""
        if not user.is_active:
            return frozenset()
        role = Role.OWNER if user.is_superuser else self.role_of(user)
        return ALLOWED[role] if role else frozenset()

    def role_of(self, user: User) -> Role | None:
        """The role that was given to this researcher, if any."""
        role = self.members.filter(user=user).values_list("role", flat=True).first()
        return Role(role) if role else None

    def admit(self, user: User, role: Role) -> Member:
        """Give this researcher a role on the study, or another one than before."""
        return self.members.update_or_create(user=user, defaults={"role": role})[0]

    @property
    def is_blind(self) -> bool:
        """Whether detection rates stay hidden: people take part, and the plan allows no looks at the outcome."""
        return self.state in (self.State.OPEN, self.State.PAUSED) and not self.looks_allowed

    @property
    def further_sources(self) -> list[Source]:
        """Its models beside the primary one, in their order."""
        if self.pk is None:
            return []
        return list(self.sources.select_related("model_run__attack", "model_run__clean_reference"))

    @property
    def model_runs(self) -> list[ModelRun]:
        """The backdoored models whose pairs are shown, the primary one first."""
        return [self.model_run, *(source.model_run for source in self.further_sources)]

    # --- the design and its freezing

    def clean(self) -> None:
        if changed := self._changed_design_fields():
            raise ValidationError(_frozen_sentence(changed))
        if self._is_kept_longer():
            raise ValidationError({"retain_until": KEPT_AS_TOLD})
        designs.check(self)
        recruiters.check(self)

    def _changed_design_fields(self) -> list[str]:
        names = sorted(self.DESIGN_FIELDS - {"dataset", "model_run"})
        stored = Study.objects.filter(pk=self.pk).exclude(state=self.State.DRAFT).values(*names).first()
        if stored is None:
            return []
        if self.state == self.State.DRAFT:  # loaded before it was opened
            return ["state"]
        return [name for name in names if stored[name] != getattr(self, name)]

    def _is_kept_longer(self) -> bool:
        return Study.objects.filter(pk=self.pk).kept_longer(self.retain_until).exists()

    def texts(self, language: str | None = None) -> StudyTexts:
        """What participants read in this language; in the study's own where it has no such translation."""
        translation = self.translations.filter(language=language).first() if language != self.language else None
        return StudyTexts.of(translation or self)

    @property
    def languages(self) -> list[str]:
        """Languages in which the study can be read, its own first."""
        return [self.language, *self.translations.order_by("language").values_list("language", flat=True)]

    def consent_sha256(self, language: str | None = None) -> str:
        """Hash of what participants consent to in this language: version and texts."""
        texts = self.texts(language)
        further = (*texts.eligibility, texts.payment, texts.withdrawal_deadline, texts.consent)
        consented = [self.consent_version, texts.information, *(text for text in further if text)]
        return hashlib.sha256("\n".join(consented).encode()).hexdigest()

    def texts_sha256(self, language: str | None = None) -> str:
        """Hash of what participants read in this language beside what they consent to: instructions and debrief."""
        texts = self.texts(language)
        return sha256_of([texts.instructions, texts.debrief])

    def design_json(self) -> dict[str, Any]:
        """The design as it would be frozen now. Raises CannotOpen with what is missing."""
        return designs.describe(self)

    @property
    def current_design(self) -> DesignVersion | None:
        """The newest frozen version; None for a draft. Its JSON, which is long, is read when it is asked for."""
        return self.design_versions.filter(draft=False).defer("json").order_by("-n").first()

    @property
    def shown_design(self) -> Mapping[str, Any]:
        """What whoever starts now is shown, in words of the present format. Raises CannotOpen as `draft_version`."""
        frozen = self.current_design
        return self._design_json_from_anywhere() if frozen is None else frozen.now

    def draft_version(self) -> DesignVersion:
        """The draft's design as it would be frozen now, to be tried: the same row for as long as nothing changes.

        Raises CannotOpen with what is missing; texts may be.
        """
        design = self._design_json_from_anywhere()
        sha256 = sha256_of(design)
        if (newest := self._newest_draft()) and newest.sha256 == sha256:
            return newest
        self._demand_soundness()
        designs.demand_images(self.dataset, self.model_runs)
        designs.check_images(design)
        with transaction.atomic():
            study = self._locked()
            if study.state != self.State.DRAFT:
                raise CannotOpen(f"The study is {study.state} already.")
            newest = study._newest_draft()
            if newest and newest.sha256 == sha256:
                return newest
            n = newest.n + 1 if newest else 1
            return self.design_versions.create(n=n, draft=True, json=design, sha256=sha256, reason="tried as a draft")

    def _design_json_from_anywhere(self) -> dict[str, Any]:
        """As `design_json`, also where this host does not have the images yet."""
        try:
            return self.design_json()
        except CannotOpen:
            designs.demand_images(self.dataset, self.model_runs)
            return self.design_json()

    def _newest_draft(self) -> DesignVersion | None:
        return self.design_versions.filter(draft=True).order_by("-n").first()

    @property
    def designs_that_count(self) -> models.QuerySet[DesignVersion]:
        """Whose sessions belong together: the frozen versions; of a draft, the newest that was tried."""
        if self.state != self.State.DRAFT:
            return self.design_versions.filter(draft=False)
        newest = self._newest_draft()
        return self.design_versions.filter(pk=newest.pk) if newest else self.design_versions.none()

    def sessions_of(self, population: str) -> models.QuerySet[Session]:
        """The sessions of this population that count together. What a draft was tried with is not among them later."""
        return self.sessions.filter(population=population, design__in=self.designs_that_count)

    def bring_images(self, dataset: Dataset | None = None, model_run: ModelRun | None = None) -> None:
        """Have every image that the study could show, with another data set or primary model where it is given.

        Takes its time where images are in a bucket: call it before a transaction that opens or amends the study.
        Raises CannotOpen for an image that the storage does not have, or not right.
        """
        designs.demand_images(dataset or self.dataset, [model_run or self.model_run, *self.model_runs[1:]])

    def open(self, *, bring_images: bool = True) -> DesignVersion:
        """Freeze the design, make the places, let participants in. Raises CannotOpen with the one thing in the way.

        bring_images: False within a transaction, before which they were brought.
        """
        if bring_images:
            self.bring_images()
        with transaction.atomic():
            study = self._locked()
            if study.state != self.State.DRAFT:
                raise CannotOpen(f"The study is {study.state} already.")
            version = study._freeze("opened")
            study.slots.update(claimed_at=None)  # whoever tried the draft holds no place of the study
            Study.objects.filter(pk=self.pk).update(state=self.State.OPEN, opened_at=timezone.now())
        self.refresh_from_db()
        return version

    def amend(
        self,
        reason: str,
        translations: Mapping[str, Mapping[str, str]] | None = None,
        *,
        bring_images: bool = True,
        **changes: Any,
    ) -> DesignVersion:
        """Change design fields of an open study by a new version with a reason; sessions under way keep theirs.

        translations: {language: {column: text}} of those that there are. bring_images: as `open` takes it.
        Conditions and stimuli stay those of the last version, whatever pairs were made since, unless one of the
        columns that decide them (`design.DECIDE_THE_CHOICE`) changes; then they are chosen anew.
        Raises CannotOpen when the study is not open, the reason is empty, less would be erased than participants were
        told, or the new design cannot be shown.
        """
        if not reason.strip():
            raise CannotOpen("A change of an open study needs a reason.")
        if unknown := set(changes) - (self.DESIGN_FIELDS - {"slug"}):
            raise CannotOpen(f"{', '.join(sorted(unknown))} is not part of the design.")
        if bring_images:
            self.bring_images(changes.get("dataset"), changes.get("model_run"))
        with transaction.atomic():
            study = self._locked()
            if study.state not in (self.State.OPEN, self.State.PAUSED):
                raise CannotOpen("Only an open or paused study is amended; edit the draft itself.")
            everything = self.Retention.EVERYTHING
            if study.retention == everything and changes.get("retention", everything) != everything:
                raise CannotOpen(ERASED_AS_TOLD)
            before = {name: getattr(study, name) for name in changes}
            last = study.design_versions.filter(draft=False).latest("n")
            models.QuerySet(Study).filter(pk=self.pk).update(**changes)
            study._retranslate(translations or {})
            study.refresh_from_db()
            changed = {name for name in changes if getattr(study, name) != before[name]}
            kept = last.json if changed.isdisjoint(designs.DECIDE_THE_CHOICE) else None
            version = study._freeze(reason.strip(), kept)
        self.refresh_from_db()
        return version

    def _retranslate(self, translations: Mapping[str, Mapping[str, str]]) -> None:
        for language, texts in translations.items():
            if unknown := set(texts) - TEXTS:
                raise CannotOpen(f"{', '.join(sorted(unknown))} is no text of a translation.")
            if not self.translations.filter(language=language).update(**texts):
                raise CannotOpen(f"There is no translation into {language}, and an opened study gets no further one.")

    def discard(self) -> None:
        """Delete a draft with all that it was tried with: previews, simulated sessions, its tried designs, reports.

        Raises Frozen for a study that was ever opened.
        """
        with transaction.atomic():
            study = Study.objects.select_for_update().get(pk=self.pk)  # nobody starts meanwhile
            if study.state != self.State.DRAFT:
                raise Frozen("A study that was opened is never deleted.")
            tried = list(study.sessions.select_for_update().values_list("pk", flat=True))  # and nobody answers
            study.analyses.all().delete()
            study.sessions.filter(pk__in=tried).delete()
            study.design_versions.all().erase()
            study.delete()

    discard.alters_data = True  # type: ignore[attr-defined]

    def _locked(self) -> Study:
        """This study as it is now, locked until the transaction ends against others who change it.

        Not against those who start: their session refers to it while they hold a place that `_make_slots` may want.
        """
        return Study.objects.select_for_update(no_key=True).get(pk=self.pk)

    def _freeze(self, reason: str, kept: Mapping[str, Any] | None = None) -> DesignVersion:
        if refusal := self.dataset.display_refusal():
            raise CannotOpen(refusal)
        if not self.information.strip() or not self.contact.strip():
            raise CannotOpen("Participants need to read what the study is about and whom to ask: fill in both first.")
        for translation in self.translations.order_by("language"):
            if missing := translation.untranslated():
                raise CannotOpen(
                    f"The translation into {translation.get_language_display()} lacks what the study says in its own"
                    f" language: fill in {', '.join(missing)}."
                )
        self._demand_soundness()
        design = designs.describe(self, kept)
        designs.check_images(design)
        self._keep_strengths(designs.strengths_of(design))
        self._make_slots()
        n = (self.design_versions.filter(draft=False).aggregate(last=Max("n"))["last"] or 0) + 1
        return self.design_versions.create(n=n, json=design, sha256=sha256_of(design), reason=reason)

    def _demand_soundness(self) -> None:
        """Raises CannotOpen for settings that cannot be, or do not go together."""
        try:
            self.full_clean()
            for part in (*self.translations.all(), *self.sources.all()):
                part.full_clean()
        except ValidationError as error:
            said = "; ".join(f"{field}: {' '.join(words)}" for field, words in error.message_dict.items())
            raise CannotOpen(said) from error

    def _keep_strengths(self, strengths: Mapping[str, list[float]]) -> None:
        """Of each attack, by its name in the trial table: an empty list no longer means "all"."""
        own, *others = sources.attacks_of(self)
        models.QuerySet(Study).filter(pk=self.pk).update(strengths=strengths[own.label])
        for shown in others:
            if shown.label == shown.attack.name:  # the first of its fields, whose strengths the others have
                of_attack = self.sources.filter(model_run=shown.runs[0])
                of_attack.update(strengths=strengths[shown.label])

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

    def pause(self) -> None:
        """Take no new participants for a while. Sessions under way may be finished."""
        self._move(self.State.OPEN, to=self.State.PAUSED)

    def resume(self) -> None:
        """Take participants again."""
        self._move(self.State.PAUSED, to=self.State.OPEN)

    def close(self) -> None:
        """Take no new participants ever again. Sessions under way may be finished."""
        self._move(self.State.OPEN, self.State.PAUSED, to=self.State.CLOSED)

    def _move(self, *before: str, to: str) -> None:
        if not Study.objects.filter(pk=self.pk, state__in=before).update(state=to):
            raise NotOpen(f"The study is not {' or '.join(self.State(state).label for state in before)}.")
        self.refresh_from_db()

    def raise_quota(self, participants: int, reason: str, *, bring_images: bool = True) -> DesignVersion:
        """Places for more real participants: a new version of the design. Raises CannotOpen unless there are more."""
        if participants <= self.participants:
            raise CannotOpen(f"There are {self.participants} places already: the quota of an open study only goes up.")
        return self.amend(reason, bring_images=bring_images, participants=participants)

    def files(self) -> list[StoredFile]:
        """The image files of every frozen version of the design, or every tried one of a draft: sessions under way
        keep theirs."""
        versions = self.design_versions.filter(draft=self.state == self.State.DRAFT)
        return list(dict.fromkeys(file for version in versions for file in version.files))

    # --- arrivals

    def lets_in(self, population: str) -> bool:
        """Whether sessions of this population may start. Robots come until the study closes, previews always."""
        if population == Population.REAL:
            return self.state == self.State.OPEN
        return population == Population.PREVIEW or self.state != self.State.CLOSED

    def not_open(self) -> NotOpen:
        """Why nobody new is let in."""
        return Paused() if self.state == self.State.PAUSED else NotOpen()

    def simulation_ticket(self) -> str:
        """Signed value of the `ticket` parameter that makes a start on the information page a simulated one."""
        return signing.dumps(self.slug, salt=TICKET_SALT)

    def is_simulation_ticket(self, ticket: str) -> bool:
        try:
            return bool(signing.loads(ticket, salt=TICKET_SALT) == self.slug)
        except signing.BadSignature:
            return False

    def free_places(self) -> int:
        """Places for real participants that nobody has taken, or whose taker has stayed away too long."""
        abandoned = Q(sessions__in=self._abandoned())
        free = self.slots.filter(Q(claimed_at=None) | abandoned, population=Population.REAL)
        return free.distinct().count()

    def has_free_place(self) -> bool:
        """Whether there is one of them. Everybody who comes asks, so that they are not counted (docs/scaling.md)."""
        untaken = self.slots.filter(population=Population.REAL, claimed_at=None)
        return untaken.exists() or self._abandoned().filter(population=Population.REAL).exists()

    def _abandoned(self) -> models.QuerySet[Session]:
        return self.sessions.unheard_of_since(timezone.now() - timedelta(hours=self.resume_hours))

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
        return self.sessions.model.objects.start(
            self, population, dict(recruiter_ids or {}), token=token, language=language, consent_sha256=consent_sha256
        )

    def _time_out_one(self, population: str) -> bool:
        """Whether a place became free because its taker has stayed away too long."""
        abandoned = self._abandoned().filter(population=population).order_by("seen_at")
        return any(session.time_out_if_away() for session in abandoned)

    def claim_slot(self, population: str) -> Slot:
        """The free place with the lowest list. Only the real population has a quota; the others grow as needed."""
        free = self.slots.filter(population=population, claimed_at=None).order_by("list_number")
        slot = free.select_for_update(skip_locked=True).first()
        while slot is None and free.exists():  # somebody is about to take the last places: wait for the outcome
            slot = free.select_for_update().first()
        if slot is None and self._time_out_one(population):
            return self.claim_slot(population)
        if slot is None and population == Population.REAL:
            raise Full
        if slot is None:
            self._locked()
            last = self.slots.filter(population=population).aggregate(last=Max("list_number"))["last"]
            slot = Slot(study=self, population=population, list_number=0 if last is None else last + 1)
        slot.claimed_at = timezone.now()
        slot.save()
        return slot

    # --- what came out

    def image_px_per_degree(self) -> float:
        """Pixels of a stored image per degree of visual angle: as designed, else on a usual screen at the scale."""
        image = self.dataset.base_images.order_by("index").first()
        if self.image_degrees and image:
            return images.size(image.obtain())[0] / self.image_degrees
        return SCREEN_PX_PER_DEGREE / (self.scale * self.enlargement)

    def trial_rows(self, population: str = Population.REAL, *, practice: bool = False) -> Iterator[dict[str, Any]]:
        """The trial table: one dict per answered trial of every session that was not withdrawn (see `export`)."""
        from study.trials.export import trial_rows

        return trial_rows(self, population, practice=practice)

    def session_rows(self, population: str = Population.REAL) -> Iterator[dict[str, Any]]:
        """One dict per session, the withdrawn ones included."""
        from study.trials.export import session_rows

        return session_rows(self, population)


Study.DESIGN_FIELDS = frozenset(
    name
    for field in Study._meta.concrete_fields
    for name in (field.name, field.attname)
    if field.name not in Study.OPEN_FIELDS
)


def _frozen_sentence(changed: list[str]) -> str:
    return f"The study has been opened, so its design cannot change ({', '.join(changed)}): amend it with a reason."


#: Columns that hold what participants read, of a study and of a translation.
TEXTS = frozenset(
    {"title", "information", "eligibility", "payment", "withdrawal_deadline", "consent", "instructions", "debrief"}
)


@dataclass(frozen=True)
class StudyTexts:
    """What a study says to participants, in one language."""

    language: str
    title: str
    information: str
    eligibility: tuple[str, ...]
    payment: str
    withdrawal_deadline: str
    consent: str
    instructions: str
    debrief: str

    @classmethod
    def of(cls, source: Study | Translation) -> StudyTexts:
        criteria = tuple(line.strip() for line in source.eligibility.splitlines() if line.strip())
        return cls(
            language=source.language,
            title=source.title,
            information=source.information,
            eligibility=criteria,
            payment=source.payment,
            withdrawal_deadline=source.withdrawal_deadline,
            consent=source.consent,
            instructions=source.instructions,
            debrief=source.debrief,
        )


class Translation(models.Model):
    """A study's texts in another language than its own. Frozen with the study."""

    study = models.ForeignKey(Study, models.CASCADE, related_name="translations")
    language = models.CharField(max_length=10, choices=settings.LANGUAGES)
    title = models.CharField(max_length=200)
    information = models.TextField(help_text="What participants read before they consent.")
    eligibility = models.TextField(blank=True, help_text="Who may take part: statements to confirm, one a line.")
    payment = models.TextField(blank=True)
    withdrawal_deadline = models.CharField(max_length=200, blank=True)
    consent = models.TextField(blank=True, db_default="")
    instructions = models.TextField(blank=True, db_default="")
    debrief = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["study", "language"], name="one_translation_per_language")]

    def __str__(self) -> str:
        return f"{self.study.slug} ({self.language})"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self._require_draft()
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        self._require_draft()
        return super().delete(*args, **kwargs)

    def untranslated(self) -> list[str]:
        """Texts that the study has in its own language and not in this one, by the names of their columns, in words."""
        columns = [field for field in self._meta.concrete_fields if field.name in TEXTS]
        return [
            str(field.verbose_name)
            for field in columns
            if getattr(self.study, field.name).strip() and not getattr(self, field.name).strip()
        ]

    def clean(self) -> None:
        if self.language == self.study.language:
            raise ValidationError({"language": "This is the study's own language: its texts are the study's."})
        if len(StudyTexts.of(self).eligibility) != len(StudyTexts.of(self.study).eligibility):
            raise ValidationError({"eligibility": "Translate every statement of the study, one a line."})

    def _require_draft(self) -> None:
        if Study.objects.filter(pk=self.study_id).exclude(state=Study.State.DRAFT).exists():
            raise Frozen("The study has been opened, so its texts cannot change.")


class Source(models.Model):
    """A further backdoored model whose pairs a study shows beside those of its primary one. Frozen with the study.

    Models of attacks that differ in their seed alone are one attack under several fields.
    """

    study = models.ForeignKey(Study, models.CASCADE, related_name="sources")
    model_run = models.ForeignKey(ModelRun, models.PROTECT, related_name="source_of")
    strengths = models.JSONField(
        default=list,
        blank=True,
        validators=[validate_strengths],
        help_text="Of an attack that no model above has: strengths of its main trials. Empty: the study's, or, of "
        "another family, all that have pairs, but the gross one.",
    )

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["study", "model_run"], name="one_source_per_model_run")]

    def __str__(self) -> str:
        return f"{self.study.slug}: {self.model_run}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        self._require_draft()
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        self._require_draft()
        return super().delete(*args, **kwargs)

    def clean(self) -> None:
        if self.study_id is None or self.model_run_id is None:
            return
        if said := sources.refusal(self.study, self.model_run):
            raise ValidationError({"model_run": said})
        if self.strengths and (first := self._another_of_its_attack()):
            raise ValidationError(
                {"strengths": f"They are those of {first}, which has the same attack: leave them empty."}
            )

    def _another_of_its_attack(self) -> ModelRun | None:
        """The model of the study before this one whose strengths are its own as well."""
        above = [s.model_run for s in self.study.further_sources if self.pk is None or s.pk < self.pk]
        earlier = (self.study.model_run, *above)
        return next((run for run in earlier if sources.have_one_attack(run, self.model_run)), None)

    def _require_draft(self) -> None:
        if Study.objects.filter(pk=self.study_id).exclude(state=Study.State.DRAFT).exists():
            raise Frozen("The study has been opened, so its models cannot change.")


class DesignVersion(InsertOnly):
    """The design and analysis plan of an open study, as JSON with its hash. A change is a new version.

    Versions of a draft are for previews and rehearsals before the opening; they count for themselves.
    """

    study = models.ForeignKey(Study, models.PROTECT, related_name="design_versions")
    n = models.PositiveIntegerField()
    draft = models.BooleanField(default=False, db_default=False, help_text="Of a draft: tried, never frozen.")
    json = models.JSONField()
    sha256 = models.CharField(max_length=64)
    reason = models.TextField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["study", "n", "draft"], name="one_design_per_version")]

    def __str__(self) -> str:
        return f"{self.study.slug} v{self.n}"

    @property
    def now(self) -> Mapping[str, Any]:
        """The design in the words of the present format. Read once per process: it never changes."""
        return _design_of(self.sha256)

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """The image files it names. Read once per process: they never change."""
        return _files_of(self.sha256)

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
        if not self.draft and not self.study.design_versions.filter(draft=False, n__gt=self.n).exists():
            study = Study.objects.get(pk=self.study_id)
            faults += [
                f"The study says otherwise than its design: {c}." for c in designs.changed_settings(self.json, study)
            ]
        return faults

    @classmethod
    def checks(cls) -> list[Check]:
        """For `manage.py verify`: whether each frozen design still holds."""
        versions = cls.objects.filter(draft=False).select_related("study").order_by("study__slug", "n")
        return [Check("frozen designs", f"design {version}", version.verify) for version in versions]

    def verify(self) -> None:
        """Raises ValueError with all that has changed since it was frozen."""
        if faults := self.faults():
            raise ValueError(" ".join(faults))


@lru_cache(maxsize=64)
def _design_of(sha256: str) -> Mapping[str, Any]:
    return designs.upgraded(DesignVersion.objects.filter(sha256=sha256).values_list("json", flat=True)[0])


@lru_cache(maxsize=64)
def _files_of(sha256: str) -> tuple[StoredFile, ...]:
    return tuple(image.stored for image in designs.images_of(_design_of(sha256)))


class Slot(models.Model):
    """A place in one population, with the number of the list (row of the balanced plan) that its session gets."""

    study = models.ForeignKey(Study, models.CASCADE, related_name="slots")
    population = models.CharField(max_length=10, choices=Population)
    list_number = models.PositiveIntegerField()
    claimed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["study", "population", "list_number"], name="one_slot_per_list")]
        indexes = [
            models.Index(
                fields=["study", "population", "list_number"], condition=Q(claimed_at=None), name="free_slots"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.study.slug} {self.population} {self.list_number}"
