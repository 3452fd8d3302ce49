"""Reading and writing pictures, through Pillow, with limits; strangers' files included.

Pictures are sRGB with 8 bits a channel: sixteen-bit files are rounded, other colour spaces are converted.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.paths import named, require_file

__all__ = [
    "LARGEST_PICTURE",
    "decode_pictures",
    "eight_bits",
    "picture_tensor",
    "read_image",
    "read_mask",
    "resized",
    "tensor_from_picture",
    "write_png",
    "write_png_values",
]

LARGEST_PICTURE = 178_956_970
"""Most pixels that a picture may have, all frames together: 2^29 bytes of 8-bit RGB, Pillow's own limit."""

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")
"""What is decoded. Pillow knows more formats, but some are rarely tested or start other programs (EPS)."""

FRAMED = ("PNG", "WEBP", "TIFF", "GIF")
"""Formats whose frames or pages are pictures in their own right; a JPEG's further pictures are previews."""


def read_image(path: str | Path, *, width: int | None = None, what: str = "image") -> Tensor:
    """Read a picture; the first frame or page where there are several.

    The orientation that a camera noted is applied and an embedded colour profile is converted to sRGB; a
    profile that is broken or of another kind than the picture is taken for sRGB, as browsers do.

    Args:
        path: a PNG, JPEG, WebP, BMP, TIFF, GIF or PPM file.
        width: resize to this many pixels across, keeping the aspect (Lanczos, premultiplied, in 8 bits).
        what: what the picture is for, to begin an error's sentence with.

    Returns:
        float32 in [0, 1], RGB ``(3, h, w)``, or straight RGBA ``(4, h, w)`` where some alpha is below 1.

    Raises:
        DiffbmpError: where the file is missing, a folder, empty, unreadable, no picture, cut short or too
        large.
    """
    picture = decode_pictures(path, what=what)[0]
    if width is not None:
        height = max(1, round(picture.height * width / picture.width))
        if width * height > LARGEST_PICTURE:
            raise DiffbmpError(f"{named(what, path)} resized to {_size_sentence((width, height), 'a smaller width')}")
        picture = resized(picture, (width, height))
    return tensor_from_picture(picture)


def picture_tensor(picture: Image.Image, *, what: str = "image") -> Tensor:
    """Take a picture in memory as ``read_image`` takes a file: upright, in 8-bit sRGB.

    Returns:
        float32 in [0, 1], RGB ``(3, h, w)``, or straight RGBA ``(4, h, w)`` where some alpha is below 1.

    Raises:
        DiffbmpError: where its samples have 32 bits, or its pixels, which Pillow reads late, cannot be read.
    """
    try:
        return tensor_from_picture(_normalized(picture, f"The {what}"))
    except DiffbmpError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged data
        reason = re.sub(r"\s+", " ", str(error)).strip().rstrip(".") or type(error).__name__
        raise DiffbmpError(f"The {what} is a picture that cannot be read ({reason}).") from error


def read_mask(path: str | Path, size: tuple[int, int]) -> Tensor:
    """Read a picture as a mask: its brightness (Rec. 601), times its alpha where it has one.

    Args:
        path: a picture, of any size.
        size: height and width that it is resized to, in pixels.

    Returns:
        float32 ``(1, *size)`` in [0, 1].

    Raises:
        DiffbmpError: where it cannot be read (see ``read_image``), or is black throughout.
    """
    picture = decode_pictures(path, what="target mask")[0]
    flat = Image.new("RGB", picture.size, "black")
    flat.paste(picture, mask=picture.getchannel("A") if picture.mode == "RGBA" else None)
    mask = tensor_from_picture(resized(flat.convert("L"), (size[1], size[0])))
    if not bool(mask.any()):
        raise DiffbmpError(f"{named('target mask', path)} is black throughout, so there is nothing to paint.")
    return mask


