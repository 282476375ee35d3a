"""Train a gaze regressor, clean or backdoored, by one and the same loop.

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
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from attacks.base import Trigger, dequantise
from models.checkpoints import read_tensors, to_json, write_tensors
from models.datasets.base import GazeData, Splits
from models.evaluation import predict
from models.gaze import angular_error
from models.networks import NetworkSpec
from models.poisoning import Poisoning, ThreatModel, batch_generator, through_8_bits
from models.targets import Target

Loss = Literal["mse", "l1"]
Precision = Literal["auto", "float32", "bfloat16"]
Augmentation = Literal["none", "light", "strong"]
Progress = Callable[[dict[str, Any]], None]

CHECKPOINT_NAME = "checkpoint.safetensors"
_REPORT_EVERY = 20
_REACH: dict[Augmentation, float] = {"light": 1 / 32, "strong": 1 / 16}
_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": F.mse_loss, "l1": F.l1_loss}


class StoppedError(Exception):
    """The caller asked to stop; what was finished is kept."""


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run that is not data, trigger or target.

    strength_schedule: (strength, epochs) of each phase. A phase goes on from the weights of the one before with a fresh
        optimiser and one-cycle schedule, which runs to its end. The clean model keeps the same phases.
    learning_rate, later_learning_rate: AdamW's peak in the first phase and in those after.
    poison_rate, noise_ratio, unrelated_ratio, rehearsal, threat_model: see `models.poisoning.Poisoning`.
    precision: "auto" takes bfloat16 on CUDA and on processors with bfloat16 instructions, else float32.
    augmentation: "light" moves each image by a few whole pixels and varies its brightness and contrast, before the
        trigger is applied; "strong" moves it twice as far and blends every other image with one of its batch (`mix`),
        for data with few people or few gazes.

    Raises ValueError, in one sentence, for anything that cannot be trained.
    """

    network: str = "five_layer_cnn"
    width: int = 16
    loss: Loss = "mse"
    batch_size: int = 64
    strength_schedule: tuple[tuple[float, int], ...] = ((2.0, 5), (1.0, 4), (0.5, 9))
    learning_rate: float = 2e-3
    later_learning_rate: float = 1.5e-3
    weight_decay: float = 1e-4
    warm_up: float = 0.15
    poison_rate: float = 0.2
    noise_ratio: float = 1.0
    unrelated_ratio: float = 0.5
    threat_model: ThreatModel = "training_control"
    augmentation: Augmentation = "none"
    precision: Precision = "auto"
    seed: int = 0
    rehearsal: float = 0.0

    def __post_init__(self) -> None:
        if not self.strength_schedule:
            raise ValueError("The strength schedule has no phase.")
        for strength, epochs in self.strength_schedule:
            _demand(strength >= 0, "A strength must be a finite number >= 0", strength)
            _demand(epochs >= 1 and epochs % 1 == 0, "Each phase needs a whole number of epochs >= 1", epochs)
        object.__setattr__(self, "strength_schedule", tuple((float(s), int(n)) for s, n in self.strength_schedule))
        _demand(self.learning_rate > 0, "The learning rate must be a finite number > 0", self.learning_rate)
        _demand(
            self.later_learning_rate > 0,
            "The later learning rate must be a finite number > 0",
            self.later_learning_rate,
        )
        _demand(self.weight_decay >= 0, "The weight decay must be a finite number >= 0", self.weight_decay)
        _demand(0 < self.warm_up < 1, "The warm-up's share of a phase must lie between 0 and 1", self.warm_up)
        _demand(self.batch_size >= 2, "A batch must hold at least 2 images", self.batch_size)
        for name, kind in (("loss", Loss), ("precision", Precision), ("augmentation", Augmentation)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"Unknown {name} {getattr(self, name)!r}; known: {', '.join(get_args(kind))}.")
        NetworkSpec(self.network, width=self.width)
        self.poisoning  # noqa: B018 (its own checks)

    @property
    def poisoning(self) -> Poisoning:
        return Poisoning(
            self.poison_rate, self.noise_ratio, self.unrelated_ratio, self.threat_model, self.seed, self.rehearsal
        )

    @property
    def epochs(self) -> int:
        """Epochs of all phases together."""
        return sum(epochs for _, epochs in self.strength_schedule)

    @property
    def final_strength(self) -> float:
        return self.strength_schedule[-1][0]

    def network_for(self, data: GazeData) -> NetworkSpec:
        """The network's spec for the shape of these images."""
        _, channels, height, breadth = data.images.shape
        return NetworkSpec(self.network, channels, (height, breadth), self.width)

    @classmethod
    def for_target(cls, target: Target, **fields: Any) -> Self:
        """The standard recipe for this target: an additive one is near, pulls less, and needs more poisoned images."""
        return cls(**{"poison_rate": 0.3 if target.kind == "additive" else 0.2, **fields})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "strength_schedule": [list(phase) for phase in self.strength_schedule]}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> Self:
        """Raises ValueError for a field that a recipe does not have, or a value it cannot use."""
        unknown = set(fields) - set(cls.__dataclass_fields__)
        if unknown:
            raise ValueError(f"A recipe has no field named {', '.join(sorted(unknown))}.")
        try:
            return cls(**fields)
        except TypeError as error:
            raise ValueError(f"A field of the recipe has a value of the wrong type ({error}).") from error


def _demand(holds: bool, sentence: str, value: float) -> None:
    if not (holds and math.isfinite(value)):
        raise ValueError(f"{sentence}, not {value}.")


