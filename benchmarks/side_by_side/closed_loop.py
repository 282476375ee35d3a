"""Participants over HTTP, each on a connection of its own, who send the next answer when the last is acknowledged.

    python -m benchmarks.side_by_side.closed_loop specification.json

A process of its own, of the standard library alone, so that what it costs is not counted as a server's. It reads
{"address", "seconds", "think_s", "at_once", "again"?, "participants": [{"requests", "before"?, "socket"?: path}]}.
A request is {"method", "path", "body"?, "headers"?, "follow"?: whether a redirect is part of it, "status"?: what it is
answered with if all is well, else 2xx}; those of `before` are sent first and not counted; with a `socket` the requests
are messages over a WebSocket, each answered by one. It sends each participant's requests in order, and with `again` all
over again, until the seconds are over. Participants beyond `at_once` follow those who have finished. It
prints {"seconds", "latencies_ms", "statuses", "acknowledged", "received"}: of every request that all was well with its
number as [participant, request], and the bytes of all replies over HTTP, their heads included.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

Request = dict[str, Any]


@dataclass
class Told:
    """What came of the requests so far."""

    latencies_ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    acknowledged: list[tuple[int, int]] = field(default_factory=list)
    received: int = 0


class Connection:
    """One kept-alive HTTP/1.1 connection."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.cookies: dict[str, str] = {}
        self.received = 0

    async def __aenter__(self) -> Connection:
        self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    async def ask(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        """(status, headers in lower case, body) of the reply. Raises ConnectionError when there is none."""
        body = request.get("body", "").encode()
        headers = {"Host": f"{self.host}:{self.port}", "Content-Length": str(len(body)), **request.get("headers", {})}
        if self.cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        lines = [f"{request['method']} {request['path']} HTTP/1.1", *(f"{k}: {v}" for k, v in headers.items())]
        self.writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await self.writer.drain()
        status, headers, content = await self._reply()
        self.received += len(content)
        return status, headers, content

    async def _reply(self) -> tuple[int, dict[str, str], bytes]:
        try:
            bare = await self.reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as error:
            raise ConnectionError("The server closed the connection.") from error
        self.received += len(bare)
        head = bare.decode("latin-1").split("\r\n")
        pairs = [line.partition(": ")[::2] for line in head[1:] if line]
        headers = {name.lower(): value for name, value in pairs}
        for name, value in pairs:
            if name.lower() == "set-cookie":
                cookie, _, stored = value.partition(";")[0].partition("=")
                self.cookies[cookie] = stored
        if headers.get("transfer-encoding") == "chunked":
            return int(head[0].split()[1]), headers, await self._chunks()
        return int(head[0].split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def _chunks(self) -> bytes:
        content = b""
        while size := int((await self.reader.readline()).split(b";")[0], 16):
            content += await self.reader.readexactly(size)
            await self.reader.readline()
        await self.reader.readline()
        return content


async def asked(connection: Connection, request: Request) -> int:
    """The status that a request ends with, after its redirect where that is part of it."""
    status, headers, _ = await connection.ask(request)
    if request.get("follow") and 300 <= status < 400:
        path = headers["location"].partition(f"{connection.host}:{connection.port}")[2] or headers["location"]
        status, _, _ = await connection.ask({"method": "GET", "path": path})
    return status


@asynccontextmanager
async def sender(
    address: str, participant: dict[str, Any], told: Told
) -> AsyncIterator[Callable[[Request], Awaitable[int]]]:
    """What sends one request of this participant and returns its status."""
    host, _, port = address.removeprefix("http://").partition(":")
    async with Connection(host, int(port)) as connection:
        for request in participant.get("before", ()):
            await asked(connection, request)
        if "socket" not in participant:
            before = connection.received
            yield lambda request: asked(connection, request)
            told.received += connection.received - before
            return
        import websockets

        async with websockets.connect(f"ws://{host}:{port}{participant['socket']}") as socket:

            async def tell(message: Request) -> int:
                await socket.send(json.dumps(message))
                return 200 if "stored" in await socket.recv() else 500

            yield tell


async def walk(number: int, participant: dict[str, Any], specification: dict[str, Any], told: Told) -> None:
    """One participant, from the first request to the last, or until the time is over."""
    think_s, chance = specification.get("think_s", 0.0), random.Random(number)
    requests = cycle(participant["requests"]) if specification.get("again") else participant["requests"]
    async with sender(specification["address"], participant, told) as send:
        for n, request in enumerate(requests):
            if think_s:
                await asyncio.sleep(chance.uniform(0.5, 1.5) * think_s)
            if time.perf_counter() >= specification["until"]:
                return
            began = time.perf_counter()
            status = await send(request)
            told.latencies_ms.append(1000 * (time.perf_counter() - began))
            told.statuses[str(status)] += 1
            if status == request["status"] if "status" in request else 200 <= status < 300:
                told.acknowledged.append((number, n))


async def crowd(specification: dict[str, Any]) -> dict[str, Any]:
    """Everybody, at most `at_once` at a time."""
    told, waiting = Told(), list(enumerate(specification["participants"]))[::-1]
    began = time.perf_counter()
    until = specification["until"] = began + specification["seconds"]

    async def seat() -> None:
        while waiting and time.perf_counter() < until:
            number, participant = waiting.pop()
            try:
                await walk(number, participant, specification, told)
            except (ConnectionError, ValueError) as error:
                told.statuses[type(error).__name__] += 1

    await asyncio.gather(*(seat() for _ in range(specification["at_once"])))
    return {
        "seconds": time.perf_counter() - began,
        "latencies_ms": told.latencies_ms,
        "statuses": dict(told.statuses),
        "acknowledged": told.acknowledged,
        "received": told.received,
        "ran_out": not waiting,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(crowd(json.loads(Path(sys.argv[1]).read_text())))))
