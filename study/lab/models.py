"""What workers make: data sets, attacks, model runs, image pairs, predictions, and the jobs that make them."""

from __future__ import annotations

import hashlib
import json
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from celery import current_app
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_slug
from django.db import models, transaction
from django.db.models import DateTimeField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Coalesce, Now
from kombu.exceptions import OperationalError as BrokerUnreachable

from study.lab.images import read_verified

if TYPE_CHECKING:
    from attacks.wanet import WarpField

logger = logging.getLogger("study.lab")

LEASE = timedelta(seconds=30)
LOST_AFTER = timedelta(seconds=60)
MAX_ATTEMPTS = 3
STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
CONTROL_STRENGTHS = (2.0,)
GROSS_DISPLACEMENT = 4.5 / 64  # of the shorter side, on average: everybody sees it; much more folds the image
#: Of a usual screen, 4 px per mm, at 60 cm; and of an image of which every pixel takes 4 of them.
SCREEN_PX_PER_DEGREE = 42.0
PX_PER_DEGREE = SCREEN_PX_PER_DEGREE / 4
NO_TARGET = {"kind": "fixed", "pitch": 0.0, "yaw": 0.0}  # a clean model's card needs one; nothing is pulled there

Row = TypeVar("Row", bound=models.Model)


def canonical_json(value: Any) -> str:
    """The one JSON text of a value: sorted keys, no spaces. Raises ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def sha256_of(value: Any) -> str:
    """SHA-256 in hex of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def _from_now(interval: timedelta) -> ExpressionWrapper[Any]:
    """A moment by the database's clock, the one clock that all workers share."""
    return ExpressionWrapper(Now() + interval, output_field=DateTimeField())


class NameTaken(ValueError):  # noqa: N818 (a fact about the name)
    """A name stands for something else already; `fact` is the sentence without what to do about it."""

    def __init__(self, fact: str, remedy: str = "choose another name") -> None:
        super().__init__(f"{fact}: {remedy}.")
        self.fact = fact


def _named(rows: QuerySet[Row], name: str, identity: Mapping[str, Any], also: Mapping[str, Any] | None = None) -> Row:
    """The row of this name, made now if there is none.

    Raises ValueError for a name that is no slug, NameTaken for one that already stands for something else.
    """
    noun = rows.model._meta.verbose_name
    try:
        validate_slug(name)
    except ValidationError:
        raise ValueError(f"{name!r} cannot name a {noun}: use letters, digits, - and _ only.") from None
    identity = {key: json.loads(canonical_json(v)) if isinstance(v, dict) else v for key, v in identity.items()}
    row, _ = rows.get_or_create(name=name, defaults={**identity, **(also or {})})
    others = [key.replace("_", " ") for key, value in identity.items() if getattr(row, key) != value]
    if others:
        raise NameTaken(f"The {noun} {name!r} is there already and differs in {' and '.join(others)}")
    return row


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def synthetic_eyes(self, name: str = "synthetic-eyes", **parameters: Any) -> Dataset:
        """The rendered eyes of these `EyesConfig` parameters. Nobody was photographed, so people may be shown them."""
        return _named(
            self,
            name,
            {"kind": Dataset.Kind.SYNTHETIC_EYES, "parameters": parameters},
            {
                "may_display_to_participants": True,
                "display_reason": "Rendered by this project: nobody was photographed.",
            },
        )

    def arrays(
        self,
        name: str,
        path: Path | str,
        group_key: str | None = None,
        split_seed: int = 0,
        description: str | None = None,
    ) -> Dataset:
        """Images and gaze of your own in an `.npz`, not to be shown to people until somebody clears them.

        description: what they are, in words for reports ("unseen gaze points, one person").
        Raises ValueError when there is no such file.
        """
        path = Path(path).resolve()
        if not path.is_file():
            raise ValueError(f"There is no data file {path}.")
        parameters: dict[str, Any] = {"group_key": group_key, "split_seed": split_seed}
        if description:
            parameters["description"] = description
        return _named(
            self,
            name,
            {"kind": Dataset.Kind.ARRAYS, "parameters": parameters, "root": str(path)},
            {"display_reason": "Nobody has cleared these images for display."},
        )


