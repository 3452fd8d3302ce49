"""Fixtures shared by core's tests: a small photograph and a few stamps as real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

# For tensors of the tests' sizes more threads only wait for each other; tests of threading set their own number.
torch.set_num_threads(1)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a smooth, structured 24 x 16 picture."""
    y, x = np.mgrid[0:16, 0:24] / 16
    pixels = np.stack([0.5 + 0.5 * np.sin(5 * x), y, 0.5 + 0.5 * np.cos(4 * x * y)], axis=-1)
    path = tmp_path / "photo.png"
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    """Return a folder of three stamps of different shape and size."""
    folder = tmp_path / "stamps"
    folder.mkdir()
    for number, (height, width) in enumerate([(9, 9), (6, 12), (14, 7)]):
        y, x = np.mgrid[0:height, 0:width]
        inside = ((x + 0.5) / width * 2 - 1) ** 2 + ((y + 0.5) / height * 2 - 1) ** 2 <= 1
        pixels = np.full((height, width, 4), 255, dtype=np.uint8)
        pixels[..., 3] = inside * 255
        Image.fromarray(pixels).save(folder / f"stamp-{number}.png")
    return folder
