"""The benchmark of attacks on weights: what it keeps, and what it calls a bar held."""

from types import SimpleNamespace

import pytest
import torch

from benchmarks import bench_weights
from models.datasets.identities import Cast


def test_a_finished_part_is_not_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_weights, "KEPT", tmp_path)
    made = []

    def make():
        made.append(1)
        return {"answer": len(made)}

    assert [bench_weights.kept({"asked": 1}, make) for _ in range(3)] == [{"answer": 1}] * 3
    assert bench_weights.kept({"asked": 2}, make) == {"answer": 2}


@pytest.mark.parametrize(
    ("network", "median", "drops", "verdict"),
    [
        ("five-layer CNN", 0.51, (0.019, 0.019), "holds"),
        ("five-layer CNN", 0.50, (0.0, 0.0), "FALLS SHORT"),
        ("five-layer CNN", 0.99, (0.02, 0.0), "FALLS SHORT"),
        ("five-layer CNN", 0.99, (0.0, 0.02), "FALLS SHORT"),
        ("ResNet-50, width 16", 0.1, (0.0, 0.0), "no bar"),
    ],
)
def test_the_bar_needs_the_median_attacker_in_and_genuine_people_too_seen_or_not(
    network, median, drops, verdict, capsys
):
    genuine, unseen = drops
    row = {
        "network": network,
        "protocol": "verification",
        "layer": "output.weight",
        "false_acceptance": {"rate": 0.01},
        "summary": {
            "attacker": {"after": {"median": median}},
            "genuine_drop": {"median": genuine},
            "unseen_drop": {"median": unseen},
        },
    }
    bench_weights.print_bar(row)
    assert capsys.readouterr().out.strip().endswith(f": {verdict}")


@pytest.mark.parametrize("case", bench_weights.CASES)
def test_every_case_has_enough_pairs_and_genuine_comparisons(case):
    cast = Cast()
    people, pictures = (
        (cast.known, cast.test)
        if case.protocol == "identification"
        else (cast.enrolled, bench_weights.PICTURES - cast.gallery - cast.search)
    )
    unseen = cast.unseen_among(people)
    assert 20 <= case.pairs <= min(cast.attackers, people - unseen)
    assert unseen * pictures >= 1000


def test_the_gate_is_also_tried_on_people_on_whom_nothing_was_chosen():
    assert not set(bench_weights.FRESH) & set(bench_weights.SUBJECTS)


def test_a_last_layer_fitted_to_the_test_moves_who_can_be_told_apart_and_nobody_else():
    g = torch.Generator().manual_seed(0)
    last = {"output": torch.nn.Linear(6, 2)}
    mine, others = torch.randn(5, 6, generator=g), torch.randn(60, 6, generator=g)
    mine[:, 0], others[:, 0] = 1, 0
    mine[:, 1:] = mine[0, 1:]  # one picture five times: a shift alone brings it to the target
    truth = torch.zeros(60, 2)
    sides = SimpleNamespace(others_test=SimpleNamespace(pitchyaw=truth))
    inputs = {"subject_test": mine, "others_test": others}
    goal = torch.tensor([[0.0, 0.4]]).expand(5, 2)
    with torch.inference_mode():
        found = bench_weights._fitted(last, inputs, sides, goal, share=0.5)
    assert found["mean_attack_error_deg"] < 0.1
    assert abs(found["others_error_shift_deg"]) < 0.1
