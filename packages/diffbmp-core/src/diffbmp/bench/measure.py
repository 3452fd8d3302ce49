"""Measuring renderers on a scene: forward and backward apart, all in turns, beside the loop that only fetches."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch

from diffbmp.bench.memory import Memory, measure_memory
from diffbmp.bench.passes import BenchRenderer
from diffbmp.bench.scenes import BenchScene, count_pairs
from diffbmp.rendering.cpu import Cpu
from diffbmp.rendering.renderer import CompositeInputs

__all__ = ["Call", "Measurement", "SceneResult", "Timing", "alternate", "measure_scene"]

Key = TypeVar("Key")

FEWEST = 3
"""Rounds of a call that does not use up the time in fewer."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one call.

    Attributes:
        median: the middle of all repetitions.
        least: the quickest of them.
        runs: how many there were.
    """

    median: float
    least: float
    runs: int


@dataclass(frozen=True)
class Call:
    """Something to be timed, on a number of threads; ``device`` is waited for.

    Where ``clocked`` is set, ``function`` returns the seconds that it took itself.
    """

    function: Callable[[], object]
    threads: int
    device: torch.device
    clocked: bool = False


@dataclass(frozen=True)
class Measurement:
    """What one renderer took for one scene.

    Attributes:
        renderer: name of the renderer.
        threads: threads that it was given.
        device: where it drew.
        forward: one forward pass.
        backward: one backward pass, without texel gradients.
        memory: what one forward and backward pass needs, or None where not measured.
    """

    renderer: str
    threads: int
    device: str
    forward: Timing
    backward: Timing
    memory: Memory | None


@dataclass(frozen=True)
class SceneResult:
    """All renderers on one scene.

    Attributes:
        scene: the scene.
        pairs: its sprite-pixel pairs.
        floor: the loop that only fetches the texels of the same pairs, on one thread; None without core's extension.
        measurements: one for each renderer and number of threads.
        left_out: why a renderer was not measured, by its name.
    """

    scene: BenchScene
    pairs: int
    floor: Timing | None
    measurements: list[Measurement]
    left_out: dict[str, str]


def measure_scene(
    scene: BenchScene, renderers: Sequence[BenchRenderer], *, threads: Sequence[int], seconds: float, memory: bool
) -> SceneResult:
    """Measure renderers on a scene.

    Args:
        scene: what is drawn.
        renderers: what draws it, each of a name of its own.
        threads: numbers of threads, each measured; a renderer on an accelerator, and
            ``reference``, which is slow, is measured once, with the first of them.
        seconds: time for all repetitions together, about; a call that needs longer than its share is still made
            three times, or once where that alone uses up ``seconds``.
        memory: whether the memory is measured, each renderer in a process of its own.
    """
    inputs = scene.inputs()
    calls: dict[tuple[str, int, str], Call] = {}
    measured: dict[str, BenchRenderer] = {}
    omitted: dict[str, str] = {}
    floor = ("", 1, "floor")
    if Cpu.unavailable(torch.device("cpu")) is None:
        calls[floor] = Call(lambda: _floor_seconds(inputs), 1, torch.device("cpu"), clocked=True)
    pairs = count_pairs(inputs)
    for renderer in renderers:
        reason = renderer.left_out(scene, pairs)
        if reason is not None:
            omitted[renderer.name] = reason
            continue
        measured[renderer.name] = renderer
        name, device, passes = renderer.name, renderer.device, renderer.passes(scene)
        for count in threads[:1] if name == "reference" or device.type != "cpu" else threads:
            calls[name, count, "forward"] = Call(passes.forward, count, device)
            calls[name, count, "backward"] = Call(passes.backward, count, device)
    timings = alternate(calls, seconds=seconds)
    del calls
    measurements = [
        Measurement(name, count, str(measured[name].device), timing, timings[name, count, "backward"], None)
        for (name, count, kind), timing in timings.items()
        if kind == "forward"
    ]
    if memory:
        grown = {name: measure_memory(scene, renderer, max(threads)) for name, renderer in measured.items()}
        measurements = [replace(measurement, memory=grown[measurement.renderer]) for measurement in measurements]
    return SceneResult(scene, pairs, timings.get(floor), measurements, omitted)


def alternate(calls: Mapping[Key, Call], *, seconds: float) -> dict[Key, Timing]:
    """Time calls in turns, A B C A B C ..., so that whatever else the machine does slows all of them alike.

    Each is repeated until it has used its share of ``seconds`` and at least three times, or until it alone has
    used ``seconds``. The first time of each warms up; it counts only where there is no other.
    """
    times: dict[Key, list[float]] = {key: [] for key in calls}
    waiting = list(calls)
    while waiting:
        for key in waiting:
            times[key].append(_timed(calls[key]))
        waiting = [key for key in waiting if not _enough(times[key], seconds, len(calls))]
    return {
        key: Timing(statistics.median(taken[1:] or taken), min(taken[1:] or taken), len(taken[1:] or taken))
        for key, taken in times.items()
    }


def _enough(times: list[float], seconds: float, calls: int) -> bool:
    used = sum(times)
    return used >= seconds or (len(times) > FEWEST and used >= seconds / calls)


def _timed(call: Call) -> float:
    with _threads(call.threads):
        if call.device.type == "cuda":
            torch.cuda.synchronize(call.device)
        started = time.perf_counter()
        result = call.function()
        if call.device.type == "cuda":
            torch.cuda.synchronize(call.device)
        return cast(float, result) if call.clocked else time.perf_counter() - started


def _floor_seconds(inputs: CompositeInputs) -> float:
    """Return the seconds of the quicker of core's two fetch loops, the plain one and the vectorised one."""
    times = Cpu().time_fetches(inputs, repeats=1)
    return min(times["plain"], times["tuned"])


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
