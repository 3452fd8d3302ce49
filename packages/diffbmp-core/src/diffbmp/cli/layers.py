"""``diffbmp layers``: which stamp a layer of an exported file is, and what the layer of a stamp is called."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from diffbmp.cli.listing import print_json, print_table
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.naming import BACKGROUND_NAME, StampName, stamp_names
from diffbmp.exporters.stack import scene_boxes
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
    as_json: Annotated[bool, typer.Option("--json", help="Write everything as JSON.")] = False,
) -> None:
    """Say which stamp of a scene a layer of an exported file is, and what a stamp's layer is called.

    Names and numbers are the same in every format: PSD, PSB, OpenRaster, SVG and HTML.
    """
    loaded = load_scene(scene)
    names = stamp_names(loaded)
    chosen = [name for text in layers for name in _found(text, names)] if layers else names
    rows = _rows(loaded)
    listed = [rows[name.number - 1] | _identity(name) for name in dict.fromkeys(chosen)]
    if at is not None:
        x, y = _point(at)
        listed = [row for row in listed if 0 <= x - row["left"] < row["width"] and 0 <= y - row["top"] < row["height"]]
    if as_json:
        print_json(listed)
        return
    header = ["layer", "number", "part", "index", "set", "texture", "left", "top", "width", "height", "opacity"]
    print_table(header, ([_cell(row[column]) for column in header] for row in listed))


def _found(text: str, names: list[StampName]) -> list[StampName]:
    """Return the stamps that a layer's name or a stamp's number means.

    Raises:
        DiffbmpError: where there are none.
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
    group = [name for name in names if name.set == text]
    if group:
        return group
    near = get_close_matches(text, [name.text for name in names])
    meant = f" Did you mean {' or '.join(repr(name) for name in near)}?" if near else ""
    raise DiffbmpError(f"The scene has no layer '{text}'.{meant} Without a name, all are listed.")


def _identity(name: StampName) -> dict[str, Any]:
    return {
        "layer": name.text, "number": name.number, "part": name.part, "index": name.index,
        "set": name.set, "texture": name.texture,
    }  # fmt: skip


@torch.no_grad()
def _rows(scene: Scene) -> list[dict[str, Any]]:
    """Return where each stamp shows on the canvas, in pixels, and how opaque it is."""
    sprites = scene.sprites()
    boxes = scene_boxes(scene, sprites, 1.0).tolist()
    opacity = (sprites.opacity * scene.alpha_max).tolist()
    return [
        {"left": left, "top": top, "width": width, "height": height, "opacity": round(value, 6)}
        for (left, top, width, height), value in zip(boxes, opacity, strict=True)
    ]


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in text.split(","))
    except ValueError:
        raise DiffbmpError(f"--at takes a point as X,Y, for example --at 120,80, not '{text}'.") from None
    return x, y


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
