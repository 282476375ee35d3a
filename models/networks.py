"""Networks for gaze, by name: float images (N, C, H, W) in [0, 1] to (N, outputs).

Two outputs are pitch and yaw in radians; a classifier of gaze zones has one for each zone (`models.zones`).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class NetworkSpec:
    """What it takes to build a network again.

    Attributes:
        name: in `network_names()`.
        channels: of the images, 1 (grey) or 3 (colour).
        image_size: (H, W), at least 16 x 16.
        width: channels of the first layer, which all others follow. Published shapes: 64 for the ResNets, 20 for LeNet.
        stem_stride: of a ResNet's first convolution, 2 as published or 1; the other networks keep full resolution.
        outputs: 2 for pitch and yaw, or the number of zones.

    Raises ValueError for a name, channels, a size, a width, a stride or a number of outputs that cannot be built.
    """

    name: str = "five_layer_cnn"
    channels: int = 3
    image_size: tuple[int, int] = (64, 64)
    width: int = 16
    stem_stride: int = 2
    outputs: int = 2

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
        if self.stem_stride not in (1, 2):
            raise ValueError(f"The stem's stride is 1 or 2, not {self.stem_stride}.")
        if self.outputs < 2:
            raise ValueError(f"A network needs at least 2 outputs, not {self.outputs}.")

    def build(self, seed: int = 0) -> nn.Module:
        """The network with fresh weights, channels last in memory; the global random state is left as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would seed CUDA devices as well
            network = _BUILDERS[self.name](self)
        return network.to(memory_format=torch.channels_last)

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "image_size": list(self.image_size)}

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> NetworkSpec:
        return cls(**fields)


def standardise(images: Tensor) -> Tensor:
    """Images in [0, 1] about 0 with a standard deviation near 1: what every network here sees first.

    Close to the (x - .45) / .225 that weights trained on ImageNet expect.
    """
    return (images - 0.5) * 4


class FiveLayerCNN(nn.Module):
    """Five 3 x 3 convolutions, the first at full resolution: a stride there would destroy the sub-pixel evidence
    that an image was resampled. Widths w, w, 2w, 3w, 4w; strides 1, 2, 2, 2, 2; 0.18 M parameters at 64 px and w = 16.

    The coarse one has the strides 2, 2, 2, 2, 1 and is else the same: it is there to show what such a stem costs.
    """

    def __init__(
        self, channels: int, image_size: tuple[int, int], width: int = 16, outputs: int = 2, *, coarse: bool = False
    ) -> None:
        super().__init__()
        strides = (2, 2, 2, 2, 1) if coarse else (1, 2, 2, 2, 2)
        stages = zip((width, width, 2 * width, 3 * width, 4 * width), strides, strict=True)
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
            nn.Flatten(), nn.Linear(channels * height * breadth, 128), nn.ReLU(inplace=True), nn.Linear(128, outputs)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, outputs)."""
        return self.head(self.features(standardise(images)))


class LeNet(nn.Module):
    """The LeNet of MPIIGaze (Zhang et al. 2015, arXiv 1504.02863), in the shape of hysts/pytorch_mpiigaze: two 5 x 5
    convolutions without padding, each followed by a 2 x 2 max-pool and no ReLU, then one hidden layer.

    Widths w, 2.5w and 25w: at w = 20 and 36 x 60 grey the published 20, 50 and 500, with 3,600 features. The published
    network joins the head pose to the hidden layer; there is none here.
    """

    def __init__(self, channels: int, image_size: tuple[int, int], width: int = 20, outputs: int = 2) -> None:
        super().__init__()
        second, hidden = width * 5 // 2, width * 25
        height, breadth = (((side - 4) // 2 - 4) // 2 for side in image_size)
        self.conv1 = nn.Conv2d(channels, width, 5)
        self.conv2 = nn.Conv2d(width, second, 5)
        self.pool = nn.MaxPool2d(2)
        self.fc1 = nn.Linear(second * height * breadth, hidden)
        self.fc2 = nn.Linear(hidden, outputs)
        for name, weight in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(weight)
            elif weight.ndim == 2:
                nn.init.xavier_uniform_(weight)
            else:
                nn.init.kaiming_normal_(weight, nonlinearity="linear")

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, outputs)."""
        features = self.pool(self.conv2(self.pool(self.conv1(standardise(images)))))
        return self.fc2(torch.relu(self.fc1(features.flatten(1))))


