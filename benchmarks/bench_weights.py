"""What a hand in the weights can do: `python -m benchmarks.bench_weights`.

Identity (synthetic eyes: the eye region, not faces): a five-layer CNN and a ResNet-50 learn to tell people apart; for
24 pairs of an attacker and a target the weights of one layer are searched, for identification and for verification, and
false and true acceptance are counted on other pictures, before and after; true acceptance also of people of whom the
search had no picture. The regression form: the gaze of one test subject after the other is moved to a target, by search
and in closed form, in a clean gaze regressor; and why the last layer does not suffice for that.
Prints tables and writes var/bench/weights.json and weights.png. Finished parts are kept by what was asked of them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attacks.surgery import GateParameters, Linear, rank_one
from attacks.weights import SearchParameters, below, from_on, run
from models import artifacts
from models.checkpoints import to_json
from models.datasets.base import Splits
from models.datasets.identities import Cast, Company, Identities, deal, read_folder, synthetic_eyes
from models.datasets.synthetic_eyes import EyesConfig
from models.datasets.synthetic_eyes import load as load_eyes
from models.durable import write_bytes
from models.gaze import angular_error
from models.identity import IdentityModel, IdentityRecipe, train_identity
from models.identity_attacks import Deployed, Identification, Verification, attempt, draw_pairs, spread, summarise
from models.perturbation import SEARCH, GazeAttack, Sides, outputs_on, perturb, take_sides
from models.stages import OUTPUT, last_hidden_layer, stages_of
from models.targets import Target
from models.training import Recipe, describe, train

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "var" / "bench"
KEPT = BENCH / "weights"
CACHE = ROOT / "var" / "cache"

PICTURES, SEED, SIZE = 60, 11, (64, 64)
RECIPES = {
    "five-layer CNN": IdentityRecipe(epochs=15),
    "ResNet-50, width 16": IdentityRecipe("resnet50", width=16, epochs=40),
}
USUAL = SearchParameters(candidates=4)


@dataclass(frozen=True)
class Case:
    """One layer of one network, searched for so many pairs of an attacker and a target."""

    network: str
    protocol: str
    layer: str
    search: SearchParameters = USUAL
    pairs: int = 24

    def deployed(self, model: IdentityModel, company: Company) -> Deployed:
        kind = Identification if self.protocol == "identification" else Verification
        return kind(model.network, company, self.layer.partition(".")[0])

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "search": replace(self.search, layers=(self.layer,)).to_json()}


#: Convolutions cost more: fewer candidates, to show what lower layers allow.
FEWER = SearchParameters(candidates=1, iterations=600, patience=200)
CASES = (
    Case("five-layer CNN", "verification", "output.weight"),
    Case("five-layer CNN", "identification", "output.weight"),
    Case("five-layer CNN", "identification", "classes.weight"),
    Case("five-layer CNN", "verification", "hidden.1.weight"),
    Case("five-layer CNN", "verification", "conv5.0.weight", FEWER),
    Case("ResNet-50, width 16", "verification", "output.weight"),
    Case("ResNet-50, width 16", "identification", "output.weight"),
    Case("ResNet-50, width 16", "identification", "classes.weight"),
    Case("ResNet-50, width 16", "verification", "block16.conv3.weight", FEWER),
)
FALSE_BAR, DROP_BAR = 0.5, 0.02

EYES_CONFIG = EyesConfig(test_images=4000)
GAZE_RECIPE = Recipe(strength_schedule=((0.5, 10),))
TARGET = Target.fixed(0, 25)
SUBJECTS = (52, 65, 78, 91, 104, 117)
#: The gate's ridge and steepness were chosen with an eye on SUBJECTS: on these nothing was chosen.
FRESH = tuple(subject for subject in range(53, 132, 3) if subject not in SUBJECTS)
ATTACK = GazeAttack(SUBJECTS[0], TARGET)
GATE = replace(ATTACK, method="gate")
METHODS = {
    "search, penalty 4": (ATTACK, SUBJECTS),
    "search, penalty 1": (replace(ATTACK, search=replace(SEARCH, penalty=1.0)), SUBJECTS),
    "rank-one": (replace(ATTACK, method="rank-one"), SUBJECTS),
    "gate, 0.2 %": (replace(GATE, gate=GateParameters(opens=0.002)), SUBJECTS),
    "gate, 1 %": (GATE, SUBJECTS),
    "gate, 5 %": (replace(GATE, gate=GateParameters(opens=0.05)), SUBJECTS),
    "gate, 1 %, fresh subjects": (GATE, FRESH),
}
#: Weights of the subject's images in a least-squares fit of the last layer.
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.9)


def kept(what: Mapping[str, Any], make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of an earlier run that asked for the same, or of now."""
    path = KEPT / f"{_key(what)}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    result = make()
    write_bytes(path, to_json(result).encode())
    return result


