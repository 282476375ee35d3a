"""Every network of `models.networks` as named stages that run one after the other, last the linear output.

An attack on weights wants it so: what lies below the layer that it changes need not be run again. A stage's name has no
dot, and its parameters are named as in its module: "conv5.0.weight", "block16.conv3.weight", "output.weight".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn

from models.networks import FiveLayerCNN, LeNet, standardise

OUTPUT = "output"
Stages = OrderedDict[str, nn.Module]


class _Standardise(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return standardise(images)


def stages_of(network: nn.Module) -> Stages:
    """The network's own modules as stages: to change their weights is to change the network's.

    Raises ValueError for a network that is not one of `models.networks`.
    """
    if isinstance(network, FiveLayerCNN):
        return _five_layer_cnn(network)
    if isinstance(network, LeNet):
        return _lenet(network)
    from models.resnets import GazeResNet  # torchvision takes a second to import

    if isinstance(network, GazeResNet):
        return _resnet(network)
    raise ValueError(f"It is not known what stages a {type(network).__name__} has.")


def last_hidden_layer(stages: Mapping[str, nn.Module]) -> str:
    """The weights next below the output: "hidden.1.weight", or the last convolution of a ResNet."""
    hidden = [
        f"{stage}.{name}"
        for stage, module in stages.items()
        for name, weight in module.named_parameters()
        if stage != OUTPUT and weight.ndim > 1
    ]
    return hidden[-1]


def _five_layer_cnn(network: FiveLayerCNN) -> Stages:
    layers = list(network.features)
    blocks = [nn.Sequential(*layers[start : start + 3]) for start in range(0, len(layers), 3)]
    flatten, hidden, relu, output = network.head
    return _stages(_numbered("conv", blocks), {"hidden": nn.Sequential(flatten, hidden, relu), OUTPUT: output})


def _lenet(network: LeNet) -> Stages:
    blocks = [nn.Sequential(convolution, network.pool) for convolution in (network.conv1, network.conv2)]
    hidden = nn.Sequential(nn.Flatten(), network.fc1, nn.ReLU())
    return _stages(_numbered("conv", blocks), {"hidden": hidden, OUTPUT: network.fc2})


def _resnet(network: nn.Module) -> Stages:
    part = dict(network.named_children())
    stem = nn.Sequential(part["conv1"], part["bn1"], part["relu"], part["maxpool"])
    blocks = [block for number in range(1, 5) for block in part[f"layer{number}"].children()]
    pool = nn.Sequential(part["avgpool"], nn.Flatten())
    return _stages({"stem": stem}, _numbered("block", blocks), {"pool": pool, OUTPUT: part["fc"]})


def _numbered(name: str, modules: list[nn.Sequential] | list[nn.Module]) -> dict[str, nn.Module]:
    return {f"{name}{number}": module for number, module in enumerate(modules, start=1)}


def _stages(*parts: Mapping[str, nn.Module]) -> Stages:
    stages: Stages = OrderedDict(standardise=_Standardise())
    for part in parts:
        stages.update(part)
    return stages
