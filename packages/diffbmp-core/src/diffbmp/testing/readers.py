"""Other people's programs that draw what an exporter wrote, for tests and benchmarks: browsers and libraries."""

from __future__ import annotations

import base64
import importlib.util
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = [
    "CHROMIUM",
    "PDF_READERS",
    "SVG_READERS",
    "chromium",
    "drawn_by_page",
    "missing",
    "open_page",
    "page_pixels",
    "premultiplied",
    "require",
    "require_programs",
    "svg_by_chromium",
]

CHROMIUM = "/usr/bin/chromium"
"""Debian's browser; the environment variable DIFFBMP_CHROMIUM names another."""

PAGE_PIXELS = """scale => {
  const { width, height, pixels } = diffbmp.renderer.pixels(scale), bytes = new Uint8Array(pixels.buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return [width, height, btoa(text)];
}"""
"""What an HTML page draws, as a script asks it."""

NEEDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "chromium": ((), ("playwright",)),
    "resvg": ((), ("resvg_py",)),
    "cairosvg": ((), ("cairosvg",)),
    "librsvg": (("rsvg-convert",), ()),
    "poppler-cairo": (("pdftocairo",), ()),
    "poppler-splash": (("pdftoppm",), ()),
    "psd-tools": ((), ("psd_tools",)),
    "imagemagick": (("convert", "identify"), ()),
    "gimp": (("gimp-console",), ()),
    "krita": (("krita", "xvfb-run"), ()),
    "pyora": ((), ("pyora",)),
}
"""The programs and the Python packages of each reader."""


def missing(reader: str) -> str | None:
    """Return what a reader lacks on this machine, or None where it runs."""
    programs, packages = NEEDS[reader]
    lacking = [name for name in programs if shutil.which(name) is None]
    lacking += [f"Python package {name}" for name in packages if importlib.util.find_spec(name) is None]
    if reader == "chromium" and not Path(_chromium_path()).exists():
        lacking.append(_chromium_path())
    return ", ".join(lacking) or None


def require(reader: str) -> None:
    """Skip the test where a reader is not installed; in continuous integration (CI=true) fail it."""
    _refuse_without(missing(reader), reader)


def require_programs(*programs: str) -> None:
    """Skip the test where one of the programs is not installed; in continuous integration (CI=true) fail it."""
    for program in programs:
        _refuse_without(None if shutil.which(program) else "not on the PATH", program)


def _refuse_without(lacking: str | None, what: str) -> None:
    if lacking is not None and os.environ.get("CI") == "true":
        pytest.fail(f"{what} is needed: {lacking}")
    if lacking is not None:
        pytest.skip(f"{what} is not installed: {lacking}")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Give a headless Chromium that draws WebGL on the CPU."""
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--force-color-profile=srgb"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_chromium_path(), args=flags)
        try:
            yield browser
        finally:
            browser.close()


def svg_by_chromium(browser: Browser, path: Path) -> Tensor:
    """Return an SVG file as Chromium draws it, premultiplied RGBA ``(4, H, W)``."""
    page = browser.new_page(viewport={"width": 1600, "height": 1200})
    page.goto(path.as_uri())
    size = page.evaluate("(({width, height}) => [width.baseVal.value, height.baseVal.value])(document.rootElement)")
    page.set_viewport_size({"width": int(size[0]), "height": int(size[1])})
    data = page.screenshot(omit_background=True)
    page.close()
    return premultiplied(data)


def open_page(page: Page, path: Path) -> None:
    """Open an exported HTML page and let it show all stamps at rest."""
    page.goto(path.as_uri())
    page.wait_for_function("() => window.diffbmp")
    page.evaluate("diffbmp.seek(1e9)")
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def drawn_by_page(page: Page, scale: float) -> Tensor:
    """Return what an open page's renderer draws, in floats and without background: premultiplied RGBA (4, H, W)."""
    width, height, data = page.evaluate(PAGE_PIXELS, scale)
    values = np.frombuffer(base64.b64decode(data), dtype="<f4").reshape(height, width, 4)
    return torch.from_numpy(values.copy()).movedim(-1, 0).double()


def page_pixels(browser: Browser, path: Path, scale: float) -> Tensor:
    """Return what an exported HTML page draws, without background: premultiplied RGBA ``(4, H, W)``."""
    page = browser.new_page()
    open_page(page, path)
    drawn = drawn_by_page(page, scale)
    page.close()
    return drawn


def svg_by_resvg(path: Path) -> Tensor:
    """Return an SVG file as resvg draws it, premultiplied RGBA ``(4, H, W)``."""
    import resvg_py

    return premultiplied(resvg_py.svg_to_bytes(svg_path=str(path), skip_system_fonts=True))


def svg_by_cairosvg(path: Path) -> Tensor:
    """Return an SVG file as CairoSVG draws it, premultiplied RGBA ``(4, H, W)``."""
    import cairosvg

    return premultiplied(cairosvg.svg2png(url=str(path)))


def svg_by_librsvg(path: Path) -> Tensor:
    """Return an SVG file as librsvg draws it, premultiplied RGBA ``(4, H, W)``."""
    return premultiplied(_output("rsvg-convert", "--unlimited", str(path)))


def pdf_by_cairo(path: Path, dpi: float) -> Tensor:
    """Return the first page of a PDF as poppler draws it with cairo, premultiplied RGBA ``(4, H, W)``."""
    return _page(path, "pdftocairo", "-png", "-transp", "-r", f"{dpi:.10g}", "-singlefile")


def pdf_by_splash(path: Path, dpi: float) -> Tensor:
    """Return the first page of a PDF as poppler draws it by itself, over white, RGBA ``(4, H, W)``."""
    return _page(path, "pdftoppm", "-png", "-r", f"{dpi:.10g}", "-singlefile")


def premultiplied(png: bytes) -> Tensor:
    """Return a PNG's pixels as premultiplied RGBA ``(4, H, W)`` in [0, 1], float64."""
    with Image.open(io.BytesIO(png)) as picture:
        values = torch.from_numpy(np.array(picture.convert("RGBA"))).movedim(-1, 0).double() / 255
    return torch.cat([values[:3] * values[3:], values[3:]])


SVG_READERS: dict[str, Callable[[Path], Tensor]] = {
    "resvg": svg_by_resvg,
    "cairosvg": svg_by_cairosvg,
    "librsvg": svg_by_librsvg,
}
"""What draws an SVG file without a browser."""

PDF_READERS: dict[str, Callable[[Path, float], Tensor]] = {
    "poppler-cairo": pdf_by_cairo,
    "poppler-splash": pdf_by_splash,
}
"""What draws a PDF file, at so many dots per inch."""


def _chromium_path() -> str:
    return os.environ.get("DIFFBMP_CHROMIUM", CHROMIUM)


def _output(*command: str) -> bytes:
    return subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout


def _page(path: Path, *command: str) -> Tensor:
    with tempfile.TemporaryDirectory() as folder:
        _output(*command, str(path), f"{folder}/page")
        return premultiplied(Path(folder, "page.png").read_bytes())