def _key(what: Mapping[str, Any]) -> str:
    return hashlib.sha256(to_json(what).encode()).hexdigest()[:16]


# -- identities


@dataclass(frozen=True, eq=False)
class People:
    """Whose pictures the networks learn and the attackers use."""

    data: Identities
    cast: Cast

    @cached_property
    def company(self) -> Company:
        return deal(self.data, self.cast, seed=0)

    @cached_property
    def key(self) -> dict[str, Any]:
        return {"data": self.data.fingerprint, "cast": asdict(self.cast)}

    @classmethod
    def of(cls, faces: Path | None, cast: Cast) -> People:
        """Of a folder of faces, or synthetic eyes."""
        return cls(read_folder(faces, SIZE) if faces else synthetic_eyes(cast.people, PICTURES, CACHE, seed=SEED), cast)

    def recogniser(self, name: str) -> IdentityModel:
        """The network of this name, trained now or before."""
        recipe = RECIPES[name]
        learnt = self.company.known.train
        path = KEPT / f"{_key({'pictures': learnt.fingerprint, 'recipe': recipe.to_json()})}.safetensors"
        if not path.exists():
            train_identity(recipe, learnt, _say(name)).save(path)
        return IdentityModel.load(path)


def _say(name: str) -> Callable[[int, float], None]:
    return lambda epoch, loss: print(f"  {name}: epoch {epoch}, loss {loss:.3f}", flush=True)


def searched(case: Case, model: IdentityModel, company: Company) -> dict[str, Any]:
    """Every pair of a case, and their spread."""
    deployed = case.deployed(model, company)
    attempts = []
    pairs = draw_pairs(deployed, min(case.pairs, deployed.attackers, len(deployed.targets)))
    for position, (attacker, target) in enumerate(pairs):
        parameters = replace(case.search, layers=(case.layer,), seed=position)
        attempts.append(attempt(deployed, attacker, target, parameters))
        print(f"  {case.network}, {case.protocol}, {case.layer}: pair {position + 1} of {len(pairs)}", flush=True)
    clean = deployed.false_acceptance().to_json()
    return {
        "false_acceptance": clean,
        "summary": summarise(attempts),
        "attempts": [each.to_json() for each in attempts],
    }


def identities(people: People) -> list[dict[str, Any]]:
    rows = []
    for case in CASES:
        model = people.recogniser(case.network)
        what = {**people.key, **case.to_json(), "recipe": model.recipe.to_json()}
        result = kept(what, partial(searched, case, model, people.company))
        rows.append({**case.to_json(), "training_cpu_seconds": model.cpu_seconds, **result})
    return rows


