"""Charts: round ticks that hold the data, points where they belong, words for who cannot see them."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

import pytest

from study.lab.charts import HEIGHT, WIDTH, Axis, Series, bar_chart, line_chart, nice_ticks


def drawn(chart: str) -> ET.Element:
    """The chart as a browser reads it: elements of no namespace, as in HTML."""
    return ET.fromstring(chart)  # noqa: S314 (we drew it)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (0, 26.98, [0, 10, 20, 30]),
        (-3, 4, [-4, -2, 0, 2, 4]),
        (7, 7, [6.4, 6.6, 6.8, 7, 7.2, 7.4, 7.6]),
        (0, 250_000, [0, 50_000, 100_000, 150_000, 200_000, 250_000]),
    ],
)
def test_ticks_are_round_and_hold_the_values(low: float, high: float, ticks: list[float]) -> None:
    found = nice_ticks(low, high)
    assert found == pytest.approx(ticks)


def test_an_axis_puts_its_ends_at_its_ends() -> None:
    axis = Axis(10, 20, 100, 0, [10, 15, 20])
    assert [axis.at(value) for value in (10, 15, 20)] == [100, 50, 0]


def test_points_are_where_their_values_are() -> None:
    chart = drawn(line_chart("Error", [Series("it", [(0, 0.0), (1, 10.0)])], x_label="x", y_label="y"))
    line = chart.find(".//polyline")
    assert line is not None
    (x0, y0), (x1, y1) = (tuple(map(float, point.split(","))) for point in line.attrib["points"].split())
    assert x0 < x1 <= WIDTH
    assert y1 < y0 <= HEIGHT


def test_what_is_not_known_is_left_out() -> None:
    chart = line_chart("Error", [Series("it", [(0, 1.0), (1, None), (2, 3.0)])], x_label="x", y_label="y")
    line = drawn(chart).find(".//polyline")
    assert line is not None
    assert len(line.attrib["points"].split()) == 2
    assert line_chart("Error", [Series("it", [(0, None)])], x_label="x", y_label="y") == ""


def test_a_chart_says_in_words_what_it_shows() -> None:
    two = [Series("model", [(0, 0.0), (4, -2.5)]), Series("clean <one>", [(0, 1.0), (4, 1.0)])]
    chart = line_chart("Shift by strength", two, x_label="strength", y_label="°")
    svg = drawn(chart).find("svg")
    assert svg is not None
    assert svg.attrib["role"] == "img"
    names = svg.attrib["aria-labelledby"].split()
    assert [svg.find(f".//*[@id='{name}']") is not None for name in names] == [True, True]
    assert svg.findtext("desc") == "model: 0 at 0, −2.5 at 4. clean <one>: 1 at 0, 1 at 4."
    assert [text.text for text in svg.iter("text")][-2:] == ["model", "clean <one>"]


def test_lines_differ_in_more_than_colour() -> None:
    many = [Series(str(n), [(0, n), (1, n)]) for n in range(4)]
    dashes = re.findall(r'stroke-dasharray="([^"]+)" points', line_chart("Many", many, x_label="x", y_label="y"))
    assert len(set(dashes)) == 4


def test_a_chart_has_no_style_of_its_own() -> None:
    chart = line_chart("Any", [Series("it", [(0, 1.0), (1, 2.0)])], x_label="x", y_label="y")
    assert "style" not in chart


def test_bars_stand_on_nought_and_are_as_high_as_they_say() -> None:
    chart = drawn(bar_chart("Drop-off", [("1", 10.0), ("2", 5.0)], x_label="trial", y_label="people"))
    first, second = (float(bar.attrib["height"]) for bar in chart.iter("rect"))
    assert first == pytest.approx(2 * second, abs=0.2)
    bottoms = {float(bar.attrib["y"]) + float(bar.attrib["height"]) for bar in chart.iter("rect")}
    assert max(bottoms) - min(bottoms) < 0.2
    assert bar_chart("None", [], x_label="x", y_label="y") == ""


def test_epochs_and_counts_are_labelled_at_whole_numbers() -> None:
    assert list(Axis.over([1, 2, 3], 0, 100, whole=True).ticks) == [1, 2, 3]
    assert list(Axis.over([1, 1.5], 0, 100, whole=True).ticks) == pytest.approx([1, 1.1, 1.2, 1.3, 1.4, 1.5])
