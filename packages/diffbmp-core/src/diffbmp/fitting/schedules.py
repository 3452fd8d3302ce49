"""Schedules, and the random streams of a fit: functions of the step alone, so that a resumed fit goes on alike."""

from __future__ import annotations

import hashlib
import math
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor

from diffbmp.fitting.settings import BlurSettings, OptimizerSettings, ResolutionSettings

__all__ = ["Stream", "blur_sigma", "resolution_scale", "generator", "noisy_canvas", "rate_factor"]


class Stream(IntEnum):
    """Independent random streams of one seed."""

    START = 0
    CANVAS = 1
    LOSS = 2
    REFINER = 3
    GROW = 4
    RELOCATE = 5
    REINITIALIZE = 6


def generator(seed: int, stream: Stream | str, step: int = 0, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator that depends on the seed, the stream and the step, and on nothing that came before.

    Args:
        seed: of the fit.
        stream: one of core's, or the name of a plugin, which so has a stream of its own.
        step: number of the step.
        device: of the generator.
    """
    state = np.random.SeedSequence([seed, _number(stream), step]).generate_state(1, np.uint64)[0]
    return torch.Generator(device=device).manual_seed(int(state) >> 1)


def _number(stream: Stream | str) -> int:
    """Return the number of a stream; that of a name is beyond all of core's and the same on every machine."""
    if isinstance(stream, Stream):
        return int(stream)
    return 2**32 + int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little")


def noisy_canvas(
    seed: int, step: int, size: tuple[int, int], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> Tensor:
    """Return the canvas of a step, ``(3, H, W)`` drawn from U[0, 1) (paper, section 3), from the stream ``CANVAS``.

    On the CPU it comes from NumPy's SFC64, in steps of 1/65536: a sixth of the time of PyTorch's ``rand``.
    """
    if torch.device(device).type != "cpu":
        noise = generator(seed, Stream.CANVAS, step, device)
        return torch.rand((3, *size), generator=noise, device=device, dtype=dtype)
    count = 3 * size[0] * size[1]
    source = np.random.SFC64(np.random.SeedSequence([seed, int(Stream.CANVAS), step]))
    levels = source.random_raw(-(-count // 4)).view(np.uint16)[:count]
    values = np.multiply(levels, 2.0**-16, dtype=np.float64 if dtype == torch.float64 else np.float32)
    return torch.from_numpy(values).view(3, *size).to(dtype)


def resolution_scale(settings: ResolutionSettings, step: int, steps: int, size: tuple[int, int]) -> float:
    """Return the resolution at ``step`` of ``steps`` relative to that of a canvas of ``size``: a power of 1/2."""
    halvings = max(0, math.floor(math.log2(min(size) / settings.shortest)))
    growing = settings.until * steps
    if step >= growing:
        return 1.0
    return 0.5 ** (halvings - int(step / growing * halvings))


def rate_factor(settings: OptimizerSettings, step: int, steps: int) -> float:
    """Return the factor on all rates at ``step`` of ``steps``."""
    factor = _scheduled(settings, step, steps)
    return factor if step >= settings.warmup else factor * (step + 1) / (settings.warmup + 1)


def _scheduled(settings: OptimizerSettings, step: int, steps: int) -> float:
    if settings.schedule == "exponential":
        return settings.initial * settings.decay**step
    if settings.schedule == "cosine":
        progress = step / max(1, steps - 1)
        final = min(settings.final, settings.initial)
        return final + (settings.initial - final) * (1 + math.cos(math.pi * progress)) / 2
    return settings.initial


def blur_sigma(settings: BlurSettings, step: int, steps: int) -> float:
    """Return the blur at ``step`` of ``steps``, in texels of a 128-texel texture; 0 is sharp."""
    blurred_steps = settings.until * steps
    if step >= blurred_steps:
        return 0.0
    if settings.schedule == "constant":
        return settings.sigma
    stage = min(settings.stages - 1, int(step / blurred_steps * settings.stages))
    return settings.sigma * (1 - stage / settings.stages)
