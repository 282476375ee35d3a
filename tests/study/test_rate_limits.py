"""How requests are counted: the same in a process and in the broker, by whom, and when the broker is away."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given, settings
from hypothesis import strategies as st

from study import metrics, rate_limits
from study.processes import embedded_broker, free_port
from study.rate_limits import Limit, Memory, Shared, taken, visitor
from tests.study.factories import at_once

SLOW = Limit(burst=3, per_second=0.01)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with embedded_broker(tmp_path_factory.mktemp("broker")) as url:
        yield url


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is busy with other tests may take longer than people should wait."""
    monkeypatch.setattr(rate_limits, "PATIENCE_S", 2.0)


# --- the count


@settings(max_examples=200, derandomize=True, deadline=None)
@given(st.integers(1, 50), st.floats(0.01, 1000), st.lists(st.floats(0, 5000), min_size=1, max_size=60))
def test_no_stretch_of_time_takes_more_than_the_burst_and_the_rate(burst: int, rate: float, gaps: list[float]) -> None:
    limit, now, full_at, times = Limit(burst, rate), 0.0, 0.0, []
    for gap in gaps:
        now += gap
        full_at, wait = taken(full_at, now, limit)
        if not wait:
            times.append(now)
    for i, first in enumerate(times):
        for j in range(i, len(times)):
            assert j - i + 1 <= burst + (times[j] - first) * rate / 1000 + 1e-6


def test_who_waits_as_long_as_told_gets_one_and_not_sooner() -> None:
    limit = Limit(burst=2, per_second=4)
    full_at = 0.0
    for _ in range(2):
        full_at, wait = taken(full_at, 0, limit)
        assert wait == 0
    full_at, wait = taken(full_at, 0, limit)
    assert wait == 250
    assert taken(full_at, 249, limit)[1] > 0
    assert taken(full_at, 250, limit)[1] == 0


def test_five_hundred_people_behind_one_address_start_at_once_by_default(settings: Any) -> None:
    counted = Memory(clock=lambda: 7.0)
    assert [counted.take("campus", settings.RATE_LIMITS["starts"]) for _ in range(500)] == [0.0] * 500


def test_a_process_counts_each_key_for_itself() -> None:
    now = 0.0
    counted = Memory(clock=lambda: now)
    assert [counted.take("a", SLOW) > 0 for _ in range(4)] == [False, False, False, True]
    assert counted.take("b", SLOW) == 0
    now = 100.0
    assert counted.take("a", SLOW) == 0


def test_a_process_keeps_only_so_many_counts_and_the_emptiest_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "MOST_KEPT", 10)
    counted = Memory(clock=lambda: 1.0)
    for _ in range(3):
        counted.take("greedy", SLOW)
    for i in range(100):
        counted.take(str(i), SLOW)
    assert len(counted._full_at) <= 10
    assert counted.take("greedy", SLOW) > 0


# --- the broker


@pytest.mark.usefixtures("patient")
def test_the_broker_counts_as_a_process_does(broker: str) -> None:
    shared, own = Shared(broker), Memory()
    for burst in (1, 5):
        limit = Limit(burst, per_second=0.01)
        for _ in range(burst + 2):
            assert shared.take(f"same {burst}", limit) == pytest.approx(own.take(f"same {burst}", limit), abs=2000)


@pytest.mark.usefixtures("patient")
def test_processes_count_together(broker: str) -> None:
    web = [Shared(broker), Shared(broker)]
    waits = at_once(8, lambda i: web[i % 2].take("together", Limit(5, 0.01)))
    assert sum(wait == 0 for wait in waits) == 5


@pytest.mark.usefixtures("patient")
def test_the_broker_keeps_neither_addresses_nor_tokens_nor_what_is_over(broker: str, settings: Any) -> None:
    settings.CELERY_BROKER_URL = broker
    settings.RATE_LIMITS = {"run": Limit(2, 5.0)}
    assert rate_limits.wait_s("run", "a-secret-token") == 0
    with redis.Redis.from_url(broker) as client:
        keys = client.keys("blindspot:rate:run:*")
        assert len(keys) == 1
        assert b"secret" not in keys[0]
        assert 0 < client.pttl(keys[0]) <= 200


