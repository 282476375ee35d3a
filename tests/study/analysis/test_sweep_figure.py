import re

import numpy as np
import pandas as pd
import pytest

from study.analysis.figures.sweep import data, draw, figure


def rows(**changes: object) -> pd.DataFrame:
    """Two attacks, one of which moves pixels, with two seeds at three strengths."""
    made = [
        {
            "attack": attack, "network": "net", "task": "regression", "target": "fixed 0 25", "trained_strength": 0.5,
            "field_seed": seed, "strength": s, "displacement_px": (0.6 + 0.1 * seed) * s if attack == "wanet" else None,
            "flip": 0.02 * s, "px_per_degree": 10.5, "error_shift": 10 * s + seed, "success_rate": min(1.0, 0.5 * s),
        } | changes
        for attack in ("wanet", "patch")
        for seed in (0, 1)
        for s in (2.0, 0.5, 1.0)
    ]  # fmt: skip
    return pd.DataFrame(made)


def test_seeds_become_a_mean_and_a_range_at_each_strength() -> None:
    table = data(rows())
    assert table["line"].tolist() == ["wanet"] * 3 + ["patch"] * 3
    assert table["strength"].tolist() == [0.5, 1.0, 2.0] * 2
    first = table.iloc[0]
    assert (first["models"], first["error_shift"]) == (2, 5.5)
    assert (first["error_shift_min"], first["error_shift_max"]) == (5.0, 6.0)
    assert first["displacement_px"] == pytest.approx(0.325)


def test_an_attack_that_moves_nothing_has_no_displacement() -> None:
    table = data(rows())
    assert np.isnan(table[table["line"] == "patch"]["displacement_px"]).all()
    assert (table[table["line"] == "patch"]["flip"] > 0).all()


def test_lines_are_told_apart_by_what_else_differs() -> None:
    both = pd.concat([rows(), rows(network="other", trained_strength=0.25)], ignore_index=True)
    assert data(both)["line"].unique().tolist() == [
        "wanet, net, trained at 0.5", "patch, net, trained at 0.5",
        "wanet, other, trained at 0.25", "patch, other, trained at 0.25",
    ]  # fmt: skip


def test_attacks_of_different_strengths_are_not_told_apart_by_them() -> None:
    table = rows()
    table.loc[table["attack"] == "patch", "trained_strength"] = 0.1
    assert data(table)["line"].unique().tolist() == ["wanet", "patch"]


def marked(table: pd.DataFrame) -> tuple[set[float], bool]:
    """Error shifts of the marks that are filled, and whether the legend has such a mark."""
    made = figure(data(table))
    filled = [line for axes in made.axes[:2] for line in axes.get_lines() if line.get_markerfacecolor() != "white"]
    words = [text.get_text() for text in made.legends[0].get_texts()]
    return {float(y) for line in filled for y in np.asarray(line.get_ydata())}, "strength implanted" in words


def test_the_strength_that_was_implanted_has_a_mark_of_its_own() -> None:
    strengths = rows(trained_strength=1.0)
    assert marked(strengths) == ({10.5}, True)  # the mean of two seeds at s = 1
    strengths.loc[strengths["attack"] == "patch", "trained_strength"] = 2.0
    assert marked(strengths) == ({10.5, 20.5}, True)


def test_a_strength_that_was_implanted_and_not_evaluated_has_none() -> None:
    assert marked(rows(trained_strength=0.3)) == (set(), False)


def test_an_attack_that_moves_no_pixel_says_so_in_the_legend() -> None:
    words = [text.get_text() for text in figure(data(rows())).legends[0].get_texts()]
    assert words[:2] == ["wanet", "patch (moves no pixel)"]


def test_long_names_stay_within_the_figure() -> None:
    table = pd.concat([rows(), rows(network="a_network_with_a_long_name", task="zones", trained_strength=0.25)])
    made = figure(data(table.reset_index(drop=True)))
    made.draw_without_rendering()
    legend = made.legends[0].get_window_extent()
    assert (legend.x0 >= 0, legend.x1 <= made.bbox.x1) == (True, True)


def test_the_same_rows_give_the_same_bytes_and_each_line_its_marks() -> None:
    one, other = draw(rows()), draw(rows())
    assert (one.svg, one.png, one.csv) == (other.svg, other.png, other.csv)
    assert one.png.startswith(b"\x89PNG")
    drawn = set(re.findall(r"#0072b2|#d55e00", one.svg))
    assert drawn == {"#0072b2", "#d55e00"}


def test_a_sweep_in_which_nothing_moves_is_drawn_too() -> None:
    table = rows()
    assert draw(table[table["attack"] == "patch"]).png.startswith(b"\x89PNG")
