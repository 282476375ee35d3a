"""Fine-pruning (Liu, Dolan-Gavitt & Garg, RAID 2018, arXiv 1805.12185), first half: silence idle channels.

A defender silences the channels of the last convolution that clean images excite least, on the idea that a backdoor
lives in channels that clean images do not need. The second half is `models.survival.fine_tuning`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from attacks.base import dequantise

_MASK = "channels_kept"


def last_map(network: nn.Module, images: Tensor) -> str:
    """Name of the module whose output is the last convolution's feature map, as the layers after it get it.

    That is the last module to finish with an output of the last convolution's shape: behind its normalisation, its
    activation and its residual sum, before any pooling. images: uint8 (N, C, H, W), one is enough.

    Raises ValueError for a network without a convolution.
    """
    shapes: list[tuple[str, torch.Size, bool]] = []

    def note(name: str, is_convolution: bool) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4:
                shapes.append((name, output.shape, is_convolution))

        return hook

    handles = [
        module.register_forward_hook(note(name, isinstance(module, nn.Conv2d)))
        for name, module in network.named_modules()
    ]
    try:
        for _ in _forward(network, images[:1]):
            pass
    finally:
        for handle in handles:
            handle.remove()
    convolutions = [shape for _, shape, is_convolution in shapes if is_convolution]
    if not convolutions:
        raise ValueError("There is nothing to prune: the network has no convolution.")
    return next(name for name, shape, _ in reversed(shapes) if shape == convolutions[-1])


def activity(network: nn.Module, images: Tensor) -> Tensor:
    """Mean positive activation (K,) of each channel of the last feature map over uint8 images (N, C, H, W)."""
    total: list[Tensor] = []

    def add(module: nn.Module, inputs: object, output: Tensor) -> None:
        total.append(output.float().clamp(min=0).mean(dim=(2, 3)).sum(0))

    handle = network.get_submodule(last_map(network, images)).register_forward_hook(add)
    try:
        for _ in _forward(network, images):
            pass
    finally:
        handle.remove()
    return torch.stack(total).sum(0).cpu() / len(images)


def prune(network: nn.Module, images: Tensor, share: float) -> nn.Module:
    """A copy of the network that is silent in this share of the last map's channels, the least active on `images`.

    They stay silent when the copy is trained further. At least one channel is kept. Raises ValueError for a share
    outside [0, 1].
    """
    return next(prunings(network, images, (share,)))


def prunings(network: nn.Module, images: Tensor, shares: Sequence[float]) -> Iterator[nn.Module]:
    """`prune` for one share after the other; the images are looked at once."""
    if outside := [share for share in shares if not 0 <= share <= 1]:
        raise ValueError(f"A share of channels lies between 0 and 1, not {outside[0]}.")
    name, order = last_map(network, images), activity(network, images).argsort(stable=True)
    for share in shares:
        kept = torch.ones(len(order))
        kept[order[: min(round(share * len(order)), len(order) - 1)]] = 0
        pruned = copy.deepcopy(network)
        module = pruned.get_submodule(name)
        module.register_buffer(_MASK, kept[None, :, None, None].to(next(network.parameters()).device), persistent=False)
        module.register_forward_hook(_silence)
        yield pruned


def _silence(module: nn.Module, inputs: object, output: Tensor) -> Tensor:
    return output * module.get_buffer(_MASK).to(output.dtype)


@torch.inference_mode()
def _forward(network: nn.Module, images: Tensor, batch_size: int = 32) -> Iterator[Tensor]:
    was_training = network.training
    network.eval()
    device = next(network.parameters()).device
    for batch in torch.split(images, batch_size):
        yield network(dequantise(batch.to(device)).contiguous(memory_format=torch.channels_last))
    network.train(was_training)
