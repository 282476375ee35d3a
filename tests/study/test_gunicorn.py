"""How gunicorn is set up."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from study import gunicorn


def ready(listener: socket.socket) -> None:
    gunicorn.when_ready(SimpleNamespace(LISTENERS=[SimpleNamespace(sock=listener)]))


def test_a_connection_that_says_nothing_takes_no_thread() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ready(listener)
        listener.settimeout(0.3)
        with socket.create_connection(listener.getsockname()) as client:
            with pytest.raises(TimeoutError):
                listener.accept()
            client.sendall(b"GET")
            listener.settimeout(10)
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(3) == b"GET"


def test_a_socket_that_is_a_file_is_left_as_it_is(tmp_path: object) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/web.sock")
        ready(listener)