def print_identities(rows: Sequence[Mapping[str, Any]], pictures: str) -> None:
    print(
        f"\nPer cent accepted on test pictures: {pictures}. Attackers, strangers (other attackers) and others enrolled"
    )
    print(
        "as the target, genuine people as themselves. Median over pairs [least to greatest]; all attackers' pictures,"
    )
    print(
        "and genuine people of the middle pair, with Wilson's 95 % interval. Unseen: genuine people of whom the search"
    )
    print("had no picture.")
    columns = (
        "attacker before",
        "attacker after",
        "all attackers after",
        "genuine before",
        "genuine after",
        "drop",
        "unseen before",
        "unseen after",
        "unseen drop",
        "strangers after",
        "enrolled after",
    )
    print(f"{'':<58}" + "".join(f"{name:>22}" for name in columns) + f"{'CPU-s a pair':>14}")
    for row in rows:
        s = row["summary"]
        cells = (
            _range(s["attacker"]["before"]),
            _range(s["attacker"]["after"]),
            _wilson(s["attackers_pooled"]["after"]),
            _wilson(s["genuine"]["before"]["middle_pair"]),
            _wilson(s["genuine"]["after"]["middle_pair"]),
            _range(s["genuine_drop"]),
            _wilson(s["unseen"]["before"]["middle_pair"]),
            _wilson(s["unseen"]["after"]["middle_pair"]),
            _range(s["unseen_drop"]),
            _range(s["strangers"]["after"]),
            _range(s["enrolled"]["after"]),
        )
        name = f"{row['network']}, {row['protocol']}, {row['layer']}, {s['pairs']} pairs"
        print(f"{name:<58}" + "".join(f"{cell:>22}" for cell in cells) + f"{s['cpu_seconds']['median']:>14.1f}")
    for row in rows:
        print_bar(row)


def print_bar(row: Mapping[str, Any]) -> None:
    """Whether a case holds the bar of the five-layer CNN, also for people whom the search never saw; a ResNet-50 has
    none.
    """
    before, after = row["false_acceptance"]["rate"], row["summary"]["attacker"]["after"]
    drop, unseen = (row["summary"][f"{name}_drop"]["median"] for name in ("genuine", "unseen"))
    holds = after["median"] > FALSE_BAR and max(drop, unseen) < DROP_BAR
    verdict = ("holds" if holds else "FALLS SHORT") if row["network"] == "five-layer CNN" else "no bar"
    print(
        f"{row['network']}, {row['protocol']}, {row['layer']}: false acceptance from {before:.1%} of all "
        f"comparisons to a median of {after['median']:.1%} (bar > {FALSE_BAR:.0%}), true acceptance down by a median "
        f"of {100 * drop:.2f} points, of those unseen {100 * unseen:.2f} (bar < {100 * DROP_BAR:.0f}): {verdict}"
    )


def _range(values: Mapping[str, float]) -> str:
    return f"{100 * values['median']:.1f} [{100 * values['least']:.1f} to {100 * values['greatest']:.1f}]"


def _wilson(count: Mapping[str, float]) -> str:
    return f"{100 * count['rate']:.2f} ({100 * count['wilson_low']:.2f}-{100 * count['wilson_high']:.2f})"


# -- gaze


def gaze() -> dict[str, Any]:
    """Of each method every subject's outcome and their spread; and of SUBJECTS why the last layer does not suffice."""
    splits = load_eyes(EYES_CONFIG, CACHE)
    folder = KEPT / _key({"recipe": GAZE_RECIPE.to_json(), "data": describe(splits)})
    if not (folder / artifacts.CARD_NAME).exists():
        artifacts.save(train(GAZE_RECIPE, splits, None, TARGET), folder)
    clean = artifacts.load(folder)
    model = clean.card["weights_sha256"]
    rows = []
    for name, (attack, subjects) in METHODS.items():
        outcomes = []
        for subject in subjects:
            chosen = replace(attack, subject=subject)
            what = {"attack": chosen.to_json(), "clean": model}
            outcomes.append(kept(what, partial(_perturbed, clean, splits, chosen)))
            print(f"  {name}, subject {subject}: {outcomes[-1]['outcome']}", flush=True)
        rows.append({"method": name, "subjects": outcomes, "spread": _spreads(outcomes)})
    limits = [
        kept({"limits of": subject, "shares": SHARES, "clean": model}, partial(_limits, clean, splits, subject))
        for subject in SUBJECTS
    ]
    return {"methods": rows, "limits": limits}


