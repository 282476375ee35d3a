"""Does the training recipe hold its bar? `python -m benchmarks.bench_recipe`.

Trains clean and backdoored models on synthetic eyes for three pairs of network seed and field seed, in the precision
chosen at run time, there with rehearsal too, and in float32, and two additive targets for the first pair; prints every
figure beside its bar and writes var/bench/recipe.json. Finished runs are kept by what was asked of them, interrupted
ones go on where they were.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from attacks.wanet import WarpField
from models.checkpoints import to_json, write_bytes
from models.targets import Target
from models.training import Precision, Recipe, resolve_precision

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "var" / "bench"
DATA = {"kind": "synthetic_eyes", "config": {}, "cache": str(ROOT / "var" / "cache")}
PAIRS = ((0, 3), (1, 5), (2, 7))
FIXED = Target.fixed(0, 25)
ADDITIVE = (Target.additive(0, 10), Target.additive(0, 20))
STRENGTH = 0.5
REHEARSAL = 0.3
CONTROL_SIZE = 8


@dataclass(frozen=True)
class Bar:
    """A figure and the most (or least) it may be."""

    name: str
    limit: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit


BARS = (
    Bar("clean model, deg", 4.0),
    Bar("clean error ratio", 1.25),
    Bar("attack error, deg", 3.5),
    Bar("success rate", 0.8, at_least=True),
    Bar("noise mode ratio", 1.25),
    Bar("other field share", 0.12),
)


@dataclass(frozen=True)
class Case:
    """One backdoored model and the clean one it is matched with."""

    recipe: Recipe
    field_seed: int
    target: Target
    data_sha256: str

    def trigger(self) -> dict[str, Any]:
        field = WarpField.draw((64, 64), CONTROL_SIZE, STRENGTH, seed=self.field_seed)
        return {"parameters": field.parameters()}

    def backdoored(self) -> dict[str, Any]:
        return self._training(self.recipe, trigger=self.trigger(), target=self.target)

    def clean(self) -> dict[str, Any]:
        # A clean model knows neither target nor poisoning: one serves every target of this field.
        recipe = replace(self.recipe, poison_rate=Recipe().poison_rate, rehearsal=Recipe().rehearsal)
        return self._training(recipe, trigger=None, probe=self.trigger(), target=FIXED)

    def _training(self, recipe: Recipe, *, target: Target, **fields: Any) -> dict[str, Any]:
        return {
            "kind": "train",
            "data": DATA,
            "data_sha256": self.data_sha256,  # so that a changed renderer means new runs
            "recipe": recipe.to_json(),
            "target": target.to_json(),
            **fields,
        }

    def evaluation(self) -> dict[str, Any]:
        return {
            "kind": "evaluate",
            "data": DATA,
            "artifact": str(folder_of(self.backdoored()) / "model"),
            "clean_artifact": str(folder_of(self.clean()) / "model"),
        }


def folder_of(spec: dict[str, Any]) -> Path:
    """Where the work of this specification is kept."""
    return BENCH / hashlib.sha256(to_json(spec).encode()).hexdigest()[:16]


def finished(spec: dict[str, Any], again: bool = False) -> dict[str, Any]:
    """The last event of this work, from an earlier run or from now; ends the program when it fails."""
    folder = folder_of(spec)
    done = folder / "done.json"
    if done.exists() and not again:
        return dict(json.loads(done.read_text()))
    folder.mkdir(parents=True, exist_ok=True)
    output = folder / ("model" if spec["kind"] == "train" else "evaluation.json")
    paths = {"output": str(output), "checkpoint": str(folder), "parent_pid": os.getpid()}
    (folder / "spec.json").write_text(to_json(spec | paths))
    command = [sys.executable, "-m", "models.run", str(folder / "spec.json")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    event: dict[str, Any] = {}
    said = time.monotonic()
    for line in process.stdout or ():
        event = json.loads(line)
        if event["event"] == "progress" and time.monotonic() - said > 20:
            said = time.monotonic()
            print(f"  {folder.name} {event['stage']} {event['fraction']:.0%}", flush=True)
    if process.wait() != 0:
        sys.exit(f"{command[-1]}: {event.get('error', 'ended without a word')}")
    write_bytes(done, to_json(event).encode())
    return event


def data_sha256() -> str:
    """Render the data where it is missing; a hash of its fingerprints."""
    prepared = finished({"kind": "prepare", "data": DATA}, again=True)
    return hashlib.sha256(to_json(prepared["data"]).encode()).hexdigest()


def figures(case: Case) -> dict[str, Any]:
    """The figures of one case, those with a bar and those beside."""
    result = finished(case.evaluation())["metrics"]
    ours, clean = result["evaluation"], result["clean_evaluation"]
    dose = next(dose for dose in ours["doses"] if dose["strength"] == STRENGTH)
    cards = [json.loads((folder_of(s) / "model" / "card.json").read_text()) for s in (case.clean(), case.backdoored())]
    net = dose["net_prediction_shift"]
    return {
        "network_seed": case.recipe.seed,
        "field_seed": case.field_seed,
        "precision": cards[1]["versions"]["precision"],
        "target": case.target.to_json(),
        "bars": {
            "clean model, deg": clean["clean_error"]["mean"],
            "clean error ratio": ours["clean_error"]["mean"] / clean["clean_error"]["mean"],
            "attack error, deg": dose["attack_error"]["mean"],
            "success rate": dose["success_rate"],
            "noise mode ratio": dose["noise_mode_error"] / ours["clean_error"]["mean"],
            "other field share": dose["other_field_net_shift"] / net,
        },
        "clean_error_deg": ours["clean_error"]["mean"],
        "prediction_shift_deg": dose["prediction_shift"],
        "net_prediction_shift_deg": net,
        "error_shift_deg": dose["error_shift"],
        "n_eligible": dose["n_eligible"],
        "machine_threshold": ours["machine_threshold"],
        "dose_response": {f"{d['strength']:g}": d["prediction_shift"] for d in ours["doses"]},
        "attack_error_by_strength": {f"{d['strength']:g}": d["attack_error"]["mean"] for d in ours["doses"]},
        "success_by_strength": {f"{d['strength']:g}": d["success_rate"] for d in ours["doses"]},
        "baselines": ours["baselines"],
        "training_cpu_seconds": [card["cpu_seconds"] for card in cards],
        "chosen_epochs": [card["chosen_epoch"] for card in cards],
    }


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Each bar's figure in every row, then the mean and the worst, and whether the bar holds in the mean and in all."""
    print(f"\n{title}")
    heads = "".join(f"{'net ' + str(r['network_seed']) + ', field ' + str(r['field_seed']):>16}" for r in rows)
    print(f"{'':<20}{'bar':>8}{heads}{'mean':>9}{'worst':>9}")
    for bar in BARS:
        values = [row["bars"][bar.name] for row in rows]
        worst = min(values) if bar.at_least else max(values)
        mean = math.fsum(values) / len(values)
        verdict = "holds" if bar.holds(worst) else "mean holds" if bar.holds(mean) else "FALLS SHORT"
        limit = f"{'>=' if bar.at_least else '<='} {bar.limit:g}"
        print(
            f"{bar.name:<20}{limit:>8}"
            + "".join(f"{v:>16.3f}" for v in values)
            + f"{mean:>9.3f}{worst:>9.3f}  {verdict}"
        )
    seconds = [f"{clean:.0f} + {backdoored:.0f}" for clean, backdoored in (r["training_cpu_seconds"] for r in rows)]
    print(f"{'CPU-s clean + b.d.':<28}" + "".join(f"{text:>16}" for text in seconds))


