"""What docs/quality.md promises, on one small photograph: the presets beat the paper's recipe, and shapes are kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from torch import Tensor

import diffbmp
from diffbmp.atlas.atlas import Atlas
from diffbmp.loaders.sources import load_textures
from diffbmp.metrics import psnr
from diffbmp.scene.scene import Scene

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def discs() -> Atlas:
    return Atlas(load_textures(["shape:disc"], {}))


def photograph(width: int) -> Tensor:
    image = Image.fromarray(data.astronaut()).resize((width, width), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255).permute(2, 0, 1).contiguous()


def fitted(target: Tensor, atlas: Atlas, **settings: Any) -> Scene:
    return diffbmp.start_fit(target, stamps=atlas, **{"n": 200, **settings}).run().scene


def quality(target: Tensor, atlas: Atlas, **settings: Any) -> float:
    scene = fitted(target, atlas, **settings)
    with torch.no_grad():
        return psnr(scene.render().clamp(0, 1), target)


def test_presets_beat_the_papers_recipe(discs: Atlas) -> None:
    target = photograph(128)
    neither = quality(target, discs, preset="paper", initializer="random", blur={"sigma": 0.0})
    paper, fast, balanced = (quality(target, discs, preset=preset) for preset in ("paper", "fast", "balanced"))
    assert paper > neither + 1
    assert fast > paper + 1
    assert balanced > paper + 3
    assert balanced > fast


def test_no_setting_depends_on_the_size(discs: Atlas) -> None:
    """A fit of a photograph four times as large, seen at the size of the small one, is as good."""
    small = photograph(128)
    scenes = [fitted(photograph(width), discs, steps=150) for width in (128, 512)]
    with torch.no_grad():
        shown = [scene.render(scale=128 / scene.width).clamp(0, 1) for scene in scenes]
    # Only the small one could follow how the small photograph was made out of the large one.
    assert psnr(shown[1], small) > psnr(shown[0], small) - 0.8


@pytest.mark.parametrize("loss", ["mse", "spatial"])
def test_a_shape_is_filled_and_nothing_else(discs: Atlas, loss: str) -> None:
    target = photograph(128)
    axis = torch.linspace(-1, 1, 128)
    distance = (axis[:, None] ** 2 + axis**2).sqrt()
    shape = ((0.75 - distance) * 30).clamp(0, 1)
    scene = fitted(torch.cat([target, shape[None]]), discs, background="transparent", loss={loss: 1.0})
    with torch.no_grad():
        alpha = scene.render()[3]
    assert float(alpha[shape == 0].mean()) < 0.01
    assert float(alpha[shape == 1].mean()) > 0.98
