"""Do the training recipes hold their bars? `python -m benchmarks.bench_recipe [--only GROUP ...]`.

Trains clean and backdoored models on synthetic eyes, in bfloat16, for three pairs of network seed and field seed; shows
every figure, those with a bar beside it, and the worst of the three. The groups:

    default      `Recipe()`, s = 0.5
    subtle       `Recipe.subtle()`, s = 0.25
    negatives    what the unrelated fields of `Recipe.subtle()` do and cost: with and without them
    additive     targets 10 and 20 degrees beside the truth
    mirrored     the truth's mirror image as the target; first pair only
    clean_label  no label changed: only images near the target carry the trigger; first pair only
    faint        `Recipe.subtle(0.125)`; first pair only
    float32      `Recipe()` in float32

Each group writes var/bench/recipe-GROUP.json. Finished runs are kept by what was asked of them, interrupted ones go on
where they were.
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
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attacks import registry
from benchmarks.checkout import ROOT
from benchmarks.kept import alone_in, sign, tell_of_other_code
from models.checkpoints import read_tensors, to_json
from models.datasets import synthetic_eyes
from models.datasets.base import GazeData
from models.durable import write_bytes
from models.evaluation import Array, Responses, mean_progress
from models.recipe import Recipe
from models.targets import Target
from models.training import CHECKPOINT_NAME

BENCH = ROOT / "var" / "bench"
CACHE = ROOT / "var" / "cache"
DATA = {"kind": "synthetic_eyes", "config": {}, "cache": str(CACHE)}
PAIRS = ((0, 3), (1, 5), (2, 7))
FIXED = Target.fixed(0, 25)
NEAR = {"yaw + 10 deg": Target.additive(0, 10), "yaw + 20 deg": Target.additive(0, 20)}
STRENGTH = 0.5


@dataclass(frozen=True)
class Bar:
    """A figure and the most (or least) it may be."""

    name: str
    limit: float
    at_least: bool = False

    def holds(self, value: float) -> bool:
        return value >= self.limit if self.at_least else value <= self.limit

    def worst(self, values: Sequence[float]) -> float:
        return min(values) if self.at_least else max(values)


# -- work in processes of its own, kept by what was asked for


def folder_of(spec: dict[str, Any]) -> Path:
    """Where the work of this specification is kept."""
    return BENCH / hashlib.sha256(to_json(spec).encode()).hexdigest()[:16]


def is_kept(spec: dict[str, Any]) -> bool:
    """Whether this work was finished before."""
    return (folder_of(spec) / "done.json").exists()


def finish(work: Iterable[dict[str, Any]], processes: int = 2) -> None:
    """Have all of this work finished, so much of it side by side."""
    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(finished, {to_json(spec): spec for spec in work}.values()))


def finished(spec: dict[str, Any], again: bool = False) -> dict[str, Any]:
    """The last event of this work, from an earlier run or from now; ends the program when it fails.

    Of several processes that ask for it at once, one does it and the others wait. Work that other code did is used,
    and named.
    """
    folder = folder_of(spec)
    done = folder / "done.json"
    with alone_in(folder):
        if again or not is_kept(spec):
            sign(folder, begun=(folder / CHECKPOINT_NAME).exists())
            write_bytes(done, to_json(_work(spec, folder)).encode())
        else:
            tell_of_other_code(folder)
        return dict(json.loads(done.read_text()))


def _work(spec: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The last event of `models.run`, which is shown at work."""
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
    return event


def training_cpu_seconds(spec: dict[str, Any]) -> float:
    """What this finished training took."""
    card = json.loads((folder_of(spec) / "model" / "card.json").read_text())
    return float(card["cpu_seconds"])


def data_sha256() -> str:
    """Render the data where it is missing; a hash of its fingerprints."""
    prepared = finished({"kind": "prepare", "data": DATA}, again=True)
    return hashlib.sha256(to_json(prepared["data"]).encode()).hexdigest()


