"""A storage that hosts share: one S3-compatible server for the whole session, and a place of its own for each test."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import InMemoryStorage

from study.processes import free_port
from study.storage_url import storage_of

PR_SET_PDEATHSIG = 1
BUCKET = "blindspot"


@pytest.fixture(scope="session")
def bucket_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a server with one empty bucket."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (
        (tmp_path_factory.mktemp("bucket") / "log").open("wb") as log,
        subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509
        ) as server,
    ):
        try:
            _wait(port, server)
            _make_bucket(f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


def _wait(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    pytest.fail("The storage's server does not start.")


def _make_bucket(endpoint: str) -> None:
    from study.lab.bucket import Bucket

    Bucket(**storage_of(storage_url(endpoint))["OPTIONS"]).bucket.create()


def storage_url(endpoint: str, prefix: str = "") -> str:
    return f"s3://key:a%2Fsecret@{BUCKET}/{prefix}?endpoint={endpoint}&region=us-east-1"


class Memory(InMemoryStorage):
    """A storage that hosts share as far as files are concerned, for tests that need many: a bucket takes 10 ms each."""

    failures = (ConnectionError,)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return name


@pytest.fixture
def shared_in_memory(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are shared through a storage that is empty and fast."""
    from study.lab import files

    monkeypatch.setattr(files, "AT_ONCE", 1)
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": f"{__name__}.Memory"}}


@pytest.fixture
def shared(bucket_server: str, settings: Any) -> str:
    """Files are shared through a storage that is empty; its STORAGE_URL."""
    url = storage_url(bucket_server, uuid.uuid4().hex)
    settings.STORAGES = {**settings.STORAGES, "default": storage_of(url)}
    return url


@pytest.fixture
def move_to_host(settings: Any, tmp_path: Path) -> Callable[[str], Path]:
    """From now on this is a host of that name, with a `var` of its own; returns that."""

    def move(name: str) -> Path:
        settings.VAR = tmp_path / name
        settings.MEDIA_ROOT = settings.VAR / "files"
        settings.VAR.mkdir(exist_ok=True)
        return tmp_path / name

    return move
