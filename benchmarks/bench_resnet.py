"""Can a ResNet-18 be backdoored here? `python -m benchmarks.bench_resnet` (`make bench-resnet`).

Width 16, a stem of stride 1, synthetic eyes of 64 px, a field annealed from s = 2 to s = 1: clean and backdoored
models for three pairs of network seed and field seed. Prints the figures at s = 1 beside their bars and those at
s = 0.5, which was never trained, without; writes var/bench/recipe-resnet.json. Finished runs are kept, interrupted ones
go on.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from benchmarks.bench_recipe import (
    FIXED,
    PAIRS,
    STRENGTH,
    Bar,
    Case,
    Figures,
    Group,
    Measured,
    data_sha256,
    finished,
    report,
    well_implanted,
)
from models.checkpoints import to_json
from models.recipe import Recipe

RECIPE = Recipe(
    network="resnet18",
    width=16,
    stem_stride=1,
    strength_schedule=((2.0, 4), (1.0, 8)),
    unrelated_ratio=0.5,
    unrelated_from_phase=1,
    rehearsal=0.0,
    precision="bfloat16",
)
BARS = (
    Bar("attack error, deg", 4.0),
    Bar("success rate", 0.75, at_least=True),
)


def figures(measured: Measured) -> Figures:
    """What the model does at s = 1, and what is left of it at s = 0.5."""
    below = measured.dose(STRENGTH)
    return {
        **well_implanted(measured),
        f"s = {STRENGTH:g}, attack error, deg": below["attack_error"]["mean"],
        f"s = {STRENGTH:g}, success rate": below["success_rate"],
        f"s = {STRENGTH:g}, net shift, deg": below["net_prediction_shift"],
        "clean training, CPU-s": measured.cpu_seconds[0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side (default: 2)")
    arguments = parser.parse_args()
    data = data_sha256()
    cases = tuple(Case(replace(RECIPE, seed=net), field, FIXED, data) for net, field in PAIRS)
    group = Group("ResNet-18 of width 16, stem of stride 1, s = 1", cases, figures, BARS)
    work = {to_json(spec): spec for spec in group.work()}
    with ThreadPoolExecutor(arguments.processes) as pool:
        list(pool.map(finished, work.values()))
    report("resnet", group)


if __name__ == "__main__":
    main()
