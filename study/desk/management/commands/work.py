"""This host's workers: one command on every host that shall take jobs."""

import os
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from study.desk import hosts
from study.processes import ServiceError, join, worker_program
from study.queues import QUEUES
from study.supervision import Program, Supervisor, log_path, until_signalled


class Command(BaseCommand):
    help = (
        "Take jobs on this host: checks database, broker, files and disk, then runs the workers until SIGTERM or "
        "Ctrl-C, which give back what they have begun. One worker becomes this process; several are kept running."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--queues", default=",".join(QUEUES), help="of which to take jobs, with commas (default: %(default)s)"
        )
        parser.add_argument(
            "--concurrency", type=int, default=1,
            help="how many jobs at a time of the queues other than gpu (default: %(default)s)",
        )  # fmt: skip
        parser.add_argument(
            "--name", default="", help="of the workers in lists, before the host's (default: the queues)"
        )
        parser.add_argument(
            "--device", default=None,
            help="the NVIDIA device of the queue gpu, as CUDA_VISIBLE_DEVICES names it (default: a worker for each)",
        )  # fmt: skip

    def handle(self, *, queues: str, concurrency: int, name: str, device: str | None, **options: Any) -> None:
        wanted = _queues(queues)
        if concurrency < 1:
            raise CommandError("--concurrency must be at least 1.")
        if device is not None and "gpu" not in wanted:
            raise CommandError("--device is for the queue gpu, which --queues leaves out: give up one of them.")
        join()
        if problems := hosts.missing():
            raise CommandError("This host cannot take jobs yet.\n" + "\n".join(f"- {problem}" for problem in problems))
        found = hosts.devices() if device is None else [device]
        programs = _programs(wanted, concurrency, name, found)
        self._introduce(programs, found if "gpu" in wanted else None)
        if len(programs) == 1:
            _become(programs[0])
        try:
            with Supervisor() as supervisor, until_signalled() as ended:
                supervisor.keep(*programs)
                ended.wait()
                self.stdout.write("\nStopping: what has begun is given back.")
        except ServiceError as error:
            raise CommandError(str(error)) from error

    def _introduce(self, programs: list[Program], devices: list[str] | None) -> None:
        self.stdout.write("Database, broker, files and disk are ready.")
        if devices is not None:
            self.stdout.write(_device_sentence(devices))
        if len(programs) > 1:
            for program in programs:
                self.stdout.write(f"{program.name}: its log is {log_path(program.name)}")
        self.stdout.write("Taking jobs; SIGTERM or Ctrl-C gives back what has begun.")
        self.stdout.flush()


def _queues(text: str) -> list[str]:
    wanted = [queue.strip() for queue in text.split(",")]
    if unknown := sorted(set(wanted) - set(QUEUES)):
        raise CommandError(f"There is no queue “{unknown[0]}”: choose from {', '.join(QUEUES)}.")
    return [queue for queue in QUEUES if queue in wanted]


def _programs(queues: list[str], concurrency: int, name: str, devices: list[str]) -> list[Program]:
    """One worker for each device, so that a training has it to itself, and one for all other queues."""
    prefix = f"{name}-" if name else ""
    programs = []
    if "gpu" in queues:
        programs = [
            worker_program("gpu", 1, name=f"{prefix}gpu{device}", device=device, command="work") for device in devices
        ] or [worker_program("gpu", 1, name=f"{prefix}gpu", command="work")]
    if others := [queue for queue in queues if queue != "gpu"]:
        programs.append(worker_program(",".join(others), concurrency, name=prefix + "-".join(others), command="work"))
    return programs


def _device_sentence(devices: list[str]) -> str:
    if not devices:
        return "Trainings run on the processor: there is no NVIDIA device."
    if not hosts.torch_uses_devices():
        return "Trainings run on the processor: torch was installed without CUDA, and the NVIDIA device stays idle."
    return f"Trainings run on NVIDIA device {', '.join(devices)}, one at a time on each."


def _become(program: Program) -> None:
    os.chdir(settings.BASE_DIR)
    os.execve(program.command[0], program.command, {**os.environ, **program.environment})  # noqa: S606