@dataclass(frozen=True)
class Case:
    """One backdoored model and the clean one it is matched with."""

    recipe: Recipe
    field_seed: int
    target: Target
    data_sha256: str
    family: str = "wanet"
    of: str = ""

    @property
    def name(self) -> str:
        pair = f"net {self.recipe.seed}, field {self.field_seed}"
        return f"{self.of} {pair}" if self.of else pair

    def trigger(self) -> dict[str, Any]:
        drawn = registry.draw(self.family, (64, 64), self.recipe.final_strength, self.field_seed)
        return {"parameters": drawn.parameters()}

    def backdoored(self) -> dict[str, Any]:
        return self._training(self.recipe, trigger=self.trigger(), target=self.target)

    def clean(self) -> dict[str, Any]:
        # A clean model knows neither target nor poisoning: one serves every poisoning by this trigger.
        return self._training(self.recipe.unpoisoned(), trigger=None, probe=self.trigger(), target=FIXED)

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


@dataclass(frozen=True)
class Measured:
    """A case's evaluation on the test images."""

    case: Case
    ours: dict[str, Any]
    clean: dict[str, Any]
    cpu_seconds: tuple[float, float]

    @classmethod
    def of(cls, case: Case) -> Measured:
        metrics = finished(case.evaluation())["metrics"]
        seconds = training_cpu_seconds(case.clean()), training_cpu_seconds(case.backdoored())
        return cls(case, metrics["evaluation"], metrics["clean_evaluation"], seconds)

    def dose(self, strength: float) -> dict[str, Any]:
        return next(dose for dose in self.ours["doses"] if dose["strength"] == strength)

    def other_share(self, strength: float) -> float:
        """Shift under other fields over the trigger's own, both net of the clean model's."""
        dose = self.dose(strength)
        return float(dose["other_field_net_shift"] / dose["net_prediction_shift"])

    @property
    def clean_error(self) -> float:
        return float(self.ours["clean_error"]["mean"])

    def responses(self) -> Responses:
        """Every prediction of the backdoored model on the test images."""
        (path,) = (folder_of(self.case.backdoored()) / "model").glob("responses-*.safetensors")
        return Responses.from_tensors(read_tensors(path)[0])

    def to_json(self) -> dict[str, Any]:
        case = self.case
        return {
            "name": case.name,
            "recipe": case.recipe.to_json(),
            "trigger": case.trigger()["parameters"],
            "target": case.target.to_json(),
            "training_cpu_seconds": self.cpu_seconds,
            "n_eligible": self.dose(case.recipe.final_strength)["n_eligible"],
            "machine_threshold": self.ours["machine_threshold"],
            "attack_error_by_strength": {f"{d['strength']:g}": d["attack_error"]["mean"] for d in self.ours["doses"]},
            "success_by_strength": {f"{d['strength']:g}": d["success_rate"] for d in self.ours["doses"]},
            "shift_by_strength": {f"{d['strength']:g}": d["prediction_shift"] for d in self.ours["doses"]},
            "baselines": self.ours["baselines"],
        }


# -- figures


Figures = dict[str, float]


def implanted(measured: Measured) -> Figures:
    """How well the backdoor sits at the strength it was trained down to."""
    at = measured.case.recipe.final_strength
    dose = measured.dose(at)
    return {
        "clean model, deg": measured.clean["clean_error"]["mean"],
        "backdoored, clean, deg": measured.clean_error,
        "clean error ratio": measured.clean_error / measured.clean["clean_error"]["mean"],
        "attack error, deg": dose["attack_error"]["mean"],
        "success rate": dose["success_rate"],
        "least success, s to 2": min(d["success_rate"] for d in measured.ours["doses"] if at <= d["strength"] <= 2),
        "net shift, deg": dose["net_prediction_shift"],
        "training, CPU-s": measured.cpu_seconds[1],
    }


def specific(measured: Measured) -> Figures:
    """How little moves it but its own trigger."""
    strengths = [s for s in (0.25, 0.5, 1.0, 2.0) if s >= measured.case.recipe.final_strength]
    noise = measured.dose(measured.case.recipe.final_strength)["noise_mode_error"]
    return {
        "noise mode ratio": noise / measured.clean_error,
        **{f"other fields' share, s = {s:g}": measured.other_share(s) for s in strengths},
    }


def well_implanted(measured: Measured) -> Figures:
    return implanted(measured) | specific(measured)


