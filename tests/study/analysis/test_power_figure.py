"""The figure of a plan draws what the plan says, and nothing else."""

import io

import pandas as pd
import pytest

from study.analysis import power_figure
from study.analysis.power import BELOW, CLAIMS, DETECTABLE, Design, Power, plan


@pytest.fixture(scope="module")
def power() -> Power:
    return plan(Design(studies=100, grid_participants=(10, 20), grid_trials=(4, 6)))


def test_every_entry_of_the_grid_is_drawn_once_for_each_claim(power: Power) -> None:
    table = power_figure.table(power)
    assert len(table) == len(CLAIMS) * len(power.grid)
    for cell in power.grid:
        for claim in CLAIMS:
            row = table.query(
                "claim == @claim and participants == @cell.participants and trials == @cell.trials"
            ).squeeze()
            assert (row["power"], row["error"]) == (cell.power(claim).share, cell.power(claim).error)


def test_the_data_come_with_the_figure(power: Power) -> None:
    drawing = power_figure.draw(power)
    pd.testing.assert_frame_equal(pd.read_csv(io.BytesIO(drawing.csv)), power_figure.table(power))
    assert drawing.png.startswith(b"\x89PNG")


def test_a_figure_of_simulated_studies_says_so(power: Power) -> None:
    assert "A plan from simulated studies, no data" in power_figure.draw(power).svg


def test_a_panel_names_its_bound_and_truth() -> None:
    design = Design(bound=0.55, pc=0.52)
    assert design.claimed(BELOW) == "claimed below .55 at a true PC of .52"
    assert design.claimed(DETECTABLE) == "claimed detectable at a true PC of .55"
