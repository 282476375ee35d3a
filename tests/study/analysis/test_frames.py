import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from study.analysis import frames
from study.analysis.frames import TrialTableError

HEADER = "participant,stimulus,attack,strength,error_shift_deg,clean_side,response_side,correct,rt_ms,is_catch"
ROW = "P1,S1,wanet,0.5,3.2,left,right,1,812,0"


@pytest.fixture
def table(tmp_path: Path):
    def write(*lines: str, name: str = "trials.csv") -> Path:
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def changed(column: str, value: str) -> str:
    cells = dict(zip(HEADER.split(","), ROW.split(","), strict=True))
    return ",".join((cells | {column: value}).values())


def test_a_good_table_is_read(table) -> None:
    trials = frames.read_csv(table(HEADER, ROW, changed("participant", "P2")))
    assert list(trials["participant"]) == ["P1", "P2"]
    assert trials["strength"].tolist() == [0.5, 0.5]
    assert trials["control"].tolist() == ["", ""]


def test_the_golden_table_has_all_its_rows(golden_trials) -> None:
    assert len(golden_trials) == 2560
    assert len(frames.main_trials(golden_trials)) == 2400
    assert len(frames.catch_trials(golden_trials)) == 160


@pytest.mark.parametrize("name", frames.REQUIRED)
def test_a_missing_column_is_refused_by_name(table, name: str) -> None:
    keep = [column for column in HEADER.split(",") if column != name]
    cells = dict(zip(HEADER.split(","), ROW.split(","), strict=True))
    with pytest.raises(TrialTableError, match=f'trials.csv: column "{name}" is missing'):
        frames.read_csv(table(",".join(keep), ",".join(cells[column] for column in keep)))


def test_a_duplicated_column_is_refused_by_name(table) -> None:
    with pytest.raises(TrialTableError, match='column "correct" is there more than once'):
        frames.read_csv(table(HEADER + ",correct", ROW + ",1"))


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("clean_side", "middle", 'line 3: column "clean_side" must be "left" or "right", not "middle"'),
        ("response_side", "", 'line 3: column "response_side" is empty'),
        ("strength", "-1", 'line 3: column "strength" must be 0 or more, not "-1.0"'),
        ("strength", "nan", 'line 3: column "strength" must be a finite number, not "nan"'),
        ("strength", "inf", 'line 3: column "strength" must be a finite number, not "inf"'),
        ("strength", "strong", 'line 3: column "strength" must be a finite number, not "strong"'),
        ("strength", "", 'line 3: column "strength" is empty'),
        ("error_shift_deg", "NaN", 'line 3: column "error_shift_deg" must be a finite number, not "NaN"'),
        ("error_shift_deg", "", 'line 3: column "error_shift_deg" is empty'),
        ("rt_ms", "-5", 'line 3: column "rt_ms" must be 0 or more'),
        ("correct", "2", 'line 3: column "correct" must be 0 or 1, not "2"'),
        ("correct", "0", 'line 3: column "correct" does not agree with clean_side and response_side'),
        ("is_catch", "yes", 'line 3: column "is_catch" must be 0 or 1, not "yes"'),
        ("participant", "  ", 'line 3: column "participant" is empty'),
    ],
)
def test_a_bad_cell_gets_one_sentence_that_says_where(table, column: str, value: str, sentence: str) -> None:
    with pytest.raises(TrialTableError) as refused:
        frames.read_csv(table(HEADER, ROW, changed(column, value)))
    assert str(refused.value).startswith(f"trials.csv: {sentence}")
    assert "\n" not in str(refused.value)


def test_a_table_without_rows_is_refused(table) -> None:
    with pytest.raises(TrialTableError, match="has no rows"):
        frames.read_csv(table(HEADER))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    with pytest.raises(TrialTableError, match="are missing"):
        frames.read_csv(tmp_path / "empty.csv")


def test_a_table_of_catch_trials_only_is_refused(table) -> None:
    with pytest.raises(TrialTableError, match="nothing to analyse"):
        frames.read_csv(table(HEADER, changed("is_catch", "1")))