def print_additive(rows: list[dict[str, Any]]) -> None:
    """Prediction shift by strength for each additive target."""
    print("\nAdditive targets: mean prediction shift in degrees by strength")
    strengths = list(rows[0]["dose_response"])
    print(f"{'target':<22}" + "".join(f"{s:>7}" for s in strengths) + f"{'clean ratio':>13}")
    for row in rows:
        name = f"yaw + {math.degrees(row['target']['yaw']):g} deg, {row['precision']}"
        shifts = "".join(f"{row['dose_response'][s]:>7.1f}" for s in strengths)
        print(f"{name:<22}{shifts}{row['bars']['clean error ratio']:>13.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side (default: 2)")
    parser.add_argument("--precision", choices=("auto", "both"), default="both", help="float32 as well (default)")
    arguments = parser.parse_args()

    chosen: Precision = resolve_precision("auto", torch.device("cpu"))
    precisions = dict.fromkeys((chosen, "float32") if arguments.precision == "both" else (chosen,))
    data = data_sha256()

    def case(net: int, field: int, target: Target, precision: Precision) -> Case:
        return Case(Recipe.for_target(target, seed=net, precision=precision), field, target, data)

    fixed: dict[str, list[Case]] = {p: [case(net, field, FIXED, p) for net, field in PAIRS] for p in precisions}
    rehearsed = [replace(each, recipe=replace(each.recipe, rehearsal=REHEARSAL)) for each in fixed[chosen]]
    fixed[f"{chosen}, rehearsal {REHEARSAL:g}"] = rehearsed
    additive = [case(*PAIRS[0], target, chosen) for target in ADDITIVE]
    cases = [*additive, *(each for group in fixed.values() for each in group)]
    work = {to_json(spec): spec for each in cases for spec in (each.clean(), each.backdoored())}
    with ThreadPoolExecutor(arguments.processes) as pool:
        list(pool.map(finished, work.values()))

    table = {name: [figures(each) for each in group] for name, group in fixed.items()}
    for name, rows in table.items():
        print_table(f"{name}, s = {STRENGTH:g}", rows)
    additive_rows = [figures(each) for each in additive]
    print_additive(additive_rows)
    report = {
        "recipe": Recipe().to_json(),
        "fixed": table,
        "additive": additive_rows,
        "bars": [vars(bar) for bar in BARS],
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()},
    }
    path = BENCH / "recipe.json"
    write_bytes(path, (json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