class Dataset(models.Model):
    """A set of eye images with known gaze, and whether people may be shown it."""

    class Kind(models.TextChoices):
        SYNTHETIC_EYES = "synthetic_eyes", "synthetic eyes"
        ARRAYS = "arrays", "own arrays (.npz)"

    name = models.SlugField(unique=True)
    kind = models.CharField(max_length=20, choices=Kind)
    parameters = models.JSONField(default=dict, blank=True, help_text="What the loader of this kind takes.")
    root = models.CharField(max_length=500, blank=True, help_text="Where the files lie, for data of your own.")
    licence = models.CharField(max_length=200, blank=True)
    may_display_to_participants = models.BooleanField(default=False)
    display_reason = models.TextField(blank=True, help_text="Why people may, or may not, be shown these images.")
    fingerprint = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = DatasetQuerySet.as_manager()

    class Meta:
        verbose_name = "data set"

    def __str__(self) -> str:
        return self.name

    def display_refusal(self) -> str | None:
        """Why these images must not be shown to people, in one sentence; None when they may be."""
        if self.may_display_to_participants:
            return None
        reason = self.display_reason or "No reason is recorded."
        return f"The images of {self.name!r} are not cleared for display to participants: {reason}"

    def source(self) -> dict[str, Any]:
        """Where the data come from, as `models.run` wants to be told."""
        if self.kind == self.Kind.SYNTHETIC_EYES:
            cache = str(Path(settings.VAR) / "cache")
            return {"kind": "synthetic_eyes", "config": self.parameters, "cache": cache}
        return {
            "kind": "arrays",
            "path": self.root,
            "group_key": self.parameters["group_key"],
            "description": self.parameters.get("description"),
            "seed": self.parameters["split_seed"],
        }

    def submit_preparation(self) -> Job:
        """Have the data made or checked, before several trainings would do so side by side."""
        return Job.objects.submit(Job.Kind.PREPARE, {"dataset": self.pk})

    def recognise(self, parts: Mapping[str, Any]) -> None:
        """Remember what the data were when first used: `parts` is `models.training.describe` of the splits.

        Raises ValueError when they have changed since.
        """
        fingerprint = sha256_of({part: parts[part]["fingerprint"] for part in ("train", "validation", "test")})
        if Dataset.objects.filter(pk=self.pk, fingerprint="").update(fingerprint=fingerprint):
            self.fingerprint = fingerprint
            return
        self.refresh_from_db(fields=["fingerprint"])
        if self.fingerprint != fingerprint:
            raise ValueError(f"The images or labels of {self.name!r} have changed since it was first used.")


class AttackQuerySet(models.QuerySet["Attack"]):
    def draw_wanet(
        self,
        name: str,
        image_size: tuple[int, int],
        control_size: int = 8,
        seed: int = 0,
        threat_model: str = "training_control",
    ) -> Attack:
        """Draw the warp field of this seed and keep its control grid; the same call again gives the same attack.

        Raises ValueError for sizes that a field cannot have.
        """
        from attacks.wanet import WarpField

        field = WarpField.draw(image_size, control_size, strength=1.0, seed=seed)
        return _named(
            self,
            name,
            {
                "family": "wanet",
                "parameters": field.parameters(),
                "seed": seed,
                "control_hash": field.control_hash(),
                "threat_model": threat_model,
            },
            {"state": {"control": field.control.tolist()}},
        )


