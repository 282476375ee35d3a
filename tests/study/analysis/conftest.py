import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.analysis import frames

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
