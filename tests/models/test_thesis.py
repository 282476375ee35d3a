import math
from pathlib import Path

import numpy as np
import pytest

from models.gaze import angular_error, planar_error
from models.thesis import (
    PUBLISHED,
    Errors,
    attacks,
    cell,
    cell_from_json,
    cells_json,
    grid,
    prediction_files,
    read_predictions,
    recomputed,
)

HEAD = "Predicted Yaw,Predicted Pitch,Actual Yaw,Actual Pitch,Angular Error\n"


def write(path: Path, degrees: list[tuple[float, float, float, float]], head: str = HEAD) -> Path:
    """Predicted and actual angles, given in degrees, as the thesis writes them: in radians, with its error."""
    rows = [",".join(f"{math.radians(angle)!r}" for angle in row) for row in degrees]
    errors = [math.hypot(a - c, b - d) for a, b, c, d in degrees]
    path.write_text(head + "".join(f"{row},{error!r}\n" for row, error in zip(rows, errors, strict=True)))
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Four images: clean errors 0, 3, 4, 5 degrees; attack errors 0.5, 1.5, 4, 13; shifts 10.5, 11.5, 14, 8."""
    target = (-11.0, 0.0)
    clean = [(0, 0, 0, 0), (0, 0, 3, 0), (0, 0, 0, 4), (-3, 0, 0, 4)]
    altered = [(-10.5, 0), (-11, 1.5), (-11, -4), (2, 0)]
    folder = tmp_path / "results"
    folder.mkdir()
    return (
        write(folder / "results_k28_s1.0.csv", [tuple(map(float, row)) for row in clean]),  # type: ignore[misc]
        write(folder / "results_bd_k28_s1.0.csv", [(float(p), float(y), *target) for p, y in altered]),
    )


def test_its_table_is_recomputed_from_its_files(files: tuple[Path, Path]) -> None:
    found = recomputed(*files, measure="planar")
    assert found.clean.mean == pytest.approx(3.0)
    assert found.attack is not None
    assert found.attack.mean == pytest.approx((0.5 + 1.5 + 4 + 13) / 4)
    assert found.attack.median == pytest.approx(2.75)
    assert found.attack.p95 == pytest.approx(np.percentile([0.5, 1.5, 4, 13], 95))
    assert (found.attack.below_1, found.attack.below_2, found.attack.below_5) == (0.25, 0.5, 0.75)
    shifts = [10.5, math.hypot(11, 1.5), math.hypot(11, 4), 5.0]
    assert found.mean_shift == pytest.approx(np.mean(shifts))


def test_its_own_column_of_errors_is_the_planar_error(files: tuple[Path, Path]) -> None:
    read = read_predictions(files[0])
    theirs = np.genfromtxt(files[0], delimiter=",", skip_header=1)[:, 4]
    assert planar_error(read.predicted, read.actual) == pytest.approx(theirs)
    # two rows of the published files
    predicted = np.array([[-0.214668408036232, -0.006996531039476395], [-0.222019761800766, 0.21665562689304352]])
    actual = np.array([[-0.20000000298023224, 0.0], [-0.253827840089798, 0.20542214810848236]])
    assert planar_error(predicted, actual) == pytest.approx([0.9311464428901672, 1.9327834844589233], rel=1e-5)


def test_its_yaw_is_read_as_the_pitch_it_is(files: tuple[Path, Path]) -> None:
    read = read_predictions(files[1])
    assert np.rad2deg(read.actual[0]) == pytest.approx([-11, 0])
    assert recomputed(*files, measure="3-D angle").clean.mean == pytest.approx(
        angular_error(
            np.deg2rad([[0, 0], [0, 0], [0, 0], [-3, 0]]), np.deg2rad([[0, 0], [3, 0], [0, 4], [0, 4]])
        ).mean()
    )


def test_other_columns_and_degrees_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("a,b,c,d\n1,2,1,5\n")
    names = dict(zip(("predicted_pitch", "predicted_yaw", "actual_pitch", "actual_yaw"), "abcd", strict=True))
    assert recomputed(path, None, "planar", names=names, degrees=True).clean.mean == pytest.approx(3.0)
    assert recomputed(path, None, "planar", names=names, degrees=True).attack is None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("a,b\n1,2\n", r"bad.csv has no column 'Predicted Yaw' or .* for the predicted pitch; it has 'a', 'b'"),
        ("", "it has none"),
        (HEAD, "holds no prediction"),
        (HEAD + "0,0,0,0,0\n0,x,0,0,0\n", r"bad.csv, row 3: .*'x'.* are not four numbers"),
        (HEAD + "0,0,0\n", "row 2: .* are not four numbers"),
        (HEAD + "0,nan,0,0,0\n", "row 2: an angle is not finite"),
    ],
)
def test_bad_files_are_named_with_their_row(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_predictions(path)


def test_files_of_different_lengths_do_not_belong_together(files: tuple[Path, Path]) -> None:
    write(files[1], [(0.0, 0.0, 0.0, 0.0)])
    with pytest.raises(ValueError, match=r"has 1 rows and .* 4: they are to hold the same images"):
        recomputed(*files, measure="planar")


def test_a_folder_is_read_by_its_names(files: tuple[Path, Path]) -> None:
    folder = files[0].parent
    write(folder / "clean_results.csv", [(0.0, 0.0, 0.0, 0.0)])
    found = list(prediction_files(folder))
    assert [(k, s) for k, s, *_ in found] == [(None, None), (28, 1.0)]
    assert found[0][3] is None
    assert found[1][2:] == files
    with pytest.raises(ValueError, match=r"holds no results_kK_sS\.csv"):
        list(prediction_files(folder.parent))


def test_the_published_grid_has_all_its_cells() -> None:
    assert grid() == [(4, 0.5), *((k, s) for k in (20, 28, 36) for s in (0.5, 1.0, 1.5))]
    for row in PUBLISHED[2:]:
        errors = row.cell.attack
        assert errors is not None
        assert errors.median is not None
        assert errors.p95 is not None
        assert errors.median < errors.mean < errors.p95
        assert 0 < (errors.below_1 or 0) < (errors.below_2 or 0) < (errors.below_5 or 0) < 1


def test_every_cell_is_trained_down_to_its_own_strength_in_as_many_epochs() -> None:
    made = attacks(grid(), 32)
    schedules = [attack.fields["strength_schedule"] for attack in made]
    assert [schedule[-1] for schedule in schedules] == [(s, 24) for _, s in grid()]
    assert {tuple(epochs for _, epochs in schedule) for schedule in schedules} == {(8, 24)}
    assert [attack.choices["control_size"] for attack in made] == [k for k, _ in grid()]
    for schedule in schedules:
        strengths = [strength for strength, _ in schedule]
        assert strengths == sorted(strengths, reverse=True)


def test_a_cell_by_every_measure_goes_to_json_and_back() -> None:
    rng = np.random.default_rng(1)
    clean, altered, truth, goal = rng.normal(0, 0.2, (4, 50, 2))
    found = cells_json(clean, altered, truth, goal)
    for measure in ("planar", "3-D angle"):
        assert cell_from_json(found[measure]) == cell(clean, altered, truth, goal, measure)
    angles = angular_error(clean, truth)
    assert Errors.of(angles).below_5 == (angles < 5).mean()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"gone\.csv: cannot be read \(No such file or directory\); give the path of"):
        read_predictions(tmp_path / "gone.csv")
    (tmp_path / "latin.csv").write_bytes(b"predicted_pitch,\xe9\n")
    with pytest.raises(ValueError, match=r"latin\.csv: is not UTF-8 CSV"):
        read_predictions(tmp_path / "latin.csv")