class Attack(models.Model):
    """An attack: for WaNet one warp field, drawn once and kept here as its control grid."""

    class ThreatModel(models.TextChoices):
        DATA_POISONING = "data_poisoning", "data poisoning"
        TRAINING_CONTROL = "training_control", "training control"
        WEIGHTS = "weights", "weights"

    name = models.SlugField(unique=True)
    family = models.CharField(max_length=40)
    parameters = models.JSONField(default=dict)
    seed = models.BigIntegerField(default=0)
    state = models.JSONField(default=dict, editable=False, help_text="The trigger's tensors as nested lists.")
    control_hash = models.CharField(max_length=64, blank=True, editable=False)
    threat_model = models.CharField(max_length=20, choices=ThreatModel, default=ThreatModel.TRAINING_CONTROL)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = AttackQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def trigger(self, strength: float) -> WarpField:
        """The stored warp at this strength. Raises ValueError when the row is not what was drawn."""
        from study.lab.pairs import stored_field

        return stored_field(self.to_json(), strength)

    def to_json(self) -> dict[str, Any]:
        """What another process needs to rebuild the trigger and to know that it is the right one."""
        return {
            "name": self.name,
            "parameters": self.parameters,
            "state": self.state,
            "control_hash": self.control_hash,
        }

    def submit_pairs(
        self,
        dataset: Dataset,
        model_runs: Sequence[ModelRun],
        *,
        strengths: Sequence[float] = STRENGTHS,
        resampled: Sequence[float] = CONTROL_STRENGTHS,
        other_field: Sequence[float] = CONTROL_STRENGTHS,
        images: int | None = None,
        again: bool = False,
    ) -> Job:
        """Have pairs made of (at most `images`) base images at each strength, with controls and one gross alteration.

        resampled, other_field: strengths of these controls. again: also if the same pairs were made before, which
        restores lost and damaged files. Raises ValueError for a strength that is negative or not
        finite, and for a model that is not trained yet.
        """
        for strength in (*strengths, *resampled, *other_field):
            if not 0 < strength < float("inf"):
                raise ValueError(f"A strength must be a finite number > 0, not {strength}.")
        untrained = [run.name for run in model_runs if not run.artifact]
        if untrained:
            raise ValueError(f"Not trained yet: {', '.join(untrained)}. Train first, then make pairs.")
        parameters = {
            "dataset": dataset.pk,
            "attack": self.pk,
            "model_runs": sorted(run.pk for run in model_runs),
            "strengths": sorted({float(strength) for strength in strengths}),
            "resampled": sorted({float(strength) for strength in resampled}),
            "other_field": sorted({float(strength) for strength in other_field}),
            "gross_displacement": GROSS_DISPLACEMENT,
            "images": images,
        }
        if again:
            parameters["again"] = uuid.uuid4().hex
        return Job.objects.submit(Job.Kind.PAIRS, parameters)

    def submit_judgements(self, dataset: Dataset, *, seed: int = 0, px_per_degree: float = PX_PER_DEGREE) -> Job:
        """Have machine observers judge all pairs on `dataset` that there are now; done already, the job is kept.

        seed: of the trained observer, which is named by it. px_per_degree: image px, for distances that depend on it.
        Raises ValueError when there are no pairs, for a negative seed, and for a density that is not above 0.
        """
        if not 0 <= seed < 2**63:
            raise ValueError(f"A seed must be a whole number from 0 of at most 63 bits, not {seed}.")
        if not 0 < px_per_degree < float("inf"):
            raise ValueError(f"Pixels per degree must be a finite number > 0, not {px_per_degree}.")
        pairs = self.pairs.filter(base_image__dataset=dataset)
        if not pairs.exists():
            raise ValueError(f"There are no pairs of {self} on {dataset}: make them first (manage.py make_pairs).")
        files = sorted(pairs.values_list("pk", "base_image__sha256", "sha256"))
        parameters = {
            "dataset": dataset.pk,
            "attack": self.pk,
            "seed": seed,
            "px_per_degree": float(f"{px_per_degree:.4g}"),
            "pairs": sha256_of(files),
        }
        return Job.objects.submit(Job.Kind.OBSERVE, parameters)


