"""The sweep's command: what it makes of its options, and what it writes."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pandas as pd
import pytest
from django.core.management import CommandError, call_command
from django.core.management.base import OutputWrapper

from study.desk.management.commands.sweep_attacks import attacks, recipes, report
from study.desk.sweep_table import write
from study.lab.models import ModelRun
from study.lab.sweeps import Swept
from tests.models.test_sweeps import evaluated, grid


@pytest.fixture
def swept() -> Swept:
    rows = [row for cell in grid().cells() for row in cell.rows(evaluated(cell.attack.strengths), 9.0, "run")]
    return Swept(rows, {}, {})


def test_strengths_are_for_all_attacks_or_for_one() -> None:
    wanet, patch = attacks(["wanet", "patch"], ["0.5", "0.1", "patch=0.2,0.4"])
    assert (wanet.strengths, patch.strengths) == ((0.1, 0.5), (0.2, 0.4))


@pytest.mark.parametrize(
    ("strengths", "sentence"),
    [
        (["blended=0.1"], "blended is not among the attacks"),
        (["strong"], "--strengths strong is neither"),
        (["patch=0.1;0.2"], "is neither a number nor FAMILY"),
        (["patch=3"], "opacity|strength"),
    ],
)
def test_strengths_that_cannot_be_are_refused(strengths: list[str], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        attacks(["wanet", "patch"], strengths)


def test_a_recipe_takes_what_the_cell_sets() -> None:
    from models.targets import Target

    fields = {"seed": 4, "network": "lenet", "task": "zones", "strength_schedule": ((1.0, 3),)}
    recipe = recipes("quick")("wanet", Target.fixed(0, 25), fields)
    assert (recipe.seed, recipe.network, recipe.task, recipe.loss) == (4, "lenet", "zones", "cross_entropy")
    assert recipe.strength_schedule == ((1.0, 3),)


def test_table_and_figure_are_written(swept: Swept, tmp_path: Path) -> None:
    write(swept, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "sweep.csv")
    assert len(table) == len(swept.rows)
    assert table["error_shift"].tolist() == [row["error_shift"] for row in swept.rows]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "sweep.csv", "figure.svg", "figure.png", "figure.csv"
    }  # fmt: skip


def test_a_sweep_without_any_evaluation_has_a_table_of_heads(tmp_path: Path) -> None:
    write(Swept([], {}, {}), tmp_path)
    assert (tmp_path / "sweep.csv").read_text().startswith("attack,family,field_seed,")
    assert not (tmp_path / "figure.png").exists()


def test_failures_are_named_with_what_to_do(swept: Swept, tmp_path: Path) -> None:
    failed = Swept(swept.rows, {}, {"Training the model, wanet": "Out of memory."})
    with pytest.raises(CommandError, match=r"1 job failed; the same command.*\n  Training the model, wanet: Out"):
        report(failed, tmp_path, OutputWrapper(StringIO()))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--attacks", "wanets"], "Unknown attack family 'wanets'"),
        (["--attacks", "wanet", "--networks", "vgg"], "Unknown network 'vgg'"),
        (["--attacks", "wanet", "--targets", "up"], "A target is written"),
        (["--attacks", "wanet", "--dataset", "gone.npz"], "no data file"),
        (["--attacks", "wanet", "--recipe", "slow"], "no recipe 'slow'"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_no_run(tmp_path: Path, options: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command("sweep_attacks", *options, "--out", str(tmp_path))
    assert not ModelRun.objects.exists()