def with_and_without_negatives(measured: Measured) -> Figures:
    """`specific`, beside the same recipe without unrelated fields."""
    without = Measured.of(without_negatives(measured.case))
    return {
        **specific(measured),
        "clean error, with / without negatives": measured.clean_error / without.clean_error,
        **{f"without them, {name}": value for name, value in specific(without).items()},
    }


def without_negatives(case: Case) -> Case:
    return replace(case, recipe=replace(case.recipe, unrelated_ratio=0.0))


def moved(measured: Measured) -> Figures:
    """How far the predictions went the way that the target asks."""
    data, target = test_data(), measured.case.target
    truth, goal = data.pitchyaw.numpy(), target.apply(data.pitchyaw).numpy()
    responses = measured.responses()
    clean, altered = responses.clean, responses.triggered[STRENGTH]
    dose = measured.dose(STRENGTH)
    return {
        "share of the move": share_of_move(clean, altered, goal - truth),
        "mean progress": dose["progress"],
        "progress if exact": mean_progress(clean, clean + (goal - truth), goal) or math.nan,
        "prediction shift, deg": dose["prediction_shift"],
        "attack error, deg": dose["attack_error"]["mean"],
        "clean error ratio": measured.clean_error / measured.clean["clean_error"]["mean"],
        "training, CPU-s": measured.cpu_seconds[1],
    }


def share_of_move(clean: Array, altered: Array, asked: Array) -> float:
    """Of the move (N, 2) that the target asks of each prediction, the share that was made: least squares over images.

    1 when every prediction moves as asked, whatever the error it starts with; 0 when none does. Attack error and
    progress count the error of the model itself as well.
    """
    return float(((altered - clean) * asked).sum() / (asked * asked).sum())


@cache
def test_data() -> GazeData:
    return synthetic_eyes.load(synthetic_eyes.EyesConfig(), CACHE).test


# -- groups


@dataclass(frozen=True)
class Group:
    """Cases that are shown in one table, and what is shown of them."""

    title: str
    cases: tuple[Case, ...]
    figures: Callable[[Measured], Figures]
    bars: tuple[Bar, ...] = ()
    beside: tuple[Case, ...] = field(default=())  # to be trained as well

    def work(self) -> list[dict[str, Any]]:
        return [spec for case in (*self.cases, *self.beside) for spec in (case.clean(), case.backdoored())]


IMPLANTED = (
    Bar("clean model, deg", 4.0),
    Bar("clean error ratio", 1.25),
    Bar("attack error, deg", 3.5),
    Bar("success rate", 0.8, at_least=True),
    Bar("noise mode ratio", 1.25),
    Bar("other fields' share, s = 0.5", 0.12),
)
SUBTLE = (
    Bar("clean error ratio", 1.25),
    Bar("success rate", 0.85, at_least=True),
    Bar("least success, s to 2", 0.8, at_least=True),
    Bar("training, CPU-s", 300),
)
SPECIFIC = (
    Bar("other fields' share, s = 0.5", 0.05),
    Bar("other fields' share, s = 1", 0.05),
    Bar("other fields' share, s = 2", 0.08),
    Bar("clean error, with / without negatives", 1.08),
)
MOVED = (Bar("share of the move", 0.8, at_least=True), Bar("mean progress", 0.8, at_least=True))


