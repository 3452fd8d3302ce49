"""How much of a fit's time is spent in the renderer's two kernels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from diffbmp.fitting.fit import Fit
from diffbmp.rendering.selection import resolve_renderer

__all__ = ["FitTimes", "time_fit"]


@dataclass
class FitTimes:
    """Seconds of a fit's steps on the CPU.

    Attributes:
        steps: number of steps taken.
        total: all steps together, from the stamps' parameters to their update.
        forward: the part of it in the renderer's forward pass.
        backward: the part of it in the renderer's backward pass.
    """

    steps: int = 0
    total: float = 0.0
    forward: float = 0.0
    backward: float = 0.0

    @property
    def kernel_share(self) -> float:
        """Part of the time that is spent in the two passes, 0 to 1."""
        return (self.forward + self.backward) / self.total


def time_fit(fit: Fit) -> FitTimes:
    """Take all remaining steps of a fit on the CPU and return where the time went."""
    times = FitTimes()
    with _timed(fit.renderer, "forward", times), _timed(fit.renderer, "backward", times):
        for step in fit:
            times.steps += 1
            times.total += step.seconds
    return times


@contextmanager
def _timed(renderer: str, name: str, times: FitTimes) -> Iterator[None]:
    """Add the time of a method of the renderer, an instance that all fits share, to ``times``."""
    instance = resolve_renderer(renderer)
    method: Callable[..., Any] = getattr(instance, name)

    def call(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        try:
            return method(*arguments, **named)
        finally:
            setattr(times, name, getattr(times, name) + time.perf_counter() - started)

    setattr(instance, name, call)
    try:
        yield
    finally:
        delattr(instance, name)
