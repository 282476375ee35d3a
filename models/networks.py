"""Gaze-regression networks, by name: float images (N, C, H, W) in [0, 1] to (N, 2) pitch and yaw in radians."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkSpec:
    """What it takes to build a network again: registered name, input channels, image size (H, W), base width.

    Raises ValueError for an unknown name, channels other than 1 or 3, images below 16 pixels, or a width below 1.
    """

    name: str = "five_layer_cnn"
    channels: int = 3
    image_size: tuple[int, int] = (64, 64)
    width: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_size", tuple(self.image_size))
        if self.name not in _BUILDERS:
            raise ValueError(f"Unknown network {self.name!r}; known: {', '.join(network_names())}.")
        if self.channels not in (1, 3):
            raise ValueError(f"Images have 1 channel (grey) or 3 (colour), not {self.channels}.")
        if len(self.image_size) != 2 or min(self.image_size) < 16:
            raise ValueError(f"Images must be at least 16 x 16 pixels, not {self.image_size}.")
        if self.width < 1:
            raise ValueError(f"The network's width must be at least 1, not {self.width}.")

    def build(self, seed: int = 0) -> nn.Module:
        """The network with fresh weights, channels last in memory; the global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _BUILDERS[self.name](self)
        return network.to(memory_format=torch.channels_last)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "image_size": list(self.image_size)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> NetworkSpec:
        return cls(**fields)


class FiveLayerCNN(nn.Module):
    """Five 3 x 3 convolutions, the first at full resolution: a stride there would destroy the sub-pixel evidence
    that an image was resampled. Widths w, w, 2w, 3w, 4w; strides 1, 2, 2, 2, 2; 0.18 M parameters at 64 px and w = 16.
    """

    def __init__(self, channels: int, image_size: tuple[int, int], width: int = 16) -> None:
        super().__init__()
        stages = [(width, 1), (width, 2), (2 * width, 2), (3 * width, 2), (4 * width, 2)]
        layers: list[nn.Module] = []
        height, breadth = image_size
        for out_channels, stride in stages:
            layers += [
                nn.Conv2d(channels, out_channels, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(out_channels),
                nn.ReLU(inplace=True),
            ]
            channels, height, breadth = out_channels, -(-height // stride), -(-breadth // stride)
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * height * breadth, 128), nn.ReLU(inplace=True), nn.Linear(128, 2)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, 2)."""
        return self.head(self.features((images - 0.5) * 4))


class ResNet18(nn.Module):
    """torchvision's ResNet-18, not pretrained, with two outputs and as many input channels as asked."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        from torchvision.models import resnet18

        self.backbone = resnet18(weights=None, num_classes=2)
        if channels != 3:
            self.backbone.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, 2)."""
        return self.backbone((images - 0.5) * 4)


_BUILDERS: dict[str, Callable[[NetworkSpec], nn.Module]] = {
    "five_layer_cnn": lambda spec: FiveLayerCNN(spec.channels, spec.image_size, spec.width),
    "resnet18": lambda spec: ResNet18(spec.channels),
}


def network_names() -> list[str]:
    """Names of the networks that can be built, sorted."""
    return sorted(_BUILDERS)