def test_a_row_of_the_wrong_length_is_refused(table) -> None:
    with pytest.raises(TrialTableError, match="line 3 has 11 fields where the header has 10"):
        frames.read_csv(table(HEADER, ROW, ROW + ",more"))


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "image.csv").write_bytes(b"\x89PNG\xff\xfe\x00")
    with pytest.raises(TrialTableError, match="not UTF-8"):
        frames.read_csv(tmp_path / "image.csv")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrialTableError, match="cannot be read"):
        frames.read_csv(tmp_path / "absent.csv")


def test_an_identity_control_of_some_strength_is_refused(table) -> None:
    with pytest.raises(TrialTableError, match="must be 0 for an identity control"):
        frames.read_csv(table(HEADER + ",control", ROW + ",identity"))


@pytest.mark.parametrize("control", ["resmapled", "Identity"])
def test_an_unknown_control_is_refused(table, control: str) -> None:
    sentence = f'line 3: column "control" must be empty or one of identity, resampled, other_field, not "{control}"'
    with pytest.raises(TrialTableError, match=sentence):
        frames.read_csv(table(HEADER + ",control", ROW + ",", ROW + f",{control}"))


def test_strengths_that_differ_by_rounding_only_are_refused(table) -> None:
    lines = [changed("strength", value) for value in ("0.3", "0.30000000000000004", "1")]
    with pytest.raises(TrialTableError, match=r'line 3: column "strength" is 0.30000000000000004, which is 0.3 but'):
        frames.read_csv(table(HEADER, *lines))


def test_the_strength_of_a_catch_trial_may_be_near_any_other(table) -> None:
    catch = changed("strength", "0.5000000001").removesuffix("0") + "1"
    assert len(frames.read_csv(table(HEADER, ROW, catch))) == 2


def test_minus_zero_is_zero(table) -> None:
    trials = frames.read_csv(table(HEADER, changed("strength", "-0.0"), changed("error_shift_deg", "-0.0"), ROW))
    assert "-0" not in frames.to_csv(trials).decode()
    assert trials["strength"].tolist() == [0.0, 0.5, 0.5]


