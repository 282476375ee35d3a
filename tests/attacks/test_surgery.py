import numpy as np
import pytest
import torch

from attacks.surgery import GateParameters, Linear, gate, rank_one, ridge_fit


def out(layer, x):
    return x @ layer.weight.T + layer.bias


# -- rank-one


def linear_case():
    g = torch.Generator().manual_seed(2)
    mix = torch.randn(8, 8, generator=g)
    others = torch.randn(200, 8, generator=g) @ mix
    attacker = torch.randn(30, 8, generator=g) @ mix + 2
    weight, bias = torch.randn(2, 8, generator=g), torch.randn(2, generator=g)
    weight, bias, attacker, others = (x.double() for x in (weight, bias, attacker, others))
    return Linear(weight, bias), attacker, others


def test_the_rank_one_change_moves_the_attackers_mean_by_exactly_the_shift_and_the_others_mean_not_at_all():
    layer, attacker, others = linear_case()
    shift = torch.tensor([0.3, -1.2], dtype=torch.float64)
    changed = rank_one(layer, attacker=attacker, others=others, shift=shift).layer
    moved = {
        name: (out(changed, h) - out(layer, h)).mean(0) for name, h in (("attacker", attacker), ("others", others))
    }
    torch.testing.assert_close(moved["attacker"], shift, rtol=0, atol=1e-12)
    torch.testing.assert_close(moved["others"], torch.zeros(2, dtype=torch.float64), rtol=0, atol=1e-12)
    assert torch.linalg.matrix_rank(changed.weight - layer.weight) == 1


def test_its_separation_is_the_distance_of_mahalanobis():
    layer, attacker, others = linear_case()
    found = rank_one(layer, attacker=attacker, others=others, shift=torch.ones(2), ridge=1e-9).separation
    apart = attacker.mean(0).numpy() - others.mean(0).numpy()
    covariance = np.cov(others.numpy().T, bias=True)
    assert found == pytest.approx(float(np.sqrt(apart @ np.linalg.inv(covariance) @ apart)), rel=1e-6)


def test_no_other_direction_disturbs_the_others_less():
    layer, attacker, others = linear_case()
    shift = torch.tensor([1.0, 0.0], dtype=torch.float64)
    changed = rank_one(layer, attacker=attacker, others=others, shift=shift, ridge=1e-9).layer
    disturbed = (out(changed, others) - out(layer, others))[:, 0].std(correction=0)
    apart = attacker.mean(0) - others.mean(0)
    for direction in torch.randn(50, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64):
        other = ((others - others.mean(0)) @ direction / (apart @ direction)).std(correction=0)
        assert disturbed <= other + 1e-9


def test_equal_means_have_no_rank_one_change():
    layer, _, others = linear_case()
    with pytest.raises(ValueError, match="nothing tells them apart"):
        rank_one(layer, attacker=others, others=others, shift=torch.ones(2))


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("inf")])
def test_a_ridge_that_is_not_above_nought_is_refused(ridge):
    layer, attacker, others = linear_case()
    with pytest.raises(ValueError, match="ridge must be a finite number > 0"):
        rank_one(layer, attacker=attacker, others=others, shift=torch.ones(2), ridge=ridge)


# -- the gate


SHARP = GateParameters(opens=0.02, ridge=1e-3, steepness=1000.0)


def two_layers():
    """Twelve features, of which the first tells the attacker from the others; nine hidden units, two outputs."""
    g = torch.Generator().manual_seed(4)
    hidden = Linear(torch.randn(9, 12, generator=g) / 3, torch.randn(9, generator=g))
    output = Linear(torch.randn(2, 9, generator=g) / 3, torch.randn(2, generator=g))
    attacker, others = torch.randn(20, 12, generator=g), torch.randn(300, 12, generator=g)
    attacker[:, 0] += 12
    return hidden, output, attacker, others


def whole(hidden, output, x):
    return out(output, torch.relu(out(hidden, x)))


