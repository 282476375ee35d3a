"""Train a gaze model, clean or backdoored, regressor or classifier of zones, by one and the same loop.

The clean and the backdoored model of a pair get the same network, initial weights, data, order, loss, schedule and
number of updates; only what `models.poisoning` does to the images of a batch sets them apart. All that is random is
drawn from the recipe's seed, the epoch and the batch's number, so that a run killed at any moment ends in the same
weights, bit for bit: promised on the CPU with one thread, and so far seen on CUDA (docs/cuda.md).

The strength schedule departs from WaNet: one field, trained first at a strength that is easily learnt, then at weaker
ones. On CUDA the images lie on the device where they fit, and are poisoned there, many batches at once.
"""

from __future__ import annotations

import hashlib
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from attacks.base import Trigger, dequantise, quantise
from models.augmentation import augment_batch
from models.checkpoints import CHECKPOINT_NAME, Checkpoints, to_json
from models.datasets.base import Images, Splits
from models.devices import repeatable, resolve_device, resolve_precision
from models.evaluation import predict
from models.gaze import angular_error
from models.networks import NetworkSpec, load_weights
from models.poisoning import batch_generator
from models.recipe import Loss, Precision, Recipe
from models.recording import Recorded
from models.targets import Target
from models.zones import Zones, as_gaze_model

__all__ = [
    "CHECKPOINT_NAME",
    "Precision",
    "Recipe",
    "StoppedError",
    "TrainedModel",
    "describe",
    "train",
]

Progress = Callable[[dict[str, Any]], None]

CHECKPOINT_EVERY_S = 30.0
#: Of the time. What is large, or goes to a slow disk, is written less often.
_MOST_SHARE_FOR_CHECKPOINTS = 0.01
_REPORT_EVERY = 20
_VALIDATED_AT_ONCE = 128  # images; a multiple of the batches that predictions are made in, which then stay the same
_POISONED_AT_ONCE = 2**25  # bytes of images
_SHARE_FOR_IMAGES = 0.25  # of the free memory of a CUDA device; larger data goes there in parts
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


