"""The arithmetic of pairs: two pictures each."""

from __future__ import annotations

import pytest

from benchmarks.side_by_side.contenders import Load
from benchmarks.side_by_side.images import POSTGRESQL, SQLITE, WHITENOISE, Told, _rows, people_a_core


def load(pictures: int, cpu_s: float, received: int, refused: int = 0) -> Load:
    statuses = {"200": pictures} | ({"500": refused} if refused else {})
    return Load(2.0, (4.0,) * pictures, pictures, statuses, pictures, cpu_s, 0.0, 100.0, received)


@pytest.fixture
def told() -> Told:
    told = Told()
    told.add(SQLITE, load(pictures=100, cpu_s=0.2, received=110_000))
    told.add(POSTGRESQL, load(pictures=100, cpu_s=0.4, received=110_000))
    told.add(WHITENOISE, load(pictures=400, cpu_s=0.1, received=420_000, refused=1))
    return told


def test_a_pair_is_two_pictures(told: Told) -> None:
    assert told.pairs_per_s(SQLITE) == [25.0]
    assert told.cpu_ms(SQLITE) == [pytest.approx(4.0)]
    assert told.bytes(SQLITE) == [2200.0]
    (cost,) = told.cost(SQLITE)
    assert (cost.wall_s, cost.cpu_s, cost.peak_mb) == (pytest.approx(0.008), pytest.approx(0.004), 100.0)


def test_a_core_serves_as_many_people_as_pairs_fit_into_the_time_of_a_trial() -> None:
    assert people_a_core([4.0, 2.0]) == [500.0, 1000.0]


def test_rows_compare_with_plain_files_and_count_what_was_refused(told: Told) -> None:
    rows = {row.id: row for row in _rows(told, file_bytes=2000.0)}
    assert rows["images.rate"].ratio == 0.25
    assert rows["images.cpu_ms.postgresql"].ratio == pytest.approx(16.0)
    assert rows["images.bytes.vs_files"].ratio == pytest.approx(1.1)
    assert (rows["images.faults"].ours, rows["images.faults"].ok) == (1.0, False)
