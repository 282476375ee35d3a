"""Web server, workers and broker on this machine, until Ctrl-C."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.desk.installation import first_administrator, prepare
from study.processes import ServiceError, free_port, is_free, log_path, services
from study.supervision import until_signalled
from study.trials.models import Study


class Command(BaseCommand):
    help = "Start the web server, the workers and the broker on this machine; one Ctrl-C ends them all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port", type=int, default=8000, help="of the web server on 127.0.0.1 (default: %(default)s)"
        )

    def handle(self, *, port: int, **options: Any) -> None:
        prepare()
        if not is_free(port):
            self.stderr.write(f"Port {port} is taken; using another one.")
            port = free_port()
        try:
            with until_signalled() as ended, services(web=True, port=port, may_join=False) as running:
                self._introduce(running.web or "")
                ended.wait()
                self.stdout.write("\nStopping.")
        except ServiceError as error:
            raise CommandError(str(error)) from error

    def _introduce(self, address: str) -> None:
        self.stdout.write(f"Blindspot is at {address}/admin/ (logs in {log_path('web').parent}).")
        if password := first_administrator():
            self.stdout.write(f"Sign in as admin with the password {password}  (shown this once; change it there).")
        for study in Study.objects.filter(state=Study.State.OPEN):
            self.stdout.write(f"Participants of “{study}”: {address}/s/{study.slug}/")
        self.stdout.write("Ctrl-C ends everything.")
        self.stdout.flush()