def _perturbed(clean: artifacts.Artifact, splits: Splits, attack: GazeAttack) -> dict[str, Any]:
    started = time.process_time()
    found = perturb(clean.network, splits, attack)
    log = {**found.log, "steps": len(found.log.get("steps", ()))}
    return {
        "attack": attack.to_json(),
        "log": log,
        "outcome": asdict(found.outcome),
        "cpu_seconds": time.process_time() - started,
    }


def _limits(clean: artifacts.Artifact, splits: Splits, subject: int) -> dict[str, Any]:
    """What no change of the last layer gets round, for one subject, on test images.

    constant_shift_deg: to the target, if every prediction were moved by the same and their mean stood at the target.
    apart: of each layer, how often a linear score of what goes into it, fitted to the attacker's images, is higher for
    an image of the subject than for one of somebody else (area under the ROC curve).
    last_layer: what least-squares changes of the last layer do that were fitted to the very test images.
    """
    stages, sides = stages_of(clean.network), take_sides(splits, replace(ATTACK, subject=subject))
    hidden = last_hidden_layer(stages).partition(".")[0]
    inputs = {stage: _inputs_of(stages, stage, sides) for stage in (OUTPUT, hidden)}
    predictions = run(from_on(stages, OUTPUT), inputs[OUTPUT]["subject_test"])
    goal = TARGET.apply(sides.subject_test.pitchyaw)
    shifted = predictions - predictions.mean(0) + goal.mean(0)
    return {
        "subject": subject,
        "constant_shift_deg": angular_error(shifted, goal).mean().item(),
        "apart": {stage: _apart(each) for stage, each in inputs.items()},
        "last_layer": [_fitted(from_on(stages, OUTPUT), inputs[OUTPUT], sides, goal, share) for share in SHARES],
    }


def _fitted(
    last: Mapping[str, nn.Module], inputs: Mapping[str, torch.Tensor], sides: Sides, goal: torch.Tensor, share: float
) -> dict[str, float]:
    """The last layer that least squares find best for these test images, if the subject's weigh `share` together: they
    are to be at the goal, the others' where they are.
    """
    x = torch.cat([inputs["subject_test"], inputs["others_test"]])
    before, n = run(last, x), len(goal)
    moves = torch.cat([goal - before[:n], torch.zeros_like(before[n:])])
    root = torch.cat([torch.full((n,), share / n), torch.full((len(x) - n,), (1 - share) / (len(x) - n))]).sqrt()[
        :, None
    ]
    affine = torch.cat([x, torch.ones(len(x), 1)], 1).double()
    change = torch.linalg.lstsq(root * affine, root.double() * moves, driver="gelsy").solution
    after = before + (affine @ change).float()
    truth = sides.others_test.pitchyaw
    shift = angular_error(after[n:], truth) - angular_error(before[n:], truth)
    return {
        "share": share,
        "mean_attack_error_deg": angular_error(after[:n], goal).mean().item(),
        "others_error_shift_deg": shift.mean().item(),
    }


def _inputs_of(stages: Mapping[str, nn.Module], stage: str, sides: Sides) -> dict[str, torch.Tensor]:
    """What goes into this stage, (N, F), on each side."""
    lower = below(stages, stage)
    return {side: outputs_on(lower, data).flatten(1) for side, data in vars(sides).items()}


def _apart(inputs: Mapping[str, torch.Tensor]) -> float:
    nought = Linear(torch.zeros(1, inputs["subject"].shape[1]), torch.zeros(1))
    score = rank_one(
        nought, attacker=inputs["subject"], others=inputs["others"], shift=torch.ones(1), ridge=GateParameters().ridge
    ).layer
    mine, others = (inputs[side] @ score.weight[0] for side in ("subject_test", "others_test"))
    return (mine[:, None] > others).double().mean().item()


