"""Simulated observers: programs that answer trials in the place of people.

An observer file is JSON with a "kind" and that kind's parameters; see `KnownTruth` and `SofterDetail`.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

#: The pictures of a trial: for each side that has any, its PNG files as served. See `study.trials.protocols`.
Pictures = Mapping[str, Sequence[bytes]]


@dataclass(frozen=True)
class Truth:
    """What the database knows of a trial and the page never tells."""

    stimulus: str
    attack: str
    strength: float
    control: str
    altered_side: str


@dataclass(frozen=True)
class Response:
    """A choice ("left" or "right"; "none" when time ran out) and when it was made, ms after the onset."""

    choice: str
    rt_ms: float


class Observer(Protocol):
    looks: ClassVar[bool]  # whether the pictures matter to it

    def answer(self, pictures: Pictures, truth: Truth) -> Response:
        """Choose "left" or "right" as altered. Nobody here is ever "not sure"."""


class Population(Protocol):
    """A kind of observer, from which participants are drawn."""

    def draw(self, seed: int) -> Observer:
        """One participant; the same seed gives the same person."""


# --- known truth


@dataclass(frozen=True)
class KnownTruth:
    """Observers with a psychometric function of known parameters:

        P(correct) = .5 + (.5 - lapse) F,    F = 1 - 2^-((s / threshold)^slope e^(u + v))

    threshold: the strength where F = .5 for the median person and image, one number or one per attack.
    u, v: normal, one draw per participant and one per stimulus, sds `participant_sd` and `stimulus_sd`.
    side_bias, side_bias_sd: mean and sd over people of the shift towards "left", in units of z(P).
    control_visibility: the factor on strength for a control kind (0 = never seen).
    """

    threshold: float | dict[str, float] = 1.0
    slope: float = 2.0
    lapse: float = 0.02
    side_bias: float = 0.0
    side_bias_sd: float = 0.0
    participant_sd: float = 0.0
    stimulus_sd: float = 0.0
    control_visibility: dict[str, float] = field(
        default_factory=lambda: {"identity": 0.0, "resampled": 0.0, "other_field": 1.0}
    )
    stimulus_seed: int = 0

    def __post_init__(self) -> None:
        thresholds = self.threshold.values() if isinstance(self.threshold, dict) else [self.threshold]
        if not all(math.isfinite(t) and t > 0 for t in thresholds):
            raise ValueError(f"threshold must be a number > 0 (or one per attack), not {self.threshold}.")
        if not self.slope > 0:
            raise ValueError(f"slope must be > 0, not {self.slope}.")
        if not 0 <= self.lapse <= 0.5:
            raise ValueError(f"lapse must be between 0 and .5, not {self.lapse}.")
        if min(self.participant_sd, self.stimulus_sd, self.side_bias_sd) < 0:
            raise ValueError("participant_sd, stimulus_sd and side_bias_sd must be >= 0.")

    def draw(self, seed: int) -> Observer:
        rng = np.random.default_rng([seed, 0xB11D])
        ability = rng.normal(0, self.participant_sd)
        bias = rng.normal(self.side_bias, self.side_bias_sd)
        return _KnownTruthObserver(self, ability, bias, rng)

    def probability_correct(self, truth: Truth, ability: float = 0.0, bias: float = 0.0) -> float:
        """P(correct) in [lapse, 1 - lapse] of a person with this ability (u) and side bias."""
        from scipy.stats import norm

        strength = truth.strength * (self.control_visibility.get(truth.control, 1.0) if truth.control else 1.0)
        relative = float((strength / self._threshold_of(truth.attack)) ** self.slope)
        seen: float = 1 - 2 ** -(relative * math.exp(ability + self._stimulus_effect(truth.stimulus)))
        proportion: float = 0.5 + (0.5 - self.lapse) * seen
        if bias == 0:
            return proportion
        return float(norm.cdf(norm.ppf(proportion) + (bias if truth.altered_side == "left" else -bias)))

    def _threshold_of(self, attack: str) -> float:
        if not isinstance(self.threshold, dict):
            return self.threshold
        if attack not in self.threshold:
            raise ValueError(f"The observer file gives no threshold for the attack {attack!r}.")
        return self.threshold[attack]

    def _stimulus_effect(self, stimulus: str) -> float:
        key = int.from_bytes(stimulus.encode()[-8:], "big")
        return float(np.random.default_rng([self.stimulus_seed, key, 0x57]).normal(0, self.stimulus_sd))


@dataclass(frozen=True)
class _KnownTruthObserver:
    looks: ClassVar[bool] = False

    population: KnownTruth
    ability: float
    bias: float
    rng: np.random.Generator

    def answer(self, pictures: Pictures, truth: Truth) -> Response:
        proportion = self.population.probability_correct(truth, self.ability, self.bias)
        correct = self.rng.random() < proportion
        other = {"left": "right", "right": "left"}[truth.altered_side]
        certainty = abs(2 * proportion - 1)
        return Response(truth.altered_side if correct else other, _response_time(self.rng, certainty))


# --- image-computable


@dataclass(frozen=True)
class SofterDetail:
    """Observers that look at the pictures they were served and go by their fine detail.

    Rule: decode to grey; detail = log of the mean |Laplacian of Gaussian| at `scale_px`. Resampling softens, so an
    altered image has less of it. One picture on each side: the softer one is chosen. Two on each side (flicker,
    oddity): the side whose two differ more. A single picture (yes/no): "altered" when it is softer than those seen
    before it, on average. A normal error of sd `noise` is added to the evidence of each trial; a share `lapse` of the
    trials is answered wrongly whatever is seen.

    Blank images, and images of different sizes in one trial, raise ValueError: a page that served them is broken.
    """

    scale_px: float = 0.5
    noise: float = 0.1
    lapse: float = 0.02

    def __post_init__(self) -> None:
        if not (self.scale_px > 0 and self.noise >= 0 and 0 <= self.lapse <= 0.5):
            raise ValueError("scale_px must be > 0, noise >= 0 and lapse between 0 and .5.")

    def draw(self, seed: int) -> Observer:
        return _SofterDetailObserver(self, np.random.default_rng([seed, 0xDE7A]))


@dataclass(frozen=True)
class _SofterDetailObserver:
    looks: ClassVar[bool] = True

    population: SofterDetail
    rng: np.random.Generator
    seen: list[float] = field(default_factory=list)

    def answer(self, pictures: Pictures, truth: Truth) -> Response:
        greys = {side: [decode_grey(png) for png in pngs] for side, pngs in pictures.items()}
        shapes = {grey.shape for side in greys.values() for grey in side}
        if len(shapes) > 1:
            raise ValueError(f"The images of a trial differ in size: {' and '.join(map(str, sorted(shapes)))}.")
        evidence = self._evidence({side: [self._detail(grey) for grey in of] for side, of in greys.items()})
        evidence += self.rng.normal(0, self.population.noise)
        if self.rng.random() < self.population.lapse:
            evidence = -evidence
        return Response("left" if evidence > 0 else "right", _response_time(self.rng, min(1.0, 5 * abs(evidence))))

    def _evidence(self, detail: Mapping[str, Sequence[float]]) -> float:
        """How much speaks for the left, in units of log detail."""
        left, right = detail["left"], detail.get("right")
        if right is None:
            usual = float(np.mean(self.seen)) if self.seen else left[0]
            self.seen.append(left[0])
            return usual - left[0]
        if len(left) == 1:
            return right[0] - left[0]
        return float(np.ptp(left) - np.ptp(right))

    def _detail(self, grey: np.ndarray) -> float:
        return math.log(fine_detail(grey, self.population.scale_px))


def decode_grey(png: bytes) -> np.ndarray:
    """(H, W) luminance in [0, 255]. Raises ValueError when the image cannot be decoded or shows nothing."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(png)) as image:
            grey = np.asarray(image.convert("L"), dtype=np.float64)
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"An image that was served cannot be decoded: {error}.") from error
    if grey.std() < 1:
        raise ValueError("An image that was served is blank.")
    return grey


