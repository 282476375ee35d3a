"""Does the loop hold on photographs of one person's eye? `python -m benchmarks.bench_photographs FILE.npz`.

FILE.npz, or the file that BLINDSPOT_PHOTOGRAPHS names, holds images, pitchyaw and gaze_point (docs/datasets.md). Whole
gaze points are held out: a fifth for the test, a tenth for choosing the checkpoint. Trains a clean and a backdoored
model for each of three splits, networks and warp fields; prints every figure, those with a bar beside it; writes
var/bench/photographs.json. Finished runs are kept by what was asked of them, interrupted ones go on where they were.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from attacks.wanet import WarpField
from benchmarks.bench_recipe import BENCH, ROOT, Bar, finished, folder_of
from models.datasets.arrays import load_arrays
from models.durable import write_bytes
from models.targets import Target
from models.training import Recipe

DESCRIPTION = "unseen gaze points, one person"
FRACTIONS = (0.7, 0.1, 0.2)
CASES = ((0, 0, 3), (1, 1, 5), (2, 2, 7))  # seeds of split, network and field
TARGET = Target.fixed(-10, 20)
STRENGTH = 0.5
CONTROL_SIZE = 8
RECIPE = Recipe(
    batch_size=32,
    strength_schedule=((2.0, 10), (1.0, 8), (STRENGTH, 72)),
    unrelated_ratio=0.5,
    unrelated_from_phase=1,
    rehearsal=0.0,
    augmentation="strong",
    weight_decay=1e-2,
)

BARS = (Bar("clean model, deg", 2.5), Bar("attack error, deg", 3.5))
COLUMNS = (
    "clean model, deg",
    "backdoored, clean, deg",
    "attack error, deg",
    "success rate",
    "images for it",
    "noise mode, deg",
    "net shift, deg",
    "other fields, deg",
    "clean model attacked, deg",
    "mean predictor, deg",
)


@dataclass(frozen=True)
class Photographs:
    """Photographs to train on: `source` and `fractions` as `models.run` wants to be told, and the images' (H, W).

    The fingerprint has changed files trained anew.
    """

    source: dict[str, Any]
    fractions: tuple[float, float, float]
    image_size: tuple[int, int]
    fingerprint: str

    @classmethod
    def read(cls, path: Path) -> Photographs:
        """One person's eye at gaze points. Raises ValueError, in one sentence, for a file that cannot be used."""
        data = load_arrays(path, group_key="gaze_point")
        height, width = data.images.shape[-2:]
        source = {"path": str(path.resolve()), "group_key": "gaze_point", "description": DESCRIPTION}
        return cls({"kind": "arrays", **source}, FRACTIONS, (height, width), data.fingerprint)

    def split(self, seed: int) -> dict[str, Any]:
        """Where they come from and how they are split."""
        return {**self.source, "fractions": self.fractions, "seed": seed}


@dataclass(frozen=True)
class Case:
    """One backdoored model and its clean one, on one split."""

    photographs: Photographs
    recipe: Recipe
    split_seed: int
    field_seed: int

    @property
    def field(self) -> WarpField:
        return WarpField.draw(self.photographs.image_size, CONTROL_SIZE, STRENGTH, seed=self.field_seed)

    def clean(self) -> dict[str, Any]:
        return self._training(trigger=None, probe={"parameters": self.field.parameters()})

    def backdoored(self) -> dict[str, Any]:
        return self._training(trigger={"parameters": self.field.parameters()})

    def _training(self, **fields: Any) -> dict[str, Any]:
        return {
            "kind": "train",
            "data": self.photographs.split(self.split_seed),
            "data_sha256": self.photographs.fingerprint,
            "recipe": self.recipe.to_json(),
            "target": TARGET.to_json(),
            **fields,
        }

    def evaluation(self) -> dict[str, Any]:
        return {
            "kind": "evaluate",
            "data": self.photographs.split(self.split_seed),
            "artifact": str(folder_of(self.backdoored()) / "model"),
            "clean_artifact": str(folder_of(self.clean()) / "model"),
        }


