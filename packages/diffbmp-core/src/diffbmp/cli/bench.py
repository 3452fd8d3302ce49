"""``diffbmp bench``: how fast the renderers of this machine draw standard scenes, beside a floor."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from diffbmp.bench.measure import SceneResult, Timing, measure_scene
from diffbmp.bench.passes import BenchRenderer, RegisteredRenderer, available_renderers
from diffbmp.bench.scenes import STANDARD_SCENES, BenchScene, estimated_pairs, find_scene
from diffbmp.cli.doctor import doctor_report
from diffbmp.cli.listing import print_json, print_table
from diffbmp.files import atomic_path
from diffbmp.plugins.registry import registry
from diffbmp.version import __version__

__all__ = ["bench_command", "bench_report", "print_report"]

NANOSECONDS_A_PAIR = 10
"""What a forward and a backward pass take together on one thread, about: to tell which scenes fit the time."""

ROUNDS = 4
"""Three that count, and one to warm up."""


def bench_command(
    scene: Annotated[
        list[str] | None,
        typer.Option(help=f"Scene, several times for several: {', '.join(s.name for s in STANDARD_SCENES)}."),
    ] = None,
    renderer: Annotated[
        list[str] | None, typer.Option(help="Renderer, several times for several; all that can draw here if left out.")
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Number of threads, several times for several; one and all cores if left out."),
    ] = None,
    seconds: Annotated[
        float,
        typer.Option(min=0, help="Time for the repetitions of one scene; without --scene, slower scenes are left out."),
    ] = 10.0,
    memory: Annotated[bool, typer.Option(help="Measure peak memory, in a process of its own.")] = True,
    as_json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write everything as JSON, '-' for the output.")
    ] = None,
) -> None:
    """Measure how fast renderers draw standard scenes, forward and backward apart.

    The floor is a plain loop that only fetches the texels of the same pairs (one stamp over one pixel), on one
    thread, in the same run: no renderer of this kind can be faster on one thread. On a shared machine read the
    ratios to it rather than the times. Scenes are called COUNT-SIDE-RADII: 1k-512-mixed is a thousand stamps of
    mixed sizes on 512 x 512 pixels, and 200t at the end stands for two hundred textures.
    """
    console = Console(stderr=True, highlight=False)
    with console.status("") as status:
        report = bench_report(
            scenes=scene,
            renderers=renderer,
            threads=threads,
            seconds=seconds,
            memory=memory,
            progress=lambda said: status.update(f"Measuring {said}"),
        )
    if as_json != "-":
        print_report(report)
    if as_json == "-":
        print_json(report)
    elif as_json is not None:
        with atomic_path(Path(as_json)) as temporary:
            temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def bench_report(
    *,
    scenes: Sequence[str] | None = None,
    renderers: Sequence[str] | None = None,
    threads: Sequence[int] | None = None,
    seconds: float = 10.0,
    memory: bool = True,
    peers: Sequence[BenchRenderer] = (),
    progress: Callable[[str], object] = lambda said: None,
) -> dict[str, Any]:
    """Measure, and return what was found, as JSON values.

    Args:
        scenes: names of standard scenes, or None for those that fit ``seconds``.
        renderers: names, or None for all that can draw on this machine.
        threads: numbers of threads, or None for one and as many as there are cores.
        seconds: time for the repetitions of one scene.
        memory: whether memory is measured.
        peers: what else is measured beside the renderers, under names of its own.
        progress: told what is measured next.

    Returns:
        ``date``, ``command``, ``diffbmp``, ``versions``, ``machine`` (as ``diffbmp doctor`` gives it), ``seconds``,
        ``left_out`` (scenes, each with why) and ``scenes``. Each scene has ``name``, ``count``, ``side``, ``radii``,
        ``textures``, ``pairs``, ``left_out`` (renderers, each with why), ``floor`` (a timing, or None) and
        ``results``. Each result has ``renderer``, ``threads``, ``device``, ``forward`` and ``backward`` (timings),
        ``pairs_per_second_per_thread`` and ``memory`` (bytes: ``added``, ``process``; or None). A timing has
        ``median_ms``, ``min_ms``, ``runs``, ``ns_per_pair``, and ``to_floor`` and ``min_to_floor``: the ratios of
        median to median and of minimum to minimum.

    Raises:
        DiffbmpError: for an unknown scene or renderer, or one that cannot draw here.
        ValueError: for a peer whose name is taken.
    """
    machine = doctor_report()
    measured = [*_renderers(renderers), *peers]
    if len({renderer.name for renderer in measured}) < len(measured):
        raise ValueError("Each peer needs a name that no other peer and no renderer has.")
    counts = sorted({1, machine["system"]["usable_cores"] or 1} if threads is None else set(threads))
    chosen, omitted = _scenes(scenes, seconds, len(counts) * sum(r.name != "reference" for r in measured))
    results = []
    for number, scene in enumerate(chosen, start=1):
        progress(f"{scene.name} ({number} of {len(chosen)})")
        results.append(measure_scene(scene, measured, threads=counts, seconds=seconds, memory=memory))
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["diffbmp", *sys.argv[1:]]),
        "diffbmp": __version__,
        "versions": {"python": machine["system"]["python"], "torch": machine["torch"]["version"]},
        "machine": {**machine["system"], "vector_instructions": machine["torch"]["vector_instructions"]},
        "seconds": seconds,
        "left_out": omitted,
        "scenes": [_scene_values(result) for result in results],
    }


def _renderers(wanted: Sequence[str] | None) -> list[RegisteredRenderer]:
    for name in wanted or ():
        registry().get("renderers", name)
    names = available_renderers() if wanted is None else dict.fromkeys(wanted)
    return [RegisteredRenderer.find(name) for name in names]


def _scenes(wanted: Sequence[str] | None, seconds: float, measurements: int) -> tuple[list[BenchScene], dict[str, str]]:
    """Return the scenes to measure, and why others are left out."""
    if wanted is not None:
        return [find_scene(name) for name in dict.fromkeys(wanted)], {}
    chosen, omitted = [], {}
    for scene in STANDARD_SCENES:
        needed = estimated_pairs(scene) * NANOSECONDS_A_PAIR * 1e-9 * ROUNDS * measurements
        if needed > seconds:
            omitted[scene.name] = f"needs about {needed:.0f} seconds, and --seconds is {seconds:g}; name it by --scene"
        else:
            chosen.append(scene)
    return chosen, omitted


def _scene_values(result: SceneResult) -> dict[str, Any]:
    scene, floor = result.scene, result.floor

    def values(timing: Timing) -> dict[str, Any]:
        return {
            "median_ms": timing.median * 1e3,
            "min_ms": timing.least * 1e3,
            "runs": timing.runs,
            "ns_per_pair": timing.median * 1e9 / result.pairs,
            "to_floor": None if floor is None else timing.median / floor.median,
            "min_to_floor": None if floor is None else timing.least / floor.least,
        }

    return {
        "name": scene.name,
        "count": scene.count,
        "side": scene.side,
        "radii": scene.radii,
        "textures": scene.textures,
        "pairs": result.pairs,
        "left_out": result.left_out,
        "floor": None if floor is None else values(floor),
        "results": [
            {
                "renderer": m.renderer,
                "threads": m.threads,
                "device": m.device,
                "forward": values(m.forward),
                "backward": values(m.backward),
                "pairs_per_second_per_thread": result.pairs / (m.forward.median + m.backward.median) / m.threads,
                "memory": None if m.memory is None else {"added": m.memory.added, "process": m.memory.process},
            }
            for m in result.measurements
        ],
    }


COLUMNS = [
    "renderer", "threads", "forward ms", "backward ms", "(least)", "ns/pair", "Mpairs/s/thread", "forward : floor",
    "backward : floor", "MiB added (process)",
]  # fmt: skip


def print_report(report: dict[str, Any]) -> None:
    """Write what ``bench_report`` returned as tables."""
    console = Console(highlight=False, soft_wrap=True)
    machine = report["machine"]
    console.print(
        f"diffbmp {report['diffbmp']}, PyTorch {report['versions']['torch']}, {machine['cpu']}, "
        f"{machine['usable_cores']} cores usable, {machine['vector_instructions']}, {report['date']}",
        markup=False,
    )
    for scene in report["scenes"]:
        title = f"\n{scene['name']}: {scene['pairs'] / 1e6:.2f} million pairs"
        print_table(COLUMNS, _rows(scene), title=title)
        for name, reason in scene["left_out"].items():
            console.print(f"{name} is left out: {reason}.", markup=False)
    for name, reason in report["left_out"].items():
        console.print(f"\n{name} is left out: {reason}.", markup=False)


def _rows(scene: dict[str, Any]) -> Iterator[list[str]]:
    floor = scene["floor"]
    if floor is not None:
        least = f"({floor['min_ms']:.2f})"
        yield ["floor", "1", f"{floor['median_ms']:.2f}", "", least, f"{floor['ns_per_pair']:.2f}", "", "1", "", ""]
    for result in scene["results"]:
        forward, backward, memory = result["forward"], result["backward"], result["memory"]
        yield [
            result["renderer"],
            str(result["threads"]) if result["device"] == "cpu" else result["device"],
            f"{forward['median_ms']:.2f}",
            f"{backward['median_ms']:.2f}",
            f"({forward['min_ms']:.2f} + {backward['min_ms']:.2f})",
            f"{forward['ns_per_pair']:.2f} + {backward['ns_per_pair']:.2f}",
            f"{result['pairs_per_second_per_thread'] / 1e6:.1f}",
            _ratio(forward["to_floor"]),
            _ratio(backward["to_floor"]),
            "" if memory is None else f"{memory['added'] / 2**20:.0f} ({memory['process'] / 2**20:.0f})",
        ]


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
