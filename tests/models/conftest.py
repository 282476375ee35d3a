import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    """As in production: one thread a process, on which bit-for-bit repetition rests."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
