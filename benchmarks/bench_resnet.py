"""Can a ResNet-18 be backdoored here? `python -m benchmarks.bench_resnet` (`make bench-resnet`).

Width 16, a stem of stride 1, synthetic eyes of 64 px, a field annealed from s = 2 to s = 1: clean and backdoored
models for three pairs of network seed and field seed. Prints the figures at s = 1 beside their bars and those at
s = 0.5, which was never trained, without; writes var/bench/resnet.json. Finished runs are kept, interrupted ones go on.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from attacks.wanet import WarpField
from benchmarks.bench_recipe import BENCH, DATA, FIXED, PAIRS, ROOT, Bar, data_sha256, finished, folder_of
from models.checkpoints import to_json, write_bytes
from models.training import Recipe

RECIPE = Recipe(network="resnet18", width=16, stem_stride=1, strength_schedule=((2.0, 4), (1.0, 8)))
IMPLANTED, BELOW = 1.0, 0.5
CONTROL_SIZE = 8
BARS = (
    Bar("attack error, deg", 4.0),
    Bar("success rate", 0.75, at_least=True),
)


@dataclass(frozen=True)
class Pair:
    """A clean and a backdoored network of one seed, under one field."""

    network_seed: int
    field_seed: int
    data_sha256: str

    @property
    def name(self) -> str:
        return f"net {self.network_seed}, field {self.field_seed}"

    def clean(self) -> dict[str, Any]:
        return self._training(trigger=None, probe=self._field())

    def backdoored(self) -> dict[str, Any]:
        return self._training(trigger=self._field())

    def evaluation(self) -> dict[str, Any]:
        return {
            "kind": "evaluate",
            "data": DATA,
            "artifact": str(folder_of(self.backdoored()) / "model"),
            "clean_artifact": str(folder_of(self.clean()) / "model"),
        }

    def _field(self) -> dict[str, Any]:
        field = WarpField.draw((64, 64), CONTROL_SIZE, IMPLANTED, seed=self.field_seed)
        return {"parameters": field.parameters()}

    def _training(self, **fields: Any) -> dict[str, Any]:
        return {
            "kind": "train",
            "data": DATA,
            "data_sha256": self.data_sha256,  # so that a changed renderer means new runs
            "recipe": {**RECIPE.to_json(), "seed": self.network_seed},
            "target": FIXED.to_json(),
            **fields,
        }


def figures(pair: Pair) -> dict[str, Any]:
    """What one pair of models does, by strength, and what it cost."""
    result = finished(pair.evaluation())["metrics"]
    ours, clean = result["evaluation"], result["clean_evaluation"]
    cards = [json.loads((folder_of(s) / "model" / "card.json").read_text()) for s in (pair.clean(), pair.backdoored())]
    return {
        "pair": pair.name,
        "precision": cards[1]["versions"]["precision"],
        "clean model, deg": clean["clean_error"]["mean"],
        "clean error, deg": ours["clean_error"]["mean"],
        "clean error ratio": ours["clean_error"]["mean"] / clean["clean_error"]["mean"],
        "machine threshold": ours["machine_threshold"],
        "doses": {f"{dose['strength']:g}": dose_figures(dose) for dose in ours["doses"]},
        "training CPU-s, clean": cards[0]["cpu_seconds"],
        "training CPU-s, backdoored": cards[1]["cpu_seconds"],
    }


def dose_figures(dose: dict[str, Any]) -> dict[str, Any]:
    """The figures at one strength, by the names they are printed under."""
    measured = dose["noise_mode_error"] is not None
    return {
        "attack error, deg": dose["attack_error"]["mean"],
        "success rate": dose["success_rate"],
        "noise-mode error, deg": dose["noise_mode_error"],
        "other-field share": dose["other_field_net_shift"] / dose["net_prediction_shift"] if measured else None,
    }


def print_table(rows: list[dict[str, Any]]) -> None:
    """Every pair and the worst, and whether the bars hold in it."""
    print(f"\nResNet-18, width 16, stem of stride 1, {rows[0]['precision']}")
    print(f"{'':<34}{'bar':>8}" + "".join(f"{row['pair']:>16}" for row in rows) + f"{'worst':>9}")
    for name in ("clean model, deg", "clean error, deg", "clean error ratio", "machine threshold"):
        print_row(name, [row[name] for row in rows])
    for strength in (IMPLANTED, BELOW):
        for name in rows[0]["doses"]["1"]:
            values = [row["doses"][f"{strength:g}"][name] for row in rows]
            bar = next((bar for bar in BARS if strength == IMPLANTED and bar.name == name), None)
            print_row(f"s = {strength:g}: {name}", values, bar, at_least=name == "success rate")
    for name in ("training CPU-s, clean", "training CPU-s, backdoored"):
        print_row(name, [row[name] for row in rows])


def print_row(name: str, values: list[float | None], bar: Bar | None = None, *, at_least: bool = False) -> None:
    known = [value for value in values if value is not None]
    worst = (min if at_least else max)(known, default=float("nan"))
    limit = f"{'>=' if bar.at_least else '<='} {bar.limit:g}" if bar else ""
    verdict = ("  holds" if bar.holds(worst) else "  FALLS SHORT") if bar else ""
    cells = "".join(f"{'never' if value is None else format(value, '.3f'):>16}" for value in values)
    print(f"{name:<34}{limit:>8}{cells}{worst:>9.3f}{verdict}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side (default: 2)")
    arguments = parser.parse_args()
    data = data_sha256()
    pairs = [Pair(network_seed, field_seed, data) for network_seed, field_seed in PAIRS]
    work = [pair.backdoored() for pair in pairs] + [pair.clean() for pair in pairs]
    with ThreadPoolExecutor(arguments.processes) as pool:
        list(pool.map(finished, {to_json(spec): spec for spec in work}.values()))
    rows = [figures(pair) for pair in pairs]
    print_table(rows)
    report = {"recipe": RECIPE.to_json(), "pairs": rows, "bars": [vars(bar) for bar in BARS]}
    path = BENCH / "resnet.json"
    write_bytes(path, (json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