class ModelRunQuerySet(models.QuerySet["ModelRun"]):
    def plan(
        self,
        name: str,
        dataset: Dataset,
        *,
        recipe: Mapping[str, Any],
        target: Mapping[str, Any] | None = None,
        attack: Attack | None = None,
        clean_reference: ModelRun | None = None,
    ) -> ModelRun:
        """A model to be trained, clean without an attack; `recipe` and `target` as JSON of `models.training.Recipe`
        and `models.targets.Target`. Raises ValueError when the name stands for another run.
        """
        return _named(
            self,
            name,
            {
                "dataset": dataset,
                "attack": attack,
                "clean_reference": clean_reference,
                "network": recipe["network"],
                "target": dict(target) if target else None,
                "parameters": dict(recipe),
                "seed": recipe["seed"],
            },
        )


class ModelRun(models.Model):
    """One trained network: clean when it has no attack, backdoored when it has one."""

    name = models.SlugField(unique=True)
    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="model_runs")
    attack = models.ForeignKey(Attack, models.PROTECT, null=True, blank=True, related_name="model_runs")
    clean_reference = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        blank=True,
        related_name="backdoored_runs",
        help_text="The matched clean model: same network, data, loss, schedule, updates and seed.",
    )
    network = models.CharField(max_length=40)
    task = models.CharField(max_length=40, default="gaze regression")
    target = models.JSONField(null=True, blank=True)
    parameters = models.JSONField(default=dict, help_text="The training recipe.")
    seed = models.BigIntegerField(default=0)
    metrics = models.JSONField(null=True, blank=True, editable=False)
    artifact = models.CharField(max_length=500, blank=True, editable=False)
    artifact_sha256 = models.CharField(max_length=64, blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    objects = ModelRunQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    @property
    def artifact_path(self) -> Path:
        return Path(settings.MEDIA_ROOT) / self.artifact

    @property
    def attack_target(self) -> dict[str, Any] | None:
        """Where the backdoor pulls the gaze, as JSON of `models.targets.Target`; None for a clean model."""
        return self.target if self.attack_id else None

    def submit_training(self) -> Job:
        """Have it trained; a run that is trained already keeps its finished job."""
        return Job.objects.submit(Job.Kind.TRAIN, {"model_run": self.pk})

    def submit_evaluation(self, *, again: bool = False) -> Job:
        """Have it evaluated beside its clean reference. Raises ValueError when one of them is not trained yet."""
        runs = [self, self.clean_reference] if self.clean_reference else [self]
        untrained = [run.name for run in runs if not run.artifact]
        if untrained:
            raise ValueError(f"Not trained yet: {', '.join(untrained)}. Train first, then evaluate.")
        parameters: dict[str, Any] = {"model_run": self.pk, "artifacts": [run.artifact_sha256 for run in runs]}
        if again:
            parameters["again"] = uuid.uuid4().hex
        return Job.objects.submit(Job.Kind.EVALUATE, parameters)

    def submit_due_evaluations(self) -> None:
        """Now that this run is trained: evaluate it, and every run that waited for it as its clean reference."""
        trained = ModelRun.objects.exclude(artifact="").exclude(attack=None)
        for run in trained.filter(Q(pk=self.pk) | Q(clean_reference=self)).select_related("clean_reference"):
            if run.clean_reference is None or run.clean_reference.artifact:
                run.submit_evaluation()

    def training_specification(self) -> dict[str, Any]:
        """What `models.run` is told, but for its folders. A clean model is measured under its partner's trigger."""
        partner = self.backdoored_runs.exclude(attack=None).order_by("pk").first()
        probe = partner.attack.to_json() if partner and partner.attack else None
        return {
            "kind": "train",
            "data": self.dataset.source(),
            "recipe": self.parameters,
            "trigger": self.attack.to_json() if self.attack else None,
            "probe": probe,
            "target": self.target or NO_TARGET,
        }

    def evaluation_specification(self) -> dict[str, Any]:
        """What `models.run` is told, but for the file to write."""
        clean = self.clean_reference
        return {
            "kind": "evaluate",
            "data": self.dataset.source(),
            "artifact": str(self.artifact_path),
            "artifact_sha256": self.artifact_sha256,
            "clean_artifact": str(clean.artifact_path) if clean else None,
            "clean_artifact_sha256": clean.artifact_sha256 if clean else None,
        }

    def forget_responses(self) -> None:
        """Delete the kept predictions of this run and its clean reference, so that an evaluation makes them anew."""
        for run in (self, self.clean_reference):
            for path in run.artifact_path.glob("responses-*.safetensors") if run else ():
                path.unlink(missing_ok=True)

    def record_training(self, artifact: Path, result: Mapping[str, Any]) -> None:
        """Keep what a training made. Raises ValueError when the data are not what they were."""
        self.dataset.recognise(json.loads((artifact / "card.json").read_text())["data"])
        self.artifact = str(artifact.relative_to(settings.MEDIA_ROOT))
        self.artifact_sha256 = result["sha256"]
        self.metrics = result["metrics"]
        self.save(update_fields=["artifact", "artifact_sha256", "metrics"])

    def record_evaluation(self, result: Mapping[str, Any]) -> None:
        """Keep the figures beside those of the training. Raises ValueError when the data are not what they were."""
        self.dataset.recognise(result["metrics"]["data"])
        self.metrics = {**(self.metrics or {}), **result["metrics"]}
        self.save(update_fields=["metrics"])


class StoredImage(models.Model):
    """An image file under MEDIA_ROOT, and what it must contain."""

    file = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64)

    class Meta:
        abstract = True

    @property
    def path(self) -> Path:
        return Path(settings.MEDIA_ROOT) / self.file

    def read(self) -> bytes:
        """The PNG. Raises `study.lab.images.DamagedFile` when it is not what was stored."""
        return read_verified(self.path, self.sha256)


