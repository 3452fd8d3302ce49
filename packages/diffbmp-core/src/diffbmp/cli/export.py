"""``diffbmp render`` and ``diffbmp export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from diffbmp.cli.canvas import CanvasNumber, chosen_canvas
from diffbmp.cli.configuration import assign, parse_assignment
from diffbmp.cli.progress import writing_bar
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.write import canvas_path, check_options, exporter_for, named_output, write_scene
from diffbmp.fitting.background import parse_background
from diffbmp.rendering.selection import choose_device
from diffbmp.scene.file import load_scene
from diffbmp.scene.scene import Scene
from diffbmp.settings import parse_settings

__all__ = ["export_command", "render_command"]


def _option(name: str, flag: str, **extra: Any) -> Any:
    """Describe a flag by the field of ``ExportOptions`` that it sets."""
    field = ExportOptions.model_fields[name]
    shown = f" [dim]\\[default: {field.default}][/]" if field.default not in (None, False, 0) else ""
    return typer.Option(flag, help=f"{field.description}{shown}", show_default=False, **extra)


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
    canvas: CanvasNumber = None,
    background: Background = None,
    renderer: RendererName = "auto",
    device: Device = "auto",
) -> None:
    """Render a scene to a PNG at any size; stamps are sampled anew, so that it stays sharp.

    Of a batch each canvas is a file of its own: NAME-1.png, NAME-2.png and so on.
    """
    if output is not None and output.suffix.lower() != ".png":
        raise DiffbmpError(f"render writes PNG, not '{output.name}'; `diffbmp export` writes other formats.")
    options = parse_settings(ExportOptions, {"scale": scale}, "")
    loaded = _load(scene, background, renderer, device)
    chosen = chosen_canvas(loaded, canvas, scene)
    if output is None:
        output = scene.with_name(f"{scene.stem}-{scale:g}x.png" if scale != 1 else f"{scene.stem}.png")
        if canvas is not None and loaded.batch is not None:
            output = canvas_path(output, canvas - 1, loaded.batch)
    with writing_bar(output) as progress:
        written = write_scene(chosen, output, options, exporter="core/png", renderer=renderer, progress=progress)
    height, width = loaded.scaled_size(scale)
    for file in written:
        Console(highlight=False, soft_wrap=True).print(f"{file}: {width} x {height} pixels")


def export_command(
    scene: ScenePath,
    output: Annotated[
        list[str],
        typer.Option(
            "--output",
            "-o",
            metavar="[NAME:]FILE",
            help="File to write; may be given several times. NAME is an exporter's, where its suffix is not to choose.",
        ),
    ],
    scale: Annotated[float | None, _option("scale", "--scale")] = None,
    dpi: Annotated[float | None, _option("dpi", "--dpi")] = None,
    groups: Annotated[str | None, _option("groups", "--groups", metavar="none|set|depth")] = None,
    flatten_below: Annotated[int | None, _option("flatten_below", "--flatten-below", metavar="STAMP")] = None,
    split: Annotated[bool, _option("split", "--split")] = False,
    canvas: CanvasNumber = None,
    background: Background = None,
    renderer: RendererName = "auto",
    device: Device = "auto",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of an exporter: exporters.NAME.KEY=VALUE"),
    ] = None,
) -> None:
    """Export a scene to other formats, chosen by the suffix of each file or by the name of an exporter before it.

    Of a batch each canvas is a file of its own: NAME-1.psd, NAME-2.psd and so on.
    """
    values: dict[str, dict[str, dict[str, object]]] = {"exporters": {}}
    for text in set_ or []:
        key, value = parse_assignment(text)
        if key.split(".")[0] != "exporters" or key.count(".") < 2:
            raise unknown_name("setting", key, ["exporters.NAME.KEY"])
        assign(values, key, value)
    tables = values["exporters"]
    flags = {"scale": scale, "dpi": dpi, "groups": groups, "flatten_below": flatten_below, "split": split}
    given = {name: value for name, value in flags.items() if value is not None}
    options = parse_settings(ExportOptions, given, "")
    named = [named_output(text) for text in output]
    exporters = [exporter_for(path, tables, name=name) for name, path in named]
    check_options(exporters, options)
    loaded = chosen_canvas(_load(scene, background, renderer, device), canvas, scene)
    for (_, text), exporter in zip(named, exporters, strict=True):
        path = Path(text)
        with writing_bar(path) as progress:
            written = write_scene(
                loaded, path, options, exporter=exporter, renderer=renderer, settings=tables, progress=progress
            )
        for file in written:
            Console(highlight=False, soft_wrap=True).print(str(file))


def _load(path: Path, background: str | None, renderer: str, device: str) -> Scene:
    chosen = choose_device(renderer, device)
    scene = load_scene(path, device=str(chosen))
    if background is not None:
        parsed = parse_background(background, (scene.height, scene.width))
        scene.background = None if parsed is None else parsed.to(chosen)
    return scene
