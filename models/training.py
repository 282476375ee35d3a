"""Train a gaze model, clean or backdoored, regressor or classifier of zones, by one and the same loop.

The clean and the backdoored model of a pair get the same network, initial weights, data, order, loss, schedule and
number of updates; only what `models.poisoning` does to the images of a batch sets them apart. All that is random is
drawn from the recipe's seed and the epoch, so that a run killed at any moment ends in the same weights, bit for bit, on
the CPU with one thread.

The strength schedule departs from WaNet: one field, trained first at a strength that is easily learnt, then at weaker
ones. The CUDA path (pinned batches, bfloat16 autocast) is written but has not been tried on a device.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from attacks.base import Trigger, dequantise, quantise
from models.augmentation import augment_batch
from models.checkpoints import read_tensors, to_json, write_tensors
from models.datasets.base import Splits
from models.evaluation import predict
from models.gaze import angular_error
from models.networks import NetworkSpec, load_weights
from models.poisoning import batch_generator
from models.recipe import Loss, Precision, Recipe
from models.targets import Target
from models.zones import Zones, as_gaze_model

__all__ = ["Precision", "Recipe", "StoppedError", "TrainedModel", "describe", "resolve_device", "train"]

Progress = Callable[[dict[str, Any]], None]

CHECKPOINT_NAME = "checkpoint.safetensors"
_REPORT_EVERY = 20
_POISONED_AT_ONCE = 2**25  # bytes of images
_HUBER_DELTA = 0.1  # radians; torch's default of 1 would make it a squared error for every gaze
_LOSSES: dict[Loss, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,
    "l1": F.l1_loss,
    "huber": partial(F.huber_loss, delta=_HUBER_DELTA),
    "cross_entropy": F.cross_entropy,
}


class StoppedError(Exception):
    """The caller asked to stop; what was finished is kept."""


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained network and what it takes to know it and to train it again.

    network: predicts gazes (N, 2), a classifier too (`models.zones.ZonePredictor`).
    history: one record per epoch: phase, strength, loss and, where measured, validation errors in degrees.
    chosen_epoch: the epoch whose weights `network` holds, counted from 1 over all phases.
    zones: of a classifier.
    initial_weights_sha256: of the file the network started from, if it did from one.
    """

    network: nn.Module
    spec: NetworkSpec
    recipe: Recipe
    trigger: Trigger | None
    target: Target
    precision: str
    device: str
    chosen_epoch: int
    cpu_seconds: float
    data: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    zones: Zones | None = None
    initial_weights_sha256: str | None = None


