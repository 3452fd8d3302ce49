"""``--canvas``: which canvas of a batch a command is about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffbmp.errors import DiffbmpError
from diffbmp.scene.scene import Scene

__all__ = ["CanvasNumber", "chosen_canvas"]

CanvasNumber = Annotated[
    int | None,
    typer.Option("--canvas", metavar="K", help="One canvas of a batch, 1 being the first; left out: each of them."),
]


def chosen_canvas(scene: Scene, number: int | None, path: Path) -> Scene:
    """Return the canvas that was asked for, or the whole scene where none was.

    Args:
        scene: what was loaded.
        number: from 1, or None.
        path: the scene's file, for the message.

    Raises:
        DiffbmpError: where there is no such canvas.
    """
    if number is None:
        return scene
    if scene.batch is None:
        raise DiffbmpError(f"'{path}' is one canvas, not a batch; leave out --canvas.")
    if not 1 <= number <= scene.batch:
        raise DiffbmpError(f"There is no canvas {number}: '{path}' has canvases 1 to {scene.batch}.")
    return scene.canvas(number - 1)
