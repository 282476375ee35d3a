"""Work that is done again and again on a CUDA device, recorded once (a CUDA graph).

Calling the kernels of a small network one by one takes the processor several times as long as the device takes to run
them. A recording is one call.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

_REHEARSALS = 3  # as torch's documentation has it: libraries choose and allocate in the first calls


class Recorded:
    """A forward and backward pass on a CUDA device: called with tensors of the shapes that it was first called with.

    It recalls which memory it was recorded on: the network's weights and buffers may change in place alone, and the
    gradients that a call leaves are overwritten by the next, as is the tensor that it returns. The network stays in the
    mode that it was in.
    """

    def __init__(self, work: Callable[..., Tensor], network: nn.Module) -> None:
        self.work, self.network = work, network
        self.graph: torch.cuda.CUDAGraph | None = None
        self.inputs: tuple[Tensor, ...] = ()

    def __call__(self, *inputs: Tensor) -> Tensor:
        if self.graph is None:
            self.graph = self._record(inputs)
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.output

    def _record(self, inputs: tuple[Tensor, ...]) -> torch.cuda.CUDAGraph:
        self.inputs = tuple(given.clone() for given in inputs)
        self._rehearse()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.output = self.work(*self.inputs)
        return graph

    def _rehearse(self) -> None:
        """Leaves no trace in the network, whose statistics of batches every pass would change."""
        before = {name: buffer.clone() for name, buffer in self.network.named_buffers()}
        aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(_REHEARSALS):
                self.work(*self.inputs)
        torch.cuda.current_stream().wait_stream(aside)
        self.network.zero_grad(set_to_none=True)
        for name, buffer in self.network.named_buffers():
            buffer.copy_(before[name])
