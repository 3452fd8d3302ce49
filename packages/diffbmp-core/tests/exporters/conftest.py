"""Fixtures of the exporters' tests: a browser, where there is one, and figures of merit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.write import write_scene
from diffbmp.metrics import psnr
from diffbmp.scene.scene import Scene
from diffbmp.testing.exports import over_flat
from diffbmp.testing.readers import chromium, require

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Return a headless Chromium; skip where there is none, fail in continuous integration."""
    require("chromium")
    with chromium() as started:
        yield started


@pytest.fixture
def written(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that exports a scene to a file of a suffix."""

    def write(
        scene: Scene, suffix: str, settings: dict[str, dict[str, object]] | None = None, **options: object
    ) -> Path:
        path = tmp_path / f"scene.{suffix}"
        write_scene(scene, path, ExportOptions.model_validate(options), settings=settings)
        return path

    return write


@pytest.fixture
def quality() -> Callable[..., float]:
    """Return a function that gives the lower PSNR, over white and over black, of a picture against our render."""

    @torch.no_grad()
    def compare(drawn: Tensor, scene: Scene, scale: float = 1.0) -> float:
        ours = scene.render(scale=scale).double()
        return min(psnr(over_flat(drawn, value)[:3], over_flat(ours, value)) for value in (0.0, 1.0))

    return compare