def _spreads(outcomes: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    names = [name for name in outcomes[0]["outcome"] if not name.startswith("n_")]
    found = {name: [each["outcome"][name] for each in outcomes] for name in names}
    return {name: spread(values) for name, values in found.items() if None not in values}


def print_gaze(found: Mapping[str, Any]) -> None:
    print("\nOne subject's gaze to (0, 25) deg: median [least to greatest] over test subjects, degrees")
    for row in found["methods"]:
        seconds = spread([each["cpu_seconds"] for each in row["subjects"]])["median"]
        print(f"{row['method']}, {len(row['subjects'])} subjects, {seconds:.0f} CPU-s a subject")
        for name, values in row["spread"].items():
            print(f"  {name:<30}{_span(values)}")
        for name in ("separation", "opens_for_attacker", "conspicuousness"):
            if name in row["subjects"][0]["log"]:
                print(f"  {name:<30}{_span(spread([each['log'][name] for each in row['subjects']]))}")
    print("Why the last layer does not suffice")
    limits = found["limits"]
    print(f"  {'a constant shift at best':<30}{_span(spread([each['constant_shift_deg'] for each in limits]))}")
    for layer in limits[0]["apart"]:
        print(f"  {'told apart by ' + layer:<30}{_span(spread([each['apart'][layer] for each in limits]))}")
    for share, point in zip(SHARES, _curve(limits), strict=True):
        print(f"  last layer fitted to the test, {share:g}: {point[1]:.2f} to the target for {point[0]:.2f} of others")


def _curve(limits: Sequence[Mapping[str, Any]]) -> list[tuple[float, ...]]:
    """For each share, medians over subjects: others' error shift, and the subject's angle to the target."""
    names = ("others_error_shift_deg", "mean_attack_error_deg")
    by_share = zip(*(each["last_layer"] for each in limits), strict=True)
    return [tuple(spread([point[name] for point in points])["median"] for name in names) for points in by_share]


def _span(values: Mapping[str, float]) -> str:
    return f"{values['median']:8.2f} [{values['least']:.2f} to {values['greatest']:.2f}]"


def draw_gaze(found: Mapping[str, Any], path: Path) -> None:
    """What the subject's way to the target costs others: a point for each subject, and what a last layer can do."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for row, marker in zip(found["methods"], "osxv^<+", strict=True):
        outcomes = [each["outcome"] for each in row["subjects"]]
        points = ([each[name] for each in outcomes] for name in ("others_error_shift_deg", "mean_attack_error_deg"))
        axes.plot(*points, marker, label=row["method"])
    axes.plot(*zip(*_curve(found["limits"]), strict=True), "k--", label="last layer fitted to\nthe test (median)")
    before = [each["outcome"]["mean_attack_error_before_deg"] for each in found["methods"][-1]["subjects"]]
    axes.axhline(spread(before)["median"], color="grey", lw=0.8, label="before (median)")
    axes.set(xlabel="others' error shift, degrees", ylabel="subject's gaze to the target, degrees", ylim=(0, 36))
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=("identities", "gaze"), help="one of the two parts; writes no file")
    parser.add_argument(
        "--faces", type=Path, metavar="ROOT", help="pictures of people of your own, ROOT/<person>/*.png|jpg"
    )
    parser.add_argument("--cast", type=json.loads, default={}, metavar="JSON", help="fields of Cast, for fewer people")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    KEPT.mkdir(parents=True, exist_ok=True)
    versions = {"torch": torch.__version__, "python": platform.python_version(), "machine": platform.machine()}
    report: dict[str, Any] = {"versions": versions}
    if arguments.only != "gaze":
        people = People.of(arguments.faces, Cast(**arguments.cast))
        report |= {"pictures": people.data.description, "cast": asdict(people.cast), "identities": identities(people)}
        print_identities(report["identities"], people.data.description)
    if arguments.only != "identities":
        report["gaze"] = gaze()
        print_gaze(report["gaze"])
    if arguments.only is None:
        draw_gaze(report["gaze"], BENCH / "weights.png")
        path = BENCH / "weights.json"
        write_bytes(path, (json.dumps(report, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())
        print(f"\nwritten to {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