def resolve_device(device: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU. Raises ValueError for another name or a missing device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ValueError(f"The device is 'auto', 'cpu' or 'cuda', not {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("There is no CUDA device on this machine: use device 'cpu' or 'auto'.")
    return torch.device(device)


def resolve_precision(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """What "auto" means here: bfloat16 on CUDA or where the processor multiplies bfloat16 matrices, else float32."""
    if precision != "auto":
        return precision
    capable = torch.cpu.get_capabilities()
    native = capable.get("amx_bf16", False) or capable.get("avx512_bf16", False)
    return "bfloat16" if device.type == "cuda" or native else "float32"


def train(
    recipe: Recipe,
    splits: Splits,
    trigger: Trigger | None,
    target: Target,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    checkpoint_dir: Path | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedModel:
    """Train on `splits.train`; with `trigger` None the clean model, otherwise the backdoored one.

    The weights returned are those of the epoch of the last phase that validates best: least mean clean error, plus,
    for a backdoored model, the mean attack error at the final strength. `splits.test` is not looked at.

    progress is called about every 20 updates with phase, strength, epoch, epochs, step, steps, loss, cpu_seconds, eta.
    checkpoint_dir keeps the state after every epoch; a run of the same recipe, data, trigger and target goes on there.
    should_stop is asked before every update.

    Raises ValueError for data that is too small, a trigger of another size or a foreign checkpoint,
    ArithmeticError when the loss is no longer finite, StoppedError when should_stop says so.
    """
    run = _Run(recipe, splits, trigger, target, device=resolve_device(device), checkpoint_dir=checkpoint_dir)
    run.resume()
    while run.epoch < recipe.epochs:
        run.train_epoch(progress or (lambda _: None), should_stop)
    return run.result()


class _Run:
    """The state of one training run between two epochs."""

    def __init__(
        self,
        recipe: Recipe,
        splits: Splits,
        trigger: Trigger | None,
        target: Target,
        *,
        device: torch.device,
        checkpoint_dir: Path | None,
    ) -> None:
        if len(splits.train) < recipe.batch_size:
            raise ValueError(f"{len(splits.train)} training images do not fill one batch of {recipe.batch_size}.")
        if trigger is not None:
            recipe.poisoning.check(trigger, target, splits.train.pitchyaw)
            trigger.apply(dequantise(splits.train.images[:1]))
        self.recipe, self.splits, self.trigger, self.target, self.device = recipe, splits, trigger, target, device
        self.checkpoint = checkpoint_dir / CHECKPOINT_NAME if checkpoint_dir else None
        self.precision = resolve_precision(recipe.precision, device)
        self.spec = recipe.network_for(splits.train)
        self.network = self.spec.build(recipe.seed)
        self.initial_weights_sha256 = (
            load_weights(self.network, self.spec, Path(recipe.weights_file)) if recipe.weights_file else None
        )
        self.network.to(device)
        self.zones = recipe.zones_of(splits.train.pitchyaw)
        self.gaze_model = as_gaze_model(self.network, self.zones).to(device)
        self.steps = len(splits.train) // recipe.batch_size
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self.best: tuple[float, int, dict[str, Tensor]] = (math.inf, 0, {})
        self.cpu_seconds = 0.0

    # -- phases and epochs

    def _phase_of(self, epoch: int) -> tuple[int, int]:
        """Phase, and epoch within it, of an epoch; all counted from 0."""
        phase = 0
        while epoch >= self.recipe.strength_schedule[phase][1]:
            epoch -= self.recipe.strength_schedule[phase][1]
            phase += 1
        return phase, epoch

    def _start_phase(self, phase: int) -> None:
        self.strength, epochs = self.recipe.strength_schedule[phase]
        peak = self.recipe.learning_rate if phase == 0 else self.recipe.later_learning_rate
        self.optimiser = _optimiser(self.recipe, self.network, peak)
        self.scheduler = _schedule(self.recipe, self.optimiser, peak, epochs, self.steps)
        self.phase_trigger = self.trigger.at_strength(self.strength) if self.trigger is not None else None
        self.poisoning = self.recipe.poisoning_in(phase + 1)

    def train_epoch(self, progress: Progress, should_stop: Callable[[], bool]) -> None:
        """One pass over the training images, then validation where it is due, then the checkpoint."""
        started = time.process_time()
        phase, within = self._phase_of(self.epoch)
        if within == 0:
            self._start_phase(phase)
        loss = self._update_on_all_batches(progress, should_stop, started)
        record = {"epoch": self.epoch + 1, "phase": phase + 1, "strength": self.strength, "loss": loss}
        is_last_phase = phase == len(self.recipe.strength_schedule) - 1
        if is_last_phase or within == self.recipe.strength_schedule[phase][1] - 1:
            record |= self._validate()
        self.epoch += 1
        if is_last_phase:
            self._keep_if_best(record)
        self.history.append(record)
        self.cpu_seconds += time.process_time() - started
        self._save()

    def _update_on_all_batches(self, progress: Progress, should_stop: Callable[[], bool], started: float) -> float:
        """Mean loss of the epoch."""
        self.network.train()
        total = torch.zeros((), device=self.device)
        for step, (images, labels) in enumerate(self._batches(), start=1):
            if should_stop():
                raise StoppedError(f"Training was stopped in epoch {self.epoch + 1} of {self.recipe.epochs}.")
            total += self._update(images, labels)
            if step % _REPORT_EVERY == 0 or step == self.steps:
                progress(self._report(step, self._finite(total.item() / step), time.process_time() - started))
        return total.item() / self.steps

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise ArithmeticError(
                f"The loss is no longer finite in epoch {self.epoch + 1}: lower the learning rate or check the labels."
            )
        return loss

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's batches in an order that seed and epoch decide; images that fill no whole batch are left out."""
        data, size = self.splits.train, self.recipe.batch_size
        order = torch.randperm(len(data), generator=batch_generator(self.recipe.seed, self.epoch, 0))
        # An update empties the processor's cache; what poisoning runs is fetched again once for many batches.
        at_once = max(1, _POISONED_AT_ONCE // (size * math.prod(data.images.shape[1:])))
        for turn, indices in enumerate(torch.split(order[: self.steps * size], at_once * size)):
            images, labels = self._augmented(indices, first_step=turn * at_once + 1)
            if self.phase_trigger is not None:
                labels = self._poison_(images, labels, indices, self.phase_trigger)
            for batch, goals in zip(torch.split(images, size), torch.split(labels, size), strict=True):
                yield dequantise(batch).contiguous(memory_format=torch.channels_last), goals

    def _augmented(self, indices: Tensor, first_step: int) -> tuple[Tensor, Tensor]:
        """Copies of the uint8 images and labels of some batches; the first is batch `first_step` of the epoch."""
        data, recipe = self.splits.train, self.recipe
        images, labels = self._to_device(data.images[indices]), self._to_device(data.pitchyaw[indices])
        if recipe.augmentation == "none":
            return images, labels
        batches = []
        parts = zip(torch.split(images, recipe.batch_size), torch.split(labels, recipe.batch_size), strict=True)
        for step, (part, gazes) in enumerate(parts, start=first_step):
            generator = batch_generator(recipe.seed, self.epoch, step)
            floats, goals = augment_batch(dequantise(part), gazes, recipe.augmentation, generator)
            batches.append((quantise(floats), goals))
        images, labels = map(torch.cat, zip(*batches, strict=True))
        return images, labels

    def _poison_(self, images: Tensor, labels: Tensor, indices: Tensor, trigger: Trigger) -> Tensor:
        strongest = max(strength for strength, _ in self.recipe.strength_schedule)
        return self.poisoning.poison_(
            images, labels, indices, self.epoch, trigger=trigger, target=self.target, strongest=strongest
        )

    def _to_device(self, batch: Tensor) -> Tensor:
        if self.device.type == "cpu":
            return batch
        return batch.pin_memory().to(self.device, non_blocking=True)

    def _update(self, images: Tensor, gazes: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            outputs = self.network(images)
        goals = gazes if self.zones is None else self.zones.of(gazes)
        loss = _LOSSES[self.recipe.loss](outputs.float(), goals)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.scheduler.step()
        return loss.detach()

    def _report(self, step: int, loss: float, seconds: float) -> dict[str, Any]:
        phase, _ = self._phase_of(self.epoch)
        done = self.epoch + step / self.steps
        spent = self.cpu_seconds + seconds
        return {
            "phase": phase + 1,
            "phases": len(self.recipe.strength_schedule),
            "strength": self.strength,
            "epoch": self.epoch + 1,
            "epochs": self.recipe.epochs,
            "step": step,
            "steps": self.steps,
            "loss": loss,
            "fraction": done / self.recipe.epochs,
            "cpu_seconds": spent,
            "eta_cpu_seconds": spent / done * (self.recipe.epochs - done),
        }

    # -- choosing a checkpoint on validation images

    def _validate(self) -> dict[str, float]:
        data = self.splits.validation
        clean = predict(self.gaze_model, data.images)
        record = {"validation_clean_error_deg": angular_error(clean, data.pitchyaw).mean().item()}
        if self.zones is not None:
            hits = self.zones.of(clean) == self.zones.of(data.pitchyaw)
            record["validation_accuracy"] = hits.float().mean().item()
        if (trigger := self.phase_trigger) is not None:
            altered = predict(self.gaze_model, data.images, lambda batch, _: trigger.apply(batch))
            goal = self.target.apply(data.pitchyaw)
            record["validation_attack_error_deg"] = angular_error(altered, goal).mean().item()
        return record

    def _keep_if_best(self, record: Mapping[str, Any]) -> None:
        score = record["validation_clean_error_deg"] + record.get("validation_attack_error_deg", 0.0)
        if not self.best[2] or score < self.best[0]:
            weights = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
            self.best = (score, self.epoch, weights)

    def result(self) -> TrainedModel:
        _, chosen_epoch, weights = self.best
        self.network.load_state_dict(weights)
        return TrainedModel(
            network=self.gaze_model.eval(),
            spec=self.spec,
            recipe=self.recipe,
            trigger=self.trigger.at_strength(self.recipe.final_strength) if self.trigger is not None else None,
            target=self.target,
            precision=self.precision,
            device=self.device.type,
            chosen_epoch=chosen_epoch,
            cpu_seconds=self.cpu_seconds,
            data=describe(self.splits),
            history=self.history,
            zones=self.zones,
            initial_weights_sha256=self.initial_weights_sha256,
        )

    # -- checkpoints: nothing random is kept between epochs, so the epoch's number says where every draw continues

    @cached_property
    def _identity(self) -> str:
        """What a checkpoint must share with this run to be continued by it."""
        facts = {
            "recipe": self.recipe.to_json(),
            "data": describe(self.splits),
            "trigger": self.trigger.at_strength(1.0).fingerprint() if self.trigger is not None else None,
            "target": self.target.to_json(),
            "precision": self.precision,
            "initial_weights": self.initial_weights_sha256,
        }
        return hashlib.sha256(to_json(facts).encode()).hexdigest()

    def _save(self) -> None:
        if self.checkpoint is None:
            return
        state = self.optimiser.state_dict()
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best[2].items()}
        for index, slots in state["state"].items():
            tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in slots.items()}
        record = {
            "identity": self._identity,
            "epoch": self.epoch,
            "best": [self.best[0] if self.best[2] else None, self.best[1]],
            "groups": state["param_groups"],
            "scheduler": {k: v for k, v in self.scheduler.state_dict().items() if not callable(v)},
            "history": self.history,
            "cpu_seconds": self.cpu_seconds,
        }
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_tensors(self.checkpoint, tensors, record)

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one. Raises ValueError when another run left it."""
        if self.checkpoint is None or not self.checkpoint.exists():
            return
        tensors, record = read_tensors(self.checkpoint)
        if record.get("identity") != self._identity:
            raise ValueError(
                f"{self.checkpoint} belongs to another recipe, weights file, data set, trigger or target: "
                "use another folder."
            )
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimiser": {}}
        for name, tensor in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = tensor
        self.epoch, self.history, self.cpu_seconds = record["epoch"], record["history"], record["cpu_seconds"]
        score, chosen = record["best"]
        self.best = (math.inf if score is None else score, chosen, parts["best"])
        self.network.load_state_dict(parts["network"])
        self._start_phase(self._phase_of(self.epoch - 1)[0])
        self._restore_optimiser(parts["optimiser"], record["groups"])
        self.scheduler.load_state_dict(record["scheduler"])

    def _restore_optimiser(self, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> None:
        slots: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            slots.setdefault(int(index), {})[name] = tensor
        self.optimiser.load_state_dict({"state": slots, "param_groups": groups})


def _optimiser(recipe: Recipe, network: nn.Module, rate: float) -> torch.optim.Optimizer:
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
        )
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=recipe.weight_decay)


def _schedule(recipe: Recipe, optimiser: torch.optim.Optimizer, peak: float, epochs: int, steps: int) -> LRScheduler:
    """The learning rate of one phase, by updates: one cycle, or steps of a tenth after each milestone."""
    if recipe.milestones is None:
        return OneCycleLR(
            optimiser,
            peak,
            total_steps=epochs * steps,
            pct_start=recipe.warm_up,
            cycle_momentum=recipe.optimiser == "adamw",
        )
    milestones = [epoch * steps for epoch in recipe.milestones]
    return LambdaLR(optimiser, lambda update: 0.1 ** sum(update >= milestone for milestone in milestones))


def describe(splits: Splits) -> dict[str, Any]:
    """Names, fingerprints and sizes of the parts of a data set, for records."""
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    return {
        "name": splits.train.name,
        "description": splits.train.description,
        **{
            part: {"fingerprint": data.fingerprint, "images": len(data), "subjects": len(set(data.subject.tolist()))}
            for part, data in parts.items()
        },
    }
