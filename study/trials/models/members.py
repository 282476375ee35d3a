"""Researchers and their roles on studies."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from study.trials.rights import Role


class Member(models.Model):
    """A researcher's role on a study. Superusers need none."""

    study = models.ForeignKey("trials.Study", models.CASCADE, related_name="members")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.VIEWER)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["study", "user"], name="one_role_per_researcher_and_study")]

    def __str__(self) -> str:
        return f"{self.user}: {self.get_role_display()}"
