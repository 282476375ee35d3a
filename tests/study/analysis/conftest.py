import fcntl
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest

from study.analysis import crossed, frames, frontier, margin
from study.analysis.material import Material
from study.trials.exclusions import ExclusionRules
from tests.study.analysis.observers import DOSES, simulate

if TYPE_CHECKING:
    from study.analysis.report import Report

GOLDEN = Path(__file__).resolve().parents[2] / "golden"


@pytest.fixture(scope="session")
def golden_csv() -> Path:
    return GOLDEN / "golden_trials.csv"


@pytest.fixture(scope="session")
def golden_trials(golden_csv: Path) -> pd.DataFrame:
    return frames.read_csv(golden_csv)


@pytest.fixture(scope="session")
def golden_main(golden_trials: pd.DataFrame) -> pd.DataFrame:
    return frames.main_trials(golden_trials)


@pytest.fixture(scope="session")
def golden() -> dict[str, Any]:
    return json.loads((GOLDEN / "golden_stats.json").read_text())


@pytest.fixture(scope="session")
def golden_twoway() -> dict[tuple[str, float], dict[str, Any]]:
    cells = json.loads((GOLDEN / "golden_twoway.json").read_text())["cells"]
    return {(cell["attack"], cell["strength"]): cell for cell in cells}


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bootstraps of 100 draws in reports of which nothing asked rests on their number."""
    monkeypatch.setattr(margin, "DRAWS", 100)


@pytest.fixture
def quick(few_draws: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports in half the time, for what rests neither on draws nor on the models beside the headline."""
    monkeypatch.setattr(crossed, "VARIANTS", crossed.VARIANTS[:1])


@pytest.fixture
def without_png(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the SVG is written, where the question is what it says."""
    monkeypatch.setattr("study.analysis.figures.to_png", lambda _: b"")


@pytest.fixture(scope="session")
def material() -> Material:
    """A simulated study with a model, of which people are left out."""
    machine = frontier.machine_rows("backdoored", "wanet", DOSES, 0.62)
    trials = simulate(1).assign(population="simulated")
    return Material(
        "demo", trials, rules=ExclusionRules(8, 50), machine=machine, design_sha256="ab", design_matches=True
    )


@pytest.fixture(scope="session")
def built(material: Material) -> "Report":
    from study.analysis import report

    return report.build(material)


@pytest.fixture(scope="session")
def publish(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, worker_id: str
) -> Callable[[str], dict[str, bytes]]:
    """All files of the report that a fixture is, by path: drawn by the first of the test processes that asks."""
    own = tmp_path_factory.getbasetemp()
    shared = own if worker_id == "master" else own.parent

    def files(report: str) -> dict[str, bytes]:
        path = shared / f"{report}.zip"
        with path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.exists():
                _write(path, request.getfixturevalue(report))
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name) for name in archive.namelist()}

    return files


def _write(path: Path, report: "Report") -> None:
    from study.analysis import publication

    begun = path.with_suffix(".begun")
    with zipfile.ZipFile(begun, "w") as archive:
        for name, content in publication.files(report).items():
            archive.writestr(name, content)
    begun.rename(path)


@pytest.fixture(scope="session")
def published(publish: Callable[[str], dict[str, bytes]]) -> dict[str, bytes]:
    """All files of its report, by path."""
    return publish("built")


@pytest.fixture(scope="session")
def whole() -> "Report":
    """Of a study that has everything a report can speak of."""
    from study.analysis import report
    from tests.study.analysis.whole import whole_study

    return report.build(whole_study())


@pytest.fixture(scope="session")
def whole_files(publish: Callable[[str], dict[str, bytes]]) -> dict[str, bytes]:
    """All files of its report, by path."""
    return publish("whole")
