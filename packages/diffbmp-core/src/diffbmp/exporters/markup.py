"""Text and numbers as SVG and HTML hold them; nothing that a name holds can end where it is put."""

from __future__ import annotations

import base64
import io
import re
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

__all__ = ["as_text", "data_address", "hex_color", "number", "png_bytes"]

NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) allows nowhere, not even escaped: control codes and lone surrogates."""


def as_text(text: str) -> str:
    """Return ``text`` for an element's content or a quoted attribute, of XML and HTML alike."""
    return escape(NOT_IN_XML.sub("\ufffd", text), quote=True)


def number(value: float) -> str:
    """Return a number in at most six significant digits and without an exponent that a viewer might not read."""
    text = f"{value:.6g}"
    if "e" in text:
        text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def hex_color(color: tuple[float, float, float]) -> str:
    """Return red, green and blue in [0, 1] as ``#rrggbb``."""
    return "#" + "".join(f"{round(255 * min(1.0, max(0.0, channel))):02x}" for channel in color)


def png_bytes(values: NDArray[np.uint8]) -> bytes:
    """Return ``(h, w)`` grey or ``(h, w, C)`` grey and alpha, RGB or RGBA as a PNG; the same values, the same bytes."""
    file = io.BytesIO()
    Image.fromarray(values).save(file, format="PNG", optimize=True)
    return file.getvalue()


def data_address(kind: str, content: bytes) -> str:
    """Return ``content`` as a ``data:`` address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
