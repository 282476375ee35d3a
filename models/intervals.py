"""Counts and the intervals of their rates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from models.proportions import wilson


@dataclass(frozen=True)
class Count:
    """So many of `n`. Raises ValueError unless 0 <= k <= n and n >= 1."""

    k: int
    n: int

    def __post_init__(self) -> None:
        if not (self.n >= 1 and 0 <= self.k <= self.n):
            raise ValueError(f"{self.k} of {self.n} is no count.")

    @classmethod
    def of(cls, flags: Tensor) -> Count:
        """How many of these booleans, any shape, are true."""
        return cls(int(torch.count_nonzero(flags)), flags.numel())

    @property
    def rate(self) -> float:
        return self.k / self.n

    def wilson(self, level: float = 0.95) -> tuple[float, float]:
        """Wilson's interval of the rate, as if all n were independent."""
        return wilson(self.k, self.n, level)

    def to_json(self) -> dict[str, Any]:
        low, high = self.wilson()
        return {"k": self.k, "n": self.n, "rate": self.rate, "wilson_low": low, "wilson_high": high}
