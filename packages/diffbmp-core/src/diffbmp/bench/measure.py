"""Measuring a renderer on a scene: forward and backward apart, and the memory that they take."""

from __future__ import annotations

import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from diffbmp.bench.scenes import BenchScene, count_pairs
from diffbmp.fitting.report import peak_memory
from diffbmp.rendering.renderer import CompositeInputs
from diffbmp.rendering.selection import resolve_renderer

__all__ = ["Measurement", "measure", "measure_memory", "median_seconds"]


@dataclass(frozen=True)
class Measurement:
    """What one renderer took for one scene.

    Attributes:
        renderer: name of the renderer.
        scene: name of the scene.
        threads: threads it was given.
        pairs: sprite-pixel pairs of the scene.
        forward: median seconds of one forward pass.
        backward: median seconds of one backward pass, texel gradients not asked for.
        memory: bytes that the process grew by during one forward and backward pass, or None where not measured.
    """

    renderer: str
    scene: str
    threads: int
    pairs: int
    forward: float
    backward: float
    memory: int | None

    @property
    def nanoseconds_per_pair(self) -> tuple[float, float]:
        """Wall time a pair, forward and backward."""
        return 1e9 * self.forward / self.pairs, 1e9 * self.backward / self.pairs

    @property
    def pairs_per_second_per_thread(self) -> float:
        """Pairs drawn forward and backward, a second and thread."""
        return self.pairs / (self.forward + self.backward) / self.threads


def median_seconds(call: Callable[[], object], *, seconds: float, device: torch.device) -> float:
    """Call for about ``seconds``, at least three times after one to warm up; return the median of one call."""

    def timed() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        started = time.perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    timed()
    times = [timed() for _ in range(3)]
    while sum(times) < seconds:
        times.append(timed())
    return statistics.median(times)


def measure(
    scene: BenchScene, renderer: str, *, device: str = "cpu", seconds: float = 1.0, memory: bool = True
) -> Measurement:
    """Measure ``renderer`` on ``scene`` for about ``seconds`` each way."""
    inputs = scene.inputs(device=device)
    forward, backward = _passes(inputs, renderer)
    where = torch.device(device)
    return Measurement(
        renderer=renderer,
        scene=scene.name,
        threads=torch.get_num_threads(),
        pairs=count_pairs(inputs),
        forward=median_seconds(forward, seconds=seconds, device=where),
        backward=median_seconds(backward, seconds=seconds, device=where),
        memory=measure_memory(scene, renderer, device) if memory else None,
    )


def measure_memory(scene: BenchScene, renderer: str, device: str) -> int:
    """Return the bytes that one forward and backward pass adds to a fresh process's peak (on CUDA, the card's)."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_memory, (scene, renderer, device, torch.get_num_threads()))


def _memory(scene: BenchScene, renderer: str, device: str, threads: int) -> int:
    torch.set_num_threads(threads)
    inputs = scene.inputs(device=device)
    forward, backward = _passes(inputs, renderer)
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        backward()
        return torch.cuda.max_memory_allocated(device) - before
    before = peak_memory()
    forward()
    backward()
    return peak_memory() - before


def _passes(inputs: CompositeInputs, name: str) -> tuple[Callable[[], object], Callable[[], object]]:
    renderer = resolve_renderer(name)
    image, state = renderer.forward(inputs)
    grad_image = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)).to(image)

    def backward() -> object:
        return renderer.backward(inputs, state, grad_image, texel_gradient=False)

    return lambda: renderer.forward(inputs), backward
