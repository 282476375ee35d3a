from __future__ import annotations

import os

import pytest

from benchmarks.side_by_side.costs import Cost
from benchmarks.side_by_side.turns import by_turns, in_a_process, per_cpu_second


def test_contenders_take_turns_and_each_other_round_goes_the_other_way() -> None:
    asked: list[str] = []
    costs = by_turns({name: lambda name=name: asked.append(name) for name in "abc"}, rounds=3)  # type: ignore[misc]
    assert "".join(asked) == "abc" + "abc" + "cba" + "abc"
    assert {name: len(each) for name, each in costs.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_turn_is_filled_with_calls_and_its_cost_is_that_of_one() -> None:
    calls = 0

    def work() -> None:
        nonlocal calls
        calls += 1
        sum(range(20_000))

    (cost,) = by_turns({"it": work}, rounds=1, seconds=0.02)["it"]
    assert calls > 4
    assert cost.wall_s is not None
    assert cost.wall_s < 0.02


def test_a_rate_is_of_a_cpu_second_in_every_round() -> None:
    assert per_cpu_second(10, [Cost(wall_s=9.0, cpu_s=0.5), Cost(cpu_s=2.0)]) == [20, 5]


def test_work_in_a_process_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert in_a_process(os.getenv, "OMP_NUM_THREADS") == "1"
    assert os.environ["OMP_NUM_THREADS"] == "7"
