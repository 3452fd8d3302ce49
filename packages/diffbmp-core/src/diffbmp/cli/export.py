"""``diffbmp render`` and ``diffbmp export``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from diffbmp.cli.configuration import assign, parse_assignment
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.exporters.exporter import Progress
from diffbmp.exporters.write import exporter_for, write_scene
from diffbmp.fitting.background import parse_background
from diffbmp.rendering.selection import choose_device
from diffbmp.scene.file import load_scene
from diffbmp.scene.scene import Scene

__all__ = ["export_command", "render_command"]

ScenePath = Annotated[Path, typer.Argument(help="A saved scene (*.diffbmp).", show_default=False)]
Scale = Annotated[float, typer.Option("--scale", help="Size of the result relative to the canvas.")]
Background = Annotated[
    str | None, typer.Option("--background", help="Another background: white, #rrggbb, a picture or transparent.")
]
RendererName = Annotated[str, typer.Option("--renderer", help="Renderer by name.")]
Device = Annotated[str, typer.Option("--device", help="PyTorch device.")]


def render_command(
    scene: ScenePath,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="PNG to write; left out: beside the scene.")
    ] = None,
    scale: Scale = 1.0,
    background: Background = None,
    renderer: RendererName = "auto",
    device: Device = "auto",
) -> None:
    """Render a scene to a PNG at any size; stamps are sampled anew, so that it stays sharp."""
    if output is None:
        output = scene.with_name(f"{scene.stem}-{scale:g}x.png" if scale != 1 else f"{scene.stem}.png")
    if output.suffix.lower() != ".png":
        raise DiffbmpError(f"render writes PNG, not '{output.name}'; `diffbmp export` writes other formats.")
    loaded = _load(scene, scale, background, renderer, device)
    with _progress(output) as progress:
        write_scene(loaded, output, scale=scale, renderer=renderer, progress=progress)
    height, width = loaded.scaled_size(scale)
    Console(highlight=False, soft_wrap=True).print(f"{output}: {width} x {height} pixels")


def export_command(
    scene: ScenePath,
    output: Annotated[list[Path], typer.Option("--output", "-o", help="File to write; may be given several times.")],
    scale: Scale = 1.0,
    background: Background = None,
    renderer: RendererName = "auto",
    device: Device = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of an exporter: exporters.NAME.KEY=VALUE"),
    ] = None,
) -> None:
    """Export a scene to other formats, chosen by the suffix of each file."""
    values: dict[str, dict[str, dict[str, object]]] = {"exporters": {}}
    for text in set_ or []:
        key, value = parse_assignment(text)
        if key.split(".")[0] != "exporters" or key.count(".") < 2:
            raise unknown_name("setting", key, ["exporters.NAME.KEY"])
        assign(values, key, value)
    tables = values["exporters"]
    for path in output:
        exporter_for(path, tables)
    loaded = _load(scene, scale, background, renderer, device)
    for path in output:
        with _progress(path) as progress:
            write_scene(loaded, path, scale=scale, renderer=renderer, settings=tables, progress=progress)
        Console(highlight=False, soft_wrap=True).print(str(path))


def _load(path: Path, scale: float, background: str | None, renderer: str, device: str) -> Scene:
    if not 0 < scale <= 1000:
        raise DiffbmpError(f"--scale must be above 0 and at most 1000, got {scale:g}.")
    chosen = choose_device(renderer, device)
    scene = load_scene(path, device=str(chosen))
    if background is not None:
        parsed = parse_background(background, (scene.height, scene.width))
        scene.background = None if parsed is None else parsed.to(chosen)
    return scene


@contextmanager
def _progress(path: Path) -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with RichProgress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"writing {path.name}", total=1.0)
        yield lambda fraction: bar.update(task, completed=fraction)
