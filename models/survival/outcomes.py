"""What a backdoored model and the clean one beside it make of the same test images, clean and altered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attacks.base import Trigger, dequantise, quantise
from models.datasets.base import GazeData
from models.evaluation import error_shift, predict, prediction_shift, success_rate
from models.gaze import angular_error
from models.targets import Target


def evenly(n: int, most: int) -> Tensor:
    """At most so many of `n` indices, evenly spread from the first to the last."""
    return torch.linspace(0, n - 1, min(most, n)).round().long()


@dataclass(frozen=True)
class Outcome:
    """Backdoored and clean model after one treatment; angles in degrees, means over images.

    treatment: in words. dose: epochs of fine-tuning or the share of channels pruned, where the treatment has one.
    success_rate, attack_error, error_shift, prediction_shift, clean_error: as in `models.evaluation`. net_*: minus the
    clean model's after the same treatment. clean_model_error: the clean model's clean error.
    """

    treatment: str
    dose: float | None
    clean_error: float
    attack_error: float
    success_rate: float | None
    error_shift: float
    prediction_shift: float
    net_error_shift: float | None
    net_prediction_shift: float | None
    clean_model_error: float | None
    clean_model_success_rate: float | None


@dataclass(frozen=True, eq=False)
class Models:
    """A backdoored model, and the clean model beside it if there is one."""

    backdoored: nn.Module
    clean: nn.Module | None = None

    @property
    def all(self) -> tuple[nn.Module, ...]:
        return (self.backdoored,) if self.clean is None else (self.backdoored, self.clean)

    def each(self, change: Callable[[nn.Module], nn.Module]) -> Models:
        """Both models changed alike."""
        return Models(*(change(network) for network in self.all))


@dataclass(frozen=True, eq=False)
class Exam:
    """Test images, clean and altered, uint8 (N, C, H, W), with true gazes and goals (N, 2) in radians."""

    clean: Tensor
    altered: Tensor
    truth: np.ndarray[Any, np.dtype[np.float32]]
    goal: np.ndarray[Any, np.dtype[np.float32]]

    @classmethod
    def of(cls, data: GazeData, trigger: Trigger, target: Target, most: int) -> Exam:
        """At most so many of the images, evenly spread."""
        data = data.subset(evenly(len(data), most))
        altered = [quantise(trigger.apply(dequantise(batch))) for batch in torch.split(data.images[:], 256)]
        return cls(data.images[:], torch.cat(altered), data.pitchyaw.numpy(), target.apply(data.pitchyaw).numpy())

    def treated(self, treatment: Callable[[Tensor], Tensor]) -> Exam:
        return Exam(treatment(self.clean), treatment(self.altered), self.truth, self.goal)

    def outcome(self, models: Models, treatment: str, dose: float | None = None) -> Outcome:
        """The figures of both models on these images."""
        ours = self._figures(models.backdoored)
        reference = self._figures(models.clean) if models.clean is not None else None
        return Outcome(
            treatment=treatment,
            dose=dose,
            **ours,
            net_error_shift=ours["error_shift"] - reference["error_shift"] if reference else None,
            net_prediction_shift=ours["prediction_shift"] - reference["prediction_shift"] if reference else None,
            clean_model_error=reference["clean_error"] if reference else None,
            clean_model_success_rate=reference["success_rate"] if reference else None,
        )

    def _figures(self, network: nn.Module) -> dict[str, Any]:
        clean, altered = (predict(network, images).numpy() for images in (self.clean, self.altered))
        return {
            "clean_error": float(angular_error(clean, self.truth).mean()),
            "attack_error": float(angular_error(altered, self.goal).mean()),
            "success_rate": success_rate(altered, self.truth, self.goal)[0],
            "error_shift": float(error_shift(clean, altered, self.truth).mean()),
            "prediction_shift": float(prediction_shift(clean, altered).mean()),
        }
