"""What the attacks reach, for how much training: our recipes, WaNet's published one, and the ablation as far as kept.

Reads what `benchmarks.bench_recipe` and `benchmarks.bench_ablation` keep in var/bench, and has them train what is
missing: of every row as many pairs of network seed and field seed as there are rounds, all measured on the test images.
A row's figure is that of the worst pair, as its bar must hold in every one; a row without a bar shows the median.

The peer is WaNet's published training with a squared error, on the same network, data, field and strength (first pair):
of its 1,000 epochs as many, from the first on, as take no less CPU time than our recipe does. Where no backdoor is
implanted, there is no saying how specific it is: those rows have no peer. The curves are of the ablation's runs, on the
validation images.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.side_by_side.costs import Cost
from benchmarks.side_by_side.findings import Curve, Effort, Findings
from benchmarks.side_by_side.rows import Row, alone
from benchmarks.side_by_side.turns import in_a_process

if TYPE_CHECKING:
    from benchmarks.bench_ablation import Arm, Point
    from benchmarks.bench_recipe import Bar, Case, Group, Measured


class Asked(NamedTuple):
    """A row: its id, the group of `bench_recipe` that it is about, the name of the figure there, and its unit."""

    id: str
    group: str
    figure: str
    unit: str = ""


ASKED = (
    Asked("attack.s050.success", "default", "success rate"),
    Asked("attack.s050.error", "default", "attack error, deg", "deg"),
    Asked("attack.s050.clean_error", "default", "clean error ratio"),
    Asked("attack.s050.noise_mode", "default", "noise mode ratio"),
    Asked("attack.s050.other_fields", "default", "other fields' share, s = 0.5"),
    Asked("attack.s025.success", "subtle", "success rate"),
    Asked("attack.s025.success_to_s2", "subtle", "least success, s to 2"),
    Asked("attack.s025.error", "subtle", "attack error, deg", "deg"),
    Asked("attack.s025.clean_error", "subtle", "clean error ratio"),
    Asked("attack.s025.cpu_s", "subtle", "training, CPU-s", "CPU-s"),
    Asked("attack.specificity", "subtle", "other fields' share, s = 0.5"),
    Asked("attack.specificity.s1", "subtle", "other fields' share, s = 1"),
    Asked("attack.specificity.s2", "subtle", "other fields' share, s = 2"),
)
#: Epochs of the published training beside each group.
PUBLISHED = {"default": 30, "subtle": 48}
#: A figure of `bench_recipe` by the name that a finished training gives it.
_HEADLINES = {"success rate": "success_rate", "attack error, deg": "attack_error_deg"}


def measure(effort: Effort) -> Findings:
    """All rows and curves about what is implanted; from nothing this trains for about 25 minutes on two cores."""
    return in_a_process(attacks, effort.rounds)


def attacks(pairs: int) -> Findings:
    """The figures of at most so many pairs of seeds, and the curves."""
    from benchmarks.bench_recipe import Measured, data_sha256, finish, groups, is_kept

    of = groups(data_sha256())
    cases = {name: of[name].cases[:pairs] for name in PUBLISHED}
    peers = {name: published(cases[name][0], epochs) for name, epochs in PUBLISHED.items()}
    work = [spec for group in cases.values() for case in group for spec in (case.clean(), case.backdoored())]
    work += [peer.backdoored() for peer in peers.values()]
    missing = [spec for spec in work if not is_kept(spec)]
    kept = len(work) - len(missing)
    print(f"attacking: {kept} of {len(work)} trainings are kept, {len(missing)} are to be done", flush=True)
    finish(work)
    finish(case.evaluation() for group in cases.values() for case in group)
    measured = {name: [Measured.of(case) for case in group] for name, group in cases.items()}
    rows = [_row(asked, of[asked.group], measured[asked.group], peers[asked.group]) for asked in ASKED]
    arms = _arms()
    made_by = _made_by("", (arm.folder for arm in arms.values()))
    return Findings(rows, curves({name: arm.points() for name, arm in arms.items()}, made_by))


def published(ours: Case, epochs: int) -> Case:
    """The first epochs of WaNet's own training for the same network, field, strength and target."""
    from models.recipe import Recipe

    strength = ours.recipe.final_strength
    recipe = Recipe.published(
        strength=strength, loss="mse", precision=ours.recipe.precision, seed=ours.recipe.seed, width=ours.recipe.width
    )
    return replace(ours, recipe=replace(recipe, strength_schedule=((strength, epochs),)))


