"""The way back in for who lost phone and recovery codes."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from study.accounts import audit, devices
from study.accounts.models import User


class Command(BaseCommand):
    help = "Remove a researcher's second factor: the password alone signs in, until another one is set up."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")

    def handle(self, *, username: str, **options: Any) -> None:
        user = User.objects.filter(username=username).first()
        if user is None:
            raise CommandError(f"There is no account {username!r}: the admin lists them under Users.")
        with transaction.atomic():
            audit.record("removed the second factor of", user)
            devices.remove(user)
        self.stdout.write(f"{user} signs in by password alone from now on.")
