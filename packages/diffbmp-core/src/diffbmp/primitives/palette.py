"""Palettes: the few colours that stamps may have, as a person names them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import ImageColor
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.images import decode_pictures

__all__ = ["MOST_COLORS", "nearest_color", "palette_tensor", "parse_palette"]

MOST_COLORS = 256
PICTURES = (".png", ".gif", ".bmp", ".webp", ".ppm", ".tif", ".tiff")
"""Files whose colours are taken from pixels; lossy formats blur them."""
TRIPLE = re.compile(r"\s*(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\b")


def parse_palette(sources: Sequence[str]) -> list[str]:
    """Return the colours that ``sources`` name, as ``#rrggbb``, each once.

    Args:
        sources: each one a colour (``#rrggbb`` or any CSS name), several separated by commas, or a file: a GIMP
            palette or text with a colour a line (``255 128 0``, ``#ff8000`` or a name), or a picture, of which every
            colour counts.

    Raises:
        DiffbmpError: where a source is neither, a file holds no colour, or there are more than 256.
    """
    colors: dict[str, None] = {}
    for source in sources:
        path = Path(source).expanduser()
        found = _from_file(path) if path.is_file() else _from_text(source)
        colors.update(dict.fromkeys(found))
    if len(colors) > MOST_COLORS:
        raise DiffbmpError(f"The palette has {len(colors)} colours; at most {MOST_COLORS} can be chosen from.")
    return list(colors)


def palette_tensor(colors: Sequence[str]) -> Tensor:
    """Return colours ``#rrggbb`` as ``(P, 3)`` float32 in [0, 1]."""
    return torch.tensor([ImageColor.getrgb(color)[:3] for color in colors], dtype=torch.float32) / 255


def nearest_color(color: Tensor, palette: Tensor) -> Tensor:
    """Return, for each colour ``(..., 3)``, the nearest of ``palette`` ``(P, 3)``, by squared difference."""
    # Not by matrix products, which round otherwise for more colours: a batch would differ from its canvases.
    distance = torch.cdist(color.reshape(-1, 3), palette.to(color), compute_mode="donot_use_mm_for_euclid_dist")
    nearest = distance.argmin(dim=-1)
    return palette.to(color)[nearest].reshape(color.shape)


def _from_text(text: str) -> list[str]:
    # Commas separate colours, but not the numbers of rgb(255, 0, 0).
    parts = [part.strip() for part in re.split(r",(?![^(]*\))", text)]
    return [_hex(part, f"Palette '{text}'") for part in parts if part]


def _from_file(path: Path) -> list[str]:
    if path.suffix.lower() in PICTURES:
        pixels = np.asarray(decode_pictures(path, what="palette")[0].convert("RGB")).reshape(-1, 3)
        colors = np.unique(pixels, axis=0)
        if len(colors) > MOST_COLORS:
            raise DiffbmpError(
                f"Palette '{path}' has {len(colors)} colours; reduce the picture to at most {MOST_COLORS}."
            )
        return ["#{:02x}{:02x}{:02x}".format(*color) for color in colors.tolist()]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DiffbmpError(f"Palette '{path}' cannot be read: {error}.") from error
    gimp = bool(lines) and lines[0].startswith("GIMP Palette")
    found = []
    for number, line in enumerate(lines, start=1):
        entry = line.strip()
        header = gimp and (number == 1 or re.match(r"(Name|Columns):", entry))
        if not entry or header or (entry.startswith("#") and not re.fullmatch(r"#[0-9a-fA-F]{3,8}", entry)):
            continue  # an empty line, or a comment
        triple = TRIPLE.match(entry)
        if triple and all(int(value) <= 255 for value in triple.groups()):
            found.append("#{:02x}{:02x}{:02x}".format(*map(int, triple.groups())))
        else:
            found.append(_hex(entry, f"Palette '{path}', line {number}"))
    if not found:
        raise DiffbmpError(f"Palette '{path}' holds no colour; write one a line, such as #ff8000.")
    return found


def _hex(name: str, where: str) -> str:
    bare = f"#{name}" if re.fullmatch(r"[0-9a-fA-F]{6}", name) else name
    try:
        channels = ImageColor.getrgb(bare)
    except ValueError:
        raise DiffbmpError(
            f"{where}: '{name}' is neither a colour (red, #rrggbb), nor an existing file of colours."
        ) from None
    if len(channels) == 4 and channels[3] < 255:
        raise DiffbmpError(f"{where}: '{name}' has an alpha; colours of a palette are opaque.")
    return "#{:02x}{:02x}{:02x}".format(*channels[:3])
