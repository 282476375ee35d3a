import re

import numpy as np
import pandas as pd
import pytest

from study.analysis.figures.sweep import data, draw


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


def test_the_same_rows_give_the_same_bytes_and_each_line_its_marks() -> None:
    one, other = draw(rows()), draw(rows())
    assert (one.svg, one.png, one.csv) == (other.svg, other.png, other.csv)
    assert one.png.startswith(b"\x89PNG")
    drawn = set(re.findall(r"#0072b2|#d55e00", one.svg))
    assert drawn == {"#0072b2", "#d55e00"}


def test_a_sweep_in_which_nothing_moves_is_drawn_too() -> None:
    table = rows()
    assert draw(table[table["attack"] == "patch"]).png.startswith(b"\x89PNG")
