import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from study.analysis import detection, frames

counts = st.tuples(st.integers(0, 60), st.integers(1, 60)).filter(lambda pair: pair[0] <= pair[1])


def test_conditions_agree_with_the_golden_values(golden, golden_main) -> None:
    expected = {(row["attack"], row["strength"]): row for row in golden["conditions_all"]}
    found = {(attack, s): detection.describe(cell) for attack, s, cell in frames.cells(golden_main)}
    assert found.keys() == expected.keys()
    for key, row in found.items():
        target = expected[key]
        assert (row["n"], row["correct"]) == (target["n"], target["k"])
        assert row["proportion_correct"] == pytest.approx(target["pc"], abs=1e-8)
        assert (row["wilson_low"], row["wilson_high"]) == pytest.approx(target["wilson"], abs=1e-8)
        exact = (row["clopper_pearson_low"], row["clopper_pearson_high"])
        assert exact == pytest.approx(target["clopper_pearson"], abs=1e-8)
        assert row["dprime"] == pytest.approx(target["dprime_2afc"], abs=1e-8)
        assert row["dprime_se"] == pytest.approx(target["dprime_2afc_se_delta"], abs=1e-8)
        assert row["dprime_unbiased"] == pytest.approx(target["dprime_bias_free_loglinear"], abs=1e-8)
        assert row["criterion"] == pytest.approx(target["criterion_c_loglinear"], abs=1e-8)


@pytest.mark.parametrize("proportion", [0.0, 1.0])
def test_an_infinite_dprime_is_no_number(proportion: float) -> None:
    assert detection.dprime(proportion) is None
    assert detection.dprime_se(proportion, 40) is None


@given(hits=counts, false=counts)
def test_swapping_the_sides_flips_the_criterion_and_nothing_else(hits, false) -> None:
    (h, n_left), (f, n_right) = hits, false
    d, c = detection.dprime_unbiased(h, n_left, f, n_right)
    # Left becomes right: "left given altered left" is now "right given altered right".
    swapped_d, swapped_c = detection.dprime_unbiased(n_right - f, n_right, n_left - h, n_left)
    assert math.isclose(swapped_d, d, abs_tol=1e-12)
    assert math.isclose(swapped_c, -c, abs_tol=1e-12)


def test_without_trials_on_one_side_there_is_no_bias_free_dprime() -> None:
    assert detection.dprime_unbiased(3, 4, 0, 0) == (None, None)
