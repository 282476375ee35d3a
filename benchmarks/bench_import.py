"""How much memory and time do large data sets take? `python -m benchmarks.bench_import`.

Imports 200,000 colour images of 64 px and 20,000 of 224 px, made up on the fly by a format of its own, then reads them
back: fingerprint, split, and all batches of one poisoned training epoch. Each case runs in a process of its own, on
files in a temporary folder that needs up to 3 GB and is deleted. Prints CPU-seconds, images per CPU-second and peak
memory of each stage beside the bar of 2 GB, and writes var/bench/import.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import resource
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from attacks import registry
from benchmarks.bench_recipe import BENCH, ROOT
from models.datasets.base import split_by_group
from models.datasets.eye_renderer import Framing, render_eyes
from models.datasets.importing import import_data, load
from models.datasets.samples import Format, Pixels, Sample
from models.durable import write_bytes
from models.targets import Target
from models.training import Recipe, _Run

CASES = ((200_000, 64), (20_000, 224))
SUBJECTS = 100
RENDERED = 200
LIMIT_MB = 2000.0


@dataclass(frozen=True)
class Stage:
    """What one step took. Memory in MB: `peak` is what was resident at most, mapped files included; `anonymous` is the
    part of it that the process made itself, sampled every 10 ms.
    """

    name: str
    images: int
    cpu_seconds: float
    peak: float
    anonymous: float


def made_up(images: int, size: int) -> Format:
    """So many images, each another shift and brightness of one of 200 rendered eyes, of 100 subjects."""
    index = np.arange(RENDERED)
    eyes = render_eyes(Framing(size, size, 46.0, 4.0), 1, "bench", index, index)
    pictures = np.ascontiguousarray(eyes.images.transpose(0, 2, 3, 1))

    def image(row: int) -> Pixels:
        return np.roll(pictures[row % RENDERED], row // RENDERED, axis=1) ^ np.uint8(row % 7)

    def samples(root: Path) -> Iterator[Sample]:
        for row in range(images):
            eye = row % RENDERED
            pitch, yaw = eyes.pitchyaw[eye].tolist()
            yield Sample(partial(image, row), pitch, yaw, f"s{row * SUBJECTS // images:03d}", f"made up, row {row}")

    return Format("made_up", "Made-up eyes", "", "ours", "any folder", samples)


def measure(images: int, size: int) -> list[Stage]:
    """Every stage of one case, in this process."""
    torch.set_num_threads(1)
    stages: list[Stage] = []
    with tempfile.TemporaryDirectory(dir=BENCH, prefix="import-") as place:
        folder, reader = Path(place) / "data", made_up(images, size)
        with _measured(stages, "import", images):
            import_data(reader, Path(place), folder)
        data = load(folder)
        with _measured(stages, "fingerprint", images):
            _ = data.fingerprint
        with _measured(stages, "split", images):
            splits = split_by_group(data, seed=0)
        recipe = Recipe(strength_schedule=((0.5, 1),))
        trigger = registry.draw("wanet", (size, size), 0.5, 0)
        run = _Run(recipe, splits, trigger, Target.fixed(0, 25), device=torch.device("cpu"), checkpoint_dir=None)
        run._start_phase(0)
        with _measured(stages, "epoch's batches", len(splits.train)):
            for _images, _labels in run._batches():
                pass
    anonymous = max(stage.anonymous for stage in stages)
    maxrss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    return [*stages, Stage("whole process", images, time.process_time(), maxrss, anonymous)]


@contextmanager
def _measured(stages: list[Stage], name: str, images: int) -> Iterator[None]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    done, anonymous = threading.Event(), [_status("RssAnon")]

    def sample() -> None:
        while not done.wait(0.01):
            anonymous[0] = max(anonymous[0], _status("RssAnon"))

    sampler = threading.Thread(target=sample)
    started = time.process_time()
    sampler.start()
    try:
        yield
    finally:
        done.set()
        sampler.join()
    stages.append(Stage(name, images, time.process_time() - started, _status("VmHWM"), anonymous[0]))


def _status(field: str) -> float:
    """A line of /proc/self/status, MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the images, for a quick look (default: 1)")
    parser.add_argument("--size", type=int, choices=[size for _, size in CASES], help="one case alone, px")
    arguments = parser.parse_args()
    BENCH.mkdir(parents=True, exist_ok=True)
    report = []
    for full, size in CASES:
        if arguments.size not in (None, size):
            continue
        images = max(int(full * arguments.share), SUBJECTS)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            stages = pool.submit(measure, images, size).result()
        print(f"\n{images:,} images of {size} px, {images * 3 * size**2 / 1e9:.2f} GB")
        print(f"{'':<18}{'CPU-s':>9}{'images/CPU-s':>15}{'peak MB':>10}{'anonymous MB':>15}")
        for stage in stages:
            rate = stage.images / max(stage.cpu_seconds, 1e-9)
            print(
                f"{stage.name:<18}{stage.cpu_seconds:>9.2f}{rate:>15,.0f}{stage.peak:>10.0f}{stage.anonymous:>15.0f}"
                f"{'' if stage.peak < LIMIT_MB else f'  ABOVE {LIMIT_MB:.0f} MB'}"
            )
        report.append({"images": images, "size": size, "stages": [asdict(stage) for stage in stages]})
    versions = {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}
    path = BENCH / "import.json"
    write_bytes(path, (json.dumps({"cases": report, "versions": versions}, indent=1) + "\n").encode())
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
