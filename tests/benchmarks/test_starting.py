"""What is counted of a start, of processes and of a page's first load."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from benchmarks.side_by_side import starting
from benchmarks.side_by_side.costs import Cost, children_of
from benchmarks.side_by_side.first_load import Fetched, FirstLoad
from benchmarks.side_by_side.starting import Found, Memory, beside, rows


def fetched(**more: Any) -> dict[str, Any]:
    return {"address": "/", "kind": "fetch", "type": "text/html", "sent": 400, "plain": 1000, **more}


def test_a_first_load_is_all_that_the_page_fetches_but_the_images_of_its_trials() -> None:
    said = [fetched(), fetched(type="image/svg+xml"), fetched(type="image/png", sent=10**6, plain=10**6)]
    load = FirstLoad.read(said)
    assert (load.sent_kb, load.plain_kb) == (0.8, 2.0)
    assert load.fetched[0] == Fetched("/", "fetch", "text/html", 400, 1000)


def test_a_figure_with_a_bar_of_its_own_is_shown_beside_the_others_and_not_judged_by_them() -> None:
    row = beside("a", "memory", [80.0, 90.0], "MB", peer=[40.0, 45.0], limit=[50.0, 52.0], most=100)
    assert (row.ours, row.peer, row.limit) == (85.0, 42.5, 51.0)
    assert (row.ratio, row.spread) == (2.0, (2.0, 2.0))
    assert (row.bar, row.ok) == ("at most 100 MB", True)


def test_what_nothing_compares_with_has_no_ratio() -> None:
    row = beside("a", "memory", [80.0], "MB")
    assert (row.ratio, row.peer, row.limit, row.ok) == (None, None, None, None)


def test_the_memory_of_a_server_is_its_largest_process_and_all_of_them_together() -> None:
    code = "held = bytearray(30_000_000); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        memory = Memory.of(child.pid)
        assert child.pid in children_of(os.getpid())
        child.stdin.close()
    assert memory.largest > 30
    assert Memory.of_all([memory, Memory(1.0, 2.0)]) == Memory(memory.largest, memory.all + 2.0)


def test_workers_are_ready_when_their_logs_say_so(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    assert starting._ready_lines(tmp_path) == 0
    (tmp_path / "log" / "worker-gpu.log").write_text("gpu@here starts\ngpu@here ready.\n")
    (tmp_path / "log" / "web.log").write_text("web ready.\n")
    assert starting._ready_lines(tmp_path) == 1


@pytest.fixture
def address_that_can_do_nothing() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_reply_counts_whatever_its_status_is_when_it_is_the_one_that_was_asked_for(
    address_that_can_do_nothing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting._until_answered(address_that_can_do_nothing, 501)
    monkeypatch.setattr(starting, "PATIENCE_S", 0.05)
    with pytest.raises(SystemExit, match="does not answer with 200"):
        starting._until_answered(address_that_can_do_nothing, 200)


def test_every_figure_of_a_round_has_its_row() -> None:
    found = Found()
    for name in ("ours", "ours, workers", "ours again", "ours again, workers", "ours, web", "ours, import", "oTree",
                 "bare, web", "bare, import", "demo"):  # fmt: skip
        found.costs[name].append(Cost(2.0, 1.0, 100.0))
    for name in ("ours, web", "ours, worker", "ours, broker", "oTree", "bare"):
        found.memory[name].append(Memory(160.0 if name == "ours, web" else 80.0, 200.0))
    for name in ("ours", "ours, consent", "oTree"):
        found.loads[name].append(FirstLoad.read([fetched()]))
    by_id = {row.id: row for row in rows(found)}
    assert by_id["web.rss_mb"].ok is False
    assert by_id["page.first_load_kb"].ok is True
    assert by_id["page.first_load_kb"].ours == 0.4
    assert by_id["demo.seconds"].costs["ours"] == Cost(2.0, 1.0, 100.0)
    assert by_id["start.first_page_s"].peer == 2.0
    assert by_id["web.import_s"].limit == 2.0
