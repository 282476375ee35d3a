"""Web server, workers and broker on this machine, until Ctrl-C."""

from argparse import ArgumentParser
from functools import partial
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.desk.installation import first_administrator, prepare
from study.processes import ServiceError, free_port, is_free, listener, log_path, services
from study.supervision import until_signalled
from study.trials.models import Study

DEFAULT_PORT = 8000


class Command(BaseCommand):
    help = "Start the web server, the workers and the broker on this machine; one Ctrl-C ends them all."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--port",
            type=int,
            help=f"of the web server on 127.0.0.1 (default: {DEFAULT_PORT}, or another while no study is open)",
        )

    def handle(self, *, port: int | None, **options: Any) -> None:
        prepare()
        try:
            with (
                until_signalled() as ended,
                services(web=True, port=partial(self._port, port), may_join=False) as running,
            ):
                self._introduce(running.web or "")
                ended.wait()
                self.stdout.write("\nStopping.")
        except ServiceError as error:
            raise CommandError(str(error)) from error

    def _port(self, wanted: int | None) -> int:
        """The wanted port or the usual one. Raises CommandError rather than break links that people may have."""
        port = wanted or DEFAULT_PORT
        if is_free(port):
            return port
        by = f" by {who}" if (who := listener(port)) else ""
        if wanted:
            raise CommandError(f"Port {port} is taken{by}: end that, or choose another --port.")
        if slugs := list(Study.objects.filter(state=Study.State.OPEN).values_list("slug", flat=True)):
            raise CommandError(
                f"Port {port} is taken{by}, and participants of {', '.join(slugs)} may have links to it: "
                "end that, or choose with --port, which changes the links."
            )
        other = free_port()
        self.stderr.write(f"Port {port} is taken{by}: this time ALL LINKS CHANGE to port {other}.")
        return other

    def _introduce(self, address: str) -> None:
        self.stdout.write(f"Blindspot is at {address}/admin/ (logs in {log_path('web').parent}).")
        if password := first_administrator():
            self.stdout.write(f"Sign in as admin with the password {password}  (shown this once; change it there).")
        for study in Study.objects.filter(state=Study.State.OPEN):
            self.stdout.write(f"Participants of “{study}”: {address}/s/{study.slug}/")
        self.stdout.write("Ctrl-C ends everything.")
        self.stdout.flush()
