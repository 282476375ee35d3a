"""The sweeper by hand; workers do it by themselves every 5 s."""

from typing import Any

from django.core.management.base import BaseCommand

from study.lab.following import ready_database
from study.lab.models import Job


class Command(BaseCommand):
    help = "Requeue or fail jobs whose worker has stopped answering, and publish lost messages again."

    def handle(self, **options: Any) -> None:
        ready_database()
        swept = Job.objects.sweep()
        self.stdout.write(f"{swept.interrupted} interrupted jobs taken up, {swept.lost} lost messages published again.")
