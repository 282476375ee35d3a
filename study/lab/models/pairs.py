"""Images as stored for studies, pairs of them, and what models and machine observers make of a pair."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.db import models

from study.lab import files
from study.lab.images import read_verified
from study.lab.models.attacks import Attack
from study.lab.models.datasets import Dataset
from study.lab.models.runs import ModelRun


class StoredImage(models.Model):
    """An image file under MEDIA_ROOT, and what it must contain."""

    file = models.CharField(max_length=500)
    sha256 = models.CharField(max_length=64)

    class Meta:
        abstract = True

    @property
    def path(self) -> Path:
        return files.path(self.file)

    @property
    def stored(self) -> files.StoredFile:
        return files.StoredFile(self.file, self.sha256)

    def read(self) -> bytes:
        """The PNG as it lies on this host, verified. Raises `study.lab.images.DamagedFile` when it is not what was
        stored.
        """
        return read_verified(self.path, self.sha256)

    def obtain(self) -> bytes:
        """The PNG, fetched if this host lacks it: for researchers and workers, never for participants.

        Raises DamagedFile, or `study.lab.files.StorageFailed`.
        """
        files.fetch([self.stored])
        return self.read()


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
                fields=["base_image", "attack", "strength", "control", "gross"], name="one_pair_per_condition"
            )
        ]

    def __str__(self) -> str:
        kind = "gross" if self.gross else self.control
        return f"{self.base_image} {self.attack} s={self.strength:g} {kind}".strip()


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
