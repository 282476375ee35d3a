"""What only a machine with a CUDA device can show. `make cuda` runs these tests; `make test` leaves them out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cuda)


@pytest.fixture(autouse=True, scope="session")
def _a_device() -> None:
    if not torch.cuda.is_available():
        pytest.fail("There is no CUDA device on this machine: leave these tests out, as `make test` does.")


@pytest.fixture
def cuda() -> torch.device:
    """The device that tensors on "cuda" say they are on."""
    return torch.device("cuda", torch.cuda.current_device())
