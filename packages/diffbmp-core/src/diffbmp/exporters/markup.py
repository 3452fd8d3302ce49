"""Text and numbers as SVG and HTML hold them; nothing that a name holds can end where it is put."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Sequence
from html import escape
from importlib import resources
from string import Template

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffbmp.version import __version__

__all__ = ["as_text", "data_address", "hex_color", "number", "png_bytes", "script_data", "self_contained_page"]

NOT_IN_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) allows nowhere, not even escaped: control codes and lone surrogates."""

LARGE = 2**20
"""Values of a picture from which the last few percent of its size are not worth the seconds that they take."""


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
    Image.fromarray(values).save(file, format="PNG", optimize=values.size < LARGE)
    return file.getvalue()


def self_contained_page(folder: str, page: str, style: str, scripts: Sequence[str], **values: str) -> str:
    """Return an HTML page that is forbidden to ask the network for anything, or to run any other script.

    Args:
        folder: the package that holds the files.
        page: the file with placeholders ``$policy``, ``$style``, ``$script`` and those of ``values``.
        style: its style sheet.
        scripts: its scripts, in order.
        values: what else is to be put in, already made safe (``as_text``, ``script_data``).
    """

    def read(name: str) -> str:
        return (resources.files(folder) / name).read_text(encoding="utf-8")

    css, script = read(style), "\n".join(read(name) for name in scripts)
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(css)}; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(read(page)).substitute(
        policy=policy, style=css, script=script, generator=f"DiffBMP {__version__}", **values
    )


def script_data(values: object) -> str:
    """Return JSON for a script element, which no string in it can end."""
    return json.dumps(values, allow_nan=False).replace("<", "\\u003c")


def _hash(text: str) -> str:
    """Return the source expression by which a page allows exactly this script or style sheet."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def data_address(kind: str, content: bytes) -> str:
    """Return ``content`` as a ``data:`` address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
