"""Making this machine's installation ready to be used: tables, static files, a first administrator."""

from __future__ import annotations

import secrets

from django.contrib.auth import get_user_model
from django.core.management import call_command


def prepare() -> None:
    """Bring the database and the collected static files up to date; quick when they are."""
    call_command("migrate", interactive=False, verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)


def first_administrator() -> str | None:
    """Create the account `admin` when there is no administrator yet; its password, which is kept nowhere else."""
    users = get_user_model().objects
    if users.filter(is_superuser=True).exists():
        return None
    password = secrets.token_urlsafe(12)
    users.create_superuser("admin", password=password)
    return password
