"""Measure everything that docs/performance.md says, and write its tables and its chart.

python benchmarks/cpu.py            about ten minutes; pydiffbmp is measured where it is installed
python benchmarks/cpu.py --draw     only write tables and chart again, from the figures of the last run
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import torch
from matplotlib import pyplot
from page import write_tables
from pydiffbmp_peer import Peer, peer_available, peer_version

from diffbmp import start_fit
from diffbmp.bench.fit import time_fit
from diffbmp.bench.scenes import STANDARD_SCENES
from diffbmp.cli.bench import bench_report, print_report

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "performance.md"
FIGURES = ROOT / "docs" / "performance"
BENCH, FIT, CHART = FIGURES / "cpu.json", FIGURES / "fit.json", FIGURES / "cost.svg"

THREADS = (1, 2)
WAITING = {"OMP_WAIT_POLICY": "passive"}
PAPER_MS = 15.5
"""Forward and backward of the paper's fp32 kernels at 512 x 512 on an RTX 3090, kernel time only."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--scenes", metavar="FILE", type=Path, help="only measure the scenes, and write FILE as JSON")
    parser.add_argument("--fit", type=int, metavar="THREADS", help="only time a fit, and print the figures as JSON")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each scene (default: 10)")
    arguments = parser.parse_args()
    if arguments.scenes:
        measure_scenes(arguments.scenes, arguments.seconds)
        return
    if arguments.fit:
        print(json.dumps(time_one_fit(arguments.fit)))
        return
    if not arguments.draw:
        FIGURES.mkdir(exist_ok=True)
        print(measured(__file__, f"--scenes={BENCH}", f"--seconds={arguments.seconds:g}"))
        fits_by_threads = [json.loads(measured(__file__, f"--fit={threads}")) for threads in THREADS]
        FIT.write_text(json.dumps(fits_by_threads, indent=2) + "\n", encoding="utf-8")
    bench, fit = (json.loads(path.read_text(encoding="utf-8")) for path in (BENCH, FIT))
    draw_chart(bench)
    tables = {"machine": machine(bench), "aims": aims(bench, fit), "scenes": scenes(bench), "fit": fits(fit)}
    write_tables(PAGE, "cpu.py", tables)


def measure_scenes(path: Path, seconds: float) -> None:
    """Measure every renderer on every standard scene, the peer beside them where it is installed."""
    report = bench_report(
        scenes=[scene.name for scene in STANDARD_SCENES],
        threads=THREADS,
        seconds=seconds,
        peers=[Peer()] if peer_available() else [],
        progress=lambda said: print(said, file=sys.stderr, flush=True),
    )
    print_report(report)
    report["command"] = "python benchmarks/cpu.py" + (f" --seconds {seconds:g}" if seconds != 10 else "")
    report["environment"] = {name: os.environ[name] for name in WAITING if name in os.environ}
    if peer_available():
        report["versions"][Peer.name] = peer_version()
    path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def measured(*arguments: str) -> str:
    """Run Python in a process of its own and return what it prints."""
    return subprocess.run(
        [sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **WAITING}
    ).stdout


