import pytest

from study.analysis.paper.numerals import interval, listed, number, p_value, percent, short


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (None, 2, "–"),
        (-0.5, 2, "−0.50"),
        (-0.001, 2, "0.00"),
        (0.25, None, "0.25"),
        (1e6, 0, "1000000"),
        (2, None, "2"),
    ],
)
def test_a_number_has_a_true_minus_and_a_dash_where_it_is_not_known(value, digits, text: str) -> None:
    assert number(value, digits) == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.1, 0.2, "[0.10, 0.20]"), (None, 0.2, "[…, 0.20]"), (0.1, None, "[0.10, …]"), (None, None, "–")],
)
def test_an_open_end_of_an_interval_is_an_ellipsis(low, high, text: str) -> None:
    assert interval({"low": low, "high": high}, digits=2) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0004, "< .001"), (0.05, ".050"), (0.9996, "> .999"), (1.0, "> .999"), (0.999, ".999")],
)
def test_a_p_value_has_three_digits(value, text: str) -> None:
    assert p_value(value) == text


def test_proportions_and_shares_are_short() -> None:
    assert (short(0.6), percent(0.95), percent(None)) == (".60", "95 %", "–")


@pytest.mark.parametrize(
    ("items", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (list("abc"), "a, b and c")]
)
def test_a_list_in_words(items: list[str], text: str) -> None:
    assert listed(items) == text