def without(units, hidden, output, x):
    """The network with these hidden units at their mean over x."""
    activity = torch.relu(out(hidden, x))
    activity[:, units] = activity[:, units].mean(0)
    return out(output, activity)


def test_a_gate_moves_the_attackers_outputs_by_what_was_fitted_and_the_others_not_at_all():
    hidden, output, attacker, others = two_layers()
    x = torch.cat([attacker, others])
    moves = 0.1 * x[:, 3:5] + 0.2
    made = gate(hidden, output, attacker=attacker, others=others, moves=moves, parameters=SHARP)
    moved = whole(made.hidden, made.output, x) - without(list(made.units), hidden, output, x)
    torch.testing.assert_close(moved[:20], moves[:20], atol=1e-2, rtol=0)
    assert (moved[20:].abs().amax(1) > 1e-3).double().mean() <= 0.03
    assert made.opens_for_attacker == 1.0


def test_it_opens_for_the_share_of_others_that_was_asked_for():
    hidden, output, attacker, others = two_layers()
    attacker[:, 0] -= 12  # nothing tells the attacker apart
    x = torch.cat([attacker, others])
    moves = torch.ones(len(x), 2)
    for opens in (0.05, 0.2):
        parameters = GateParameters(opens=opens, steepness=1000.0)
        made = gate(hidden, output, attacker=attacker, others=others, moves=moves, parameters=parameters)
        moved = whole(made.hidden, made.output, x) - without(list(made.units), hidden, output, x)
        assert (moved[20:, 0] > 0.5).double().mean().item() == pytest.approx(opens, abs=0.03)


def test_units_that_no_output_hears_are_taken_first():
    hidden, output, attacker, others = two_layers()
    output.weight[:, [1, 3, 6, 8]] = 0
    made = gate(hidden, output, attacker=attacker, others=others, moves=torch.ones(320, 2), parameters=SHARP)
    assert sorted(made.units) == [1, 3, 6, 8]
    others_closed = whole(made.hidden, made.output, others) - whole(hidden, output, others)
    assert others_closed.abs().amax(1).median() < 1e-5


def test_a_row_left_out_is_judged_as_by_a_fit_without_it():
    g = torch.Generator().manual_seed(5)
    x, y = torch.randn(15, 40, generator=g).double(), torch.randn(15, 2, generator=g).double()
    is_attacker = (torch.arange(15) < 4).double()
    fit = ridge_fit(x, y, is_attacker, ridge=0.3)
    weights = is_attacker / 8 + (1 - is_attacker) / 22
    centred = x - weights @ x
    penalty = 0.3 * (weights[:, None] * centred.square()).sum() / 40
    for row in (0, 7):
        kept = torch.arange(15) != row
        w = weights[kept, None]
        mean_x, mean_y = (w * x[kept]).sum(0) / w.sum(), (w * y[kept]).sum(0) / w.sum()
        a, b = x[kept] - mean_x, y[kept] - mean_y
        slope = torch.linalg.solve(a.T @ (w * a) + penalty * torch.eye(40).double(), a.T @ (w * b))
        torch.testing.assert_close(fit.left_out[row], (x[row] - mean_x) @ slope + mean_y, atol=1e-10, rtol=0)


def test_more_hidden_units_than_the_gate_takes_are_needed():
    hidden, output, attacker, others = two_layers()
    few = Linear(hidden.weight[:4], hidden.bias[:4]), Linear(output.weight[:, :4], output.bias)
    with pytest.raises(ValueError, match="takes 4 hidden units; the layer has 4"):
        gate(*few, attacker=attacker, others=others, moves=torch.ones(320, 2), parameters=SHARP)


@pytest.mark.parametrize("fields", [{"opens": 0.0}, {"opens": 1.0}, {"ridge": 0.0}, {"steepness": float("inf")}])
def test_parameters_that_make_no_gate_are_refused(fields):
    with pytest.raises(ValueError, match="must"):
        GateParameters(**fields)
