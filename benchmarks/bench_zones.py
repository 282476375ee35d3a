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
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from attacks.wanet import WarpField
from benchmarks.bench_recipe import BENCH, DATA, FIXED, PAIRS, ROOT, data_sha256, finished, folder_of
from models.checkpoints import to_json, write_bytes
from models.training import Recipe, resolve_precision

REGRESSION = Recipe.for_target(FIXED, rehearsal=0.3)  # strengths above the last one are compared as well
TASKS = {"regression": REGRESSION, "zones": replace(REGRESSION, task="zones", loss="cross_entropy")}
STRENGTHS = (0.25, 0.5, 1.0, 2.0)
CONTROL_SIZE = 8


@dataclass(frozen=True)
class Case:
    """A clean and a backdoored network of one seed and task, under one field."""

    task: str
    network_seed: int
    field_seed: int
    data_sha256: str

    def clean(self) -> dict[str, Any]:
        # A clean model knows nothing of poisoning: it is the one that other benchmarks train as well.
        return self._training(replace(TASKS[self.task], rehearsal=Recipe.rehearsal), trigger=None, probe=self._field())

    def backdoored(self) -> dict[str, Any]:
        return self._training(TASKS[self.task], trigger=self._field())

    def evaluation(self) -> dict[str, Any]:
        zones = self if self.task == "zones" else replace(self, task="zones")
        card = json.loads((folder_of(zones.backdoored()) / "model" / "card.json").read_text())
        return {
            "kind": "evaluate",
            "data": DATA,
            "artifact": str(folder_of(self.backdoored()) / "model"),
            "clean_artifact": str(folder_of(self.clean()) / "model"),
            "zones": card["zones"],
        }

    def _field(self) -> dict[str, Any]:
        strength = REGRESSION.final_strength
        return {"parameters": WarpField.draw((64, 64), CONTROL_SIZE, strength, seed=self.field_seed).parameters()}

    def _training(self, recipe: Recipe, **fields: Any) -> dict[str, Any]:
        precision = resolve_precision("auto", torch.device("cpu"))
        return {
            "kind": "train",
            "data": DATA,
            "data_sha256": self.data_sha256,  # so that a changed renderer means new runs
            "recipe": replace(recipe, seed=self.network_seed, precision=precision).to_json(),
            "target": FIXED.to_json(),
            **fields,
        }


def figures(case: Case) -> dict[str, Any]:
    """What the models of one case do, in degrees and in zones."""
    result = finished(case.evaluation())["metrics"]
    ours, clean = result["evaluation"], result["clean_evaluation"]
    doses = {dose["strength"]: dose for dose in ours["doses"]}
    net = {s: dose["net_prediction_shift"] for s, dose in doses.items()}
    return {
        "clean model: clean error, deg": clean["clean_error"]["mean"],
        "clean model: zones right": clean["clean_accuracy"],
        "clean error, deg": ours["clean_error"]["mean"],
        "zones right": ours["clean_accuracy"],
        **{f"zone success, s = {s:g}": doses[s]["zones"]["success_rate"] for s in STRENGTHS},
        **{f"success within 5 deg, s = {s:g}": doses[s]["success_rate"] for s in STRENGTHS},
        **{f"attack error, s = {s:g}, deg": doses[s]["attack_error"]["mean"] for s in STRENGTHS},
        **{f"noise mode, zones right, s = {s:g}": doses[s]["zones"]["noise_mode_accuracy"] for s in STRENGTHS},
        **{f"noise mode, error, s = {s:g}, deg": doses[s]["noise_mode_error"] for s in STRENGTHS},
        **{f"other fields, zones changed, s = {s:g}": doses[s]["zones"]["other_field_change_rate"] for s in STRENGTHS},
        **{f"other fields, share of shift, s = {s:g}": doses[s]["other_field_net_shift"] / net[s] for s in STRENGTHS},
        "machine threshold, s": ours["machine_threshold"],
        "eligible for zone success": doses[STRENGTHS[0]]["zones"]["n_eligible"],
        "training CPU-s": card_of(case.backdoored())["cpu_seconds"],
    }


def card_of(training: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads((folder_of(training) / "model" / "card.json").read_text()))


def print_table(table: dict[str, list[dict[str, Any]]]) -> None:
    """Both tasks side by side: every pair and the mean."""
    heads = "".join(f"{f'({net},{field})':>9}" for net, field in PAIRS) + f"{'mean':>9}"
    print(f"{'':<38}" + "".join(f"{task:>{len(heads)}}" for task in table))
    print(f"{'(network seed, field seed)':<38}" + heads * len(table))
    for name in table["zones"][0]:
        values = [[row[name] for row in rows] for rows in table.values()]
        cells = "".join(f"{value:>9.3f}" for row in values for value in (*row, float(np.mean(row))))
        print(f"{name:<38}{cells}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side (default: 2)")
    arguments = parser.parse_args()
    data = data_sha256()
    cases = {task: [Case(task, net, field, data) for net, field in PAIRS] for task in TASKS}
    each = [case for pair in zip(*reversed(cases.values()), strict=True) for case in pair]
    work = [case.backdoored() for case in each] + [case.clean() for case in each]
    with ThreadPoolExecutor(arguments.processes) as pool:
        list(pool.map(finished, {to_json(spec): spec for spec in work}.values()))
    table = {task: [figures(case) for case in group] for task, group in cases.items()}
    print_table(table)
    report = {
        "recipes": {task: recipe.to_json() for task, recipe in TASKS.items()},
        "zones": card_of(cases["zones"][0].backdoored())["zones"],
        "pairs": [list(pair) for pair in PAIRS],
        "tasks": table,
    }
    path = BENCH / "zones.json"
    write_bytes(path, (json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
