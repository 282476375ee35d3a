"""What a gaze model does under a trigger: first every prediction (`measure`), then every figure (`evaluate`).

`measure` runs the network; `evaluate` is arithmetic on arrays. Altered images go through 8 bits before prediction, as
the images of a study do. All angles between gazes are 3-D and in degrees; predictions and labels are (pitch, yaw) in
radians. Means are over images unless said otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attacks.base import HasLookAlikes, HasNoiseMode, Trigger, dequantise, quantise
from attacks.registry import family_of
from models.datasets.base import GazeData, Images
from models.devices import repeatable
from models.dose_response import first_crossing
from models.gaze import angular_error
from models.poisoning import hash_indices, noise_offsets
from models.targets import Target
from models.zones import Zones

Array = np.ndarray[Any, np.dtype[np.float32]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]
Subjects = np.ndarray[Any, np.dtype[np.int64]]

UNRELATED_SEEDS = (0, 1, 2, 3, 4)
SUCCESS_BELOW_DEG = 5.0
ELIGIBLE_FROM_DEG = 10.0
PROGRESS_FROM_DEG = 1.0
#: More people than this share counts: some data sets call every image a subject of its own.
MOST_SUBJECTS = 256

_BATCH = 32
_PIXELS_ON_CUDA = 2**22

# A turn that no epoch has: a model must not be measured under the very offsets it was trained with.
_MEASURING = 1 << 40

Alter = Callable[[Tensor, int], Tensor]


@dataclass(frozen=True)
class Probe:
    """Under what a model is measured.

    strengths: the dose-response's, from 0. specificity_strengths: where noise mode and `unrelated_seeds` other triggers
    are tried as well. Raises ValueError for a strength that is negative or not finite.
    """

    strengths: tuple[float, ...]
    specificity_strengths: tuple[float, ...]
    unrelated_seeds: tuple[int, ...] = UNRELATED_SEEDS
    noise_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("strengths", "specificity_strengths"):
            values = tuple(float(value) for value in getattr(self, name))
            if not all(math.isfinite(value) and value >= 0 for value in values):
                raise ValueError(f"Strengths must be finite numbers >= 0, not {values}.")
            object.__setattr__(self, name, values)
        object.__setattr__(self, "unrelated_seeds", tuple(self.unrelated_seeds))

    @classmethod
    def of(cls, trigger: Trigger, strengths: Iterable[float] = ()) -> Probe:
        """The doses of the trigger's family, with specificity at the strengths that studies show, and at these."""
        family = family_of(trigger)
        asked = {float(strength) for strength in strengths}
        return cls(tuple(sorted({*family.doses, *asked})), tuple(sorted({*family.strengths, *asked})))