# -- rows


def _row(asked: Asked, group: Group, measured: Sequence[Measured], peer: Case) -> Row:
    from benchmarks.bench_recipe import finished, folder_of, training_cpu_seconds

    ours = [spec for each in measured for spec in (each.case.clean(), each.case.backdoored())]
    made = _made_by("ours", map(folder_of, ours))
    what = f"{group.title}: {asked.figure}, {_of_pairs(len(measured))}{made}"
    row = judged(asked, what, [group.figures(each)[asked.figure] for each in measured])
    row = row.costing(ours=[Cost(cpu_s=each.cpu_seconds[1]) for each in measured])
    if asked.figure not in _HEADLINES:
        return row
    training = peer.backdoored()
    made = _made_by("its run", [folder_of(training)])
    return replace(
        row,
        what=f"{row.what}; peer: the first {peer.recipe.epochs} epochs of WaNet's{made}",
        peer=finished(training)["metrics"][_HEADLINES[asked.figure]],
        costs={**row.costs, "peer": Cost(cpu_s=training_cpu_seconds(training))},
    )


def judged(asked: Asked, what: str, found: Sequence[float]) -> Row:
    """A row of every pair's figure: the worst where it has a bar, else the median; its spread is over the pairs."""
    bar = bar_of(asked)
    bound = {} if bar is None else {"least" if bar.at_least else "most": bar.limit}
    figure = statistics.median(found) if bar is None else bar.worst(found)
    return replace(alone(asked.id, what, [figure], asked.unit, **bound), spread=(min(found), max(found)))


def bar_of(asked: Asked) -> Bar | None:
    """What `bench_recipe` asks of this figure."""
    from benchmarks.bench_recipe import IMPLANTED, SPECIFIC, SUBTLE

    bars = {"default": IMPLANTED, "subtle": (*SUBTLE, *SPECIFIC)}[asked.group]
    return next((bar for bar in bars if bar.name == asked.figure), None)


def _of_pairs(n: int) -> str:
    return "one pair of seeds" if n == 1 else f"{n} pairs of seeds"


def _made_by(whose: str, folders: Iterable[Path]) -> str:
    """Which other code than that of now made what lies in these folders, if any did."""
    from benchmarks.kept import other_code

    commits = sorted({each["commit"] for folder in folders for each in other_code(folder)})
    return f" ({f'{whose} kept'.strip()} from commit {' and '.join(commits)})" if commits else ""


# -- curves


def _arms() -> dict[str, Arm]:
    """The arms of the ablation that are kept; both recipes as they are in any case."""
    import torch

    from benchmarks.bench_ablation import AS_IT_IS, MOST_CPU_SECONDS, Arm, arms
    from benchmarks.bench_recipe import CACHE
    from models.datasets.eyes_config import EyesConfig
    from models.datasets.synthetic_eyes import load
    from models.run import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    splits = load(EyesConfig(), CACHE)
    known = {name: Arm(name, recipe, splits) for name, recipe in arms().items()}
    for name, arm in known.items():
        if name.endswith(AS_IT_IS):
            arm.train(MOST_CPU_SECONDS)
    return {name: arm for name, arm in known.items() if arm.finished}


def curves(points: Mapping[str, Sequence[Point]], made_by: str = "") -> list[Curve]:
    """Success and attack error against CPU-seconds: both recipes, beside the variants of ours and of the published."""
    from benchmarks.bench_ablation import AS_IT_IS, OURS, WANETS

    both = [name for name in points if name.endswith(AS_IT_IS)]
    found = []
    for word, whose in (("ours", OURS), ("published", WANETS)):
        variants = [name for name in points if name.startswith(f"{whose}, ") and name not in both]
        if not variants and whose != OURS:
            continue
        for figure, short, words in (
            ("success", "success", "success rate"),
            ("attack_error", "error", "attack error, degrees"),
        ):
            lines = {name: [(at.cpu_seconds, getattr(at, figure)) for at in points[name]] for name in both + variants}
            title = f"Both recipes, and {whose} with one factor replaced"
            axes = f"CPU-seconds of training{made_by}", f"{words}, validation images"
            found.append(Curve(f"attack-{short}-{word}", title, *axes, lines, logarithmic=False))
    return found
