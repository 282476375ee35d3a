import json
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from django.core.management import CommandError, call_command

from study.trials.models import Study
from tests.study.factories import make_study

#: No table beside the planned design, few studies: fast.
QUICK = ("--try-participants", "40", "--try-trials", "6", "--studies", "200")


def plan(*arguments: object) -> None:
    call_command("plan_study", *map(str, (*QUICK, *arguments)))


def written(out: Path) -> dict[str, object]:
    return json.loads((out / "power.json").read_text())


def test_a_design_that_cannot_support_the_bound_is_warned_of(capsys) -> None:
    plan("--bound", ".55", "--participants", 40, "--trials", 6, "--participant-sd", 0, "--stimulus-sd", 0)
    shown = " ".join(capsys.readouterr().out.split())
    assert "! 40 participants × 6 trials cannot support PC < .55" in shown
    assert "no upper limit on the share of people off chance can be given; that needs 10" in shown


def test_the_terminal_shows_power_and_its_error_for_both_claims(capsys) -> None:
    plan()
    shown = " ".join(capsys.readouterr().out.split())
    assert "Power in %: claimed below 0.60 at a true PC of 0.50" in shown
    assert "Power in %: claimed detectable at a true PC of 0.60" in shown
    assert "200 simulated studies each, Monte-Carlo error at most" in shown
    assert "below the bound, power 80 %:" in shown


def test_a_folder_gets_json_and_a_figure_with_its_data(tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "plan"
    plan("--out", out)
    content = written(out)
    assert capsys.readouterr().out.strip().endswith("power.json")
    assert content["design"]["participants"] == 40
    assert ElementTree.fromstring((out / "power.svg").read_text()).tag.endswith("svg")  # noqa: S314
    assert (out / "power.png").read_bytes().startswith(b"\x89PNG")
    drawn = pd.read_csv(out / "power.csv")
    assert list(drawn) == ["claim", "participants", "trials", "power", "error"]
    assert len(drawn) == 2 * len(content["grid"])


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        plan("--seed", seed, "--out", tmp_path / name)
    for file in ("power.json", "power.svg", "power.png", "power.csv"):
        first, again, other = ((tmp_path / name / file).read_bytes() for name in ("first", "again", "other"))
        assert first == again
        assert first != other


@pytest.mark.django_db
def test_a_study_gives_its_own_numbers_and_options_win(tmp_path: Path) -> None:
    study = make_study(opened=False, bound=0.55)
    plan(study.slug, "--participants", 50, "--out", tmp_path)
    design = written(tmp_path)["design"]
    assert {name: design[name] for name in ("bound", "participants", "trials", "conditions")} == {
        "bound": 0.55,
        "participants": 50,
        "trials": 6,
        "conditions": 2,
    }
    assert design["stimuli"] == len(study.design_json()["stimuli"])


@pytest.mark.django_db
def test_an_open_study_is_planned_from_its_frozen_design(tmp_path: Path) -> None:
    study = make_study()
    plan(study.slug, "--out", tmp_path)
    assert written(tmp_path)["design"]["participants"] == study.current_design.now["participants"]


@pytest.mark.django_db
def test_a_study_that_is_not_there_is_named_with_those_that_are() -> None:
    make_study(slug="eyes", opened=False)
    with pytest.raises(CommandError, match="There is no study faces; studies: eyes"):
        plan("faces")


@pytest.mark.django_db
def test_an_adaptive_study_has_no_bound_to_plan_for() -> None:
    study = make_study(opened=False, procedure=Study.Procedure.ADAPTIVE, adaptive_trials=8, adaptive_minimum=4)
    with pytest.raises(CommandError, match="adaptive and gives thresholds only"):
        plan(study.slug)


@pytest.mark.django_db
def test_a_study_without_its_pairs_cannot_be_planned_yet() -> None:
    study = make_study(opened=False, strengths=(0.5,))
    Study.objects.filter(pk=study.pk).update(strengths=[3.25])
    with pytest.raises(CommandError, match=r"cannot be planned yet: The attack .* has no pairs at strength 3\.25"):
        plan(study.slug)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--bound", ".7"), "it must be one of"),
        (("--trials", 80), "nobody sees an image twice"),
        (("--try-trials", "six"), "no list of whole numbers"),
    ],
)
def test_bad_numbers_get_one_sentence(arguments: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        plan(*arguments)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(CommandError, match="is a file; name a folder"):
        plan("--out", file)
