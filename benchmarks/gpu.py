"""Measure the CUDA renderer by events: passes, memory, bandwidth, whole fits; `scripts/gpu_check` runs it.

python benchmarks/gpu.py FILE              on the card: about five minutes; writes the figures to FILE as JSON
python benchmarks/gpu.py FILE --rehearse   tiny scenes by core's renderer on the CPU: tries this script, not a card
python benchmarks/gpu.py --draw-once       draws every filter and blend once, small: what compute-sanitizer looks at
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import diffbmp
from diffbmp.bench.scenes import STANDARD_SCENES, BenchScene, count_pairs
from diffbmp.cli.listing import print_table
from diffbmp.rendering.renderer import BLENDS, FILTERS, CompositeInputs
from diffbmp.rendering.selection import renderer_key, resolve_renderer
from diffbmp.testing import random_inputs
from diffbmp_cuda import CapturedStep
from diffbmp_cuda.pipeline import ACCUMULATOR, BIN, BOUNDS_INTS, PARTS, PLAN_BYTES

PAPER_SIZES = tuple(BenchScene(1000, side, "paper") for side in (512, 1024, 2048))
SCENES = tuple(dict.fromkeys((*PAPER_SIZES, *STANDARD_SCENES)))
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "float sums": {"deterministic": False},
    "half texels": {"texels": "float16"},
}
REHEARSED = (BenchScene(20, 64, "small"), BenchScene(30, 64, "mixed"))


@dataclasses.dataclass(frozen=True)
class Bench:
    """Where is measured, by whom, and how often."""

    device: torch.device
    renderer: str
    variants: dict[str, dict[str, Any]]
    scenes: tuple[BenchScene, ...]
    runs: int
    copied: int  # bytes
    stacked: tuple[int, int]
    fit: dict[str, int]


CARD = Bench(
    torch.device("cuda"), "cuda", VARIANTS, SCENES, 30, 2**30, (1000, 10_000), {"n": 1000, "steps": 300, "width": 512}
)
REHEARSAL = Bench(
    torch.device("cpu"), "cpu", {"default": {}}, REHEARSED, 3, 2**20, (10, 100), {"n": 5, "steps": 3, "width": 32}
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, help="where the figures go")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, tiny")
    parser.add_argument("--draw-once", action="store_true", help="draw every kind of small scene once")
    parser.add_argument("--first-draw", action="store_true", help="print the seconds of the first draw and gradient")
    arguments = parser.parse_args()
    bench = REHEARSAL if arguments.rehearse else CARD
    reason = resolve_renderer(bench.renderer).unavailable(bench.device)
    if reason is not None:
        sys.exit(f"Renderer '{bench.renderer}' cannot draw on {bench.device}: {reason}.")
    if arguments.draw_once:
        draw_once(bench)
    elif arguments.first_draw:
        print(first_draw(bench))
    elif arguments.file is None:
        parser.error("name the file that the figures go to")
    else:
        figures = measure(bench)
        arguments.file.write_text(json.dumps(figures, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        print_figures(figures)


def measure(bench: Bench) -> dict[str, Any]:
    bandwidth = copy_bandwidth(bench)
    scenes = []
    for scene in bench.scenes:
        inputs = scene.inputs(device=str(bench.device))
        results = {name: measure_passes(inputs, bench, settings) for name, settings in bench.variants.items()}
        least = {"forward": forward_bytes(inputs), "backward": backward_bytes(inputs)}
        for result in results.values():
            for name, moved in least.items():
                result[f"{name}_bandwidth_share"] = moved / (result[f"{name}_ms"] / 1e3) / bandwidth
        scenes.append({"scene": scene.name, "pairs": count_pairs(inputs), "least_bytes": least, "results": results})
    return {
        "machine": machine(bench),
        "copy_bytes_per_second": bandwidth,
        "first_draw_seconds": first_draws(bench),
        "scenes": scenes,
        "stack_over_one_pixel_ms": {str(count): measure_stack(count, bench) for count in bench.stacked},
        "fit": measure_fit(bench),
    }


def milliseconds(function: Callable[[], object], bench: Bench) -> list[float]:
    """Return the time of each run, by events where there is a card; two more warm up."""
    taken = []
    for run in range(bench.runs + 2):
        if bench.device.type == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            function()
            end.record()
            end.synchronize()
            passed = begin.elapsed_time(end)
        else:
            started = time.perf_counter()
            function()
            passed = (time.perf_counter() - started) * 1e3
        if run >= 2:
            taken.append(passed)
    return taken


def copy_bandwidth(bench: Bench) -> float:
    """Return the bytes that are read and written in a second by a copy."""
    source = torch.ones(bench.copied, dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)
    return 2 * bench.copied / (statistics.median(milliseconds(lambda: target.copy_(source), bench)) / 1e3)


def measure_passes(inputs: CompositeInputs, bench: Bench, settings: dict[str, Any]) -> dict[str, float]:
    """Time the two passes, without texel gradients, and tell how much memory they need beside their inputs."""
    drawing = resolve_renderer(renderer_key(bench.renderer, settings))
    image, state = drawing.forward(inputs)
    grad_image = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)).to(image)
    forward = milliseconds(lambda: drawing.forward(inputs), bench)
    backward = milliseconds(lambda: drawing.backward(inputs, state, grad_image, texel_gradient=False), bench)
    result = {
        "forward_ms": statistics.median(forward),
        "forward_least_ms": min(forward),
        "backward_ms": statistics.median(backward),
        "backward_least_ms": min(backward),
    }
    if bench.device.type == "cuda":
        del image
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        image, state = drawing.forward(inputs)
        drawing.backward(inputs, state, grad_image, texel_gradient=False)
        result["memory_bytes"] = torch.cuda.max_memory_allocated() - before
    return result


def forward_bytes(inputs: CompositeInputs) -> int:
    """Return the least that a forward pass moves: each array once where it is written and once where it is read."""
    sprites, pixels = inputs.batch * inputs.count, inputs.batch * inputs.height * inputs.width
    own = sum(
        value.nbytes for value in (inputs.frame, inputs.opacity, inputs.color, inputs.color_blend, inputs.texture)
    )
    bins = inputs.batch * -(-inputs.height // BIN) * -(-inputs.width // BIN)
    plans, masks = sprites * (PLAN_BYTES + 4 * BOUNDS_INTS), bins * -(-inputs.count // 32) * 4
    return own + 2 * (plans + masks) + inputs.texels.nbytes + 16 * pixels


def backward_bytes(inputs: CompositeInputs) -> int:
    """Return the least that a backward pass moves: what forward does, the image's gradient being read instead of the
    image written; and the sums, which are cleared, added to and read."""
    sprites = inputs.batch * inputs.count
    gradients = sum(value.nbytes for value in (inputs.frame, inputs.opacity, inputs.color, inputs.color_blend))
    return forward_bytes(inputs) + 3 * sprites * ACCUMULATOR * PARTS * 8 + gradients


def measure_stack(count: int, bench: Bench) -> dict[str, float]:
    """Time ``count`` small sprites over one pixel."""
    inputs = BenchScene(count, 64, "small").inputs(device=str(bench.device))
    frame = inputs.frame.clone()
    frame[..., 2] = 32.5
    opacity = torch.full_like(inputs.opacity, 1 / count)  # so that the view is never closed
    result = measure_passes(dataclasses.replace(inputs, frame=frame, opacity=opacity), bench, {})
    return {"forward": result["forward_ms"], "backward": result["backward_ms"]}


def measure_fit(bench: Bench) -> dict[str, float]:
    """Time whole fits, kernels being compiled: core's own, and the same step recorded as a CUDA graph."""
    width, steps = bench.fit["width"], bench.fit["steps"]
    target = torch.rand((3, 8, 8), generator=torch.Generator().manual_seed(0))
    target = torch.nn.functional.interpolate(target[None], (width, width), mode="bicubic")[0].clamp(0, 1)
    options = {"stamps": "shape:disc", "n": bench.fit["n"], "steps": steps, "seed": 0}
    seconds = []
    for _ in range(3):  # the first warms up
        fit = diffbmp.start_fit(target, **options, renderer=bench.renderer, device=str(bench.device))
        started = time.perf_counter()
        fit.run()
        seconds.append(time.perf_counter() - started)
    result = {"steps": steps, "seconds": min(seconds[1:])}
    if bench.device.type == "cuda":
        result |= {"graph_seconds": captured_fit(fit.scene, target.to(bench.device), steps)}
    return result