def fine_detail(grey: np.ndarray, scale_px: float) -> float:
    """Mean |Laplacian of Gaussian| of an image (H, W), in grey levels per squared pixel."""
    from scipy.ndimage import gaussian_laplace

    return float(np.abs(gaussian_laplace(grey, scale_px)).mean())


def _response_time(rng: np.random.Generator, certainty: float) -> float:
    """Milliseconds: a floor of 350 plus a log-normal that shortens as the observer is more certain."""
    return round(350 + rng.lognormal(6.9 - 0.6 * certainty, 0.35), 1)


# --- observer files


KINDS: dict[str, type[KnownTruth] | type[SofterDetail]] = {"known_truth": KnownTruth, "softer_detail": SofterDetail}


def load_population(path: Path) -> KnownTruth | SofterDetail:
    """Read an observer file. Raises ValueError, naming the file, for anything that is not one."""
    try:
        return population_from(json.loads(path.read_text()))
    except (OSError, json.JSONDecodeError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: {error}") from error


def population_from(description: dict[str, Any]) -> KnownTruth | SofterDetail:
    """The population that {"kind": ..., parameters...} describes.

    Raises ValueError for an unknown kind or parameter, or a value out of range.
    """
    if not isinstance(description, dict) or description.get("kind") not in KINDS:
        raise ValueError(f'an observer file is a JSON object with "kind" one of {", ".join(KINDS)}.')
    kind = KINDS[description["kind"]]
    parameters = {name: value for name, value in description.items() if name != "kind"}
    known = [f.name for f in fields(kind)]
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"{description['kind']} has no parameter {', '.join(unknown)}; it has {', '.join(known)}.")
    return kind(**parameters)


def describe(population: KnownTruth | SofterDetail) -> dict[str, Any]:
    """The JSON form of a population: what `population_from` takes."""
    name = next(name for name, kind in KINDS.items() if isinstance(population, kind))
    return {"kind": name, **asdict(population)}