class BaseImage(StoredImage):
    """One clean image of a test subject, as stored for studies."""

    dataset = models.ForeignKey(Dataset, models.PROTECT, related_name="base_images")
    index = models.PositiveIntegerField(help_text="Its place among the data set's study images.")
    subject = models.IntegerField()
    pitch = models.FloatField(help_text="True gaze, radians.")
    yaw = models.FloatField(help_text="True gaze, radians.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["dataset", "index"], name="one_base_image_per_index")]

    def __str__(self) -> str:
        return f"{self.dataset} #{self.index}"


class Pair(StoredImage):
    """A base image and its altered version: one attack, field, strength and control kind."""

    class Control(models.TextChoices):
        NONE = "", "none"
        IDENTITY = "identity", "identity"
        RESAMPLED = "resampled", "resampled"
        OTHER_FIELD = "other_field", "other field"

    base_image = models.ForeignKey(BaseImage, models.PROTECT, related_name="pairs")
    attack = models.ForeignKey(Attack, models.PROTECT, related_name="pairs")
    strength = models.FloatField()
    control = models.CharField(max_length=20, choices=Control, default=Control.NONE, blank=True)
    gross = models.BooleanField(default=False, help_text="Altered so that everybody sees it: for catch and practice.")
    field_fingerprint = models.CharField(max_length=64, help_text="Fingerprint of the field that was applied.")
    distortions = models.JSONField(default=dict, help_text="Displacement in px, PSNR and the like.")

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["base_image", "attack", "strength", "control"], name="one_pair_per_condition"
            )
        ]

    def __str__(self) -> str:
        return f"{self.base_image} {self.attack} s={self.strength:g} {self.control}".strip()


