"""Robots that answer a study through its pages, so that everything but the people is real."""

from argparse import ArgumentParser
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.accounts import audit
from study.desk.browsing import simulate_in_browser
from study.desk.installation import prepare
from study.desk.observers import load_population
from study.desk.progress import counted
from study.desk.rehearsing import usual_people
from study.desk.simulation import SimulationError, Walk, simulate
from study.lab.following import ready_database
from study.processes import ServiceError, web_server
from study.trials.models import Population, Study


class Command(BaseCommand):
    help = (
        "Send simulated participants through a study, a draft or an open one, by its web pages. Their sessions are "
        "marked as simulated, have places of their own and never count as people."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("study", help="the study's short name, as in its address")
        parser.add_argument("--participants", type=int, default=40, metavar="N", help="how many (default: %(default)s)")
        parser.add_argument(
            "--observer",
            type=Path,
            metavar="FILE",
            help="JSON file that says how they see and answer (default: a threshold midway in the attack's strengths)",
        )
        parser.add_argument("--seed", type=int, default=0, help="decides who they are (default: %(default)s)")
        parser.add_argument(
            "--browser", action="store_true", help="lead a real Chromium through the pages, at the pace of people"
        )
        parser.add_argument("--quick", action="store_true", help="with --browser: answer at once")
        parser.add_argument("--url", help="of a running server of this installation (default: one is started for it)")

    def handle(
        self,
        *,
        study: str,
        participants: int,
        observer: Path | None,
        seed: int,
        browser: bool,
        quick: bool,
        url: str | None,
        **options: Any,
    ) -> None:
        ready_database()
        found = Study.objects.filter(slug=study).first()
        if found is None:
            raise CommandError(f"There is no study named {study!r}.")
        if not found.lets_in(Population.SIMULATED):
            raise CommandError(f"The study {study!r} is {found.state}: it takes nobody any more, robots included.")
        if participants < 1:
            raise CommandError("--participants must be at least 1.")
        if quick and not browser:
            raise CommandError("--quick goes with --browser: without it nobody waits anyway.")
        try:
            population = load_population(observer) if observer else usual_people(found)
            audit.record("started a rehearsal of", found, after={"participants": participants, "seed": seed})
            walk = partial(simulate_in_browser, quick=quick) if browser else simulate
            send = partial(walk, found, population, participants=participants, seed=seed)
            if url:
                self._send(send, url)
            else:
                prepare()
                with web_server() as started:
                    self._send(send, started)
        except (ValueError, SimulationError, ServiceError) as error:
            raise CommandError(str(error)) from error

    def _send(self, send: Callable[..., list[Walk]], url: str) -> None:
        with counted("Simulated answers") as progress:
            walks = send(base_url=url, progress=progress.add)
        answers = sum(walk.answered for walk in walks)
        self.stdout.write(f"{len(walks)} simulated participants gave {answers} answers, practice included.")
        if failed := sum(not walk.passed for walk in walks):
            self.stdout.write(f"{failed} of them failed the practice, which ended their runs.")
