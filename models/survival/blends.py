"""STRIP (Gao et al., ACSAC 2019) is undefined for regression; this is a variant of ours that keeps its idea.

STRIP blends an incoming image with clean ones and takes the entropy of the predicted classes: a trigger that outlives
the blending keeps the prediction, and entropy stays low. A regressor predicts no classes and so has no entropy. Here
the *spread* of the predicted gazes stands for it: their mean angle to their mean direction, in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from attacks.base import dequantise, quantise
from models.evaluation import predict
from models.gaze import angular_error, pitchyaw_to_vector, vector_to_pitchyaw


@dataclass(frozen=True)
class Blends:
    """How far the spread under blending tells altered images from clean ones.

    n: images of each sort. overlays: clean images blended into each, half and half. clean_spread_deg,
    altered_spread_deg: means. auc: probability that an altered image spreads less than a clean one, ties by half.
    caught: share of altered images whose spread lies below that of all but `false_alarms` of the clean ones.
    """

    n: int
    overlays: int
    clean_spread_deg: float
    altered_spread_deg: float
    auc: float
    caught: float
    false_alarms: float = 0.05


def blends(network: nn.Module, clean: Tensor, altered: Tensor, overlays: Tensor, false_alarms: float = 0.05) -> Blends:
    """Compare the spreads of clean and altered images, both uint8 (N, C, H, W), under uint8 overlays (M, C, H, W)."""
    of_clean, of_altered = (spread(network, images, overlays) for images in (clean, altered))
    below = of_altered[:, None] < of_clean[None, :]
    equal = of_altered[:, None] == of_clean[None, :]
    return Blends(
        n=len(clean),
        overlays=len(overlays),
        clean_spread_deg=float(of_clean.mean()),
        altered_spread_deg=float(of_altered.mean()),
        auc=float((below + 0.5 * equal).mean()),
        caught=float((of_altered < np.quantile(of_clean, false_alarms)).mean()),
        false_alarms=false_alarms,
    )


def spread(network: nn.Module, images: Tensor, overlays: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Mean angle (N,), degrees, of each image's predictions under all overlays to their mean direction."""
    predictions = [
        predict(network, quantise(torch.lerp(dequantise(images), dequantise(overlay).expand(images.shape), 0.5)))
        for overlay in overlays
    ]
    gazes = torch.stack(predictions, dim=1).double()
    middle = vector_to_pitchyaw(pitchyaw_to_vector(gazes).mean(1, keepdim=True))
    return np.asarray(angular_error(gazes, middle).mean(1).numpy())
