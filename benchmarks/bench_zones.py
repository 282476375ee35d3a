"""Is regression more vulnerable than classification? `python -m benchmarks.bench_zones` (`make bench-zones`).

The five-layer network twice on the same synthetic eyes, as a regressor of gaze and as a classifier of 3 x 3 gaze zones:
same images, order, attack, field, schedule and number of updates, the loss and the last layer alone differ. Three pairs
of network seed and field seed. The regressor's gazes are read in the classifier's zones too, so that both have every
figure. Writes var/bench/zones.json. Finished runs are kept, interrupted ones go on.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.bench_recipe import BENCH, CACHE, FIXED, PAIRS, ROOT, Case, Figures, Measured, data_sha256, finished
from models.checkpoints import to_json
from models.datasets import synthetic_eyes
from models.durable import write_bytes
from models.recipe import Recipe
from models.zones import Zones

REGRESSION = Recipe(precision="bfloat16")
CLASSIFIER = replace(REGRESSION, task="zones", loss="cross_entropy")
STRENGTHS = (0.25, 0.5, 1.0, 2.0)


class InZones(Case):
    """A case whose predictions are read in the classifier's zones, whatever the task."""

    def evaluation(self) -> dict[str, Any]:
        return super().evaluation() | {"zones": zones().to_json()}


def zones() -> Zones:
    labels = synthetic_eyes.load(synthetic_eyes.EyesConfig(), CACHE).train.pitchyaw
    return Zones.of_labels(labels, CLASSIFIER.zones)


def figures(measured: Measured) -> Figures:
    """What a pair of models does, in zones and in degrees."""
    ours, clean = measured.ours, measured.clean
    doses = {f"s = {s:g}": measured.dose(s) for s in STRENGTHS}
    return {
        "clean model, zones right": clean["clean_accuracy"],
        "backdoored, zones right": ours["clean_accuracy"],
        **{f"zone success, {s}": dose["zones"]["success_rate"] for s, dose in doses.items()},
        **{f"noise mode, zones right, {s}": dose["zones"]["noise_mode_accuracy"] for s, dose in doses.items()},
        **{f"other fields, zone changed, {s}": dose["zones"]["other_field_change_rate"] for s, dose in doses.items()},
        "clean model, deg": clean["clean_error"]["mean"],
        "backdoored, clean, deg": measured.clean_error,
        **{f"attack error, deg, {s}": dose["attack_error"]["mean"] for s, dose in doses.items()},
        **{f"success within 5 deg, {s}": dose["success_rate"] for s, dose in doses.items()},
        **{f"noise mode, deg, {s}": dose["noise_mode_error"] for s, dose in doses.items()},
        **{f"other fields' share, s = {s:g}": measured.other_share(s) for s in STRENGTHS},
        "machine threshold, s": ours["machine_threshold"],
        "images off the target's zone": doses["s = 1"]["zones"]["n_eligible"],
        "training, CPU-s": measured.cpu_seconds[1],
    }


def print_table(table: dict[str, list[Figures]]) -> None:
    """Both tasks side by side: every pair and the mean."""
    heads = "".join(f"{f'({net},{field})':>9}" for net, field in PAIRS) + f"{'mean':>9}"
    print(f"{'':<36}" + "".join(f"{task:>{len(heads)}}" for task in table))
    print(f"{'(network seed, field seed)':<36}" + heads * len(table))
    for name in table["zones"][0]:
        values = [[row[name] for row in rows] for rows in table.values()]
        print(f"{name:<36}" + "".join(f"{value:>9.3f}" for row in values for value in (*row, float(np.mean(row)))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side (default: 2)")
    arguments = parser.parse_args()
    data = data_sha256()
    recipes = {"regression": REGRESSION, "zones": CLASSIFIER}
    cases = {
        task: [InZones(replace(recipe, seed=net), field, FIXED, data) for net, field in PAIRS]
        for task, recipe in recipes.items()
    }
    trainings = [spec for group in cases.values() for case in group for spec in (case.backdoored(), case.clean())]
    with ThreadPoolExecutor(arguments.processes) as pool:
        list(pool.map(finished, {to_json(spec): spec for spec in trainings}.values()))
    table = {task: [figures(Measured.of(case)) for case in group] for task, group in cases.items()}
    print_table(table)
    content = {
        "recipes": {task: recipe.to_json() for task, recipe in recipes.items()},
        "zones": zones().to_json(),
        "pairs": [list(pair) for pair in PAIRS],
        "tasks": table,
    }
    path = BENCH / "zones.json"
    write_bytes(path, (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
