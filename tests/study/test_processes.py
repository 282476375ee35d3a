"""The embedded broker and its manners: loopback, password, a clean end, and joining what runs already."""

import os
from pathlib import Path
from typing import Any

import pytest
import redis

from study import processes


@pytest.fixture(autouse=True)
def _own_var(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.VAR = tmp_path
    monkeypatch.delenv("REDIS_URL", raising=False)


def test_the_embedded_broker_answers_on_loopback_only_with_its_password_and_ends_with_the_block(tmp_path: Path) -> None:
    with processes.embedded_broker(tmp_path / "valkey") as url:
        assert url.split("@")[1].startswith("127.0.0.1:")
        assert redis.Redis.from_url(url).ping()
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url("redis://" + url.split("@")[1]).ping()
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(url).ping()


def test_a_broker_that_cannot_start_says_where_its_log_is(tmp_path: Path) -> None:
    with processes.embedded_broker(tmp_path / "valkey") as url:
        port = int(url.rsplit(":", 1)[1].split("/")[0])
        with (
            pytest.raises(processes.ServiceError, match=r"valkey ended at once.*log.valkey\.log"),
            processes.embedded_broker(tmp_path / "second", port=port),
        ):
            pass


def test_a_recorded_broker_is_found_while_it_runs_and_forgotten_after(tmp_path: Path) -> None:
    with processes.embedded_broker(tmp_path / "valkey") as url:
        with processes._recorded(url):
            assert processes._recorded_broker() == url
            assert os.stat(tmp_path / "run" / "broker.json").st_mode & 0o077 == 0
        assert processes._recorded_broker() is None


def test_a_stale_record_is_not_believed(tmp_path: Path) -> None:
    with processes.embedded_broker(tmp_path / "valkey") as url:
        pass
    with processes._recorded(url):
        assert processes._recorded_broker() is None


def test_free_ports_are_free() -> None:
    assert processes.is_free(processes.free_port())


def test_what_may_not_join_a_running_installation_says_so(tmp_path: Path) -> None:
    with (
        processes.embedded_broker(tmp_path / "valkey") as url,
        processes._recorded(url),
        pytest.raises(processes.ServiceError, match="is running its workers"),
        processes.services(web=False, may_join=False),
    ):
        pass