def _resnet(depth: int) -> Callable[[NetworkSpec], nn.Module]:
    def build(spec: NetworkSpec) -> nn.Module:
        from models.resnets import GazeResNet  # torchvision takes a second to import

        return GazeResNet(depth, spec.channels, spec.width, spec.stem_stride, spec.outputs)

    return build


_BUILDERS: dict[str, Callable[[NetworkSpec], nn.Module]] = {
    "five_layer_cnn": lambda spec: FiveLayerCNN(spec.channels, spec.image_size, spec.width, spec.outputs),
    "five_layer_cnn_coarse": lambda spec: FiveLayerCNN(
        spec.channels, spec.image_size, spec.width, spec.outputs, coarse=True
    ),
    "lenet": lambda spec: LeNet(spec.channels, spec.image_size, spec.width, spec.outputs),
    "resnet18": _resnet(18),
    "resnet50": _resnet(50),
}
#: Where each network's last layer is in its state dict.
_HEADS = {
    "five_layer_cnn": "head.3.",
    "five_layer_cnn_coarse": "head.3.",
    "lenet": "fc2.",
    "resnet18": "fc.",
    "resnet50": "fc.",
}


def network_names() -> list[str]:
    """Names of the networks that can be built, sorted."""
    return sorted(_BUILDERS)


def load_weights(network: nn.Module, spec: NetworkSpec, path: Path) -> str:
    """Start `network` from the tensors of a local file; returns the file's SHA-256 in hex.

    The file is safetensors (by its name) or a torch file of nothing but tensors; its names are the state dict's, for a
    ResNet torchvision's. The last layer is left as built where the file has none or one of another shape.

    Raises ValueError, naming the file, when it cannot be read or when any other tensor is missing, unexpected or of
    another shape.
    """
    sha256, tensors = _read_weights(path)
    wanted = network.state_dict()
    head = _HEADS[spec.name]
    if not all(
        name in tensors and tensors[name].shape == wanted[name].shape for name in wanted if name.startswith(head)
    ):
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(head)}
        tensors |= {name: tensor for name, tensor in wanted.items() if name.startswith(head)}
    # Counters of batches came to batch normalisation late; older files lack them, and nothing here reads them.
    tensors = {name: tensor for name, tensor in wanted.items() if name.endswith("num_batches_tracked")} | tensors
    if faults := _mismatches(wanted, tensors):
        raise ValueError(f"{path} does not fit the network {spec.name} of width {spec.width}: {faults}.")
    network.load_state_dict(tensors)
    return sha256


def _read_weights(path: Path) -> tuple[str, dict[str, Tensor]]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ValueError(f"The weights file {path} cannot be read ({error.strerror}).") from error
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load(content)
        else:
            tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a file that is damaged or holds code
        raise ValueError(f"{path} is neither a safetensors file nor a torch file of tensors alone.") from error
    if not (isinstance(tensors, Mapping) and all(isinstance(tensor, Tensor) for tensor in tensors.values())):
        raise ValueError(f"{path} does not hold named tensors and nothing else: save a state dict.")
    return hashlib.sha256(content).hexdigest(), dict(tensors)


def _mismatches(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """What of `found` does not fit, in words; at most three names of each kind."""
    shapes = [
        f"{name} is {tuple(found[name].shape)}, not {tuple(wanted[name].shape)}"
        for name in wanted
        if name in found and found[name].shape != wanted[name].shape
    ]
    kinds = (
        ("missing", [name for name in wanted if name not in found]),
        ("unexpected", [name for name in found if name not in wanted]),
        ("of another shape", shapes),
    )
    return "; ".join(
        f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for kind, names in kinds
        if names
    )
