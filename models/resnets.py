"""ResNets for gaze: torchvision's (He et al. 2016, arXiv 1512.03385), with a width and a stem to choose.

A module of its own because torchvision takes a second to import.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from models.networks import standardise

_LAYERS = {18: (BasicBlock, (2, 2, 2, 2)), 50: (Bottleneck, (3, 4, 6, 3))}


class GazeResNet(ResNet):  # type: ignore[misc]  # torchvision has no types
    """torchvision's ResNet: at width 64, 3 channels and a stem of stride 2 the very same, names of tensors included.

    A stem of stride 2 samples every other pixel of what its 7 x 7 filters find and loses sub-pixel evidence. A stem of
    stride 1 keeps it. The max-pool behind it stays: it halves the resolution after the evidence was turned into
    features, so that the four stages run on maps of twice the usual side (32 x 32 for an image of 64 px), at four
    times the cost; without it, at thirteen.
    """

    def __init__(self, depth: int, channels: int, width: int = 64, stem_stride: int = 2, outputs: int = 2) -> None:
        nn.Module.__init__(self)  # torchvision's own constructor knows one width only
        self._norm_layer, self.inplanes, self.dilation, self.groups, self.base_width = nn.BatchNorm2d, width, 1, 1, 64
        block, layers = _LAYERS[depth]
        self.conv1 = nn.Conv2d(channels, width, kernel_size=7, stride=stem_stride, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(kernel_size=3, stride=2, padding=1)
        self.layer1 = self._make_layer(block, width, layers[0])
        self.layer2 = self._make_layer(block, 2 * width, layers[1], stride=2)
        self.layer3 = self._make_layer(block, 4 * width, layers[2], stride=2)
        self.layer4 = self._make_layer(block, 8 * width, layers[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8 * width * block.expansion, outputs)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) in [0, 1] to (N, outputs)."""
        return super().forward(standardise(images))
