"""Pictures as stamps: PNG, JPEG, WebP, BMP, TIFF, and the frames of animations."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from PIL import Image, ImageChops
from pydantic import Field

from diffbmp.atlas.atlas import Texture
from diffbmp.errors import DiffbmpError
from diffbmp.images import decode_pictures
from diffbmp.loaders.loader import Loader
from diffbmp.loaders.texture import texture_from_picture
from diffbmp.settings import Settings as SettingsModel

__all__ = ["ImageLoader"]


class ImageLoader(Loader):
    """Picture file; of an animation or a TIFF file with several pages, every frame is a texture.

    Alpha is read as alpha, so that a picture without any is an opaque rectangle in its colours. A texture
    keeps its file's colours (RGBA) unless ``mask`` makes it alpha-only. It is named after the file, ``leaf``,
    and a frame ``leaf#1``, ``leaf#2`` and so on; a frame that shows nothing is left out, as long as another
    shows something.
    """

    name = "image"
    suffixes = (
        ".png",
        ".apng",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".gif",
        ".ppm",
        ".pgm",
    )

    class Settings(SettingsModel):
        """Settings of the image loader."""

        mask: Literal["alpha", "luminance"] = "alpha"
        """What becomes alpha: the file's own, or (for dark-on-white drawings) "luminance", which is 1 - luma
        (Rec. 601) over white and drops the colours."""
        max_side: int = Field(1024, ge=1, le=16384)
        """Longest side of a texture, in texels; larger pictures are reduced to it once they are trimmed."""

    settings: Settings

    def load(self, source: str) -> list[Texture]:
        """Return a texture for each frame; see ``Loader.load``."""
        stem = Path(source).stem
        textures = []
        pictures = decode_pictures(source, what="stamp", every_frame=True)
        for number, picture in enumerate(pictures, start=1):
            name = f"{stem}#{number}" if len(pictures) > 1 else stem
            content = darkness(picture) if self.settings.mask == "luminance" else picture.convert("RGBA")
            texture = texture_from_picture(name, content, max_side=self.settings.max_side)
            if texture is not None:
                textures.append(texture)
        if not textures:
            if self.settings.mask == "luminance":
                raise DiffbmpError(
                    f"Stamp '{source}' is white or transparent throughout, which mask=luminance hides; "
                    "leave the mask out to read its alpha."
                )
            raise DiffbmpError(f"Stamp '{source}' is fully transparent; leave it out.")
        return textures


def darkness(picture: Image.Image) -> Image.Image:
    """Return 1 - luma of an RGB or RGBA ``picture`` over white, in mode L."""
    flat = picture
    if picture.mode == "RGBA":
        flat = Image.new("RGB", picture.size, "white")
        flat.paste(picture, mask=picture.getchannel("A"))
    return ImageChops.invert(flat.convert("L"))