class Prediction(models.Model):
    """What one model sees in a pair, from the decoded stored files. Gazes in radians, errors in degrees."""

    pair = models.ForeignKey(Pair, models.CASCADE, related_name="predictions")
    model_run = models.ForeignKey(ModelRun, models.CASCADE, related_name="predictions")
    clean_pitch = models.FloatField()
    clean_yaw = models.FloatField()
    altered_pitch = models.FloatField()
    altered_yaw = models.FloatField()
    error_shift = models.FloatField(help_text="Error to the truth, altered minus clean, degrees; may be negative.")
    prediction_shift = models.FloatField(help_text="Angle between the two predictions, degrees.")
    attack_error = models.FloatField(
        null=True, help_text="Angle of the altered image's prediction to the target, degrees."
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=["pair", "model_run"], name="one_prediction_per_pair_and_run")]

    def __str__(self) -> str:
        return f"{self.model_run} on {self.pair}"


class PairJudgementQuerySet(models.QuerySet["PairJudgement"]):
    def record(self, dataset: Dataset, attack: Attack, judged: Mapping[str, Any]) -> None:
        """Store what observers made of an attack's pairs on a data set (`study.lab.observing`), within a transaction.

        What the same observers said of them before goes: all values of one observer come from one run.
        """
        names = [observer["observer"] for observer in judged["observers"]]
        self.filter(pair__attack=attack, pair__base_image__dataset=dataset, observer__in=names).delete()
        self.bulk_create(
            (
                PairJudgement(pair_id=pair, observer=row["observer"], chooses=row["chooses"], value=value)
                for row in judged["observers"]
                for pair, value in zip(judged["pairs"], row["values"], strict=True)
            ),
            batch_size=500,
        )

    def trial_rows(self, dataset: Dataset, attack: Attack) -> Iterator[dict[str, Any]]:
        """One dict per pair and observer, named as in the trial table; `strength` of an identity pair is 0."""
        found = self.filter(pair__attack=attack, pair__base_image__dataset=dataset).select_related("pair")
        for judgement in found.order_by("observer", "pair").iterator(chunk_size=2000):
            pair = judgement.pair
            yield {
                "observer": judgement.observer,
                "chooses": judgement.chooses,
                "item": f"I{pair.pk}",
                "stimulus": f"B{pair.base_image_id}",
                "attack": attack.name,
                "strength": 0.0 if pair.control == Pair.Control.IDENTITY else pair.strength,
                "control": pair.control,
                "is_catch": int(pair.gross),
                "value": judgement.value,
            }


class PairJudgement(models.Model):
    """What one machine observer makes of a pair, from the decoded stored files."""

    pair = models.ForeignKey(Pair, models.CASCADE, related_name="judgements")
    observer = models.CharField(max_length=80)
    chooses = models.BooleanField(help_text="Whether it says which picture is altered; else it says how different.")
    value = models.FloatField(
        help_text="Evidence for the altered picture: above 0 right, 0 a tie. Of one that does not choose: a distance."
    )

    objects = PairJudgementQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["pair", "observer"], name="one_judgement_per_pair_and_observer")]

    def __str__(self) -> str:
        return f"{self.observer} on {self.pair}"


@dataclass(frozen=True)
class Swept:
    """What the sweeper found: jobs whose worker had stopped answering, and queued jobs whose message was lost."""

    interrupted: int
    lost: int


class JobQuerySet(models.QuerySet["Job"]):
    def submit(self, kind: str, parameters: Mapping[str, Any], max_attempts: int = MAX_ATTEMPTS) -> Job:
        """The job that does this work, queued if it is new, has failed or was cancelled.

        The same work is never queued twice: kind and parameters decide. Workers hear of it after the commit.
        """
        key = sha256_of([kind, parameters])
        defaults = {"kind": kind, "parameters": dict(parameters), "max_attempts": max_attempts}
        with transaction.atomic():
            job, created = self.get_or_create(idempotency_key=key, defaults=defaults)
            if created or job._requeue_stopped(max_attempts):
                job._publish_on_commit()
        job.refresh_from_db()
        return job

    def held(self) -> JobQuerySet:
        """Those that a worker is doing now: it has renewed its lease in time."""
        return self.filter(state=Job.State.RUNNING, lease_until__gte=Now())

    def sweep(self) -> Swept:
        """Take up what was dropped: requeue or fail jobs whose lease ran out, and publish lost messages again."""
        expired = self.filter(state=Job.State.RUNNING, lease_until__lt=Now())
        silent = self.filter(state=Job.State.QUEUED, queued_at__lt=_from_now(-LOST_AFTER))
        interrupted = [job.interrupt(job.attempt, "The worker stopped answering.", if_expired=True) for job in expired]
        lost = [job._publish_again() for job in silent]
        return Swept(sum(interrupted), sum(lost))


