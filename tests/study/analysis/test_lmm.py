"""The crossed linear model: lme4's and statsmodels' numbers, and what it refuses."""

import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest

from study.analysis import lmm
from study.analysis.frames import codes


def draw(
    seed: int, *, people: int = 12, images: int = 9, trials: int = 400, person_sd: float = 0.3, image_sd: float = 0.2
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(y, x, participant, stimulus) of an unbalanced study with slope .5."""
    rng = np.random.default_rng(seed)
    participant, stimulus = rng.integers(0, people, trials), rng.integers(0, images, trials)
    slope = rng.normal(0, 1, trials)
    y = 2 + 0.5 * slope + rng.normal(0, person_sd, people)[participant] + rng.normal(0, image_sd, images)[stimulus]
    return y + rng.normal(0, 0.4, trials), np.column_stack([np.ones(trials), slope]), participant, stimulus


def fitted(seed: int, **changes: Any) -> lmm.Fit:
    y, x, participant, stimulus = draw(seed, **changes)
    return lmm.fit(y, x, ("Intercept", "slope"), participant, stimulus)


def test_the_golden_response_times_come_out_as_lme4_has_them(golden, golden_main) -> None:
    right = golden_main[golden_main["correct"] == 1]
    x, names = lmm.design(
        {"strength": right["strength"].to_numpy(), "attack[T.wanet]": (right["attack"] == "wanet").to_numpy(float)},
        len(right),
    )
    found = lmm.fit(np.log(right["rt_ms"].to_numpy()), x, names, codes(right["participant"]), codes(right["stimulus"]))
    expected = golden["rt_lmer"]
    theirs = {"Intercept": "(Intercept)", "strength": "strength", "attack[T.wanet]": "attackwanet"}
    for name, row in found.coefficients(0.95).items():
        assert row["estimate"] == pytest.approx(expected["coef"][theirs[name]], abs=1e-6)
        assert row["se"] == pytest.approx(expected["se"][theirs[name]], abs=1e-6)
    sds = (found.participant_sd, found.stimulus_sd, found.residual_sd)
    assert sds == pytest.approx([expected["sd_random"][k] for k in ("participant", "stimulus", "Residual")], abs=1e-6)
    assert found.converged


@pytest.mark.parametrize("seed", [1, 2])
def test_statsmodels_agrees_on_a_small_study(seed: int) -> None:
    import statsmodels.formula.api as smf

    y, x, participant, stimulus = draw(seed, people=8, images=6, trials=160)
    table = pd.DataFrame({"y": y, "slope": x[:, 1], "p": participant, "s": stimulus, "one": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own dense algebra
        model = smf.mixedlm("y ~ slope", table, groups="one", vc_formula={"p": "0 + C(p)", "s": "0 + C(s)"})
        theirs = model.fit(reml=True)
    ours = lmm.fit(y, x, ("Intercept", "slope"), participant, stimulus)
    assert ours.estimates == pytest.approx(theirs.fe_params.to_numpy(), abs=1e-4)
    assert np.sqrt(np.diag(ours.covariance)) == pytest.approx(theirs.bse_fe.to_numpy(), rel=5e-3)
    assert ours.log_likelihood == pytest.approx(theirs.llf, abs=1e-3)
    variances = (ours.participant_sd**2, ours.stimulus_sd**2, ours.residual_sd**2)
    assert variances == pytest.approx([*theirs.vcomp, theirs.scale], rel=0.02)


def test_which_factor_is_the_larger_changes_nothing() -> None:
    y, x, participant, stimulus = draw(3)
    ours, turned = (
        lmm.fit(y, x, ("a", "b"), *factors) for factors in ((participant, stimulus), (stimulus, participant))
    )
    assert ours.estimates == pytest.approx(turned.estimates, abs=1e-8)
    assert ours.participant_sd == pytest.approx(turned.stimulus_sd, abs=1e-5)


def test_the_order_of_the_rows_changes_nothing() -> None:
    y, x, participant, stimulus = draw(4)
    order = np.random.default_rng(1).permutation(len(y))
    shuffled = lmm.fit(y[order], x[order], ("Intercept", "slope"), participant[order], stimulus[order])
    assert shuffled.estimates == pytest.approx(fitted(4).estimates, abs=1e-9)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    slopes = [fitted(seed).coefficients(0.9)["slope"] for seed in range(100)]
    held = sum(slope["low"] < 0.5 < slope["high"] for slope in slopes)
    assert 80 <= held <= 98


def test_a_factor_without_spread_is_named_as_at_the_boundary() -> None:
    found = [fitted(seed, image_sd=0.0) for seed in range(6)]
    assert any(fit.at_the_boundary == ["stimulus"] for fit in found)
    assert all("participant" not in fit.at_the_boundary for fit in found)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"participant": np.zeros(400, np.intp)}, "one participant only"),
        ({"stimulus": np.zeros(400, np.intp)}, "one stimulus only"),
        ({"stimulus": np.arange(400)}, "no stimulus comes up twice"),
        ({"x": np.ones((400, 2))}, "the fixed effects cannot be told apart"),
        ({"y": np.ones(400)}, "all responses are alike"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_in_words(change: dict[str, Any], sentence: str) -> None:
    y, x, participant, stimulus = draw(5)
    given = {"y": y, "x": x, "participant": participant, "stimulus": stimulus} | change
    with pytest.raises(lmm.NotIdentified, match=sentence):
        lmm.fit(given["y"], given["x"], ("Intercept", "slope"), given["participant"], given["stimulus"])


def test_a_quarter_of_a_million_trials_take_less_than_a_second() -> None:
    y, x, participant, stimulus = draw(6, people=4000, images=30, trials=240_000)
    started = time.process_time()
    found = lmm.fit(y, x, ("Intercept", "slope"), participant, stimulus)
    assert time.process_time() - started < 1.5
    assert found.estimates[1] == pytest.approx(0.5, abs=0.01)
