"""From a decoded picture to a texture: trimmed to its content, reduced where it is large."""

from __future__ import annotations

from PIL import Image

from diffbmp.atlas.atlas import Texture
from diffbmp.images import resized, tensor_from_picture

__all__ = ["texture_from_picture", "trimmed"]


def trimmed(picture: Image.Image) -> Image.Image | None:
    """Return the box of ``picture`` where alpha is above 0, or None where it is 0 everywhere.

    Args:
        picture: mode L, which is alpha alone, or RGBA.
    """
    box = (picture if picture.mode == "L" else picture.getchannel("A")).getbbox()
    return None if box is None else picture.crop(box)


def texture_from_picture(name: str, picture: Image.Image, *, max_side: int | None = None) -> Texture | None:
    """Return a texture of the visible part of ``picture``, or None where there is none.

    Args:
        name: name of the texture.
        picture: mode L, which is alpha alone, or RGBA.
        max_side: texels that the longer side of the trimmed picture is reduced to, keeping its aspect.

    Returns:
        Alpha-only ``(1, h, w)`` for L, straight RGBA ``(4, h, w)`` for RGBA; float32 in [0, 1].
    """
    content = trimmed(picture)
    if content is not None and max_side is not None and max(content.size) > max_side:
        factor = max_side / max(content.size)
        width, height = (max(1, round(side * factor)) for side in content.size)
        content = trimmed(resized(content, (width, height)))  # a faint rim may have been averaged away
    return None if content is None else Texture(name, tensor_from_picture(content))