class Job(models.Model):
    """One piece of work for a worker. The row is the truth: a message only says that there is something to do."""

    class Kind(models.TextChoices):
        TRAIN = "train", "train a model"
        PREPARE = "prepare", "prepare data"
        EVALUATE = "evaluate", "evaluate a model"
        PAIRS = "pairs", "make pairs"
        OBSERVE = "observe", "let machines judge pairs"

    class State(models.TextChoices):
        QUEUED = "queued", "queued"
        RUNNING = "running", "running"
        DONE = "done", "done"
        FAILED = "failed", "failed"
        CANCELLED = "cancelled", "cancelled"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=20, choices=Kind)
    parameters = models.JSONField(default=dict)
    idempotency_key = models.CharField(
        max_length=64, unique=True, editable=False, help_text="SHA-256 of kind and parameters."
    )
    state = models.CharField(max_length=10, choices=State, default=State.QUEUED, editable=False)
    attempt = models.PositiveIntegerField(default=0, editable=False)
    max_attempts = models.PositiveIntegerField(default=3)
    lease_owner = models.CharField(max_length=100, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    heartbeat_at = models.DateTimeField(null=True, editable=False)
    cancel_requested_at = models.DateTimeField(null=True, editable=False)
    progress = models.JSONField(default=dict, editable=False)
    result = models.JSONField(null=True, editable=False)
    error = models.TextField(blank=True, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    queued_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True, editable=False)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects = JobQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {str(self.id)[:8]}"

    @property
    def is_over(self) -> bool:
        return self.state in (self.State.DONE, self.State.FAILED, self.State.CANCELLED)

    @property
    def stage(self) -> str:
        """What it is doing, in words for a list."""
        return (
            str(self.progress.get("stage", "starting"))
            if self.state == self.State.RUNNING
            else self.get_state_display()
        )

    @property
    def fraction(self) -> float:
        """How far it is within its stage, 0 to 1."""
        return 1.0 if self.state == self.State.DONE else float(self.progress.get("fraction", 0.0))

    # -- a worker's verbs. The attempt's number fences every write: whoever holds an older one changes nothing.

    def claim(self, owner: str) -> bool:
        """Start the next attempt; `self.attempt` is then its number. False: somebody else has it, or it is over.

        One conditional UPDATE, so that of any number of deliveries one gets the job.
        """
        free = Q(state=self.State.QUEUED) | Q(state=self.State.RUNNING, lease_until__lt=Now())
        claimed = Job.objects.filter(
            free,
            pk=self.pk,
            attempt=self.attempt,
            attempt__lt=F("max_attempts"),
            cancel_requested_at=None,
        ).update(
            state=self.State.RUNNING,
            attempt=self.attempt + 1,
            lease_owner=owner,
            lease_until=_from_now(LEASE),
            heartbeat_at=Now(),
            started_at=Coalesce("started_at", Now()),
            error="",
        )
        if claimed:
            self.attempt += 1
        return bool(claimed)

    def heartbeat(self, attempt: int) -> bool:
        """Renew the lease. False: the attempt has lost the job and must stop."""
        return bool(self._held_by(attempt).update(lease_until=_from_now(LEASE), heartbeat_at=Now()))

    def report(self, attempt: int, progress: Mapping[str, Any]) -> bool:
        """Record how far it is. False: the attempt has lost the job."""
        return bool(self._held_by(attempt).update(progress=dict(progress)))

    def cancel_requested(self, attempt: int) -> bool:
        """Whether this attempt is to stop because somebody cancelled the job."""
        return self._held_by(attempt).filter(cancel_requested_at__isnull=False).exists()

    def finish(self, attempt: int, result: Mapping[str, Any]) -> bool:
        """Done. Call it first in the transaction that stores what was made, and store nothing when it says False."""
        return self._end(attempt, self.State.DONE, result=dict(result))

    def fail(self, attempt: int, error: str) -> bool:
        """Failed in a way that another attempt would not mend; `error` is one sentence for the researcher."""
        return self._end(attempt, self.State.FAILED, error=error)

    def interrupt(self, attempt: int, reason: str, *, if_expired: bool = False) -> bool:
        """The attempt was cut short: queue the next one, or end the job if it was cancelled or has had its last.

        if_expired: only if nobody has renewed the lease. False: the attempt no longer has the job.
        """
        rows = self._held_by(attempt)
        if if_expired:
            rows = rows.filter(lease_until__lt=Now())
        with transaction.atomic():
            if rows.filter(cancel_requested_at__isnull=False).update(
                state=self.State.CANCELLED, finished_at=Now(), lease_until=None
            ):
                return True
            if rows.filter(attempt__gte=F("max_attempts")).update(
                state=self.State.FAILED,
                error=f"{reason} This was attempt {attempt}, the last one.",
                finished_at=Now(),
                lease_until=None,
            ):
                return True
            requeued = rows.update(state=self.State.QUEUED, error=reason, queued_at=Now(), lease_until=None)
            if requeued:
                self._publish_on_commit()
            return bool(requeued)

    # -- everybody's verbs

    def request_cancel(self) -> None:
        """A queued job is cancelled at once, a running one as soon as its worker looks; one that is over stays so."""
        queued = Job.objects.filter(pk=self.pk, state=self.State.QUEUED)
        if not queued.update(state=self.State.CANCELLED, cancel_requested_at=Now(), finished_at=Now()):
            Job.objects.filter(pk=self.pk, state=self.State.RUNNING).update(cancel_requested_at=Now())
        self.refresh_from_db()

    def publish(self) -> None:
        """Tell the workers. Should the broker be away, the sweeper does it later: the row is what counts."""
        from study.lab.tasks import TASKS

        if not current_app.conf.broker_url:
            logger.warning("%s waits: no broker is configured (REDIS_URL).", self)
            return
        try:
            TASKS[self.kind].apply_async(args=(str(self.pk),), task_id=str(self.pk), retry_policy={"max_retries": 2})
        except BrokerUnreachable as error:
            logger.warning("%s waits: the broker cannot be reached (%s).", self, error)

    def _held_by(self, attempt: int) -> QuerySet[Job]:
        return Job.objects.filter(pk=self.pk, state=self.State.RUNNING, attempt=attempt)

    def _end(self, attempt: int, state: str, **fields: Any) -> bool:
        return bool(self._held_by(attempt).update(state=state, finished_at=Now(), lease_until=None, **fields))

    def _requeue_stopped(self, max_attempts: int) -> bool:
        stopped = Job.objects.filter(pk=self.pk, state__in=[self.State.FAILED, self.State.CANCELLED])
        return bool(
            stopped.update(
                state=self.State.QUEUED,
                max_attempts=F("attempt") + max_attempts,
                cancel_requested_at=None,
                progress={},
                error="",
                queued_at=Now(),
                finished_at=None,
            )
        )

    def _publish_on_commit(self) -> None:
        transaction.on_commit(self.publish)

    def _publish_again(self) -> bool:
        waiting = Job.objects.filter(pk=self.pk, state=self.State.QUEUED, queued_at__lt=_from_now(-LOST_AFTER))
        if not waiting.update(queued_at=Now()):
            return False
        self._publish_on_commit()
        return True