def captured_fit(scene: diffbmp.Scene, target: torch.Tensor, steps: int) -> float:
    """Take steps of Adam on a scene by a graph; return the seconds, from recording to the last."""
    optimizer = torch.optim.Adam(scene.parameters(), lr=0.01, capturable=True)
    loss = torch.zeros((), device=target.device)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        image = scene.layer(renderer="cuda")
        error = (image[:3] - target).square().mean()
        error.backward()
        optimizer.step()
        loss.copy_(error.detach())

    torch.cuda.synchronize()
    started = time.perf_counter()
    captured = CapturedStep(step)
    for _ in range(steps - 3):
        captured()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def first_draws(bench: Bench) -> dict[str, float]:
    """Return the seconds of the first draw and gradient of a process: with nothing compiled, and with all kept."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--first-draw"] + ["--rehearse"] * (bench is REHEARSAL)
        environment = {**os.environ, "DIFFBMP_CUDA_CACHE": folder}
        return {
            name: float(subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout)
            for name in ("cold", "warm")
        }


def first_draw(bench: Bench) -> float:
    inputs = random_inputs(0)
    tensors = {f.name: getattr(inputs, f.name) for f in dataclasses.fields(inputs)}
    inputs = CompositeInputs(**{n: v.to(bench.device) if torch.is_tensor(v) else v for n, v in tensors.items()})
    started = time.perf_counter()
    drawing = resolve_renderer(bench.renderer)
    image, state = drawing.forward(inputs)
    drawing.backward(inputs, state, image, texel_gradient=False).frame.cpu()
    return time.perf_counter() - started


def draw_once(bench: Bench) -> None:
    for blend in BLENDS:
        for filter in FILTERS:
            for settings in bench.variants.values():
                inputs = random_inputs(1, count=70, size=(40, 70), blend=blend, filter=filter, batch=2)
                tensors = {f.name: getattr(inputs, f.name) for f in dataclasses.fields(inputs)}
                moved = {n: v.to(bench.device) if torch.is_tensor(v) else v for n, v in tensors.items()}
                drawing = resolve_renderer(renderer_key(bench.renderer, settings))
                image, state = drawing.forward(CompositeInputs(**moved))
                drawing.backward(CompositeInputs(**moved), state, image, texel_gradient=True).frame.cpu()


def machine(bench: Bench) -> dict[str, Any]:
    """Return card, driver and versions."""
    names = ("cuda-core", "cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "diffbmp": diffbmp.__version__,
        **{name: installed for name in names if (installed := _installed(name)) is not None},
    }
    if bench.device.type == "cuda":
        from diffbmp_cuda.availability import machine as look

        card = look(torch.cuda.current_device())
        query = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
        said = subprocess.run(query, capture_output=True, text=True, check=False)
        found |= {"card": card.card, "capability": card.capability, "driver_cuda": card.driver, "nvrtc": card.nvrtc}
        found["nvidia_smi"] = said.stdout.strip().splitlines() if said.returncode == 0 else None
    return found


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def print_figures(figures: dict[str, Any]) -> None:
    """Print everything as one table."""
    rows = []
    for scene in figures["scenes"]:
        for name, result in scene["results"].items():
            memory = f"{result['memory_bytes'] / 2**20:.0f}" if "memory_bytes" in result else ""
            shares = f"{result['forward_bandwidth_share']:.1%} / {result['backward_bandwidth_share']:.1%}"
            passes = (f"{result['forward_ms']:.3f}", f"{result['backward_ms']:.3f}")
            rows.append([scene["scene"], name, *passes, memory, shares])
    for count, passes in figures["stack_over_one_pixel_ms"].items():
        rows.append(
            [f"{count} over one pixel", "default", f"{passes['forward']:.3f}", f"{passes['backward']:.3f}", "", ""]
        )
    fit = figures["fit"]
    graph = f", {fit['graph_seconds']:.2f} s as a graph" if "graph_seconds" in fit else ""
    rows.append([f"fit, {fit['steps']} steps", f"{fit['seconds']:.2f} s{graph}", "", "", "", ""])
    first = figures["first_draw_seconds"]
    rows.append(["first draw and gradient", f"{first['cold']:.2f} s, from the cache {first['warm']:.2f} s", *[""] * 4])
    rows.append(["copy", f"{figures['copy_bytes_per_second'] / 1e9:.0f} GB/s", *[""] * 4])
    header = ["scene", "", "forward ms", "backward ms", "memory MiB", "of copy bandwidth"]
    print_table(header, rows, title=figures["machine"].get("card", "rehearsal on the CPU"))


if __name__ == "__main__":
    main()
