"""Words that are stored."""

from __future__ import annotations

from django.db import models


class Population(models.TextChoices):
    REAL = "real", "real"
    SIMULATED = "simulated", "simulated"
    PREVIEW = "preview", "preview"


class Side(models.TextChoices):
    """Where the altered image is: a place; the interval (left = first); in yes/no trials left = it is shown."""

    LEFT = "left", "left"
    RIGHT = "right", "right"


class Choice(models.TextChoices):
    LEFT = "left", "left"
    RIGHT = "right", "right"
    UNSURE = "unsure", "not sure"
    NONE = "none", "none in time"