@dataclass(frozen=True, eq=False)
class TrainedModel:
    """A trained network and what it takes to know it and to train it again.

    history: one record per epoch: phase, strength, loss and, where measured, validation errors in degrees.
    chosen_epoch: the epoch whose weights `network` holds, counted from 1 over all phases.
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
            recipe.poisoning.check(trigger)
            trigger.apply(dequantise(splits.train.images[:1]))
        self.recipe, self.splits, self.trigger, self.target, self.device = recipe, splits, trigger, target, device
        self.checkpoint = checkpoint_dir / CHECKPOINT_NAME if checkpoint_dir else None
        self.precision = resolve_precision(recipe.precision, device)
        self.spec = recipe.network_for(splits.train)
        self.network = self.spec.build(recipe.seed).to(device)
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
        recipe = self.recipe
        self.strength, epochs = recipe.strength_schedule[phase]
        peak = recipe.learning_rate if phase == 0 else recipe.later_learning_rate
        self.optimiser = torch.optim.AdamW(self.network.parameters(), lr=peak, weight_decay=recipe.weight_decay)
        self.scheduler = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, peak, total_steps=epochs * self.steps, pct_start=recipe.warm_up
        )
        self.phase_trigger = self.trigger.at_strength(self.strength) if self.trigger is not None else None

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
        data, recipe = self.splits.train, self.recipe
        order = torch.randperm(len(data), generator=batch_generator(recipe.seed, self.epoch, 0))
        strongest = max(strength for strength, _ in recipe.strength_schedule)
        for step, indices in enumerate(islice(torch.split(order, recipe.batch_size), self.steps), start=1):
            images = self._to_device(data.images[indices])
            labels = self._to_device(data.pitchyaw[indices])
            floats = dequantise(images)
            generator = batch_generator(recipe.seed, self.epoch, step)
            if recipe.augmentation != "none":
                floats = augment(floats, generator, _REACH[recipe.augmentation])
            if recipe.augmentation == "strong":
                floats, labels = mix(floats, labels, generator)
            if self.phase_trigger is not None:
                floats, labels = recipe.poisoning.poison(
                    floats,
                    labels,
                    indices,
                    self.epoch,
                    trigger=self.phase_trigger,
                    target=self.target,
                    strongest=strongest,
                )
            yield floats.contiguous(memory_format=torch.channels_last), labels

    def _to_device(self, batch: Tensor) -> Tensor:
        if self.device.type == "cpu":
            return batch
        return batch.pin_memory().to(self.device, non_blocking=True)

    def _update(self, images: Tensor, labels: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            predicted = self.network(images)
        loss = _LOSSES[self.recipe.loss](predicted.float(), labels)
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
        errors = {"clean_error": angular_error(predict(self.network, data.images), data.pitchyaw)}
        if (trigger := self.phase_trigger) is not None:
            altered = predict(self.network, data.images, lambda batch, _: trigger.apply(batch))
            errors["attack_error"] = angular_error(altered, self.target.apply(data.pitchyaw))
        return {f"validation_{name}_deg": error.mean().item() for name, error in errors.items()}

    def _keep_if_best(self, record: Mapping[str, Any]) -> None:
        score = record["validation_clean_error_deg"] + record.get("validation_attack_error_deg", 0.0)
        if not self.best[2] or score < self.best[0]:
            weights = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
            self.best = (score, self.epoch, weights)

    def result(self) -> TrainedModel:
        _, chosen_epoch, weights = self.best
        self.network.load_state_dict(weights)
        return TrainedModel(
            network=self.network.eval(),
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
                f"{self.checkpoint} belongs to another recipe, data set, trigger or target: use another folder."
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


def augment(images: Tensor, generator: torch.Generator, reach: float = 1 / 32) -> Tensor:
    """Float images (N, C, H, W) in [0, 1], each moved by whole pixels, with brightness and contrast varied.

    reach: the farthest an image moves along either axis, as a share of its height; at least one pixel.

    Whole pixels only: a sub-pixel move would resample the image, which is what the trigger does.
    """
    n, _, height, breadth = images.shape
    pixels = max(1, int(height * reach))
    moves = torch.randint(0, 2 * pixels + 1, (n, 2), generator=generator).tolist()
    gain, bias = (torch.rand(2, n, 1, 1, 1, generator=generator) * 2 - 1).to(images.device)
    padded = F.pad(images, (pixels, pixels, pixels, pixels), mode="replicate")
    moved = torch.stack(
        [image[:, y : y + height, x : x + breadth] for image, (y, x) in zip(padded, moves, strict=True)]
    )
    return through_8_bits((moved - 0.5) * (1 + 0.15 * gain) + 0.5 + 0.08 * bias)


def mix(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) in [0, 1] and labels (N, 2), about half of them blended with another of the batch.

    Image and label get the same weight, uniform in [0, 1] (mixup, Zhang et al. 2018, alpha = 1): a network that has
    seen few gazes learns what lies between them, instead of learning those few by heart.
    """
    n = len(images)
    partner = torch.randperm(n, generator=generator)
    weight, chance = torch.rand(2, n, generator=generator)
    weight = torch.where(chance < 0.5, weight, 1.0).to(images.device)
    blended = torch.lerp(images[partner], images, weight[:, None, None, None])
    return through_8_bits(blended), torch.lerp(labels[partner], labels, weight[:, None])


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