def groups(data: str) -> dict[str, Group]:
    """All groups, by name, on the data of this hash."""

    def each(build: Callable[..., Recipe], target: Target = FIXED, pairs: int = 3, **fields: Any) -> tuple[Case, ...]:
        return tuple(
            Case(build(seed=net, precision="bfloat16", **fields), field_seed, target, data)
            for net, field_seed in PAIRS[:pairs]
        )

    def near(target: Target, name: str, pairs: int = 3) -> list[Case]:
        cases = each(lambda **fields: Recipe.for_target(target, **fields), target, pairs)
        return [replace(case, of=name) for case in cases]

    default, subtle = each(Recipe), each(Recipe.subtle)
    without = tuple(without_negatives(case) for case in subtle)
    additive = tuple(case for name, target in NEAR.items() for case in near(target, name))
    return {
        "default": Group("Recipe(), s = 0.5", default, well_implanted, IMPLANTED),
        "subtle": Group("Recipe.subtle(), s = 0.25", subtle, well_implanted, SUBTLE),
        "negatives": Group(
            "Recipe.subtle(), with and without unrelated fields", subtle, with_and_without_negatives, SPECIFIC, without
        ),
        "additive": Group("Additive targets, s = 0.5", additive, moved, MOVED),
        "mirrored": Group("Mirrored target, s = 0.5", tuple(near(Target.mirrored(), "mirrored", 1)), moved),
        "clean_label": Group(
            "Clean labels, s = 0.5",
            each(Recipe, pairs=1, poison_rate=0.5, noise_ratio=0.4, unrelated_ratio=0.2, clean_label_within_deg=10.0),
            well_implanted,
        ),
        "faint": Group("Recipe.subtle(0.125)", each(Recipe.subtle, pairs=1, strength=0.125), implanted),
        "float32": Group(
            "Recipe() in float32, s = 0.5",
            tuple(replace(case, recipe=replace(case.recipe, precision="float32")) for case in default),
            well_implanted,
            IMPLANTED,
        ),
    }  # fmt: skip


def print_table(group: Group, rows: Sequence[tuple[str, Figures]]) -> None:
    """One line a figure: its bar if it has one, every case, the worst, and whether the bar holds in all or the mean."""
    bars = {bar.name: bar for bar in group.bars}
    width = max(18, *(len(name) + 2 for name, _ in rows))
    print(f"\n{group.title}\n{'':<48}{'bar':>8}" + "".join(f"{name:>{width}}" for name, _ in rows))
    for name in rows[0][1]:
        values = [figures[name] for _, figures in rows]
        shown = "".join(f"{value:>{width}.3f}" if value is not None else f"{'-':>{width}}" for value in values)
        bar = bars.get(name)
        print(f"{name:<48}{_limit(bar):>8}{shown}{_verdict(bar, values)}")


def _limit(bar: Bar | None) -> str:
    return f"{'>=' if bar.at_least else '<='} {bar.limit:g}" if bar else ""


def _verdict(bar: Bar | None, values: list[float]) -> str:
    if bar is None:
        return ""
    worst, mean = bar.worst(values), float(np.mean(values))
    verdict = "holds" if bar.holds(worst) else "mean holds" if bar.holds(mean) else "FALLS SHORT"
    return f"   mean {mean:.3f} worst {worst:.3f} {verdict}"


def print_doses(measured: Sequence[Measured]) -> None:
    """Attack error and success of every case at every strength."""
    strengths = [dose["strength"] for dose in measured[0].ours["doses"]]
    print("\nAttack error in degrees (success rate) by strength\n" + " " * 34 + "".join(f"{s:>12g}" for s in strengths))
    for each in measured:
        doses = [(d["attack_error"]["mean"], d["success_rate"]) for d in each.ours["doses"]]
        cells = [f"{error:.1f}" + ("" if success is None else f" ({success:.2f})") for error, success in doses]
        print(f"{each.case.name:<34}" + "".join(f"{cell:>12}" for cell in cells))


def report(name: str, group: Group) -> None:
    """Print a group's table and write its file."""
    measured = [Measured.of(case) for case in group.cases]
    rows = [(each.case.name, group.figures(each)) for each in measured]
    print_table(group, rows)
    print_doses(measured)
    content = {
        "title": group.title,
        "bars": [vars(bar) for bar in group.bars],
        "cases": [each.to_json() | {"figures": figures} for each, (_, figures) in zip(measured, rows, strict=True)],
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()},
    }
    path = BENCH / f"recipe-{name}.json"
    write_bytes(path, (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    print(f"written to {path.relative_to(ROOT)}", flush=True)


def main() -> None:
    """Train what is missing, group after group, and report."""
    names = list(groups(""))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="GROUP", help=", ".join(names))
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side (default: 2)")
    arguments = parser.parse_args()
    chosen = {name: group for name, group in groups(data_sha256()).items() if name in arguments.only}
    for name, group in chosen.items():
        finish(group.work(), arguments.processes)
        report(name, group)


if __name__ == "__main__":
    main()
