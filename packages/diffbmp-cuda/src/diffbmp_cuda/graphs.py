"""A step of an optimisation as a CUDA graph: recorded once, replayed without Python in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import torch

from diffbmp import DiffbmpError

__all__ = ["CapturedStep"]

T = TypeVar("T")


class CapturedStep(Generic[T]):
    """A function that is run a few times, then recorded as a CUDA graph, which every call replays.

    For the steady state of a fit: forward, loss, backward and the optimiser's step in one launch. The function reads
    and writes tensors that stay where they are (parameters, the target, an optimiser with ``capturable=True``), and
    must not wait for the card: no ``.item()``, no ``print`` of a tensor::

        def step():
            optimizer.zero_grad(set_to_none=True)
            image = diffbmp.composite(frame(), opacity(), color(), texture, atlas, size=(512, 512))
            loss = (image[:3] - target).square().mean()
            loss.backward()
            optimizer.step()
            return loss.detach()

        step = diffbmp_cuda.CapturedStep(step)
        for _ in range(300):
            loss = step()  # the same tensor each time, with a new value

    Args:
        step: the function. What it returns is kept and returned by every call.
        warm_up: how often it is run before it is recorded; these are steps too. At least once, for kernels are
            compiled and memory is set aside meanwhile.

    Raises:
        DiffbmpError: where there is no card, or ``warm_up`` is less than 1.
    """

    def __init__(self, step: Callable[[], T], *, warm_up: int = 3) -> None:
        if warm_up < 1:
            raise DiffbmpError(f"warm_up must be at least 1, got {warm_up}.")
        if not torch.cuda.is_available():
            raise DiffbmpError("A step can only be captured on an NVIDIA GPU, and PyTorch finds none.")
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(warm_up):
                step()
        torch.cuda.current_stream().wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._result = step()

    def __call__(self) -> T:
        """Take a step."""
        self._graph.replay()
        return self._result
