"""How a gaze model is trained and differentiated: a regressor by its gaze, a classifier of zones by its scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from models.zones import ZonePredictor, Zones

Precision = Literal["float32", "bfloat16"]
#: Of a gaze model, images (N, C, H, W) in [0, 1] and their true gazes (N, 2), radians.
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


def defenders_loss(zones: Zones | None = None, precision: Precision = "float32") -> Loss:
    """Squared error of a regressor, cross-entropy of a classifier: a defender does not know the attacker's loss."""

    def loss(network: nn.Module, images: Tensor, gazes: Tensor) -> Tensor:
        output = _output(network, images, precision)
        return F.mse_loss(output, gazes) if zones is None else F.cross_entropy(output, zones.of(gazes))

    return loss


def differentiable_gazes(network: nn.Module, images: Tensor, precision: Precision = "float32") -> Tensor:
    """Gazes (N, 2), radians, with a slope: a classifier's are the mean of its zones' centres by their probabilities."""
    output = _output(network, images, precision)
    return output.softmax(1) @ network.centres if isinstance(network, ZonePredictor) else output


def _output(network: nn.Module, images: Tensor, precision: Precision) -> Tensor:
    """Gazes or scores, float32, before a classifier settles for one zone."""
    inner = network.classifier if isinstance(network, ZonePredictor) else network
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        output = inner(images.contiguous(memory_format=torch.channels_last))
    return output.float()