def test_one_long_cell_costs_its_own_length_only(table) -> None:
    path = table(HEADER + ",note", ROW + "," + "x" * 100_000, *[ROW + ","] * 2000)
    tracemalloc.start()
    frames.read_csv(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


def test_empty_error_shifts_are_accepted_on_catch_trials_and_where_no_trial_has_one(table) -> None:
    catch = changed("error_shift_deg", "").removesuffix("0") + "1"
    assert len(frames.read_csv(table(HEADER, ROW, catch))) == 2
    assert frames.read_csv(table(HEADER, changed("error_shift_deg", "")))["error_shift_deg"].isna().all()


def test_other_columns_are_carried_along(table) -> None:
    trials = frames.read_csv(table(HEADER + ",displacement_px,browser", ROW + ",0.31,Firefox"))
    assert trials["displacement_px"].tolist() == [0.31]
    assert trials["browser"].tolist() == ["Firefox"]


def test_a_participant_called_na_is_a_participant(table) -> None:
    assert frames.read_csv(table(HEADER, changed("participant", "NA")))["participant"].tolist() == ["NA"]


def test_resampled_controls_are_no_main_trials_but_identity_controls_are(table) -> None:
    identity = changed("strength", "0") + ",identity"
    trials = frames.read_csv(table(HEADER + ",control", ROW + ",", identity, ROW + ",resampled"))
    assert frames.main_trials(trials)["control"].tolist() == ["identity", ""]
    assert frames.control_trials(trials)["control"].tolist() == ["resampled"]


def test_row_order_changes_nothing(golden_csv: Path, golden_trials, tmp_path: Path) -> None:
    header, *lines = golden_csv.read_text().splitlines()
    np.random.default_rng(3).shuffle(lines)
    shuffled = tmp_path / "shuffled.csv"
    shuffled.write_text("\n".join([header, *lines]))
    assert frames.sha256(frames.read_csv(shuffled)) == frames.sha256(golden_trials)


def test_what_is_written_reads_back_the_same(golden_trials, tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_bytes(frames.to_csv(golden_trials))
    assert frames.to_csv(frames.read_csv(tmp_path / "trials.csv")) == frames.to_csv(golden_trials)


def test_records_of_a_database_make_the_same_table(table) -> None:
    record = {
        "participant": "P1",
        "stimulus": "S1",
        "attack": "wanet",
        "strength": 0.5,
        "error_shift_deg": 3.2,
        "clean_side": "left",
        "response_side": "right",
        "correct": True,
        "rt_ms": 812.0,
        "is_catch": False,
        "px_per_degree": None,
    }
    assert frames.to_csv(frames.from_records([record], "study")) == frames.to_csv(frames.read_csv(table(HEADER, ROW)))


def test_a_column_that_only_later_rows_have_is_empty_before(monkeypatch) -> None:
    monkeypatch.setattr(frames, "_BLOCK", 2)
    line = dict(zip(HEADER.split(","), ROW.split(","), strict=True))
    records = [line | {"participant": f"P{i}"} for i in range(5)]
    records[3] |= {"image_width_px": 64, "browser": "Firefox"}
    trials = frames.from_records(iter(records), "study")
    assert trials["image_width_px"].fillna(0).tolist() == [0, 0, 0, 64, 0]
    assert trials["browser"].tolist() == ["", "", "", "Firefox", ""]


def test_a_row_is_named_however_long_the_table(monkeypatch) -> None:
    monkeypatch.setattr(frames, "_BLOCK", 2)
    line = dict(zip(HEADER.split(","), ROW.split(","), strict=True))
    records = [line, line, line, line | {"rt_ms": "-5"}]
    with pytest.raises(TrialTableError, match='study: row 4: column "rt_ms" must be 0 or more'):
        frames.from_records(records, "study")


def test_rows_are_sorted_by_their_values_and_not_by_how_they_are_written(table) -> None:
    numbers = [changed("strength", value) for value in ("10", "9", "1e1", "0.5")]
    assert frames.read_csv(table(HEADER, *numbers))["strength"].tolist() == [0.5, 9, 10, 10]


def test_simulated_rows_are_recognised() -> None:
    from tests.study.analysis.observers import simulate

    trials = simulate(1, participants=2, trials=2)
    assert frames.is_simulated(trials) is None
    assert frames.is_simulated(trials.assign(population="simulated")) is True
    assert frames.is_simulated(trials.assign(population="real")) is False


# --- protocol, procedure, "not sure"


def test_several_protocols_in_one_table_are_refused(table) -> None:
    path = table(HEADER + ",protocol", ROW + ",afc", ROW + ",oddity")
    with pytest.raises(TrialTableError, match=r'"protocol" holds several kinds \(afc, oddity\).*a table of their own'):
        frames.read_csv(path)


def test_several_procedures_in_one_table_are_refused(table) -> None:
    path = table(HEADER + ",procedure", ROW + ",adaptive", ROW + ",")
    with pytest.raises(TrialTableError, match='"procedure" holds several kinds'):
        frames.read_csv(path)


def test_an_unknown_protocol_is_refused(table) -> None:
    with pytest.raises(TrialTableError, match=r'line 2: column "protocol" must be one of afc, ifc, .*not "abx"'):
        frames.read_csv(table(HEADER + ",protocol", ROW + ",abx"))


def test_rows_without_a_protocol_are_side_by_side(table) -> None:
    assert set(frames.read_csv(table(HEADER + ",protocol", ROW + ",afc", ROW + ","))["protocol"]) == {"afc"}


def test_not_sure_is_0_or_1_and_0_where_it_is_empty(table) -> None:
    assert frames.read_csv(table(HEADER + ",unsure", ROW + ",1", ROW + ","))["unsure"].tolist() == [0, 1]
    with pytest.raises(TrialTableError, match='column "unsure" must be 0 or 1, not "yes"'):
        frames.read_csv(table(HEADER + ",unsure", ROW + ",yes"))


def test_where_not_sure_was_not_offered_there_is_no_such_column(table) -> None:
    assert "unsure" not in frames.read_csv(table(HEADER + ",unsure", ROW + ",", ROW + ","))
