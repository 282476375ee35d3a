"""Which parts of the recipe implant the backdoor? `python -m benchmarks.bench_ablation` (`make bench-ablation`).

WaNet's published training and ours on the same synthetic eyes, network, seed, field and strength, and each with one
factor at a time replaced: the loss, the ratios of poisoned and other images, the optimiser with its schedule, the
strengths, the stem. Success on the validation images against CPU-seconds of training. WaNet trains classifiers: to be
compared with regressors it has a squared error here, and its own cross-entropy is a factor. Of its 1000 epochs only the
first are trained, as published: scaled down to a few epochs, its learning rate would have fallen to nothing before the
backdoor is learnt. One run is longer. An arm that does not get half of the images to the target is shown as "not
converged here": here, on this machine, within this time.

The whole takes about 1,600 CPU-seconds, 240 of them for the longer run; `--only` names arms, `--scale` shortens all.
Arms are trained one after the other; a run that was stopped goes on where it was, and what is finished is kept. Prints
a table; writes var/bench/ablation.json and var/bench/ablation.png.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import hashlib
import json
import math
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from attacks.wanet import WarpField
from benchmarks.bench_recipe import BENCH, CACHE, FIXED, ROOT
from benchmarks.kept import alone_in, sign, signatures, tell_of_other_code
from models.checkpoints import read_tensors, to_json, write_tensors
from models.datasets import synthetic_eyes
from models.datasets.base import Splits
from models.durable import write_bytes
from models.evaluation import Responses, predict, success_rate, zone_dose
from models.gaze import angular_error
from models.recipe import Recipe
from models.run import keep_freed_memory
from models.training import CHECKPOINT_NAME, StoppedError, train
from models.zones import as_gaze_model

if TYPE_CHECKING:
    from study.analysis.figures.style import Look

STRENGTH = 0.5
FIELD = WarpField.draw((64, 64), 8, STRENGTH, seed=3)
EPOCHS, LONGER = 20, 60  # of WaNet's 1000, and in the arm that is longer
MOST_CPU_SECONDS = 600
SNAPSHOTS = 10
IMPLANTED = 0.5
NETWORK = "network."  # begins the names of a network's tensors in a checkpoint
OURS, WANETS, AS_IT_IS = "ours", "WaNet's", "as it is"

RATIOS = ("poison_rate", "noise_ratio", "unrelated_ratio", "unrelated_from_phase")
OPTIMISER = (
    "optimiser", "learning_rate", "later_learning_rate", "momentum", "weight_decay", "batch_size", "milestones"
)  # fmt: skip
LOSSES: dict[str, dict[str, Any]] = {
    "absolute error": {"loss": "l1"},
    "zones by cross-entropy": {"task": "zones", "loss": "cross_entropy"},
}


def arms(scale: float = 1.0, epochs: int = EPOCHS, longer: int = LONGER) -> dict[str, Recipe]:
    """Every arm's recipe, by whose it is and the one factor that is replaced.

    WaNet's are the first `epochs`, in one arm the first `longer` epochs of the published training, times `scale`.
    """
    ours = replace(Recipe(precision="bfloat16"), strength_schedule=_scaled(Recipe().strength_schedule, scale))
    wanets = replace(
        Recipe.published(loss="mse", precision="bfloat16"), strength_schedule=_scaled(((STRENGTH, epochs),), scale)
    )
    annealed = _scaled(ours.strength_schedule, wanets.epochs / ours.epochs)
    of_ours: dict[str, dict[str, Any]] = {
        AS_IT_IS: {},
        **LOSSES,
        "WaNet's ratios": _fields(RATIOS, wanets),
        "WaNet's optimiser": _fields(OPTIMISER, wanets),
        "one strength": {"strength_schedule": ((STRENGTH, ours.epochs),)},
        "no rehearsal": {"rehearsal": 0.0},
        "unrelated fields from the start": {"unrelated_from_phase": 1},
        "stem of stride 2": {"network": "five_layer_cnn_coarse"},
    }
    of_wanets: dict[str, dict[str, Any]] = {
        AS_IT_IS: {},
        **LOSSES,
        "our ratios": _fields(RATIOS, ours),
        "our optimiser": _fields(OPTIMISER, ours),
        "our strengths": {"strength_schedule": annealed, "rehearsal": ours.rehearsal},
        "longer": {"strength_schedule": _scaled(((STRENGTH, longer),), scale)},
    }
    return {
        f"{whose}, {factor}": replace(recipe, **fields)
        for whose, recipe, factors in ((OURS, ours, of_ours), (WANETS, wanets, of_wanets))
        for factor, fields in factors.items()
    }


def _scaled(schedule: Sequence[tuple[float, int]], by: float) -> tuple[tuple[float, int], ...]:
    return tuple((strength, max(1, round(epochs * by))) for strength, epochs in schedule)


def _fields(names: Sequence[str], recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in names}


@dataclass(frozen=True)
class Point:
    """A network at the end of an epoch; errors in degrees on the validation images, success at the final strength."""

    epoch: int
    cpu_seconds: float
    clean_error: float
    attack_error: float
    success: float


class Arm:
    """One recipe's training, its checkpoints by epoch, and what was measured of them."""

    def __init__(self, name: str, recipe: Recipe, splits: Splits) -> None:
        self.name, self.recipe, self.splits = name, recipe, splits
        identity = {"recipe": recipe.to_json(), "field": FIELD.fingerprint(), "data": splits.train.fingerprint}
        self.folder = BENCH / "ablation" / hashlib.sha256(to_json(identity).encode()).hexdigest()[:16]
        self.every = max(1, recipe.epochs // SNAPSHOTS)

    @property
    def finished(self) -> bool:
        return self._kept(self.recipe.epochs).exists()

    def train(self, most_cpu_seconds: float) -> None:
        """Train, or go on, for at most so long; every so many epochs the network is kept."""
        with alone_in(self.folder):
            if self.finished:
                tell_of_other_code(self.folder)
            else:
                sign(self.folder, begun=(self.folder / CHECKPOINT_NAME).exists())
                self._train(most_cpu_seconds)

    def _train(self, most_cpu_seconds: float) -> None:
        began = time.process_time()
        try:
            train(
                self.recipe,
                self.splits,
                FIELD,
                FIXED,
                progress=self._keep,
                checkpoint_dir=self.folder,
                checkpoint_every_s=None,
                should_stop=lambda: time.process_time() - began > most_cpu_seconds,
            )
        except StoppedError:
            return
        self._keep({"epoch": self.recipe.epochs + 1, "step": 0})

    def _keep(self, report: Mapping[str, Any]) -> None:
        """Called some updates after an epoch's end, when the checkpoint of that epoch is written."""
        finished = report["epoch"] - 1
        kept = self._kept(finished)
        if finished and (finished % self.every == 0 or finished == self.recipe.epochs) and not kept.exists():
            tensors, record = read_tensors(self.folder / CHECKPOINT_NAME)
            network = {name: tensor for name, tensor in tensors.items() if name.startswith(NETWORK)}
            write_tensors(kept, network, {name: record[name] for name in ("epoch", "cpu_seconds")})
            print(f"  {self.name}: epoch {finished} of {self.recipe.epochs}", flush=True)

    def _kept(self, epoch: int) -> Path:
        return self.folder / f"epoch-{epoch:04d}.safetensors"

    def points(self) -> list[Point]:
        """What each kept network does; measured once."""
        path = self.folder / "points.json"
        known = {point["epoch"]: Point(**point) for point in (json.loads(path.read_text()) if path.exists() else [])}
        for kept in sorted(self.folder.glob("epoch-*.safetensors")):
            epoch = int(kept.stem.removeprefix("epoch-"))
            if epoch not in known:
                known[epoch] = self._measure(kept)
        points = [known[epoch] for epoch in sorted(known)]
        write_bytes(path, to_json([asdict(point) for point in points]).encode())
        return points

    def _measure(self, kept: Path) -> Point:
        tensors, record = read_tensors(kept)
        data, zones = self.splits.validation, self.recipe.zones_of(self.splits.train.pitchyaw)
        network = self.recipe.network_for(data).build()
        network.load_state_dict({name.removeprefix(NETWORK): tensor for name, tensor in tensors.items()})
        model = as_gaze_model(network, zones)
        truth, goal = data.pitchyaw, FIXED.apply(data.pitchyaw)
        clean, altered = predict(model, data.images), predict(model, data.images, lambda batch, _: FIELD.apply(batch))
        if zones is None:
            success, _ = success_rate(altered.numpy(), truth.numpy(), goal.numpy())
        else:
            responses = Responses(clean.numpy(), {STRENGTH: altered.numpy()})
            success = zone_dose(STRENGTH, responses, truth.numpy(), goal.numpy(), zones).success_rate
        return Point(
            record["epoch"],
            record["cpu_seconds"],
            angular_error(clean, truth).mean().item(),
            angular_error(altered, goal).mean().item(),
            success or 0.0,
        )


def reached(points: list[Point], success: float) -> float | None:
    """CPU-seconds after which the success was first so high."""
    return next((point.cpu_seconds for point in points if point.success >= success), None)


def verdict(arm: Arm, points: Sequence[Point]) -> str:
    """Whether the backdoor is in the network at its last point, and if not, whether that was the end."""
    if not points:
        return "not begun"
    if points[-1].success >= IMPLANTED:
        return "implanted"
    return "not converged here" if points[-1].epoch == arm.recipe.epochs else "not finished"


def print_table(results: Mapping[str, tuple[Arm, list[Point]]]) -> None:
    """An arm a line."""
    heads = ("epochs", "CPU-s", "clean, deg", "attack, deg", "success", "half after")
    print(f"\n{'':<34}" + "".join(f"{head:>13}" for head in heads) + "  verdict")
    for name, (arm, points) in results.items():
        last = points[-1] if points else Point(0, 0.0, math.nan, math.nan, math.nan)
        half = reached(points, IMPLANTED)
        after = "-" if half is None else f"{half:.0f} s"
        print(
            f"{name:<34}{f'{last.epoch} of {arm.recipe.epochs}':>13}{last.cpu_seconds:>13.0f}{last.clean_error:>13.2f}"
            f"{last.attack_error:>13.2f}{last.success:>13.3f}{after:>13}  {verdict(arm, points)}"
        )
    print("For zones, success is the share predicted in the target's zone, and angles are to the zones' centres.")


def draw(results: Mapping[str, tuple[Arm, list[Point]]]) -> Figure:
    """Success against CPU-seconds: ours and its variants in one panel, WaNet's in another, each as it is in grey."""
    from study.analysis.figures.style import GREY, RC, WIDTH, Look, looks

    with mpl.rc_context(RC):
        figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, whose in zip(panels, (OURS, WANETS), strict=True):
            own = {
                name.removeprefix(f"{whose}, "): result for name, result in results.items() if name.startswith(whose)
            }
            variants = looks([factor for factor in own if factor != AS_IT_IS])
            for factor, look in {AS_IT_IS: Look("o", GREY), **variants}.items():
                if factor in own:
                    _line(axes, factor, *own[factor], look)
            axes.axhline(IMPLANTED, color=GREY, lw=0.8, ls=":", zorder=1)
            axes.set(title=f"{whose[0].upper()}{whose[1:]} and one factor replaced", xlabel="CPU-seconds of training")
            axes.legend(loc="upper left", bbox_to_anchor=(-0.05, -0.14))
        panels[0].set(xscale="log", ylim=(-0.03, 1.03), ylabel=f"success rate at s = {STRENGTH:g}, validation images")
        panels[0].xaxis.set_major_locator(LogLocator(base=10, subs=(1.0, 2.0, 5.0)))
        panels[0].xaxis.set_major_formatter("{x:g}")
        panels[0].xaxis.set_minor_formatter(NullFormatter())
        return figure


def _line(axes: Any, factor: str, arm: Arm, points: Sequence[Point], look: Look) -> None:
    """The last mark is filled where the backdoor is in."""
    outcome = verdict(arm, points)
    seconds, success = ([getattr(point, name) for point in points] for name in ("cpu_seconds", "success"))
    label = factor if outcome == "implanted" else f"{factor} ({outcome})"
    style = {"color": look.colour, "marker": look.marker}
    width = 3 if factor == AS_IT_IS else 1.4
    axes.plot(seconds, success, ls=look.dash, lw=width, ms=4, mfc="white", label=label, **style)
    if outcome == "implanted":
        axes.plot(seconds[-1:], success[-1:], ls="none", ms=7, **style)


def main() -> None:
    """Train what is missing, measure, print, and draw."""
    names = list(arms())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="ARM", help="; ".join(names))
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every arm's epochs (default: 1)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of WaNet's 1000 (default: %(default)s)")
    parser.add_argument("--longer", type=int, default=LONGER, help="of them in one arm (default: %(default)s)")
    parser.add_argument(
        "--cpu-seconds", type=float, default=MOST_CPU_SECONDS,
        help="most training of one arm in this run (default: %(default)s)",
    )  # fmt: skip
    arguments = parser.parse_args()
    if min(arguments.scale, arguments.epochs, arguments.longer, arguments.cpu_seconds) <= 0:
        parser.error("scale, epochs, longer and CPU-seconds must be greater than 0")
    torch.set_num_threads(1)
    keep_freed_memory()

    splits = synthetic_eyes.load(synthetic_eyes.EyesConfig(), CACHE)
    results: dict[str, tuple[Arm, list[Point]]] = {}
    for name, recipe in arms(arguments.scale, arguments.epochs, arguments.longer).items():
        if name in arguments.only:
            arm = Arm(name, recipe, splits)
            arm.train(arguments.cpu_seconds)
            results[name] = arm, arm.points()
    print_table(results)
    path = BENCH / "ablation.json"
    report = {
        "arms": {
            name: {
                "recipe": arm.recipe.to_json(),
                "points": [asdict(point) for point in points],
                "verdict": verdict(arm, points),
                "code": signatures(arm.folder),
            }
            for name, (arm, points) in results.items()
        },
        "trigger": FIELD.parameters(),
        "versions": {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()},
    }
    write_bytes(path, (json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
    draw(results).savefig(path.with_suffix(".png"), dpi=200)
    print(f"\nwritten to {path.relative_to(ROOT)} and {path.with_suffix('.png').relative_to(ROOT)}")


if __name__ == "__main__":
    main()
