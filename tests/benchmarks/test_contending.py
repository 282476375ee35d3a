"""The rows about what waits for what."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.side_by_side import contending
from benchmarks.side_by_side.contended import Contended

ROUND = Contended(
    page_few_ms=30.0, page_many_ms=150.0, claim_ms=5.0, claim_snapshot_ms=10.0, audit_one=200.0, audit_four=220.0,
    live_s=2.5, multixacts=0.3, broker_us=15.0,
)  # fmt: skip


def test_what_waits_is_compared_with_what_does_not_round_by_round() -> None:
    rounds = [ROUND, replace(ROUND, page_many_ms=300.0), replace(ROUND, page_many_ms=90.0, page_few_ms=45.0)]
    found = {row.id: row for row in contending.rows(rounds, [[1.0] * 100, [2.0] * 100, [4.0] * 100])}
    assert (found["contending.places"].ratio, found["contending.places"].spread) == (5.0, (2.0, 10.0))
    assert found["contending.claims"].ratio == 2.0
    assert found["contending.audit"].peer == 200.0
    assert found["contending.flush_ms"].ours == 2.0


def test_the_slowest_flushes_are_told_beside_the_usual_ones() -> None:
    found = {row.id: row.ours for row in contending.rows([ROUND], [[1.0] * 97 + [50.0] * 3])}
    assert (found["contending.flush_ms"], found["contending.flush_p99_ms"]) == (1.0, 50.0)


def test_every_flush_of_a_disk_is_timed(tmp_path: Path) -> None:
    found = contending.flush_times_ms(tmp_path, 3)
    assert len(found) == 3
    assert (tmp_path / "flushed").stat().st_size == 3 * len(contending.PAGE)
