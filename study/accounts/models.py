"""The user model: Django's own, replaceable because it was ours from the first migration."""

from django.contrib.auth.models import AbstractUser


class User(AbstractUser):
    """A researcher. Participants have no accounts."""