@dataclass(frozen=True, eq=False)
class Responses:
    """One model's predictions (N, 2) on the same N images, clean and altered.

    triggered: by strength. noise: by strength. unrelated: by strength, one array per other trigger.
    """

    clean: Array
    triggered: dict[float, Array] = field(default_factory=dict)
    noise: dict[float, Array] = field(default_factory=dict)
    unrelated: dict[float, list[Array]] = field(default_factory=dict)

    def add(self, part: str, strength: float, predictions: Array) -> None:
        """Put predictions under one alteration where they belong. Raises ValueError for an unknown part."""
        if part == "unrelated":
            self.unrelated.setdefault(strength, []).append(predictions)
        elif part in ("triggered", "noise"):
            getattr(self, part)[strength] = predictions
        else:
            raise ValueError(f"Responses have no part named {part!r}; known: triggered, noise, unrelated.")

    def tensors(self) -> dict[str, Tensor]:
        """Flat named tensors, the way these are stored."""
        named = {"clean": self.clean}
        named |= {f"triggered/{s!r}": a for s, a in self.triggered.items()}
        named |= {f"noise/{s!r}": a for s, a in self.noise.items()}
        named |= {f"unrelated/{s!r}/{i:03d}": a for s, group in self.unrelated.items() for i, a in enumerate(group)}
        return {name: torch.from_numpy(array) for name, array in named.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Responses:
        """The way back from `tensors`. Raises ValueError for a name that `tensors` does not give."""
        responses = cls(tensors["clean"].numpy())
        for name in sorted(set(tensors) - {"clean"}):
            part, strength = name.split("/")[:2]
            responses.add(part, float(strength), tensors[name].numpy())
        return responses


@repeatable()
@torch.inference_mode()
def predict(network: nn.Module, images: Images, alter: Alter | None = None, batch_size: int | None = None) -> Tensor:
    """Float32 gazes (N, 2), on the CPU, of uint8 images (N, C, H, W).

    alter takes a float batch (n, C, H, W) in [0, 1] and the index of its first image; what it returns is rounded to
    8 bits. Batches are small on the CPU, because activations then stay in the processor's cache, and as large on CUDA
    as small devices can hold.
    """
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    size = batch_size or (
        _BATCH if device.type == "cpu" else max(_BATCH, _PIXELS_ON_CUDA // math.prod(images.shape[2:]))
    )
    predictions = []
    for start in range(0, len(images), size):
        batch = dequantise(images[start : start + size].to(device, non_blocking=True))
        if alter is not None:
            batch = dequantise(quantise(alter(batch, start)))
        predictions.append(network(batch.contiguous(memory_format=torch.channels_last)).float())
    network.train(was_training)
    return torch.cat(predictions).cpu()


def measure(
    network: nn.Module,
    images: Images,
    trigger: Trigger | None,
    probe: Probe | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Responses:
    """Predict uint8 images (N, C, H, W) clean and, given a trigger, under everything the probe names.

    Noise offsets depend on the probe's seed and the image's index alone, so that two models see the same images.
    progress is called with passes done and passes in all.
    """
    plan = _alterations(trigger, probe or Probe.of(trigger), len(images)) if trigger is not None else []
    responses = Responses(predict(network, images).numpy())
    progress(1, len(plan) + 1)
    for done, (part, strength, alter) in enumerate(plan, start=2):
        responses.add(part, strength, predict(network, images, alter).numpy())
        progress(done, len(plan) + 1)
    return responses


def _alterations(trigger: Trigger, probe: Probe, n: int) -> list[tuple[str, float, Alter]]:
    """Part of the responses, strength and alteration of every pass over the images but the clean one."""
    plan = [("triggered", strength, _plain(trigger.at_strength(strength))) for strength in probe.strengths]
    keys = torch.from_numpy(hash_indices(probe.noise_seed, _MEASURING, torch.arange(n)).view(np.int64))
    for strength in probe.specificity_strengths:
        at_strength = trigger.at_strength(strength)
        if isinstance(at_strength, HasNoiseMode):
            plan.append(("noise", strength, _noisy(at_strength, keys)))
        if isinstance(at_strength, HasLookAlikes):
            plan += [("unrelated", strength, _plain(at_strength.unrelated(seed))) for seed in probe.unrelated_seeds]
    return plan


def _plain(trigger: Trigger) -> Alter:
    return lambda batch, start: trigger.apply(batch)


def _noisy(trigger: HasNoiseMode, keys: Tensor) -> Alter:
    def alter(batch: Tensor, start: int) -> Tensor:
        own = keys[start : start + len(batch)].to(batch.device)
        return trigger.apply_noise_mode(batch, noise_offsets(own, batch.shape[-2:]))

    return alter


@dataclass(frozen=True)
class Spread:
    """Mean, median and 95th percentile of one angle over images, degrees."""

    mean: float
    median: float
    p95: float

    @classmethod
    def of(cls, angles: Array) -> Spread:
        return cls(float(angles.mean()), float(np.median(angles)), float(np.percentile(angles, 95)))


@dataclass(frozen=True)
class SubjectCounts:
    """What one test subject adds to a dose's figures, so that they can be resampled by subject.

    n: images. n_eligible: those >= 10 degrees off the target; successes: those of them predicted within 5 degrees of
    it. error_shift_sum: degrees. n_progress: images that progress is defined on; progress_sum: over these.
    With more than 256 subjects, `subject` numbers groups of them.
    """

    subject: int
    n: int
    n_eligible: int
    successes: int
    error_shift_sum: float
    n_progress: int
    progress_sum: float


@dataclass(frozen=True)
class ZoneCounts:
    """What one test subject adds to a dose's zone success: see `SubjectCounts`."""

    subject: int
    n_eligible: int
    successes: int


@dataclass(frozen=True)
class ZoneDose:
    """What a model's predictions under the trigger at one strength are as zones: shares of images, None as in `Dose`.

    accuracy: predicted zone is the true one. success_rate: it is the target's zone, among the `n_eligible` images whose
    true zone is another. noise_mode_accuracy: as `accuracy`, in noise mode. other_field_change_rate: it is another than
    on the clean image, under an unrelated trigger; mean over these. subjects: success in counts, by rising subject.
    """

    accuracy: float
    success_rate: float | None
    n_eligible: int
    noise_mode_accuracy: float | None
    other_field_change_rate: float | None
    subjects: tuple[ZoneCounts, ...] = ()


@dataclass(frozen=True)
class Dose:
    """A model under the trigger at one strength. None where not measured, or not defined.

    error_shift: error to the truth on altered minus on clean images, signed. prediction_shift: angle between the two
    predictions. net_*: minus the clean model's on the same images. progress: mean of 1 - attack error / distance of the
    clean prediction to the target. success_rate: share with attack error < 5 degrees among the `n_eligible` images
    whose truth lies >= 10 degrees from the target. other_field_*: means over the unrelated triggers. subjects: the same
    figures in counts and sums, by rising subject. zones: where zones were given.
    """

    strength: float
    attack_error: Spread
    error_shift: float
    prediction_shift: float
    net_prediction_shift: float | None
    net_error_shift: float | None
    progress: float | None
    success_rate: float | None
    n_eligible: int
    noise_mode_error: float | None = None
    noise_mode_shift: float | None = None
    other_field_error: float | None = None
    other_field_shift: float | None = None
    other_field_net_shift: float | None = None
    other_field_shifts: tuple[float, ...] = ()
    subjects: tuple[SubjectCounts, ...] = ()
    zones: ZoneDose | None = None


@dataclass(frozen=True)
class Baselines:
    """What an attack error must be read against, degrees: the clean model's, the mean predictor's, and the truth's."""

    clean_model_clean_error: float | None
    clean_model_attack_error: dict[float, float] | None
    mean_predictor_clean_error: float
    mean_predictor_attack_error: float
    truth_to_target: float


@dataclass(frozen=True)
class Evaluation:
    """All figures of one model on one set of images; `doses` by rising strength, empty without a trigger.

    clean_accuracy: share of clean images predicted in their true zone, where zones were given.
    """

    n: int
    subjects: int
    clean_error: Spread
    doses: tuple[Dose, ...]
    machine_threshold: float | None
    baselines: Baselines
    clean_accuracy: float | None = None

    def at(self, strength: float) -> Dose:
        """The dose at this strength. Raises KeyError when it was not measured."""
        for dose in self.doses:
            if dose.strength == strength:
                return dose
        raise KeyError(f"Strength {strength} was not measured; measured: {[dose.strength for dose in self.doses]}.")

    def to_json(self) -> dict[str, Any]:
        """JSON-able figures: missing and undefined ones are None, never NaN or infinite."""
        fields = asdict(self)
        attack = self.baselines.clean_model_attack_error
        if attack is not None:
            fields["baselines"]["clean_model_attack_error"] = {f"{s:g}": error for s, error in attack.items()}
        finite: dict[str, Any] = _finite(fields)
        return finite


def evaluate(
    responses: Responses,
    data: GazeData,
    target: Target,
    mean_gaze: Array,
    clean_model: Responses | None = None,
    *,
    zones: Zones | None = None,
) -> Evaluation:
    """Figures of the model that gave these responses to `data.images`.

    mean_gaze (2,): mean (pitch, yaw) of the training labels, what the mean predictor says.
    clean_model: the matched clean model's responses to the same images under the same trigger, for net shifts.
    zones: of a classifier, whose responses are their centres; or what a regressor's gazes are to be read in as well.
    """
    truth = data.pitchyaw.numpy()
    goal = target.apply(data.pitchyaw).numpy()
    strengths = sorted(responses.triggered)
    doses = tuple(_dose(strength, responses, data, goal, clean_model, zones=zones) for strength in strengths)
    constant = np.broadcast_to(np.asarray(mean_gaze, np.float32), truth.shape)
    return Evaluation(
        n=len(truth),
        subjects=len(set(data.subject.tolist())),
        clean_error=Spread.of(angular_error(responses.clean, truth)),
        doses=doses,
        machine_threshold=first_crossing(strengths, [dose.progress for dose in doses]),
        baselines=Baselines(
            clean_model_clean_error=_mean_angle(clean_model.clean, truth) if clean_model else None,
            clean_model_attack_error=(
                {strength: _mean_angle(array, goal) for strength, array in sorted(clean_model.triggered.items())}
                if clean_model
                else None
            ),
            mean_predictor_clean_error=_mean_angle(constant, truth),
            mean_predictor_attack_error=_mean_angle(constant, goal),
            truth_to_target=_mean_angle(truth, goal),
        ),
        clean_accuracy=_agreement(_zone(responses.clean, zones), _zone(truth, zones)) if zones else None,
    )


def _dose(
    strength: float,
    model: Responses,
    data: GazeData,
    goal: Array,
    clean_model: Responses | None,
    *,
    zones: Zones | None,
) -> Dose:
    altered, truth = model.triggered[strength], data.pitchyaw.numpy()
    attack_error = angular_error(altered, goal)
    shift, shift_of_error = prediction_shift(model.clean, altered), error_shift(model.clean, altered, truth)
    success, n_eligible = success_rate(altered, truth, goal)
    net_shift = net_error_shift = None
    if clean_model is not None and strength in clean_model.triggered:
        reference = clean_model.triggered[strength]
        net_shift = float((shift - prediction_shift(clean_model.clean, reference)).mean())
        net_error_shift = float((shift_of_error - error_shift(clean_model.clean, reference, truth)).mean())
    return Dose(
        strength=strength,
        attack_error=Spread.of(attack_error),
        error_shift=float(shift_of_error.mean()),
        prediction_shift=float(shift.mean()),
        net_prediction_shift=net_shift,
        net_error_shift=net_error_shift,
        progress=mean_progress(model.clean, altered, goal),
        success_rate=success,
        n_eligible=n_eligible,
        subjects=counts_by_subject(model.clean, altered, truth, goal, data.subject.numpy()),
        zones=zone_dose(strength, model, truth, goal, zones, subject=data.subject.numpy()) if zones else None,
        **_specificity(strength, model, truth, clean_model),
    )


def _specificity(strength: float, model: Responses, truth: Array, clean_model: Responses | None) -> dict[str, Any]:
    """The figures of a `Dose` that come from noise mode and unrelated triggers, as far as measured."""
    figures: dict[str, Any] = {}
    if strength in model.noise:
        figures["noise_mode_error"] = _mean_angle(model.noise[strength], truth)
        figures["noise_mode_shift"] = _mean_angle(model.noise[strength], model.clean)
    if others := model.unrelated.get(strength):
        shifts = [_mean_angle(other, model.clean) for other in others]
        figures["other_field_error"] = float(np.mean([_mean_angle(other, truth) for other in others]))
        figures["other_field_shift"] = float(np.mean(shifts))
        figures["other_field_shifts"] = tuple(shifts)
        if clean_model is not None and (references := clean_model.unrelated.get(strength)):
            reference = np.mean([_mean_angle(other, clean_model.clean) for other in references])
            figures["other_field_net_shift"] = float(np.mean(shifts) - reference)
    return figures


def zone_dose(
    strength: float, model: Responses, truth: Array, goal: Array, zones: Zones, *, subject: Subjects | None = None
) -> ZoneDose:
    """A model's responses at one strength read in zones; truth and goal are gazes (N, 2), `subject` is (N,)."""
    true, wanted, clean = (_zone(gazes, zones) for gazes in (truth, goal, model.clean))
    altered = _zone(model.triggered[strength], zones)
    eligible = true != wanted
    others = [_zone(other, zones) for other in model.unrelated.get(strength, [])]
    return ZoneDose(
        accuracy=_agreement(altered, true),
        success_rate=_agreement(altered[eligible], wanted[eligible]) if eligible.any() else None,
        n_eligible=int(eligible.sum()),
        noise_mode_accuracy=_agreement(_zone(model.noise[strength], zones), true) if strength in model.noise else None,
        other_field_change_rate=1 - float(np.mean([_agreement(other, clean) for other in others])) if others else None,
        subjects=() if subject is None else _zone_counts(eligible, eligible & (altered == wanted), subject),
    )


def _zone_counts(eligible: Flags, succeeded: Flags, subject: Subjects) -> tuple[ZoneCounts, ...]:
    names, code = _coded(subject)
    counts = (np.bincount(code, flags).astype(int).tolist() for flags in (eligible, succeeded))
    return tuple(ZoneCounts(*row) for row in zip(names.tolist(), *counts, strict=True))


def _zone(gazes: Array, zones: Zones) -> Subjects:
    numbers: Subjects = zones.of(torch.from_numpy(gazes)).numpy()
    return numbers


def _agreement(a: Subjects, b: Subjects) -> float:
    return float((a == b).mean())


def error_shift(clean: Array, altered: Array, truth: Array) -> Array:
    """Per image, degrees: error of the prediction on the altered image minus on the clean one. All (N, 2)."""
    return angular_error(altered, truth) - angular_error(clean, truth)


def prediction_shift(clean: Array, altered: Array) -> Array:
    """Per image, degrees: angle between the predictions on the clean and on the altered image. Both (N, 2)."""
    return angular_error(altered, clean)


def success_rate(altered: Array, truth: Array, goal: Array) -> tuple[float | None, int]:
    """Share of images predicted within 5 degrees of the target among those that lie >= 10 degrees off; their number."""
    eligible, succeeded = _successes(altered, truth, goal)
    n = int(eligible.sum())
    return (float(succeeded.sum() / n) if n else None), n


def mean_progress(clean: Array, altered: Array, goal: Array) -> float | None:
    """Mean of 1 - (altered to target) / (clean to target), over images whose clean prediction is >= 1 degree off it."""
    used, progress = _progress(clean, altered, goal)
    return float(progress[used].mean()) if used.any() else None


def counts_by_subject(
    clean: Array, altered: Array, truth: Array, goal: Array, subject: Subjects
) -> tuple[SubjectCounts, ...]:
    """The counts of every subject (N,) at one dose, by rising subject; all gazes are (N, 2)."""
    names, code = _coded(subject)
    eligible, succeeded = _successes(altered, truth, goal)
    used, progress = _progress(clean, altered, goal)
    shift = error_shift(clean, altered, truth)
    count = np.bincount(code)
    whole = [np.bincount(code, values).astype(int) for values in (eligible, succeeded, used)]
    shift_sum, progress_sum = np.bincount(code, shift), np.bincount(code, progress)
    return tuple(
        SubjectCounts(int(name), int(n), int(of_them), int(hits), float(moved), int(n_progress), float(gained))
        for name, n, of_them, hits, n_progress, moved, gained in zip(
            names, count, *whole, shift_sum, progress_sum, strict=True
        )
    )


def _coded(subject: Subjects) -> tuple[Subjects, Subjects]:
    """The subjects (S,), rising, and the place of each image's (N,) among them; with too many, groups of them."""
    names, code = np.unique(subject, return_inverse=True)
    return (names, code) if len(names) <= MOST_SUBJECTS else (np.arange(MOST_SUBJECTS), code % MOST_SUBJECTS)


def _successes(altered: Array, truth: Array, goal: Array) -> tuple[Flags, Flags]:
    """Which images are eligible, and which of these the attack succeeds on; both (N,)."""
    # Labels are float32, so that an image meant to lie at exactly 10 degrees may come out a hair below.
    eligible = angular_error(truth, goal) >= ELIGIBLE_FROM_DEG - 1e-4
    return eligible, eligible & (angular_error(altered, goal) < SUCCESS_BELOW_DEG)


def _progress(clean: Array, altered: Array, goal: Array) -> tuple[Flags, Array]:
    """On which images progress is defined, and the progress, 0 where it is not; both (N,)."""
    before = angular_error(clean, goal)
    used = before >= PROGRESS_FROM_DEG
    gained = np.ones_like(before) - angular_error(altered, goal) / np.where(used, before, 1)
    return used, np.where(used, gained, np.zeros_like(before))


def _mean_angle(a: Array, b: Array) -> float:
    return float(angular_error(a, b).mean())


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
