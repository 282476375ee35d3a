"""The thesis's table, from its files and beside our own training."""

from __future__ import annotations

import contextlib
import csv
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from models.thesis import cells_json
from study.desk.management.commands import reproduce
from study.lab import sweeps
from tests.models.test_thesis import write

pytestmark = pytest.mark.django_db


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    folder = tmp_path / "results"
    folder.mkdir()
    return (
        write(folder / "results_k20_s0.5.csv", [(0.0, 0.0, 0.0, 3.0), (0.0, 0.0, 4.0, 3.0)]),
        write(folder / "results_bd_k20_s0.5.csv", [(-11.0, 1.0, -11.0, 0.0), (-11.0, 3.0, -11.0, 0.0)]),
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_two_files_give_clean_and_attack_error(files: tuple[Path, Path], tmp_path: Path) -> None:
    call_command("reproduce", "thesis", predictions=list(files), out=tmp_path / "out")
    planar, angle = read(tmp_path / "out" / "thesis.csv")
    assert (planar["whose"], angle["whose"]) == ("redone, planar", "redone, 3-D")
    assert (planar["clean"], planar["attack"], planar["< 2"]) == ("4.00", "2.00", "50.0")
    assert float(angle["attack"]) < 2  # a degree of yaw is less in space where the pitch is not 0
    assert "Source" not in (tmp_path / "out" / "thesis.md").read_text()  # nothing of the thesis's is in the table


def test_a_folder_stands_beside_what_was_published(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("reproduce", "thesis", predictions=[files[0].parent], out=tmp_path / "out")
    rows = read(tmp_path / "out" / "thesis.csv")
    assert [(row["k"], row["s"], row["whose"]) for row in rows] == [
        ("20", "0.5", "thesis, planar"), ("20", "0.5", "redone, planar"), ("20", "0.5", "redone, 3-D")
    ]  # fmt: skip
    assert (rows[0]["clean"], rows[0]["attack"]) == ("3.27", "3.64")
    for text in (capsys.readouterr().out, (tmp_path / "out" / "thesis.md").read_text()):
        assert "J.G.C. van de Meene" in text
        assert "runs that failed" not in text  # a remark on a row that is not shown
        assert "by subject" not in text  # our method: no figure here was made by it


def test_our_cells_stand_beside_the_published_ones(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The jobs are the sweep's, and tested there; this one has them answer at once."""
    import numpy as np

    truth, goal = np.zeros((4, 2)), np.full((4, 2), 0.5)
    found = cells_json(truth + 0.1, goal, truth, goal)
    dose = {"strength": 0.5, "attack_error": {"mean": 25.0, "median": 24.0, "p95": 40.0}, "prediction_shift": 0.7}
    clean = {"clean_error": {"mean": 3.5, "median": 3.0, "p95": 8.0}, "doses": [dose]}

    metrics = {"thesis": [{"strength": 0.5, **found}], "clean_evaluation": clean}

    def at_once(planned: list[sweeps.Planned], *_: Any) -> sweeps.Swept:
        return sweeps.Swept([], {planned[0].run.name: metrics}, {"x": "Failed."})

    monkeypatch.setattr(sweeps, "carry_out", at_once)
    monkeypatch.setattr(reproduce, "workers", contextlib.nullcontext)
    with pytest.raises(CommandError, match="1 job failed"):
        call_command("reproduce", "thesis", controls=[28], strengths=[0.5, 1.0], out=tmp_path, images=200)
    rows = read(tmp_path / "thesis.csv")
    assert [(row["k"], row["s"], row["whose"]) for row in rows] == [
        ("-", "-", "thesis, planar*"),
        ("28", "0.5", "thesis, planar"), ("28", "0.5", "ours, planar"), ("28", "0.5", "ours, 3-D"),
        ("28", "0.5", "our clean, 3-D"), ("28", "1", "thesis, planar"),
    ]  # fmt: skip
    assert [rows[4][name] for name in ("clean", "attack", "median", "p95", "< 1", "shift")] == [
        "3.50", "25.00", "24.00", "40.00", "-", "0.70"
    ]  # fmt: skip
    assert (rows[2]["attack"], rows[2]["< 1"]) == ("0.00", "100.0")
    assert float(rows[2]["clean"]) == pytest.approx(8.10, abs=0.01)
    written = (tmp_path / "thesis.md").read_text()
    assert "by subject" in written
    assert "* clean model: never poisoned" in written
    assert "k = 4, s = 0.5" not in written
    assert "a new field for every batch" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(CommandError, match="1 job failed"):
        call_command("reproduce", "thesis", controls=[28], strengths=[0.5, 1.0], images=200)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"controls": [5]}, "The thesis has no such cell; it has k = 4 s = 0.5"),
        ({"epochs": 1}, "--epochs must be at least 2"),
        ({"images": 3}, "--images must be at least 100"),
        ({"images": 200, "dataset": "mine"}, "--images is for synthetic eyes: of mine all images are used"),
        ({"target": "left"}, "A target is written"),
        (
            {"predictions": [Path("gone.csv")]},
            r"^gone.csv: cannot be read \(No such file or directory\); give the path",
        ),
        ({"predictions": [Path("a"), Path("b"), Path("c")]}, "takes one file, two"),
        ({"predictions": [Path("a")], "columns": ["pitch"]}, "--columns pitch is not ROLE=NAME, such as predicted_pi"),
        ({"columns": ["actual_yaw=y"]}, "--columns and --degrees are about files of predictions"),
        ({"degrees": True}, "--columns and --degrees are about files of predictions"),
    ],
)
def test_bad_input_gets_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command("reproduce", "thesis", **options)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--columns=predicted_pitch=p", "actual_yaw=y"],
            "first, not 'actual_yaw=y': `manage.py reproduce thesis ...`",
        ),
        (["--predictions", "a.csv", "thesis"], "Name the table to reproduce first, before any option"),
        (["--columns", "pitch", "thesis"], "--columns pitch is not ROLE=NAME"),
    ],
)
def test_a_name_that_an_option_swallowed_or_gave_is_told(words: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command("reproduce", *words)
