"""The comparison's arithmetic, and the participants that it sends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from benchmarks.side_by_side import __main__ as side_by_side
from benchmarks.side_by_side import closed_loop, contenders, costs, results
from benchmarks.side_by_side.costs import Cost
from benchmarks.side_by_side.findings import Curve, Findings
from benchmarks.side_by_side.rows import alone, compared, table, table_of_costs


def test_a_ratio_is_the_median_of_the_rounds_and_not_of_the_medians() -> None:
    row = compared("a", "cost", [1.0, 8.0, 3.0], [2.0, 4.0, 3.0], "ms", most=1.5)
    assert (row.ours, row.peer, row.limit) == (3.0, 3.0, None)
    assert (row.ratio, row.spread) == (1.0, (0.5, 2.0))
    assert row.ok


@pytest.mark.parametrize(("bound", "ok"), [({"most": 0.9}, False), ({"least": 0.9}, True), ({"least": 1.1}, False)])
def test_a_bar_is_a_bound_from_above_or_below(bound: dict[str, float], ok: bool) -> None:
    assert compared("a", "rate", [4.0], [4.0], "1/s", **bound).ok == ok


def test_a_row_has_at_most_one_bound_and_as_many_rounds_of_both() -> None:
    with pytest.raises(ValueError, match="one bound"):
        compared("a", "cost", [1.0], [1.0], "ms", most=1, least=1)
    with pytest.raises(ValueError, match="shorter"):
        compared("a", "cost", [1.0, 2.0], [1.0], "ms", most=1)


def test_nothing_is_asked_of_a_row_without_a_bound() -> None:
    row = compared("a", "cost", [1.0], [2.0], "ms")
    assert (row.bar, row.ok, row.headroom) == ("", None, None)


def test_headroom_says_how_many_times_better_than_the_bar() -> None:
    assert alone("a", "slow", [20.0], "ms", most=80).headroom == 4
    assert alone("a", "quick", [20.0], "1/s", least=80).headroom == 0.25
    assert compared("a", "cost", [1.0], [10.0], "ms", most=0.5).headroom == 5


def test_what_was_only_recorded_never_holds_a_bar() -> None:
    row = compared("a", "cost", [1.0], [10.0], "ms", most=0.5, recorded=True)
    assert row.ok is False
    assert table([row]).splitlines()[2].endswith("| recorded, not measured |")
    with pytest.raises(ValueError, match="not measured here"):
        replace(row, ok=True)


def test_the_table_names_what_is_missed() -> None:
    rows = [alone("a", "slow", [90.0], "ms", most=80), compared("b", "quick", [1.0], [4.0], "ms", most=0.5)]
    slow, quick = table(rows).splitlines()[2:]
    assert slow.endswith("| at most 80 ms | **missed** |")
    assert "| quick | 1 | 4 |" in quick
    assert quick.endswith("| 0.25 (0.25–0.25) | at most 0.5 times | holds |")


def test_costs_are_medians_of_the_rounds() -> None:
    costs = [Cost(1.0, 4.0), Cost(3.0, 5.0, 20.0), Cost(2.0, 9.0, 30.0)]
    row = alone("a", "slow", [90.0], "ms").costing(ours=costs)
    assert row.costs["ours"] == Cost(2.0, 5.0, 25.0)
    assert table_of_costs([row]).splitlines()[2] == "| a | ours | 2 | 5 | 25 |"


# --- the record


@pytest.fixture
def document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "benchmarks.md"
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(results, "DOCUMENT", path)
    path.write_text(
        "# Before\n<!-- one: begin -->\nold\n<!-- one: end -->\n<!-- two: begin -->\n<!-- two: end -->\nAfter\n"
    )
    return path


def test_results_take_their_place_in_the_document(document: Path) -> None:
    curve = Curve("waits", "How long", "ms", "%", {"ours": [(1.0, 2.0), (3.0, 1.0)]})
    row = alone("a", "slow", [90.0], "ms", most=80).costing(ours=[Cost(1.0)])
    results.record("one", Findings((row,), (curve,)))
    text = document.read_text()
    assert text.startswith("# Before\n<!-- one: begin -->\n")
    assert text.endswith("<!-- one: end -->\n<!-- two: begin -->\n<!-- two: end -->\nAfter\n")
    assert "old" not in text
    assert "| slow | 90 |" in text
    assert "| a | ours | 1 |" in text
    assert "![How long](img/bench-waits.svg)" in text
    assert "<svg" in (document.parent / "img" / "bench-waits.svg").read_text()
    assert "<svg" in (document.parent / "img" / "bench-bars.svg").read_text()


def test_a_section_leaves_the_rows_of_others_as_they_were(document: Path) -> None:
    first, second = alone("a", "slow", [90.0], "ms"), alone("b", "quick", [1.0], "ms", most=2)
    results.record("one", Findings((first,)))
    results.record("two", Findings((second,)))
    results.record("two", Findings((second,)))
    assert [row["id"] for row in results.load()["rows"]] == ["a", "b"]
    assert results.recorded_row("b") == second
    assert results.recorded_row("c") is None


def test_a_section_without_a_place_in_the_document_is_told(document: Path) -> None:
    with pytest.raises(ValueError, match=r"benchmarks.md has no place for 'three'"):
        results.record("three", Findings(()))


def test_every_section_has_its_place_in_the_document() -> None:
    text = results.DOCUMENT.read_text()
    assert all(f"<!-- {name}: begin -->" in text and f"<!-- {name}: end -->" in text for name in side_by_side.SECTIONS)


def test_a_section_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        side_by_side.main(["nowhere"])
    assert "There is no section nowhere; there are answers" in capsys.readouterr().err


# --- costs


def test_a_command_costs_what_it_and_its_children_take() -> None:
    busy = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = sum(range(3_000_000))']); print('done')"
    cost, printed = costs.of_command([sys.executable, "-c", busy])
    assert printed == "done\n"
    assert cost.cpu_s is not None
    assert cost.cpu_s > 0.02
    assert cost.peak_mb is not None
    assert cost.peak_mb > 3


def test_a_command_does_not_hold_the_memory_of_whoever_starts_it() -> None:
    held = bytearray(200_000_000)
    held[::4096] = b"x" * len(held[::4096])
    cost, _ = costs.of_command(["true"])
    assert cost.peak_mb is not None
    assert cost.peak_mb < 100


def test_a_command_that_fails_says_how() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        costs.of_command([sys.executable, "-c", "raise SystemExit('no')"])
    assert caught.value.__notes__ == ["no\n"]


def test_a_call_costs_its_time_and_the_memory_it_held() -> None:
    cost = costs.of_call(lambda: bytearray(200_000_000), units=2)
    assert cost.peak_mb is not None
    assert cost.peak_mb > 190
    assert cost.wall_s is not None


def test_the_time_of_a_process_counts_its_children() -> None:
    before = costs.cpu_seconds_of(os.getpid())
    subprocess.run([sys.executable, "-c", "x = sum(range(3_000_000))"], check=True)
    assert costs.cpu_seconds_of(os.getpid()) > before + 0.02
    assert costs.cpu_seconds_of(None) == 0


def test_the_memory_of_a_process_is_what_it_holds() -> None:
    assert costs.memory_mb(os.getpid()) > 20


# --- participants


class Server(BaseHTTPRequestHandler):
    """Stores what is put; a form's reply is a redirect to the next page, which is chunked."""

    protocol_version = "HTTP/1.1"
    stored: list[str] = []

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.stored.append(f"{self.path} {body.decode()}")
        self._reply(500 if body == b"no" else 201, b"{}")

    def do_POST(self) -> None:
        self.send_response(302)
        self.send_header("Location", "/next")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"4\r\npage\r\n0\r\n\r\n")

    def _reply(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    Server.stored = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def told(address: str, *participants: dict[str, Any], **more: Any) -> dict[str, Any]:
    specification = {"address": address, "seconds": 30, "at_once": 2, "participants": list(participants), **more}
    with ThreadPoolExecutor(1) as thread:  # a browser's event loop may be running in this one
        return thread.submit(lambda: asyncio.run(closed_loop.crowd(specification))).result()


def test_everybody_sends_each_answer_once_and_in_order(address: str) -> None:
    people = [
        {"requests": [{"method": "PUT", "path": f"/{person}", "body": str(n)} for n in range(3)]} for person in range(5)
    ]
    found = told(address, *people)
    assert sorted(Server.stored) == sorted(f"/{person} {n}" for person in range(5) for n in range(3))
    assert [line for line in Server.stored if line.startswith("/2")] == ["/2 0", "/2 1", "/2 2"]
    assert len(found["acknowledged"]) == len(found["latencies_ms"]) == 15
    assert found["statuses"] == {"201": 15}


def test_what_is_refused_is_not_acknowledged(address: str) -> None:
    found = told(address, {"requests": [{"method": "PUT", "path": "/", "body": body} for body in ("yes", "no")]})
    assert found["acknowledged"] == [(0, 0)]
    assert found["statuses"] == {"201": 1, "500": 1}


def test_a_redirect_is_part_of_an_answer_where_it_is_asked_for(address: str) -> None:
    found = told(address, {"requests": [{"method": "POST", "path": "/", "follow": True}]})
    assert found["statuses"] == {"200": 1}


def test_a_redirect_may_be_what_is_wanted_and_is_then_not_followed(address: str) -> None:
    found = told(
        address, {"requests": [{"method": "POST", "path": "/", "status": 302}, {"method": "PUT", "path": "/"}]}
    )
    assert found["acknowledged"] == [(0, 0), (0, 1)]
    assert told(address, {"requests": [{"method": "PUT", "path": "/", "status": 302}]})["acknowledged"] == []


def test_requests_come_over_and_over_again_until_the_time_is_over(address: str) -> None:
    bodies = [{"method": "PUT", "path": "/", "body": body} for body in "abc"]
    found = told(address, {"requests": bodies}, seconds=0.1, again=True)
    assert Server.stored[:4] == ["/ a", "/ b", "/ c", "/ a"]
    assert len(found["acknowledged"]) == len(Server.stored)


def test_bytes_are_those_of_heads_and_bodies(address: str) -> None:
    once, twice = (told(address, {"requests": [{"method": "PUT", "path": "/"}] * n})["received"] for n in (1, 2))
    assert once > len("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}")
    assert twice == 2 * once


def test_nobody_begins_an_answer_when_the_time_is_over(address: str) -> None:
    found = told(address, {"requests": [{"method": "PUT", "path": "/"}] * 3}, seconds=0)
    assert found["acknowledged"] == []
    assert Server.stored == []


def test_an_answer_that_is_acknowledged_and_not_there_is_a_fault() -> None:
    fine = contenders.Load(
        2.0, (1.0,), acknowledged=10, statuses={"201": 10}, stored=10, cpu_s=0.01, database_cpu_s=0.02, memory_mb=0
    )
    assert (fine.faults, fine.rate, fine.cpu_ms) == (0, 5.0, pytest.approx(3.0))
    lost = contenders.Load(
        2.0, (1.0,), acknowledged=10, statuses={"201": 10, "500": 2}, stored=9, cpu_s=0, database_cpu_s=0, memory_mb=0
    )
    assert lost.faults == 3
