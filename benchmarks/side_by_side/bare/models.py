"""A place and its answers."""

from django.db import models


class Session(models.Model):
    token = models.CharField(max_length=64, unique=True)

    class Meta:
        app_label = "bare"

    def __str__(self) -> str:
        return self.token


class Trial(models.Model):
    session = models.ForeignKey(Session, models.CASCADE, related_name="trials")
    index = models.PositiveIntegerField()
    altered_side = models.CharField(max_length=5)

    class Meta:
        app_label = "bare"
        constraints = [models.UniqueConstraint(fields=["session", "index"], name="bare_one_trial_per_index")]

    def __str__(self) -> str:
        return f"{self.session} #{self.index}"


class Answer(models.Model):
    trial = models.OneToOneField(Trial, models.CASCADE, related_name="answer")
    client_id = models.UUIDField(unique=True)
    choice = models.CharField(max_length=6)
    correct = models.BooleanField()
    rt_ms = models.FloatField()

    class Meta:
        app_label = "bare"

    def __str__(self) -> str:
        return f"{self.trial}: {self.choice}"
