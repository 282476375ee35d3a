"""Where models run, and what makes CUDA compute as a processor does.

Left alone, cuDNN rounds the factors of a float32 convolution to 10 bits of mantissa (TF32), and sums some gradients in
an order that changes from run to run. A model of sub-pixel evidence is to be measured in float32 wherever it is
measured, and a training started twice is to end in the same weights: see `repeatable`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from models.recipe import Precision


def resolve_device(device: str = "auto") -> torch.device:
    """ "auto" is CUDA where there is one, else the CPU. Raises ValueError for another name or a missing device."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device not in ("cpu", "cuda"):
        raise ValueError(f"The device is 'auto', 'cpu' or 'cuda', not {device!r}.")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("There is no CUDA device on this machine: use device 'cpu' or 'auto'.")
    return torch.device(device)


def resolve_precision(precision: Precision, device: torch.device) -> Literal["float32", "bfloat16"]:
    """What "auto" means here: bfloat16 where the device multiplies bfloat16 matrices by itself, else float32."""
    if precision != "auto":
        return precision
    return "bfloat16" if _multiplies_bfloat16(device) else "float32"


def _multiplies_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capable = torch.cpu.get_capabilities()
    return bool(capable.get("amx_bf16", False) or capable.get("avx512_bf16", False))


@contextmanager
def repeatable() -> Iterator[None]:
    """Within it, or within a function that it decorates, cuDNN keeps to float32 and to algorithms that repeat.

    Nothing changes on the CPU. The settings are the process's; they are put back at the end.
    """
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield
