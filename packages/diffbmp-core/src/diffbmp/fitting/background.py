"""Backgrounds as a person names them: a colour, a picture, or none."""

from __future__ import annotations

from pathlib import Path

import torch
from PIL import ImageColor
from torch import Tensor
from torch.nn import functional

from diffbmp.errors import DiffbmpError
from diffbmp.images import read_image

__all__ = ["parse_background"]


def parse_background(text: str, size: tuple[int, int]) -> Tensor | None:
    """Return the background that ``text`` names.

    Args:
        text: ``transparent``, a colour (``white``, ``#rrggbb``, any CSS colour name) or the path of a picture,
            which is resized to the canvas.
        size: canvas height and width in pixels.

    Returns:
        RGB ``(3,)`` for a colour, ``(3, H, W)`` for a picture, None for transparent.

    Raises:
        DiffbmpError: where it is none of these.
    """
    if text == "transparent":
        return None
    if not Path(text).exists():
        try:
            channels = ImageColor.getrgb(text)
        except ValueError:
            raise DiffbmpError(
                f"Background '{text}' is neither a colour (white, #rrggbb), nor 'transparent', nor an existing picture."
            ) from None
        if len(channels) == 4:
            raise DiffbmpError(f"Background '{text}' has an alpha; give an opaque colour, or 'transparent'.")
        return torch.tensor(channels, dtype=torch.float32) / 255
    picture = read_image(text, what="background")
    if picture.shape[0] == 4:
        raise DiffbmpError(f"Background '{text}' is partly transparent; give an opaque picture.")
    if tuple(picture.shape[1:]) != size:
        picture = functional.interpolate(picture[None], size=size, mode="bilinear", antialias=True)[0].clamp(0, 1)
    return picture
