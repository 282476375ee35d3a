"""The benchmark of attacks on weights: what it keeps, and what it calls a bar held."""

import pytest

from benchmarks import bench_weights


def test_a_finished_part_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_weights, "KEPT", tmp_path)
    made = []

    def make():
        made.append(1)
        return {"answer": len(made)}

    assert [bench_weights.kept({"asked": 1}, make) for _ in range(3)] == [{"answer": 1}] * 3
    assert bench_weights.kept({"asked": 2}, make) == {"answer": 2}


@pytest.mark.parametrize(
    ("network", "median", "drop", "verdict"),
    [
        ("five-layer CNN", 0.51, 0.019, "holds"),
        ("five-layer CNN", 0.50, 0.0, "FALLS SHORT"),
        ("five-layer CNN", 0.99, 0.02, "FALLS SHORT"),
        ("ResNet-50, width 16", 0.1, 0.0, "no bar"),
    ],
)
def test_the_bar_needs_the_median_attacker_in_and_genuine_people_too(network, median, drop, verdict, capsys):
    row = {
        "network": network,
        "protocol": "verification",
        "layer": "output.weight",
        "false_acceptance": {"rate": 0.01},
        "summary": {"attacker": {"after": {"median": median}}, "genuine_drop": {"median": drop}},
    }
    bench_weights.print_bar(row)
    assert capsys.readouterr().out.strip().endswith(f": {verdict}")


@pytest.mark.parametrize("case", bench_weights.CASES)
def test_every_case_with_a_bar_has_enough_pairs(case):
    assert case.pairs >= bench_weights.BAR_PAIRS or case.layer not in ("output.weight", "classes.weight")