def time_one_fit(threads: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder:
        material = [sys.executable, ROOT / "scripts" / "demo_material.py", folder]
        subprocess.run(material, check=True, stdout=subprocess.DEVNULL)
        options = {
            "preset": "paper",
            "stamps": f"{folder}/coins",
            "n": 1000,
            "width": 512,
            # The paper's largest stamps, a quarter of the canvas, would leave nothing but the kernels to be timed.
            "initializers": {"structure": {"scale_rule": "spacing"}},
        }
        started = (start_fit(f"{folder}/astronaut.png", **options) for _ in range(3))
        fits = sorted((time_fit(fit) for fit in started), key=lambda times: times.kernel_share)
    times = fits[1]
    return {"threads": threads, **vars(times), "kernel_share": times.kernel_share}


def machine(bench: dict[str, Any]) -> Iterator[str]:
    here, versions = bench["machine"], bench["versions"]
    peer = f", pydiffbmp {versions['pydiffbmp']}" if versions.get("pydiffbmp") else ""
    yield f"- command: `{bench['command']}`, {bench['date'][:10]}"
    settings = ", ".join(f"`{name}={value}`" for name, value in bench.get("environment", {}).items())
    yield f"- threads that wait: {settings or 'as PyTorch has it, spinning (no `OMP_WAIT_POLICY`)'}"
    yield f"- machine: {here['cpu']}, {here['usable_cores']} cores usable, {here['vector_instructions']}; {here['os']}"
    yield f"- diffbmp {bench['diffbmp']}, {versions['python']}, PyTorch {versions['torch']}{peer}"


def scenes(bench: dict[str, Any]) -> Iterator[str]:
    yield "| scene | pairs, million | renderer | threads | forward, ms | backward, ms | least, ms | ns a pair |" + (
        " million pairs/s/thread | forward : floor | backward : floor | memory added, MiB |"
    )
    yield "|---|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
    for scene in bench["scenes"]:
        label = f"| {scene['name']} | {scene['pairs'] / 1e6:.2f} |"
        if scene["floor"]:
            floor = scene["floor"]
            yield (
                f"{label} floor | 1 | {floor['median_ms']:.2f} | | {floor['min_ms']:.2f} "
                f"| {floor['ns_per_pair']:.2f} | | 1 | | |"
            )
            label = "| | |"
        for result in scene["results"]:
            forward, backward, memory = result["forward"], result["backward"], result["memory"]
            ratios = [timing["to_floor"] for timing in (forward, backward)]
            yield (
                f"{label} {result['renderer']} | {result['threads']} | {forward['median_ms']:.2f} "
                f"| {backward['median_ms']:.2f} | {forward['min_ms']:.2f} + {backward['min_ms']:.2f} "
                f"| {forward['ns_per_pair']:.2f} + {backward['ns_per_pair']:.2f} "
                f"| {result['pairs_per_second_per_thread'] / 1e6:.1f} "
                + "".join("| " if ratio is None else f"| {ratio:.2f} " for ratio in ratios)
                + ("| |" if memory is None else f"| {memory['added'] / 2**20:.0f} |")
            )
            label = "| | |"


def fits(results: list[dict[str, Any]]) -> Iterator[str]:
    yield "| threads | steps | seconds | forward, s | backward, s | in the two kernels |"
    yield "|--:|--:|--:|--:|--:|--:|"
    for result in results:
        yield (
            f"| {result['threads']} | {result['steps']} | {result['total']:.2f} | {result['forward']:.2f} "
            f"| {result['backward']:.2f} | {result['kernel_share']:.0%} |"
        )


def aims(bench: dict[str, Any], fit: list[dict[str, Any]]) -> Iterator[str]:
    """Compare the figures with what the renderer is to reach, by medians and, in brackets, by the quickest runs."""
    yield "| aim | measured (quickest runs) | reached |"
    yield "|---|---|---|"

    def line(aim: str, figures: tuple[float, float] | None, reached: Any, unit: str) -> str:
        if figures is None:
            return f"| {aim} | not measured | |"
        verdict = "yes" if all(map(reached, figures)) else "no"
        return f"| {aim} | {figures[0]:.3g}{unit} ({figures[1]:.3g}{unit}) | {verdict} |"

    mixed = find(bench, "1k-512-mixed", "cpu", 1)
    for way, most in (("forward", 1.5), ("backward", 5)):
        figures = mixed and (mixed[way]["to_floor"], mixed[way]["min_to_floor"])
        text = f"1k-512-mixed, 1 thread: {way} at most {most} times the floor"
        yield line(text, figures, lambda value, most=most: value <= most, "")

    ours, peer = find(bench, "1k-512-paper", "cpu", 1), find(bench, "1k-512-paper", "pydiffbmp", 1)
    figures = ours and peer and tuple(b / a for a, b in zip(both(ours), both(peer), strict=True))
    yield line("1k-512-paper, 1 thread: at least 200 times as fast as pydiffbmp", figures, lambda v: v >= 200, "")

    pair = find(bench, "2k-512-paper", "cpu", 2)
    text = f"2k-512-paper, 2 threads: forward and backward in less than {PAPER_MS} ms (the paper's RTX 3090)"
    yield line(text, pair and both(pair), lambda v: v < PAPER_MS, " ms")

    for name in ("4k-1024-mixed", "10k-2048-mixed", "100k-4096-mixed"):
        one, two = (find(bench, name, "cpu", count) for count in THREADS)
        figures = one and two and tuple(a / b for a, b in zip(both(one), both(two), strict=True))
        yield line(f"{name}: 2 threads at least 1.8 times one", figures, lambda v: v >= 1.8, "")

    for name in ("100k-4096-small", "100k-4096-mixed"):
        result = find(bench, name, "cpu", 2)
        held = result and result["memory"] and result["memory"]["process"] / 2**30
        yield line(f"{name}: within 4 GiB, the whole process", held and (held, held), lambda v: v <= 4, " GiB")

    share = 100 * next(result["kernel_share"] for result in fit if result["threads"] == 1)
    text = "fit of 1000 stamps at 512 x 512, 1 thread: at least 80 % in the kernels"
    yield line(text, (share, share), lambda v: v >= 80, " %")


def find(bench: dict[str, Any], scene: str, renderer: str, threads: int) -> dict[str, Any] | None:
    for candidate in bench["scenes"]:
        for result in candidate["results"]:
            if (candidate["name"], result["renderer"], result["threads"]) == (scene, renderer, threads):
                return result
    return None


def both(result: dict[str, Any]) -> tuple[float, float]:
    """Return the milliseconds of forward and backward together: medians, and quickest runs."""
    ways = (result["forward"], result["backward"])
    return sum(way["median_ms"] for way in ways), sum(way["min_ms"] for way in ways)


def draw_chart(bench: dict[str, Any]) -> None:
    matplotlib.rcParams["svg.hashsalt"] = "diffbmp"  # the same figures make the same file
    figure, axes = pyplot.subplots(figsize=(8, 5.5), layout="constrained")
    lines: dict[str, list[tuple[int, float]]] = {}
    for scene in bench["scenes"]:
        if scene["floor"]:
            lines.setdefault("floor: fetches only, 1 thread", []).append((scene["pairs"], scene["floor"]["median_ms"]))
        for result in scene["results"]:
            plural = "" if result["threads"] == 1 else "s"
            label = f"{result['renderer']}, {result['threads']} thread{plural}"
            lines.setdefault(label, []).append((scene["pairs"], both(result)[0]))
    for label, points in lines.items():
        points.sort()
        dashes = "--" if label.startswith("floor") else "-"
        axes.loglog(*zip(*points, strict=True), dashes, marker="o", markersize=4, linewidth=1, label=label)
    axes.set_xlabel("pairs: one stamp over one pixel")
    axes.set_ylabel("forward + backward, ms (median)")
    axes.grid(which="major", alpha=0.3)
    axes.legend()
    figure.savefig(CHART, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
