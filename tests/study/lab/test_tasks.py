"""Celery's side: every kind of job has its queue, and a message is no more than a doorbell."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from kombu.exceptions import OperationalError as BrokerUnreachable

from study.celery import app
from study.desk import tasks as desk_tasks  # noqa: F401  (a worker finds them by itself)
from study.lab import shutdown, tasks
from study.lab.models import Job
from study.lab.models.jobs import NEXT_OF_A_KIND
from study.lab.models.sweeper import SWEEP_EVERY
from study.queues import QUEUES, TASKS

EXPECTED = {
    "train": "gpu", "evaluate": "gpu", "survive": "gpu", "perturb": "gpu",
    "prepare": "cpu", "pairs": "cpu", "observe": "cpu", "set_up": "cpu", "verify": "cpu", "plan": "cpu",
    "rehearse": "cpu", "analyse": "cpu", "erase": "cpu", "demonstrate": "cpu",
}  # fmt: skip


def queue_of(task: Any) -> str:
    queue: str = app.amqp.router.route({}, task.name)["queue"].name
    return queue


def test_every_kind_of_job_has_a_task_on_its_queue() -> None:
    assert {kind: queue_of(app.tasks[task]) for kind, task in TASKS.items()} == EXPECTED
    assert set(EXPECTED) == set(Job.Kind.values)


def test_the_sweep_and_whatever_is_not_named_go_to_the_default_queue() -> None:
    assert queue_of(tasks.sweep) == "default"
    assert app.conf.task_default_queue == "default"


def test_every_task_is_routed_by_name() -> None:
    ours = {name for name in app.tasks if name.startswith("study.")}
    assert ours == {task for tasks in QUEUES.values() for task in tasks}


def test_messages_are_kept_until_the_work_is_done_and_hold_json_only() -> None:
    assert app.conf.task_acks_late
    assert app.conf.task_reject_on_worker_lost
    assert app.conf.task_ignore_result
    assert app.conf.accept_content == ["json"]


class Timer:
    """Keeps what it is to call."""

    def call_repeatedly(self, seconds: float, action: Any, arguments: tuple[Any, ...]) -> None:
        self.seconds, self.action, self.arguments = seconds, action, arguments


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """The messages that the housekeeping publishes: task, and options."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name in ("sweep", "take_up"):
        monkeypatch.setattr(
            getattr(tasks, name), "apply_async", lambda name=name, **options: found.append((name, options))
        )
    return found


@pytest.mark.parametrize(
    ("queues", "chosen"), [(["gpu"], "gpu"), (["cpu", "gpu"], "cpu"), (["gpu", "cpu", "default"], "default")]
)
def test_every_worker_sweeps_through_a_queue_of_its_own(
    queues: list[str], chosen: str, monkeypatch: pytest.MonkeyPatch, published: list[tuple[str, dict[str, Any]]]
) -> None:
    monkeypatch.setattr(app.amqp.queues, "_consume_from", dict.fromkeys(queues))
    timer = Timer()
    tasks.sweep_regularly(sender=SimpleNamespace(timer=timer))
    (begun,) = published
    assert (begun[0], begun[1]["queue"]) == ("take_up", chosen)
    assert set(begun[1]["args"][0]) == {kind for kind, queue in EXPECTED.items() if queue in queues}
    assert (timer.seconds, timer.arguments) == (SWEEP_EVERY.total_seconds(), (chosen,))


@pytest.mark.django_db
def test_a_worker_that_starts_rings_for_what_it_can_do_however_lately_others_were_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rung: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(Job, "publish", lambda job: rung.append(job.kind))
        for kind in (Job.Kind.TRAIN, Job.Kind.PREPARE):
            Job.objects.submit(kind, {"seed": 1})
        Job.objects.filter(kind=Job.Kind.PREPARE).update(state=Job.State.RUNNING)
        tasks.take_up(["train"])
        assert rung == ["train"]
        tasks.take_up(["prepare"])
        assert rung == ["train"]


@pytest.mark.django_db
def test_of_a_long_queue_a_worker_that_starts_rings_for_the_next_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    rung: list[Any] = []
    monkeypatch.setattr(Job, "publish", lambda job: rung.append(job.parameters["seed"]))
    for seed in range(NEXT_OF_A_KIND + 2):
        Job.objects.submit(Job.Kind.TRAIN, {"seed": seed})
    Job.objects.ring(["train"])
    assert rung == list(range(NEXT_OF_A_KIND))


def test_a_worker_that_is_busy_publishes_no_sweep(
    monkeypatch: pytest.MonkeyPatch, published: list[tuple[str, dict[str, Any]]]
) -> None:
    for busy in ({"a request"}, set[str]()):
        monkeypatch.setattr(tasks.state, "reserved_requests", busy)
        tasks._publish_sweep("gpu")
    assert [(task, options["queue"]) for task, options in published] == [("sweep", "gpu")]


def test_a_broker_that_is_away_does_not_end_the_timer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(**_: Any) -> None:
        raise BrokerUnreachable("Connection refused")

    monkeypatch.setattr(tasks.sweep, "apply_async", away)
    with caplog.at_level(logging.WARNING):
        tasks._publish_sweep("cpu")
    assert "No sweep: the broker cannot be reached (Connection refused)." in caplog.text


def test_a_worker_that_shuts_down_tells_its_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutdown, "_shared", bytearray(1))
    assert not shutdown.is_requested()
    tasks.give_jobs_back(sig="SIGTERM")
    assert shutdown.is_requested()


@pytest.mark.django_db
def test_a_sweep_that_finds_nothing_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    tasks.sweep()
    assert "Sweeper" not in caplog.text
