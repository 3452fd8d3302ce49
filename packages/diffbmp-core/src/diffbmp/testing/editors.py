"""Other people's image editors that composite the layers of a file, for tests and benchmarks.

Each takes a file whose merged preview was blanked (``blank_preview``), so that it is the layers that are seen, and
returns premultiplied RGBA ``(4, H, W)``, float64.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffbmp.testing.readers import premultiplied

__all__ = ["ORA_EDITORS", "PSD_EDITORS", "blank_preview"]


def blank_preview(source: Path, target: Path) -> Path:
    """Copy a PSD, PSB or ORA file with a black merged preview, and return the copy's path."""
    if source.suffix == ".ora":
        with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
            for entry in old.infolist():
                data = old.read(entry)
                if entry.filename == "mergedimage.png":
                    data = _black_png(data)
                new.writestr(entry, data)
        return target
    from psd_tools.psd import PSD

    with source.open("rb") as file:
        document = PSD.read(file)
    header = document.header
    document.image_data.set_data([bytes(header.width * header.height)] * header.channels, header)
    with target.open("wb") as file:
        document.write(file)
    return target


def by_psd_tools(path: Path) -> Tensor:
    """Composite a PSD or PSB with psd-tools, in floats."""
    from psd_tools import PSDImage
    from psd_tools.composite import composite

    document = PSDImage.open(path)
    color, _, alpha = composite(document, color=0.0, alpha=0.0, force=True)
    straight = torch.from_numpy(np.concatenate([color[..., :3], alpha], axis=-1)).movedim(-1, 0).double()
    return torch.cat([straight[:3] * straight[3:], straight[3:]])


def by_imagemagick(path: Path) -> Tensor:
    """Composite a PSD or PSB with ImageMagick, in 16 bits."""
    with path.open("rb") as file:
        height, width = struct.unpack(">14x2I", file.read(22))
    layers = ["(", str(path), "-delete", "0", ")", "-background", "none", "-layers", "flatten"]
    command = ["convert", "-size", f"{width}x{height}", "xc:none", *layers, "-depth", "16", "-endian", "LSB", "rgba:-"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    straight = torch.from_numpy(np.frombuffer(data, "<u2") / 65535).view(height, width, 4).movedim(-1, 0)
    return torch.cat([straight[:3] * straight[3:], straight[3:]])


def by_gimp(path: Path) -> Tensor:
    """Merge the visible layers of a PSD with GIMP, in a process without windows."""

    def command(target: str) -> list[str]:
        script = (
            f'(let* ((image (car (gimp-file-load RUN-NONINTERACTIVE "{path}" "{path}")))'
            " (layer (car (gimp-image-merge-visible-layers image CLIP-TO-IMAGE))))"
            " (gimp-layer-resize-to-image-size layer)"
            f' (file-png-save RUN-NONINTERACTIVE image layer "{target}" "{target}" 0 6 0 0 0 0 0)'
            " (gimp-image-delete image))"
        )
        return ["gimp-console", "-i", "-d", "-f", "-b", script, "-b", "(gimp-quit 0)"]

    return _drawn(command)


def by_krita(path: Path) -> Tensor:
    """Export a PSD or ORA file as PNG with Krita, under a display that nobody sees."""
    # Two that look for a free display at once would find the same one, and Krita aborts: each begins elsewhere.
    display = ["xvfb-run", "-a", "-n", str(100 + os.getpid() % 10_000)]
    return _drawn(lambda target: [*display, "krita", "--export", "--export-filename", target, str(path)], home=True)


def by_pyora(path: Path) -> Tensor:
    """Composite an ORA file with pyora."""
    import pyora

    picture = pyora.Project.load(str(path)).get_image_data(use_original=False)
    values = torch.from_numpy(np.array(picture.convert("RGBA"))).movedim(-1, 0).double() / 255
    return torch.cat([values[:3] * values[3:], values[3:]])


PSD_EDITORS: dict[str, Callable[[Path], Tensor]] = {
    "psd-tools": by_psd_tools,
    "imagemagick": by_imagemagick,
    "gimp": by_gimp,
    "krita": by_krita,
}
"""What composites the layers of a PSD file; GIMP 2.10 opens no PSB."""

ORA_EDITORS: dict[str, Callable[[Path], Tensor]] = {"krita": by_krita, "pyora": by_pyora}
"""What composites the layers of an OpenRaster file."""


def _drawn(command: Callable[[str], list[str]], *, home: bool = False) -> Tensor:
    """Run what writes a PNG to the path that ``command`` is called with, and read it."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "drawn.png"
        environment = {**os.environ, "HOME": folder} if home else dict(os.environ)
        subprocess.run(command(str(target)), check=True, capture_output=True, env=environment, timeout=300)
        return premultiplied(target.read_bytes())


def _black_png(data: bytes) -> bytes:
    import io

    with Image.open(io.BytesIO(data)) as picture:
        file = io.BytesIO()
        Image.new("RGBA", picture.size).save(file, format="PNG")
    return file.getvalue()
