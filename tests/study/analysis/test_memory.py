import resource
from pathlib import Path

import numpy as np

from study.analysis import memory


def faults_of_making_and_dropping_arrays() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(30):
        _ = [np.ones(180_000) for _ in range(12)]
        del _
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_arrays_are_made_from_memory_that_others_gave_up() -> None:
    pages = 12 * 180_000 * 8 // resource.getpagesize()
    with memory.kept():
        assert faults_of_making_and_dropping_arrays() < 3 * pages


def test_what_was_kept_is_given_back() -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    with memory.kept():
        _ = [np.ones(1_000_000) for _ in range(12)]
        del _
        held = resident()
    assert held - resident() > 50_000_000
