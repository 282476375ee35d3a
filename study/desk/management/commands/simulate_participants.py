"""Robots that answer a study through its pages, so that everything but the people is real."""

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from study.desk.installation import prepare
from study.desk.observers import KnownTruth, load_population
from study.desk.progress import counted
from study.desk.simulation import SimulationError, simulate
from study.lab.following import ready_database
from study.processes import ServiceError, web_server
from study.trials.models import Study


class Command(BaseCommand):
    help = (
        "Send simulated participants through an open study by its web pages. Their sessions are marked as simulated, "
        "have places of their own and never count as people."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("study", help="the study's short name, as in its address")
        parser.add_argument("--participants", type=int, default=40, metavar="N", help="how many (default: %(default)s)")
        parser.add_argument("--observer", type=Path, metavar="FILE", help="JSON file that says how they see and answer")
        parser.add_argument("--seed", type=int, default=0, help="decides who they are (default: %(default)s)")
        parser.add_argument("--url", help="of a running server of this installation (default: one is started for it)")

    def handle(
        self, *, study: str, participants: int, observer: Path | None, seed: int, url: str | None, **options: Any
    ) -> None:
        ready_database()
        found = Study.objects.filter(slug=study).first()
        if found is None:
            raise CommandError(f"There is no study named {study!r}.")
        if found.state != Study.State.OPEN:
            raise CommandError(f"The study {study!r} is {found.state}, not open: open it first.")
        if participants < 1:
            raise CommandError("--participants must be at least 1.")
        try:
            population = load_population(observer) if observer else KnownTruth()
            if url:
                self._simulate(found, population, participants, seed, url)
            else:
                prepare()
                with web_server() as started:
                    self._simulate(found, population, participants, seed, started)
        except (ValueError, SimulationError, ServiceError) as error:
            raise CommandError(str(error)) from error

    def _simulate(self, study: Study, population: Any, participants: int, seed: int, url: str) -> None:
        with counted("Simulated participants") as progress:
            walks = simulate(
                study, population, base_url=url, participants=participants, seed=seed, progress=progress.add
            )
        answers = sum(walk.answered for walk in walks)
        self.stdout.write(f"{len(walks)} simulated participants gave {answers} answers, practice included.")