def decode_pictures(path: str | Path, *, what: str = "image", every_frame: bool = False) -> list[Image.Image]:
    """Read a picture, or each frame of an animation and each page of a TIFF file; see ``read_image``.

    Returns:
        8-bit sRGB pictures in mode RGB, or RGBA where some alpha is below 255. Animation frames are whole
        pictures: what a viewer shows at that time.
    """
    path = require_file(path, what)
    with _reading(path, what), Image.open(path, formats=FORMATS) as image:
        count = getattr(image, "n_frames", 1) if every_frame and image.format in FRAMED else 1
        pictures = []
        total = 0
        for frame in range(count):
            image.seek(frame)
            total += image.width * image.height
            if total > LARGEST_PICTURE:
                raise DiffbmpError(_too_large(path, what, image.size, count))
            pictures.append(_normalized(image, named(what, path)))
    return pictures


def tensor_from_picture(picture: Image.Image) -> Tensor:
    """Return an 8-bit picture with C bands as float32 ``(C, h, w)`` in [0, 1]."""
    values = torch.from_numpy(np.array(picture, dtype=np.uint8))
    values = values[None] if values.dim() == 2 else values.movedim(-1, 0)
    return values.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return ``picture`` at ``size`` (width, height): Lanczos in 8 bits, RGBA premultiplied meanwhile."""
    return picture if picture.size == size else picture.resize(size, Image.Resampling.LANCZOS)


def write_png(path: str | Path, image: Tensor, *, premultiplied: bool = False, dpi: float | None = None) -> None:
    """Write an 8-bit PNG: the same tensor gives the same bytes.

    A picture whose alpha is 1 throughout is written as RGB.

    Args:
        path: where to write, whatever its suffix.
        image: floats, RGB ``(3, h, w)`` or RGBA ``(4, h, w)``, on any device.
        premultiplied: whether RGBA is premultiplied, as renderers give it; a PNG file holds straight alpha.
        dpi: pixels per inch to name in the file, if any.

    Raises:
        DiffbmpError: where the shape or type is another, or a value is NaN or infinite.
        OSError: where the file cannot be written.
    """
    write_png_values(path, eight_bits(image, premultiplied=premultiplied), dpi=dpi)


def write_png_values(path: str | Path, values: Tensor, *, dpi: float | None = None) -> None:
    """Write a PNG of what ``eight_bits`` returns; see ``write_png``."""
    if values.shape[0] == 4 and bool((values[3] == 255).all()):
        values = values[:3]
    named_size = {} if dpi is None else {"dpi": (dpi, dpi)}
    Image.fromarray(values.movedim(0, -1).contiguous().numpy()).save(path, format="PNG", **named_size)


def eight_bits(image: Tensor, *, premultiplied: bool = False) -> Tensor:
    """Return a picture in 8 bits, with straight alpha, as files hold it.

    Values outside [0, 1], as of a sum of sprites, become the nearest end of that range, and values between two steps
    the nearer step. Where alpha rounds to 0 colours become black.

    Args:
        image: floats, RGB ``(3, h, w)`` or RGBA ``(4, h, w)``, on any device.
        premultiplied: whether RGBA is premultiplied, as renderers give it.

    Returns:
        uint8 of the same shape, on the CPU.

    Raises:
        DiffbmpError: where the shape or type is another, or a value is NaN or infinite.
    """
    if image.dim() != 3 or image.shape[0] not in (3, 4) or 0 in image.shape or not image.is_floating_point():
        shape = tuple(image.shape)
        raise DiffbmpError(f"A picture must be floats of shape (3, h, w) or (4, h, w), got {image.dtype} of {shape}.")
    image = image.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(image).all()):
        raise DiffbmpError("The picture to be written holds NaN or infinity.")
    if image.shape[0] == 4:
        color, alpha = image[:3], image[3:].clamp(0, 1)
        visible = (alpha * 255).round() > 0
        if premultiplied:
            color = color / torch.where(visible, alpha, 1.0)
        image = torch.cat([torch.where(visible, color, 0.0), alpha])
    return image.clamp(0, 1).mul(255).round().to(torch.uint8)


@contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Turn what a decoder does with a stranger's file into one sentence, and its warnings into nothing."""
    name = named(what, path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes are checked here; what remains is about metadata
            yield
    except DiffbmpError:
        raise
    except Image.DecompressionBombError as error:
        raise DiffbmpError(_too_large(path, what, _declared_size(path), 1)) from error
    except UnidentifiedImageError as error:
        kinds = "PNG, JPEG, WebP, BMP, TIFF, GIF or PPM"
        raise DiffbmpError(f"{name} is no picture in a format that is read ({kinds}), whatever its name.") from error
    except MemoryError as error:
        raise DiffbmpError(f"{name} does not fit into memory; make it smaller.") from error
    except Exception as error:  # decoders raise nearly anything on damaged data
        reason = re.sub(r"\s+", " ", str(error)).strip().rstrip(".") or type(error).__name__
        raise DiffbmpError(f"{name} is damaged or cut short ({reason}); get a whole copy of it.") from error


def _declared_size(path: Path) -> tuple[int, int] | None:
    """Return the size that a file too large for Pillow declares, or None where its header tells none."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for factory, _ in (Image.OPEN[name] for name in FORMATS if name in Image.OPEN):
            file.seek(0)
            try:
                return factory(file, str(path)).size
            except Exception:  # not this format
                continue
    return None


def _too_large(path: Path, what: str, size: tuple[int, int] | None, frames: int) -> str:
    name = named(what, path)
    if size is None:
        return f"{name} is too large; the limit is {LARGEST_PICTURE / 1e6:.0f} megapixels."
    return f"{name} has {_size_sentence(size, 'a smaller copy', frames)}"


def _size_sentence(size: tuple[int, int], remedy: str, frames: int = 1) -> str:
    width, height = size
    of_frames = f"{frames} frames of " if frames > 1 else ""
    mega = width * height * frames / 1e6
    limit = LARGEST_PICTURE / 1e6
    pixels = f"{width} x {height} pixels ({mega:.0f} megapixels)"
    return f"{of_frames}{pixels}; the limit is {limit:.0f} megapixels, so use {remedy}."


def _normalized(image: Image.Image, name: str) -> Image.Image:
    """Return a decoded frame upright, in 8-bit sRGB, mode RGB or RGBA."""
    image.load()
    wide = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG")
    if image.mode in ("I", "F") and not wide:
        raise DiffbmpError(
            f"{name} holds 32-bit samples, whose white is not defined; save it with 8 or 16 bits a channel."
        )
    picture = ImageOps.exif_transpose(image)
    if wide:
        picture = _eight_bit(picture)
    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    color = _srgb(picture)
    if alpha is not None and alpha.getextrema()[0] != 255:
        color.putalpha(alpha)
    return color


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Return a 16-bit greyscale picture as L, or as LA where it names one grey as transparent."""
    values = np.asarray(picture).astype(np.int64)
    grey = Image.fromarray(((values * 255 + 32767) // 65535).astype(np.uint8))
    clear = picture.info.get("transparency")
    if isinstance(clear, int):
        alpha = Image.fromarray(np.where(values == clear, 0, 255).astype(np.uint8))
        grey = Image.merge("LA", (grey, alpha))
    if "icc_profile" in picture.info:
        grey.info["icc_profile"] = picture.info["icc_profile"]
    return grey


def _srgb(picture: Image.Image) -> Image.Image:
    """Return the colours of ``picture`` as RGB, without alpha, converted by its profile if it has one."""
    embedded = picture.info.get("icc_profile")
    if picture.mode == "LA":
        picture = picture.convert("L")
    elif picture.mode not in ("L", "CMYK", "LAB"):
        picture = picture.convert("RGB")
    if embedded:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(embedded))
            if "sRGB" not in (profile.profile.profile_description or ""):
                srgb = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(picture, profile, srgb, outputMode="RGB")
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, ValueError):
            pass  # as documented in read_image
    return picture.convert("RGB")