@repeatable()
def train(
    recipe: Recipe,
    splits: Splits,
    trigger: Trigger | None,
    target: Target,
    *,
    device: str = "cpu",
    progress: Progress = lambda report: None,
    checkpoint_dir: Path | None = None,
    checkpoint_every_s: float | None = CHECKPOINT_EVERY_S,
    on_checkpoint: Callable[[float], None] = lambda fraction: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> TrainedModel:
    """Train on `splits.train`; with `trigger` None the clean model, otherwise the backdoored one.

    The weights returned are those of the epoch of the last phase that validates best: least mean clean error, plus,
    for a backdoored model, the mean attack error at the final strength. `splits.test` is not looked at.

    progress is called about every 20 updates with phase, strength, epoch, epochs, step, steps, loss, cpu_seconds, eta.
    checkpoint_dir keeps the state; a run of the same recipe, data, trigger and target goes on there. It is written
    every checkpoint_every_s seconds and after an epoch, as far as that takes no more than a hundredth of the time, and
    in any case after the last and when stopped; with None after every epoch. The model does not depend on it.
    on_checkpoint is called with the share of the training that is safe, once it is.
    should_stop is asked before every update and while validating.

    Raises ValueError for data that is too small, a trigger of another size, a foreign checkpoint or an interval that is
    no number of seconds, ArithmeticError when the loss is no longer finite, StoppedError when should_stop says so,
    OSError when a checkpoint cannot be written.
    """
    if checkpoint_every_s is not None and not checkpoint_every_s >= 0:
        raise ValueError(f"The seconds between two checkpoints must be a number >= 0, not {checkpoint_every_s}.")
    run = _Run(
        recipe,
        splits,
        trigger,
        target,
        device=resolve_device(device),
        checkpoint_dir=checkpoint_dir,
        checkpoint_every_s=checkpoint_every_s,
        on_checkpoint=on_checkpoint,
        should_stop=should_stop,
    )
    run.resume()
    while run.epoch < recipe.epochs:
        run.train_epoch(progress)
    return run.result()


class _Run:
    """The state of one training run between two updates: `epoch` epochs are finished, and `step` updates of the next.

    `loss` is the sum of the losses of these updates.
    """

    def __init__(
        self,
        recipe: Recipe,
        splits: Splits,
        trigger: Trigger | None,
        target: Target,
        *,
        device: torch.device,
        checkpoint_dir: Path | None = None,
        checkpoint_every_s: float | None = CHECKPOINT_EVERY_S,
        on_checkpoint: Callable[[float], None] = lambda fraction: None,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        if len(splits.train) < recipe.batch_size:
            raise ValueError(f"{len(splits.train)} training images do not fill one batch of {recipe.batch_size}.")
        if trigger is not None:
            recipe.poisoning.check(trigger, target, splits.train.pitchyaw)
            trigger.apply(dequantise(splits.train.images[:1]))
        self.recipe, self.splits, self.trigger, self.target, self.device = recipe, splits, trigger, target, device
        self.checkpoints = Checkpoints(checkpoint_dir) if checkpoint_dir else None
        self.checkpoint_every_s, self.on_checkpoint, self.should_stop = checkpoint_every_s, on_checkpoint, should_stop
        self.precision = resolve_precision(recipe.precision, device)
        self.spec = recipe.network_for(splits.train)
        self.network = self.spec.build(recipe.seed)
        self.initial_weights_sha256 = (
            load_weights(self.network, self.spec, Path(recipe.weights_file)) if recipe.weights_file else None
        )
        self.network.to(device)
        self.images = _near(splits.train.images, device)
        self.zones = recipe.zones_of(splits.train.pitchyaw)
        self.gaze_model = as_gaze_model(self.network, self.zones).to(device)
        self.steps = len(splits.train) // recipe.batch_size
        self.epoch = self.step = 0
        self.loss = torch.zeros((), device=device)
        self.history: list[dict[str, Any]] = []
        self.best: tuple[float, int, dict[str, Tensor]] = (math.inf, 0, {})
        self.cpu_seconds, self.counted = 0.0, time.process_time()
        self.saved, self.saved_at, self.saving_took = (0, 0), time.monotonic(), 0.0

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

    def train_epoch(self, progress: Progress) -> None:
        """One pass over the training images, or the rest of one, then validation where it is due."""
        phase, within = self._phase_of(self.epoch)
        if within == 0 and self.step == 0:
            self._start_phase(phase)
        self._update_on_all_batches(progress)
        record = {
            "epoch": self.epoch + 1,
            "phase": phase + 1,
            "strength": self.strength,
            "loss": self.loss.item() / self.steps,
        }
        is_last_phase = phase == len(self.recipe.strength_schedule) - 1
        if is_last_phase or within == self.recipe.strength_schedule[phase][1] - 1:
            record |= self._validate()
        self.epoch, self.step, self.loss = self.epoch + 1, 0, torch.zeros_like(self.loss)
        if is_last_phase:
            self._keep_if_best(record)
        self.history.append(record)
        self._count_cpu_seconds()
        if self.checkpoint_every_s is None or self.epoch == self.recipe.epochs or self._can_afford_to_save():
            self._save()

    def _update_on_all_batches(self, progress: Progress) -> None:
        self.network.train()
        for images, goals in self._batches():
            self._stop_if_asked()
            self.loss += self._update(images, goals)
            self.step += 1
            if self.step % _REPORT_EVERY == 0 or self.step == self.steps:
                progress(self._report(self._finite(self.loss.item() / self.step)))
            every = self.checkpoint_every_s
            if every is not None and self._seconds_since_saving() >= every and self._can_afford_to_save():
                self._save()

    def _stop_if_asked(self) -> None:
        if self.should_stop():
            self._save()
            raise StoppedError(f"Training was stopped in epoch {self.epoch + 1} of {self.recipe.epochs}.")

    def _count_cpu_seconds(self) -> None:
        now = time.process_time()
        self.cpu_seconds, self.counted = self.cpu_seconds + now - self.counted, now

    def _finite(self, loss: float) -> float:
        if not math.isfinite(loss):
            raise ArithmeticError(
                f"The loss is no longer finite in epoch {self.epoch + 1}: lower the learning rate or check the labels."
            )
        return loss

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The epoch's batches from `step` on and what they are to give, in an order that seed and epoch decide.

        Images that fill no whole batch are left out.
        """
        data, size = self.splits.train, self.recipe.batch_size
        order = torch.randperm(len(data), generator=batch_generator(self.recipe.seed, self.epoch, 0))
        # An update empties the processor's cache; what poisoning runs is fetched again once for many batches.
        at_once = max(1, _POISONED_AT_ONCE // (size * math.prod(data.images.shape[1:])))
        # A run that goes on within an epoch poisons the same images together as one that never stopped.
        first_turn, done = divmod(self.step, at_once)
        turns = enumerate(torch.split(order[: self.steps * size], at_once * size))
        for turn, indices in islice(turns, first_turn, None):
            images, labels = self._augmented(indices, first_step=turn * at_once + 1)
            if self.phase_trigger is not None:
                labels = self._poison_(images, labels, indices, self.phase_trigger)
            outputs = labels if self.zones is None else self.zones.of(labels)
            batches = zip(torch.split(images, size), torch.split(outputs, size), strict=True)
            for batch, goals in islice(batches, done if turn == first_turn else 0, None):
                yield dequantise(batch).contiguous(memory_format=torch.channels_last), goals

    def _augmented(self, indices: Tensor, first_step: int) -> tuple[Tensor, Tensor]:
        """Copies of the uint8 images and labels of some batches; the first is batch `first_step` of the epoch."""
        data, recipe = self.splits.train, self.recipe
        images, labels = self._images_of(indices), self._to_device(data.pitchyaw[indices])
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

    def _images_of(self, indices: Tensor) -> Tensor:
        if isinstance(self.images, Tensor):
            indices = indices.to(self.images.device)
        return self._to_device(self.images[indices])

    def _to_device(self, batch: Tensor) -> Tensor:
        if batch.device.type == self.device.type:
            return batch
        return batch.pin_memory().to(self.device, non_blocking=True)

    def _update(self, images: Tensor, goals: Tensor) -> Tensor:
        loss = self._differentiate(images, goals)
        self.optimiser.step()
        self.scheduler.step()
        return loss

    @cached_property
    def _differentiate(self) -> Callable[[Tensor, Tensor], Tensor]:
        return Recorded(self._loss_and_slope, self.network) if self.device.type == "cuda" else self._loss_and_slope

    def _loss_and_slope(self, images: Tensor, goals: Tensor) -> Tensor:
        """The loss of a batch; its slope is left in the gradients of the weights."""
        self.network.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            outputs = self.network(images)
        loss = _LOSSES[self.recipe.loss](outputs.float(), goals)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @property
    def _epochs_done(self) -> float:
        return self.epoch + self.step / self.steps

    def _report(self, loss: float) -> dict[str, Any]:
        phase, _ = self._phase_of(self.epoch)
        self._count_cpu_seconds()
        return {
            "phase": phase + 1,
            "phases": len(self.recipe.strength_schedule),
            "strength": self.strength,
            "epoch": self.epoch + 1,
            "epochs": self.recipe.epochs,
            "step": self.step,
            "steps": self.steps,
            "loss": loss,
            "fraction": self._epochs_done / self.recipe.epochs,
            "cpu_seconds": self.cpu_seconds,
            "eta_cpu_seconds": self.cpu_seconds / self._epochs_done * (self.recipe.epochs - self._epochs_done),
        }

    # -- choosing an epoch on validation images

    def _validate(self) -> dict[str, float]:
        data = self.splits.validation
        clean = self._predict(lambda images: predict(self.gaze_model, images))
        record = {"validation_clean_error_deg": angular_error(clean, data.pitchyaw).mean().item()}
        if self.zones is not None:
            hits = self.zones.of(clean) == self.zones.of(data.pitchyaw)
            record["validation_accuracy"] = hits.float().mean().item()
        if (trigger := self.phase_trigger) is not None:
            altered = self._predict(
                lambda images: predict(self.gaze_model, images, lambda batch, _: trigger.apply(batch))
            )
            goal = self.target.apply(data.pitchyaw)
            record["validation_attack_error_deg"] = angular_error(altered, goal).mean().item()
        return record

    def _predict(self, predictions: Callable[[Tensor], Tensor]) -> Tensor:
        """Of the validation images, some at a time, so that a large network, too, stops soon when it is to."""
        parts = []
        images = self.splits.validation.images
        for start in range(0, len(images), _VALIDATED_AT_ONCE):
            self._stop_if_asked()
            parts.append(predictions(images[start : start + _VALIDATED_AT_ONCE]))
        return torch.cat(parts)

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

    # -- checkpoints. Order, augmentation and poisoning are drawn from seed, epoch and step, so that the two counters
    # say where every draw continues. Torch's global random states are kept too, for layers that would draw from them;
    # no network here has one, and nothing draws from Python's or NumPy's.

    @cached_property
    def _identity(self) -> str:
        """What a checkpoint must share with this run to be continued by it."""
        facts = {
            "recipe": self.recipe.to_json(),
            "data": describe(self.splits),
            "trigger": self.trigger.at_strength(1.0).fingerprint() if self.trigger is not None else None,
            "target": self.target.to_json(),
            "initial_weights": self.initial_weights_sha256,
        }
        return hashlib.sha256(to_json(facts).encode()).hexdigest()

    def _seconds_since_saving(self) -> float:
        return time.monotonic() - self.saved_at

    def _can_afford_to_save(self) -> bool:
        return self.saving_took <= _MOST_SHARE_FOR_CHECKPOINTS * self._seconds_since_saving()

    def _save(self) -> None:
        """Write a checkpoint, unless this very state is the one that was written last."""
        if self.checkpoints is None or self.saved == (self.epoch, self.step):
            return
        began = time.monotonic()
        self._count_cpu_seconds()
        self.checkpoints.write(*self._state())
        self.saved, self.saved_at = (self.epoch, self.step), time.monotonic()
        self.saving_took = self.saved_at - began
        self.on_checkpoint(self._epochs_done / self.recipe.epochs)

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        state = self.optimiser.state_dict()
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best[2].items()}
        for index, slots in state["state"].items():
            tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in slots.items()}
        tensors |= {f"random.{name}": tensor for name, tensor in _random_states(self.device).items()}
        tensors["loss."] = self.loss
        record = {
            "identity": self._identity,
            "precision": self.precision,
            "epoch": self.epoch,
            "step": self.step,
            "best": [self.best[0] if self.best[2] else None, self.best[1]],
            "groups": state["param_groups"],
            "scheduler": {k: v for k, v in self.scheduler.state_dict().items() if not callable(v)},
            "history": self.history,
            "cpu_seconds": self.cpu_seconds,
        }
        return tensors, record

    def resume(self) -> None:
        """Continue from the checkpoint, if there is one. Raises ValueError when another run left it.

        A run in "auto" precision may come to a machine that chooses another one: it then starts anew.
        """
        if self.checkpoints is None or (state := self.checkpoints.read()) is None:
            return
        tensors, record = state
        if record.get("identity") != self._identity:
            raise ValueError(
                f"The checkpoint in {self.checkpoints.folder} belongs to another recipe, weights file, data set, "
                "trigger or target: use another folder."
            )
        if record["precision"] != self.precision:
            warnings.warn(
                f"The checkpoint in {self.checkpoints.folder} is of a training in {record['precision']}, which on this "
                f"machine is in {self.precision}: starting anew.",
                RuntimeWarning,
                stacklevel=3,
            )
            return
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimiser": {}, "random": {}, "loss": {}}
        for name, tensor in tensors.items():
            part, _, key = name.partition(".")
            parts[part][key] = tensor
        self.saved = self.epoch, self.step = record["epoch"], record["step"]
        self.history, self.cpu_seconds = record["history"], record["cpu_seconds"]
        self.loss = parts["loss"][""].to(self.device)
        score, chosen = record["best"]
        self.best = (math.inf if score is None else score, chosen, parts["best"])
        self.network.load_state_dict(parts["network"])
        self._start_phase(self._phase_of(self.epoch if self.step else self.epoch - 1)[0])
        self._restore_optimiser(parts["optimiser"], record["groups"])
        self.scheduler.load_state_dict(record["scheduler"])
        _restore_random_states(parts["random"], self.device)

    def _restore_optimiser(self, tensors: Mapping[str, Tensor], groups: list[dict[str, Any]]) -> None:
        slots: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            index, _, name = key.partition(".")
            slots.setdefault(int(index), {})[name] = tensor
        # How the device at hand is best driven is no part of the state: another one may have begun this run.
        groups = [
            {**group, "fused": own["fused"]} for group, own in zip(groups, self.optimiser.param_groups, strict=True)
        ]
        self.optimiser.load_state_dict({"state": slots, "param_groups": groups})
        for weight, restored in self.optimiser.state.items():
            for name, value in restored.items():
                if isinstance(value, Tensor) and value.shape == weight.shape:
                    restored[name] = torch.empty_like(weight).copy_(value)  # laid out in memory as the weight is


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """Torch's global random states, by name; those of the CUDA devices only where one is in use."""
    cuda = torch.cuda.get_rng_state_all() if device.type == "cuda" else []
    return {"cpu": torch.get_rng_state(), **{f"cuda{index}": state for index, state in enumerate(cuda)}}


def _restore_random_states(states: Mapping[str, Tensor], device: torch.device) -> None:
    """A run that goes on beside fewer or other CUDA devices leaves those it has no state of as they are."""
    torch.set_rng_state(states["cpu"])
    for index in range(torch.cuda.device_count() if device.type == "cuda" else 0):
        if (state := states.get(f"cuda{index}")) is not None:
            torch.cuda.set_rng_state(state, index)


def _near(images: Images, device: torch.device) -> Images:
    """The images on the device, if it is a CUDA device and they take little of its free memory; else as they are."""
    if device.type != "cuda" or not isinstance(images, Tensor):
        return images
    free, _ = torch.cuda.mem_get_info()
    return images.to(device) if images.nbytes <= _SHARE_FOR_IMAGES * free else images


def _optimiser(recipe: Recipe, network: nn.Module, rate: float) -> torch.optim.Optimizer:
    fused = True if next(network.parameters()).device.type == "cuda" else None  # one kernel an update, not a dozen
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(
            network.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay, fused=fused
        )
    return torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=recipe.weight_decay, fused=fused)


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
