"""How fast synthetic eyes are rendered: ``python -m benchmarks.bench_eyes``.

One process is measured in CPU-seconds, which other load on the machine hardly changes; two processes in wall seconds,
with their start-up and the writing and reading back of the cache.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.datasets.eye_renderer import Framing, render_eyes
from models.datasets.eye_renderer.textures import load_textures
from models.datasets.synthetic_eyes import EyesConfig, load


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="images of the two-process run (default: 10000)")
    images = max(parser.parse_args().images, 600)

    print(f"{'what':<34}{'images':>8}{'wall s':>9}{'CPU s':>9}{'images/s':>10}{'images/CPU-s':>14}")
    report("textures, once per process", 0, *seconds(load_textures))
    for size, n in ((64, 2000), (224, 100)):
        index = np.arange(n)
        framing = Framing(size, size)
        wall, cpu = seconds(lambda f=framing, i=index: render_eyes(f, 1, "benchmark", i, i % 40))
        report(f"render, {size} px, 1 process", n, wall, cpu)
    config = EyesConfig(train_images=images - 400, validation_images=200, test_images=200)
    with tempfile.TemporaryDirectory() as folder:
        for what in ("load, 64 px, 2 processes, cold", "load, 64 px, cached"):
            report(what, images, *seconds(lambda: load(config, Path(folder), processes=2)))


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of calling `work`, those of its child processes included."""
    wall, cpu = time.perf_counter(), cpu_seconds()
    work()
    return time.perf_counter() - wall, cpu_seconds() - cpu


def cpu_seconds() -> float:
    """CPU seconds of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def report(what: str, images: int, wall: float, cpu: float) -> None:
    """Print a row of the table."""
    rates = f"{images / wall:>10.0f}{images / cpu:>14.0f}" if images else ""
    print(f"{what:<34}{images or '':>8}{wall:>9.2f}{cpu:>9.2f}{rates}", flush=True)


if __name__ == "__main__":
    main()