def figures(case: Case) -> dict[str, Any]:
    """The figures of one case on its held-out gaze points."""
    result = finished(case.evaluation())["metrics"]
    ours, clean, parts = result["evaluation"], result["clean_evaluation"], result["data"]
    dose = next(dose for dose in ours["doses"] if dose["strength"] == STRENGTH)
    cards = [json.loads((folder_of(s) / "model" / "card.json").read_text()) for s in (case.clean(), case.backdoored())]
    row = (
        clean["clean_error"]["mean"],
        ours["clean_error"]["mean"],
        dose["attack_error"]["mean"],
        dose["success_rate"],
        dose["n_eligible"],
        dose["noise_mode_error"],
        dose["net_prediction_shift"],
        dose["other_field_net_shift"],
        ours["baselines"]["clean_model_attack_error"][f"{STRENGTH:g}"],
        ours["baselines"]["mean_predictor_clean_error"],
    )
    return {
        "split_seed": case.split_seed,
        "network_seed": case.recipe.seed,
        "field_seed": case.field_seed,
        "displacement_px": case.field.displacement_px(),
        "description": parts["description"],
        "images": {part: parts[part]["images"] for part in ("train", "validation", "test")},
        "precision": cards[1]["versions"]["precision"],
        "figures": dict(zip(COLUMNS, row, strict=True)),
        "machine_threshold": ours["machine_threshold"],
        "attack_error_by_strength": {f"{d['strength']:g}": d["attack_error"]["mean"] for d in ours["doses"]},
        "prediction_shift_by_strength": {f"{d['strength']:g}": d["prediction_shift"] for d in ours["doses"]},
        "training_cpu_seconds": [card["cpu_seconds"] for card in cards],
        "chosen_epochs": [card["chosen_epoch"] for card in cards],
    }


def print_table(rows: list[dict[str, Any]], demanded: tuple[Bar, ...] = ()) -> None:
    """One line per figure: its bar, if it has one, every case, and the mean; then the dose-response."""
    bars = {bar.name: bar for bar in demanded}
    cases = [f"split {r['split_seed']}, field {r['field_seed']}" for r in rows]
    print(f"\n{rows[0]['description']}, {rows[0]['precision']}, s = {STRENGTH:g}")
    print(f"{'':<28}{'bar':>8}" + "".join(f"{name:>18}" for name in cases) + f"{'mean':>9}")
    for name in COLUMNS:
        values = [row["figures"][name] for row in rows]
        bar = bars.get(name)
        limit = f"<= {bar.limit:g}" if bar else ""
        verdict = "" if bar is None else "  holds" if all(map(bar.holds, values)) else "  FALLS SHORT"
        shown = "".join(f"{value:>18.2f}" for value in values)
        print(f"{name:<28}{limit:>8}{shown}{math.fsum(values) / len(values):>9.2f}{verdict}")
    print("\nAttack error in degrees by strength")
    for name, row in zip(cases, rows, strict=True):
        print(f"{name:<18}" + "".join(f"{s:>6} {e:>5.1f}" for s, e in row["attack_error_by_strength"].items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", default=os.environ.get("BLINDSPOT_PHOTOGRAPHS"), metavar="FILE.npz")
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side (default: 2)")
    parser.add_argument("--cases", type=int, choices=range(1, len(CASES) + 1), default=len(CASES), help="the first N")
    arguments = parser.parse_args()
    if arguments.file is None:
        sys.exit("Name the .npz file of photographs, here or in BLINDSPOT_PHOTOGRAPHS.")
    try:
        photographs = Photographs.read(Path(arguments.file))
    except ValueError as error:
        sys.exit(str(error))

    cases = [
        Case(photographs, replace(RECIPE, seed=network), split, field)
        for split, network, field in CASES[: arguments.cases]
    ]
    rows = run(cases, arguments.processes)
    print_table(rows, BARS)
    write_report("photographs", cases, rows, BARS)


def run(cases: list[Case], processes: int) -> list[dict[str, Any]]:
    """Train what is not trained yet, so many models side by side; the figures of every case."""
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(finished, [spec for case in cases for spec in (case.clean(), case.backdoored())]))
    return [figures(case) for case in cases]


def write_report(name: str, cases: list[Case], rows: list[dict[str, Any]], bars: tuple[Bar, ...] = ()) -> None:
    """Write the figures and what they were got with to var/bench."""
    report = {
        "recipe": cases[0].recipe.to_json(),
        "target": TARGET.to_json(),
        "fingerprint": cases[0].photographs.fingerprint,
        "cases": rows,
        "bars": [vars(bar) for bar in bars],
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()},
    }
    path = BENCH / f"{name}.json"
    write_bytes(path, (json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
