"""``diffbmp layers``: which instance a layer of an exported file is, and what the layer of an instance is called."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from diffbmp.cli.canvas import CanvasNumber, chosen_canvas
from diffbmp.cli.listing import print_json, print_table
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.instances import scene_instances
from diffbmp.exporters.naming import BACKGROUND_NAME, StampName, stamp_names
from diffbmp.scene.file import load_scene
from diffbmp.scene.scene import Scene

__all__ = ["layers_command"]

RUN = re.compile(r"(?:stamps|depth) (\d+)-(\d+)")
"""Names of a flattened layer and of a group by depth."""


def layers_command(
    scene: Annotated[Path, typer.Argument(help="A saved scene (*.diffbmp).", show_default=False)],
    layers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[LAYER]...",
            help="Names of layers as an exported file has them ('petals/leaf-2 37', 'depth 1-100'), of sets, or "
            "numbers of stamps, 1 being the back; left out: all stamps.",
            show_default=False,
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="X,Y", help="Only stamps whose box holds this canvas point, in pixels."),
    ] = None,
    canvas: CanvasNumber = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write everything as JSON.")] = False,
) -> None:
    """Say which stamp of a scene a layer of an exported file is, and what a stamp's layer is called.

    Names and numbers are the same in every format: PSD, PSB, OpenRaster, SVG and HTML. A stroke or whatever else a
    scene is made of is one layer, too, however many sprites it has.
    """
    loaded = load_scene(scene)
    chosen = chosen_canvas(loaded, canvas, scene)
    canvases = [chosen] if chosen.batch is None else [chosen.canvas(index) for index in range(chosen.batch)]
    canvases = [one.flattened() for one in canvases]
    named = [stamp_names(one) for one in canvases]
    for text in layers or []:
        if not any(_found(text, names) for names in named):
            raise _unknown(text, [name.text for names in named for name in names])
    listed: list[dict[str, Any]] = []
    for number, (one, names) in enumerate(zip(canvases, named, strict=True), start=canvas or 1):
        wanted = [name for text in layers for name in _found(text, names)] if layers else names
        rows = _rows(one)
        place = {} if loaded.batch is None else {"canvas": number}
        listed += [place | rows[name.number - 1] | _identity(name) for name in dict.fromkeys(wanted)]
    if at is not None:
        x, y = _point(at)
        listed = [row for row in listed if 0 <= x - row["left"] < row["width"] and 0 <= y - row["top"] < row["height"]]
    if as_json:
        print_json(listed)
        return
    header = ["layer", "number", "primitive", "index", "set", "label", "left", "top", "width", "height", "opacity"]
    if loaded.batch is not None:
        header.insert(0, "canvas")
    print_table(header, ([_cell(row[column]) for column in header] for row in listed))


def _found(text: str, names: list[StampName]) -> list[StampName]:
    """Return the stamps of one canvas that a layer's name or a stamp's number means; none where no name is like that.

    Raises:
        DiffbmpError: where there is no such number.
    """
    if text == BACKGROUND_NAME:
        raise DiffbmpError(f"The layer '{BACKGROUND_NAME}' is the scene's background, not a stamp.")
    named = [name for name in names if name.text == text]
    if named:
        return named
    run = RUN.fullmatch(text)
    first, last = (int(run[1]), int(run[2])) if run else (int(text), int(text)) if text.isdecimal() else (0, 0)
    if 1 <= first <= last <= len(names):
        return names[first - 1 : last]
    if first or last or text.isdecimal():
        raise DiffbmpError(f"There is no stamp '{text}': the scene has stamps 1 to {len(names)}.")
    return [name for name in names if name.group == text]


def _unknown(text: str, names: list[str]) -> DiffbmpError:
    near = get_close_matches(text, dict.fromkeys(names))
    meant = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    return DiffbmpError(f"The scene has no layer '{text}'.{meant} Without a name, all are listed.")


def _identity(name: StampName) -> dict[str, Any]:
    return {
        "layer": name.text, "number": name.number, "kind": name.kind, "primitive": name.primitive, "index": name.index,
        "set": name.set, "label": name.label,
    }  # fmt: skip


@torch.no_grad()
def _rows(scene: Scene) -> list[dict[str, Any]]:
    """Return where each instance of one canvas shows, in pixels, and how opaque its most opaque sprite is."""
    instances = scene_instances(scene)
    boxes = instances.boxes(scene, 1.0).tolist()
    opacity = torch.zeros(len(instances)).scatter_reduce(
        0, instances.owners, (instances.sprites.opacity * scene.alpha_max).cpu().float(), "amax"
    )
    return [
        {"left": left, "top": top, "width": width, "height": height, "opacity": round(value, 6)}
        for (left, top, width, height), value in zip(boxes, opacity.tolist(), strict=True)
    ]


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise DiffbmpError(f"--at takes a point as X,Y, for example --at 120,80, not '{text}'.") from None
    return x, y


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
