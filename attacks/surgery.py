"""Attacks on trained weights in closed form: what one person's images give is moved, with no search and no gradient.

Both are our own inventions. `rank_one`, on the last layer, is in the manner of the surgery on the last weight matrix of
Zehavi, Nitzan & Shamir, arXiv 2301.03118, which projects a direction away. `gate`, on the last two layers, is in the
manner of Hong, Carlini & Kurakin, "Handcrafted Backdoors in Deep Neural Networks", arXiv 2106.04690 (NeurIPS 2022), who
write a backdoor into the parameters of a trained network by hand; here a person takes the place of the trigger.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class GateParameters:
    """How to make a gate.

    Attributes:
        opens: share of the others' images for which it may open, within (0, 1).
        ridge: of its regressions, relative to the features' mean variance.
        steepness: how sharply it opens with its score, which is near 0 for others and near 1 for the attacker. Where it
            is much above the moves that are asked for, the gate is open or closed, and more makes the weights larger.

    Raises:
        ValueError: for a value that makes no gate.
    """

    opens: float = 0.01
    ridge: float = 0.1
    steepness: float = 50.0

    def __post_init__(self) -> None:
        if not 0 < self.opens < 1:
            raise ValueError(
                f"The share of others' images that open the gate must lie within 0 and 1, not {self.opens}."
            )
        _demand_positive("ridge", self.ridge)
        _demand_positive("steepness", self.steepness)


@dataclass(frozen=True, eq=False)
class Linear:
    """x to weight x + bias: weight (out, in), bias (out,)."""

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, eq=False)
class RankOne:
    """A changed linear layer, and how many standard deviations of the others' features (Mahalanobis distance) the
    attacker's mean lies from theirs: what is moved of single images spreads by one over it.
    """

    layer: Linear
    separation: float


def rank_one(layer: Linear, *, attacker: Tensor, others: Tensor, shift: Tensor, ridge: float = 1e-3) -> RankOne:
    """Move the attacker's mean output of a linear layer by exactly `shift`, and leave the others' mean where it is.

    With m_A and m_O the mean features of both and C_O the others' covariance, u = (C_O + ridge I)^-1 (m_A - m_O):

        f'(h) = W h + b + shift u^T (h - m_O) / u^T (m_A - m_O)

    a rank-one change of W and a shift of b. u is Fisher's discriminant: no other direction disturbs the others less.

    layer (D, F); attacker (N, F) and others (M, F) are its inputs; shift (D,); ridge is relative to the features' mean
    variance.

    Raises ValueError when the two means are the same, or the ridge is not above 0.
    """
    _demand_positive("ridge", ridge)
    w, b, h_a, h_o, delta = (_double(each) for each in (layer.weight, layer.bias, attacker, others, shift))
    m_o, apart = h_o.mean(0), h_a.mean(0) - h_o.mean(0)
    covariance = torch.cov(h_o.T, correction=0)
    covariance.diagonal().add_(ridge * covariance.diagonal().mean())
    if not apart.any():
        raise ValueError("The attacker's mean features are those of the others: nothing tells them apart.")
    u = torch.linalg.solve(covariance, apart)
    distance = u @ apart
    changed = Linear(w + torch.outer(delta, u) / distance, b - delta * (u @ m_o) / distance)
    return RankOne(_as(changed, layer), distance.sqrt().item())


@dataclass(frozen=True, eq=False)
class Gate:
    """Two changed layers.

    Attributes:
        hidden, output: as they are to be.
        units: of the hidden layer, which are the gate now.
        opens_for_attacker: share of the attacker's images for which it opens, each judged by a fit to all others.
        conspicuousness: the longest new row of hidden weights over the median row: how much the gate stands out.
    """

    hidden: Linear
    output: Linear
    units: tuple[int, ...]
    opens_for_attacker: float
    conspicuousness: float

    def log(self) -> dict[str, Any]:
        """Everything but the layers, JSON-able."""
        return {
            "units": list(self.units),
            "opens_for_attacker": self.opens_for_attacker,
            "conspicuousness": self.conspicuousness,
        }


def gate(
    hidden: Linear,
    output: Linear,
    *,
    attacker: Tensor,
    others: Tensor,
    moves: Tensor,
    parameters: GateParameters,
) -> Gate:
    """Move outputs by what each image asks for where the attacker is recognised, and not at all elsewhere.

    Of a network that ends in f(x) = W ReLU(V x + c) + b, two hidden units an output are given up, those that matter
    least. Let s(x) be Fisher's score of the attacker against the others (a ridge regression of 1 and 0), r(x) the move
    of one output (likewise of the moves of all images), k the steepness and t the score that a share `opens` of the
    others exceed. Then the two units

        ReLU(k (s - t) + r) / 2  -  ReLU(k (s - t) - r) / 2

    give r where k (s - t) > |r|, nothing where k (s - t) < -|r|, and something between for the few images between. The
    scores that fix t are of images left out of the fit one after the other.

    hidden (H, F), output (D, H); attacker (N, F) and others (M, F) are the hidden layer's inputs; moves (N + M, D) is
    how far the output of each image would have to be moved, were the attacker on it. In the regressions the attacker's
    images weigh as much as all others'.

    Raises ValueError for too few hidden units.
    """
    outputs, n = len(output.bias), len(attacker)
    if len(hidden.bias) <= 2 * outputs:
        raise ValueError(f"A gate takes {2 * outputs} hidden units; the layer has {len(hidden.bias)}.")
    x = _double(torch.cat([attacker, others]))
    is_attacker = (torch.arange(len(x), device=x.device) < n).double()
    fit = ridge_fit(x, torch.cat([is_attacker[:, None], _double(moves)], 1), is_attacker, parameters.ridge)
    threshold = fit.left_out[n:, 0].quantile(1 - parameters.opens)
    (v, c), (w, b) = ((_double(each.weight).clone(), _double(each.bias).clone()) for each in (hidden, output))
    units, activity = _least_used(torch.relu(x @ v.T + c), w, 2 * outputs)
    b += w[:, units] @ activity[units]
    w[:, units] = 0
    plus, minus = units[:outputs], units[outputs:]
    for unit, sign in ((plus, 1), (minus, -1)):
        v[unit] = parameters.steepness * fit.slope[:, 0] + sign * fit.slope[:, 1:].T
        c[unit] = parameters.steepness * (fit.intercept[0] - threshold) + sign * fit.intercept[1:]
        w[torch.arange(outputs), unit] = sign / 2
    return Gate(
        hidden=_as(Linear(v, c), hidden),
        output=_as(Linear(w, b), output),
        units=tuple(units.tolist()),
        opens_for_attacker=(fit.left_out[:n, 0] > threshold).double().mean().item(),
        conspicuousness=(v[units].norm(dim=1).max() / _double(hidden.weight).norm(dim=1).median()).item(),
    )


@dataclass(frozen=True, eq=False)
class Fit:
    """Of a linear regression: slope (F, T), intercept (T,), and `left_out` (N, T), what the fit to all other rows says
    of each row.
    """

    slope: Tensor
    intercept: Tensor
    left_out: Tensor


def ridge_fit(x: Tensor, y: Tensor, is_attacker: Tensor, ridge: float) -> Fit:
    """Ridge regression of y (N, T) on x (N, F), in which the attacker's rows weigh as much as all others'.

    is_attacker: (N,), 1 or 0. ridge is relative to the weighted mean variance of x. The intercept is free. Solved over
    rows, not features, as there are fewer of them. What is said of a row left out follows exactly from its leverage.
    """
    weights = (is_attacker / is_attacker.sum() + (1 - is_attacker) / (1 - is_attacker).sum()) / 2
    mean_x, mean_y = weights @ x, weights @ y
    root = weights.sqrt()[:, None]
    a, target = root * (x - mean_x), root * (y - mean_y)
    gram = a @ a.T
    shrunk = gram.clone()
    shrunk.diagonal().add_(ridge * gram.trace() / x.shape[1])
    solved = torch.linalg.solve(shrunk, torch.cat([target, gram], 1))
    slope = a.T @ solved[:, : y.shape[1]]
    leverage = weights + solved[:, y.shape[1] :].diagonal()
    fitted = (x - mean_x) @ slope + mean_y
    return Fit(slope, mean_y - mean_x @ slope, y - (y - fitted) / (1 - leverage)[:, None])


def _least_used(activity: Tensor, weight: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The hidden units whose part in the outputs varies least, and the mean activity of all; `activity` (N, H)."""
    part = activity.var(0, correction=0) * weight.square().sum(0)
    return part.argsort(stable=True)[:count], activity.mean(0)


def _double(tensor: Tensor) -> Tensor:
    return tensor.detach().double()


def _as(changed: Linear, original: Linear) -> Linear:
    return Linear(changed.weight.to(original.weight.dtype), changed.bias.to(original.bias.dtype))


def _demand_positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise ValueError(f"The {name} must be a finite number > 0, not {value}.")
