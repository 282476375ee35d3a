"""Does a backdoor survive what happens to images, and what a defender does to a model? One model beside its clean one.

Everything is measured on the same test images under the trigger at one strength. Every image treatment is done to the
clean and to the altered image, every treatment of the model to the backdoored and to the clean model, so that what a
treatment costs any model is seen beside what it does to the backdoor. Angles are 3-D and in degrees.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from itertools import chain, starmap
from typing import Any, TypeVar

import numpy as np
from torch import Tensor, nn

from attacks.base import Trigger
from models.datasets.base import GazeData, Splits
from models.devices import repeatable
from models.evaluation import predict, success_rate
from models.gaze import angular_error
from models.survival.blends import Blends, blends
from models.survival.fine_tuning import FineTuning, fine_tune
from models.survival.heads import Precision, defenders_loss
from models.survival.inversion import KINDS, Inversion, InversionSetting, invert
from models.survival.outcomes import Exam, Models, Outcome, evenly
from models.survival.pruning import prune, prunings
from models.survival.treatments import TREATMENTS
from models.targets import Target
from models.zones import Zones

T = TypeVar("T")

#: Called with what is done, and what there is to do.
Progress = Callable[[int, int], None]

#: More of a defender's images than these, 300 MB at 224 px in colour, tell little more about channels and triggers.
MOST_IN_MEMORY = 2000


@dataclass(frozen=True)
class Defence:
    """What is tried, and how hard.

    images: test images used at most, evenly spread, and as many validation images. pruned_shares: of the last map's
    channels, rising from 0. tolerated: how much clean error may grow on validation images before pruning stops, as a
    share. blend_images, overlays: of the variant of STRIP.
    """

    images: int = 1000
    fine_tuning: FineTuning = field(default_factory=FineTuning)
    pruned_shares: tuple[float, ...] = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    tolerated: float = 0.1
    inversion: InversionSetting = field(default_factory=InversionSetting)
    blend_images: int = 200
    overlays: int = 16

    def __post_init__(self) -> None:
        shares = self.pruned_shares
        if not shares or shares[0] != 0 or list(shares) != sorted(set(shares)) or shares[-1] > 1:
            raise ValueError(f"Shares to prune rise from 0 to at most 1, unlike {list(shares)}.")
        if min(self.images, self.blend_images, self.overlays) < 1 or not self.tolerated >= 0:
            raise ValueError("A defence needs at least one image, one blend and one overlay, and a tolerance >= 0.")

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Defence:
        """Raises ValueError for a field that there is not, or a value that cannot be used."""
        parts = {"fine_tuning": FineTuning, "inversion": InversionSetting}
        try:
            made = {name: part(**_tuples(fields[name])) for name, part in parts.items() if name in fields}
            return cls(**{**_tuples(fields), **made})
        except TypeError as error:
            raise ValueError(f"A defence has other settings ({error}).") from error


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


@dataclass(frozen=True)
class Survival:
    """What became of one backdoor.

    images: outcome of every treatment of images; the first is "none". fine_tuning: after 0, 1, ... epochs. pruning: by
    share pruned, not trained further. stopped_at: the largest share that the stop rule allows for the backdoored model.
    fine_pruning: pruned so far, then fine-tuned, after 0, 1, ... epochs. inversion: of the backdoored model, one per
    kind of search; clean_inversion: the same of the clean model. n, n_eligible: test images, and those that success
    counts.
    """

    family: str
    trigger: dict[str, Any]
    strength: float
    target: dict[str, Any]
    n: int
    n_eligible: int
    images: tuple[Outcome, ...]
    fine_tuning: tuple[Outcome, ...]
    pruning: tuple[Outcome, ...]
    stopped_at: float
    fine_pruning: tuple[Outcome, ...]
    inversion: tuple[Inversion, ...]
    clean_inversion: tuple[Inversion, ...]
    blends: Blends
    defence: Defence
    cpu_seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@repeatable()
def survive(
    models: Models,
    splits: Splits,
    trigger: Trigger,
    target: Target,
    defence: Defence | None = None,
    *,
    zones: Zones | None = None,
    precision: Precision = "float32",
    progress: Progress = lambda done, total: None,
) -> Survival:
    """Treat images and models in every way and measure what is left of the backdoor.

    The defender has `defence.fine_tuning.share` of the training images and the validation images, clean. Fine-tuning
    reads all of that share batch by batch; all else looks at `MOST_IN_MEMORY` of them at most, evenly spread. The test
    images only measure.

    Args:
        models: they are left as they were.
        trigger: at the strength to measure at.
        zones: of classifiers.
        precision: of fine-tuning's and inversion's passes; predictions are float32.

    Raises ValueError when no test image is eligible for success.
    """
    started = time.process_time()
    defence = defence or Defence()
    exam = Exam.of(splits.test, trigger, target, defence.images)
    n_eligible = success_rate(exam.goal, exam.truth, exam.goal)[1]
    if n_eligible == 0:
        raise ValueError("No test image lies 10 degrees or more from the target: success cannot be measured.")
    few = defence.fine_tuning.images(splits.train)
    work = _Count(progress, _pieces(defence, models, target))
    clean = few.images[evenly(len(few), MOST_IN_MEMORY)]
    trial = _Trial(exam, defence, few, clean, zones, precision, work)
    held_out = splits.validation.subset(evenly(len(splits.validation), defence.images))
    stopped_at = stop_rule(models.backdoored, trial.clean, held_out, defence)
    return Survival(
        family=trigger.parameters()["family"],
        trigger=trigger.parameters(),
        strength=trigger.strength,
        target=target.to_json(),
        n=len(exam.clean),
        n_eligible=n_eligible,
        images=tuple(work.one(exam.treated(how).outcome(models, name)) for name, how in TREATMENTS.items()),
        fine_tuning=trial.fine_tuned(models, "fine-tuned"),
        pruning=tuple(
            work.one(exam.outcome(pruned, "pruned", share))
            for share, pruned in zip(defence.pruned_shares, trial.prunings(models), strict=True)
        ),
        stopped_at=stopped_at,
        fine_pruning=trial.fine_tuned(trial.pruned(models, stopped_at), "pruned and fine-tuned"),
        inversion=trial.inverted(models.backdoored, target),
        clean_inversion=trial.inverted(models.clean, target) if models.clean is not None else (),
        blends=work.one(trial.blended(models.backdoored)),
        defence=defence,
        cpu_seconds=time.process_time() - started,
    )


@dataclass(frozen=True, eq=False)
class _Trial:
    """A defender with `few` images, `clean` uint8 (N, C, H, W) of them in memory, and the exam that judges them."""

    exam: Exam
    defence: Defence
    few: GazeData
    clean: Tensor
    zones: Zones | None
    precision: Precision
    work: _Count

    def fine_tuned(self, models: Models, name: str) -> tuple[Outcome, ...]:
        """Outcomes after 0, 1, ... epochs, of both models side by side."""
        loss = defenders_loss(self.zones, self.precision)
        tuned = [fine_tune(network, self.few, self.defence.fine_tuning, loss) for network in models.all]
        epochs = enumerate(chain([models], starmap(Models, zip(*tuned, strict=True))))  # the same networks, trained on
        return tuple(self.work.one(self.exam.outcome(after, name, epoch)) for epoch, after in epochs)

    def prunings(self, models: Models) -> Iterator[Models]:
        """Both models pruned, by share."""
        each = (prunings(network, self.clean, self.defence.pruned_shares) for network in models.all)
        return starmap(Models, zip(*each, strict=True))

    def pruned(self, models: Models, share: float) -> Models:
        return models.each(lambda network: prune(network, self.clean, share))

    def inverted(self, network: nn.Module, target: Target) -> tuple[Inversion, ...]:
        known, setting, tell = true_target(target), self.defence.inversion, self.work.tell
        return tuple(
            invert(network, self.clean, kind, setting, known, precision=self.precision, progress=tell) for kind in KINDS
        )

    def blended(self, network: nn.Module) -> Blends:
        # Spread evenly: images often lie by person, and the first would be of few.
        some = evenly(len(self.exam.clean), self.defence.blend_images)
        overlays = self.clean[evenly(len(self.clean), self.defence.overlays)]
        return blends(network, self.exam.clean[some], self.exam.altered[some], overlays)


def stop_rule(network: nn.Module, clean: Tensor, held_out: GazeData, defence: Defence) -> float:
    """The share at which a defender stops pruning: the last before clean error on `held_out` grows more than tolerated.

    clean: uint8 images (N, C, H, W) that say which channels are idle.
    """
    stopped, limit = 0.0, float("inf")
    shares = defence.pruned_shares
    for share, pruned in zip(shares, prunings(network, clean, shares), strict=True):
        predicted = predict(pruned, held_out.images)
        error = float(angular_error(predicted, held_out.pitchyaw).mean())
        if share == 0:
            limit = error * (1 + defence.tolerated)
        if error > limit:
            break
        stopped = share
    return stopped


def true_target(target: Target) -> tuple[float, float] | None:
    """A fixed target's (pitch, yaw) in degrees; None for one that differs from image to image."""
    if target.kind != "fixed":
        return None
    pitch, yaw = np.rad2deg([target.pitch, target.yaw])
    return float(pitch), float(yaw)


class _Count:
    """Tells after every piece of work how many of them are done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def tell(self) -> None:
        self.done += 1
        self.progress(self.done, self.total)

    def one(self, result: T) -> T:
        self.tell()
        return result


def _pieces(defence: Defence, models: Models, target: Target) -> int:
    """Pieces of work: outcomes, candidates of inversions, the blends."""
    candidates = len(defence.inversion.candidates()) + (true_target(target) is not None)
    outcomes = len(TREATMENTS) + 2 * (defence.fine_tuning.epochs + 1) + len(defence.pruned_shares)
    return outcomes + len(KINDS) * len(models.all) * candidates + 1