def test_nobody_is_limited_while_the_broker_is_away_and_it_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    counted = metrics._uncounted._value.get
    shared, before = Shared(f"redis://127.0.0.1:{free_port()}/0"), counted()
    with caplog.at_level(logging.WARNING):
        began = time.perf_counter()
        assert [shared.take("x", SLOW) for _ in range(100)] == [0.0] * 100
        assert time.perf_counter() - began < 1
        shared._asked_again_at = 0.0
        shared.take("x", SLOW)
    assert counted() - before == 2
    assert [record.getMessage() for record in caplog.records] == [
        "The broker does not count requests (ConnectionError): no rate is limited."
    ]


def test_a_broker_that_is_silent_holds_a_request_up_for_milliseconds(silent_port: int) -> None:
    shared = Shared(f"redis://127.0.0.1:{silent_port}/0")
    began = time.perf_counter()
    assert shared.take("x", SLOW) == 0
    assert time.perf_counter() - began < 0.5


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port at which connections are taken and nothing is ever said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.usefixtures("patient")
def test_limits_hold_again_when_the_broker_is_back(broker: str, caplog: pytest.LogCaptureFixture) -> None:
    shared = Shared(broker)
    with patch.object(shared, "_script", side_effect=redis.ConnectionError):
        shared.take("back", SLOW)
    caplog.clear()
    shared._asked_again_at = 0.0
    with caplog.at_level(logging.WARNING):
        assert [shared.take("back", SLOW) > 0 for _ in range(4)] == [False, False, False, True]
    assert caplog.messages == ["The broker counts requests again: rates are limited."]


# --- who is counted


@pytest.mark.parametrize(
    ("remote", "forwarded", "proxies", "expected"),
    [
        ("203.0.113.7", "", 0, "203.0.113.7"),
        ("203.0.113.7", "198.51.100.1", 0, "203.0.113.7"),
        ("172.18.0.5", "203.0.113.7", 1, "203.0.113.7"),
        ("172.18.0.5", "6.6.6.6, 203.0.113.7", 1, "203.0.113.7"),
        ("172.18.0.5", "6.6.6.6, 203.0.113.7, 10.0.0.2", 2, "203.0.113.7"),
        ("172.18.0.5", "203.0.113.7", 5, "203.0.113.7"),
        ("203.0.113.7", "", 1, "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "", 0, "2001:db8:1:2::"),
        ("::ffff:203.0.113.7", "", 0, "203.0.113.7"),
        ("127.0.0.1", "", 0, ""),
        ("::1", "", 0, ""),
        ("", "203.0.113.7", 1, "203.0.113.7"),
        ("", "", 0, ""),
        ("172.18.0.5", "nonsense", 1, ""),
    ],
)
def test_a_visitor_is_known_by_what_our_own_proxies_saw(
    settings: Any, remote: str, forwarded: str, proxies: int, expected: str
) -> None:
    settings.PROXIES = proxies
    assert visitor({"REMOTE_ADDR": remote, "HTTP_X_FORWARDED_FOR": forwarded}) == expected


# --- the environment


@pytest.mark.parametrize(
    ("text", "limit"),
    [("3000+20/s", Limit(3000, 20.0)), ("60+30/m", Limit(60, 0.5)), ("1+36/h", Limit(1, 0.01)), ("off", None)],
)
def test_a_limit_is_named_by_its_burst_and_its_rate(text: str, limit: Limit | None) -> None:
    assert Limit.named("RATE_LIMIT_RUN", text) == limit


@pytest.mark.parametrize("text", ["", "3000", "0+1/s", "1+0/s", "-1+1/s", "1+1/d", "1.5+1/s", "1+1/s ", "١+١/s"])
def test_any_other_limit_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        Limit.named("RATE_LIMIT_RUN", text)
    assert str(raised.value).startswith("RATE_LIMIT_RUN must look like 3000+20/s")


def test_what_is_off_is_not_counted(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.RATE_LIMITS = {"run": None}
    asked: list[Callable[..., Any]] = []
    monkeypatch.setattr(rate_limits, "store_at", asked.append)
    assert rate_limits.wait_s("run", "x") == 0
    assert asked == []
