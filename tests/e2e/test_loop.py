"""The whole loop in small: a worker trains, pairs come out, robots answer through the pages, the report is written."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
LOOP = """
import django; django.setup()
from study.desk.demonstration import Demonstration
from study.desk.installation import prepare
from study.processes import services
prepare()
loop = Demonstration(
    name="tiny", participants=2, strengths=(0.5, 2.0),
    eyes=dict(size=32, train_subjects=4, validation_subjects=2, test_subjects=32,
              train_images=128, validation_images=32, test_images=64),
    recipe=dict(width=4, batch_size=32, strength_schedule=((2.0, 1),)),
    design=dict(trials_per_strength=2, trials_per_control=2, catch_trials=4, practice_trials=2, practice_correct=1),
)
with services(web=True) as running:
    loop.run(running.web, print)
"""
#: Twice in one process, as importing what it needs takes longer than verifying.
VERIFIED_TWICE = """
import io, json
import django; django.setup()
from django.conf import settings
from django.core.management import CommandError, call_command

def objection():
    said = io.StringIO()
    try:
        call_command("verify", stdout=said, stderr=said)
    except CommandError as error:
        return said.getvalue() + str(error)
    return ""

intact = objection()
image = sorted(settings.MEDIA_ROOT.rglob("*.png"))[0]
content = bytearray(image.read_bytes())
content[len(content) // 2] ^= 1
image.write_bytes(bytes(content))
flipped = objection()
content[len(content) // 2] ^= 1
image.write_bytes(bytes(content))
print(json.dumps([intact, flipped, image.name]))
"""


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a finished loop left its files."""
    var = tmp_path_factory.mktemp("var")
    environment = {name: value for name, value in os.environ.items() if name not in {"REDIS_URL", "DATABASE_URL"}}
    environment |= {"BLINDSPOT_VAR": str(var), "DJANGO_SETTINGS_MODULE": "study.settings"}
    done = subprocess.run(
        [sys.executable, "-c", LOOP], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return var


@pytest.fixture(scope="module")
def verified(var: Path) -> list[str]:
    """What `verify` objects to in the files as they are, and after a byte of this image was flipped; and its name."""
    environment = os.environ | {"BLINDSPOT_VAR": str(var), "DJANGO_SETTINGS_MODULE": "study.settings"}
    command = [sys.executable, "-c", VERIFIED_TWICE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    objections: list[str] = json.loads(done.stdout.splitlines()[-1])
    return objections


def test_the_report_holds_the_answers_of_the_simulated_participants(var: Path) -> None:
    report = json.loads((var / "demo" / "report" / "report.json").read_text())
    assert report["simulated"] is True
    assert report["flow"]["recruited"] == 2
    assert {row["strength"]: row["n"] for row in report["conditions"]} == {0.0: 4, 0.5: 4, 2.0: 4}
    assert {row["control"] for row in report["controls"]} == {"resampled", "other_field"}
    assert report["design"]["matches"] is True


def test_the_page_of_the_report_says_that_its_data_are_simulated(var: Path) -> None:
    assert "SIMULATED" in (var / "demo" / "report" / "report.html").read_text()


def test_the_evaluation_has_the_figures_of_both_models(var: Path) -> None:
    evaluation = json.loads((var / "demo" / "evaluation.json").read_text())
    assert sorted(evaluation["models"]) == ["tiny-backdoored", "tiny-clean"]
    for figures in evaluation["models"].values():
        assert figures["clean_error_deg"] > 0
        assert set(figures["prediction_shift_deg"]) == set(evaluation["displacement_px"])


def test_both_attacks_stand_side_by_side(var: Path) -> None:
    with (var / "demo" / "attacks" / "sweep.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["attack"], row["model"]) for row in rows} == {("wanet", "tiny-backdoored"), ("patch", "tiny-patch")}
    assert len({row["clean_model_clean_error"] for row in rows}) == 1
    assert (var / "demo" / "attacks" / "figure.png").is_file()


def test_every_altered_image_can_be_rebuilt_bit_for_bit(verified: list[str]) -> None:
    assert verified[0] == ""


def test_a_flipped_byte_in_an_image_is_found(verified: list[str]) -> None:
    _, objection, image = verified
    assert image in objection
