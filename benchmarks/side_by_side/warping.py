"""Warping images and poisoning batches of 32, 64 and 224 px: ours and three ways of the public implementations.

    cached grid     one `grid_sample` of the whole batch, with a grid that was made beforehand
    rebuilt grid    the same with the grid made anew for every batch, as WaNet's released code does
    per image       one image after the other, from PIL to 8-bit PIL, as a transform of a data set

One process of one thread on one core; images of a CPU-second. A batch is poisoned from 8-bit images to floats with
WaNet's shares: a tenth of it under the trigger, two tenths in noise mode. Ours chooses the images and draws the noise
by hashes, so that an image is treated alike in every run, and rounds to 8 bits; the first two peers draw at random and
keep floats.

Memory is the most that the process held during a round's calls, with what all contenders share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks.side_by_side.findings import Effort, Findings
from benchmarks.side_by_side.rows import Row, compared
from benchmarks.side_by_side.turns import RATE, by_turns, in_a_process, per_cpu_second, stay_on_one_core

#: Side in pixels: images in a batch.
BATCHES = {32: 128, 64: 128, 224: 32}
#: Of every peer what it is in words, and how many times its images a CPU-second ours are to warp.
PEERS: Mapping[str, tuple[str, float | None]] = {
    "cached_grid": ("one grid_sample with a cached grid", 0.95),
    "rebuilt_grid": ("one grid_sample, the grid rebuilt for every batch", None),
    "per_image": ("image by image through PIL", 5.0),
}
#: Of the seconds of a run, those of one contender's turn.
SHARE_OF_A_RUN = 1 / 20

Contenders = dict[str, Callable[[], object]]


def measure(effort: Effort) -> Findings:
    """All rows about warping and poisoning."""
    rows = []
    for side, n in BATCHES.items():
        rows += in_a_process(at_size, side, n, effort.rounds, SHARE_OF_A_RUN * effort.seconds)
        effort.tell(f"warping and poisoning {n} images of {side} px: done")
    return Findings(rows)


def at_size(side: int, n: int, rounds: int, seconds: float) -> list[Row]:
    """Warping, then poisoning, batches of n images: each contender for so many seconds in every round."""
    stay_on_one_core()
    rows = []
    for work, contenders, bars in (
        ("warp", warpers(side, n), {peer: least for peer, (_, least) in PEERS.items()}),
        ("poisoning", poisoners(side, n), {}),
    ):
        costs = by_turns(contenders, rounds, seconds)
        what = {"warp": "warped", "poisoning": "poisoned"}[work]
        rows += [
            compared(
                f"{work}.{side}.vs_{peer}",
                f"{n} images of {side} px {what}, against {in_words}",
                per_cpu_second(n, costs["ours"]),
                per_cpu_second(n, costs[peer]),
                RATE,
                least=bars.get(peer),
            ).costing(ours=costs["ours"], peer=costs[peer])
            for peer, (in_words, _) in PEERS.items()
        ]
    return rows


def warpers(side: int, n: int) -> Contenders:
    """Each warps the same n images by the same field of s = 0.5."""
    import torch
    from torchvision.transforms.functional import to_tensor

    from attacks.wanet import WarpField
    from benchmarks.side_by_side import peers

    pictures = _pictures(side, n)
    images = torch.stack([to_tensor(picture) for picture in pictures])
    field = WarpField.draw((side, side), 8, 0.5, seed=3)
    grids = peers.Grids.of(field)
    cached = grids.rebuilt()
    return {
        "ours": lambda: field.apply(images),
        "cached_grid": lambda: peers.warp(images, cached),
        "rebuilt_grid": lambda: peers.warp(images, grids.rebuilt()),
        "per_image": lambda: torch.stack([peers.warp_picture(picture, cached) for picture in pictures]),
    }


def poisoners(side: int, n: int) -> Contenders:
    """Each poisons the same n 8-bit images to floats and labels, as many of them."""
    import numpy as np
    import torch
    from torch import Tensor

    from attacks.base import dequantise
    from attacks.wanet import WarpField
    from benchmarks.side_by_side import peers
    from models.poisoning import Poisoning, Role
    from models.targets import Target

    pictures = _pictures(side, n)
    images = torch.stack([torch.from_numpy(np.array(picture)).permute(2, 0, 1) for picture in pictures]).contiguous()
    labels, indices = torch.zeros(n, 2), torch.arange(n)
    field, target = WarpField.draw((side, side), 8, 0.5, seed=3), Target.fixed(0, 25)
    poisoning = Poisoning(rate=0.1, noise_ratio=2.0)
    roles = poisoning.roles(indices, 0)
    triggered, noisy = (int((roles == role).sum()) for role in (Role.POISONED, Role.NOISE))
    treatment = peers.Treatment(triggered, noisy, target)
    grids = peers.Grids.of(field)
    cached = grids.rebuilt()

    def ours() -> tuple[Tensor, Tensor]:
        treated = images.clone()
        goals = poisoning.poison_(treated, labels, indices, 0, trigger=field, target=target)
        return dequantise(treated), goals

    return {
        "ours": ours,
        "cached_grid": lambda: peers.poisoned(images, labels, cached, treatment),
        "rebuilt_grid": lambda: peers.poisoned(images, labels, grids.rebuilt(), treatment),
        "per_image": lambda: peers.poisoned_pictures(pictures, labels, cached, treatment),
    }


def _pictures(side: int, n: int) -> Sequence[Any]:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), dtype=np.uint8)
    return [Image.fromarray(each) for each in pixels]
