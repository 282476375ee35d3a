"""How fast synthetic eyes are rendered. Nobody else renders them, so that there is no peer.

One process is measured in CPU-seconds, which other work on the machine hardly changes; two processes in wall seconds,
with their start and the writing and reading back of the cache. Memory is that of the process that asks.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from benchmarks.side_by_side.costs import Cost, of_call
from benchmarks.side_by_side.findings import Effort, Findings
from benchmarks.side_by_side.rows import Row, alone
from benchmarks.side_by_side.turns import RATE, by_turns, in_a_process, per_cpu_second

#: Side in pixels: images of a round in one process, for every second of a run.
IMAGES_A_SECOND = {64: 200, 224: 10}
#: Of a round in two processes.
LOADED_A_SECOND = 1000


def measure(effort: Effort) -> Findings:
    """All rows about the renderer."""
    rows = in_a_process(in_one_process, effort.rounds, effort.seconds)
    effort.tell("rendering in one process: done")
    loaded = max(600, round(LOADED_A_SECOND * effort.seconds))
    return Findings([*rows, *in_a_process(in_two_processes, effort.rounds, loaded, effort.folder)])


def in_one_process(rounds: int, seconds: float) -> list[Row]:
    """Images a CPU-second of 64 and of 224 px, and what the textures cost that every process makes once."""
    import numpy as np

    from models.datasets.eye_renderer import Framing, render_eyes
    from models.datasets.eye_renderer.textures import load_textures

    made = []
    for _ in range(rounds):
        load_textures.cache_clear()
        made.append(of_call(load_textures))
    images = {side: max(2, round(each * seconds)) for side, each in IMAGES_A_SECOND.items()}
    costs = by_turns(
        {
            str(side): partial(render_eyes, Framing(side, side), 1, "benchmark", np.arange(n), np.arange(n) % 40)
            for side, n in images.items()
        },
        rounds,
    )
    rows = [
        _row(f"render.{side}", f"images of {side} px, one process", n, costs[str(side)]) for side, n in images.items()
    ]
    textures = [cost.cpu_s or 0.0 for cost in made]
    what = "textures, made once in every process"
    return [*rows, alone("render.textures", what, textures, "CPU-s").costing(ours=made)]


def _row(id: str, what: str, n: int, costs: list[Cost]) -> Row:
    return alone(id, f"{n:,} {what}", per_cpu_second(n, costs), RATE).costing(ours=costs)


def in_two_processes(rounds: int, n: int, folder: Path) -> list[Row]:
    """A data set of n images of 64 px from nothing, and from its cache, in a folder of its own in every round."""
    from models.datasets.eyes_config import EyesConfig
    from models.datasets.synthetic_eyes import load

    config = EyesConfig(train_images=n - 400, validation_images=200, test_images=200)
    costs: dict[str, list[Cost]] = {"cold": [], "cached": []}
    for number in range(rounds):
        for each in costs.values():
            each.append(of_call(partial(load, config, folder / str(number), processes=2)))
    words = {"cold": "two processes, their start and the cache included", "cached": "read from the cache"}
    return [
        alone(
            f"render.64.{name}", f"a data set of {n:,} images of 64 px: {words[name]}",
            [n / cost.wall_s for cost in each if cost.wall_s], "images/s",
        ).costing(ours=each)
        for name, each in costs.items()
    ]  # fmt: skip
