import time
from collections.abc import Mapping
from typing import Any

import pandas as pd
import pytest

from study.analysis import figures
from study.analysis.figures.files import Drawing
from study.analysis.figures.source import Source
from study.analysis.psychometric import Curve
from tests.study.analysis.test_figures import sections


@pytest.fixture(scope="session")
def trials() -> pd.DataFrame:
    return sections.trials()


@pytest.fixture(scope="session")
def curves() -> dict[str, Curve]:
    return sections.curves()


@pytest.fixture(scope="session")
def content() -> dict[str, Any]:
    return sections.report()


@pytest.fixture(scope="session")
def source(content: Mapping[str, Any], trials: pd.DataFrame, curves: Mapping[str, Curve]) -> Source:
    return Source(content, trials, curves)


@pytest.fixture
def unprinted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made and laid out, but not written as SVG and PNG, where the question is which there are."""
    monkeypatch.setattr(figures, "to_svg", lambda *_: "")
    monkeypatch.setattr(figures, "to_png", lambda _: b"")


@pytest.fixture(scope="session")
def timed(source: Source) -> tuple[dict[str, Drawing], float]:
    start = time.process_time()
    drawn = figures.draw(source.report, source.trials, source.curves)
    return drawn, time.process_time() - start


@pytest.fixture(scope="session")
def drawn(timed: tuple[dict[str, Drawing], float]) -> dict[str, Drawing]:
    return timed[0]


@pytest.fixture(scope="session")
def seconds_to_draw(timed: tuple[dict[str, Drawing], float]) -> float:
    return timed[1]
