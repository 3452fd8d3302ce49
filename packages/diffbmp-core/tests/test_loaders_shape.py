"""Built-in shapes."""

from __future__ import annotations

import math

import pytest
import torch

from diffbmp.errors import DiffbmpError
from diffbmp.loaders.shape import SHAPES, ShapeLoader


def shape(name, size=128):
    (texture,) = ShapeLoader(ShapeLoader.Settings(size=size)).load(name)
    assert texture.name == name
    assert texture.pixels.shape[0] == 1
    return texture.pixels[0]


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("size", [4, 33, 256])
def test_alpha_is_in_range_and_trimmed_and_the_same_again(name, size):
    alpha = shape(name, size)
    assert alpha.dtype == torch.float32
    assert bool(((alpha >= 0) & (alpha <= 1)).all())
    assert max(alpha.shape) <= size
    for side in (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1]):
        assert float(side.max()) > 0
    assert torch.equal(alpha, shape(name, size))


@pytest.mark.parametrize(
    ("name", "area"),
    [
        ("disc", math.pi / 4),
        ("square", 1.0),
        ("ring", math.pi / 4 * (1 - 0.75**2)),
        # a pentagram of circumradius R has the area 1.12257 R^2; here 2 R sin(72 degrees) = 1
        ("star", 1.12257 / (2 * math.sin(2 * math.pi / 5)) ** 2),
        ("gaussian", 2 * math.pi / 64),
    ],
)
def test_covered_area_is_the_formula(name, area):
    assert float(shape(name, 200).sum()) / 200**2 == pytest.approx(area, rel=3e-3)


def test_edges_are_smooth():
    alpha = shape("disc")
    partial = ((alpha > 0.05) & (alpha < 0.95)).sum()
    assert 200 < int(partial) < 500  # about one texel along a rim of 400


def test_symmetries():
    for name in ("disc", "ring", "gaussian"):
        assert torch.allclose(shape(name), shape(name).T)
        assert torch.allclose(shape(name), shape(name).flip(0), atol=1e-6)
    assert torch.allclose(shape("star"), shape("star").flip(1), atol=1e-6)


def test_the_gaussian_is_exact():
    alpha = shape("gaussian", 64).double()
    x = torch.arange(64, dtype=torch.float64) + 0.5 - 32
    expected = torch.exp(-(x[:, None] ** 2 + x**2) / (2 * 8.0**2))
    assert torch.allclose(alpha, expected, atol=1e-7)


def test_the_brush_is_a_stroke_that_dries():
    alpha = shape("brush", 256)
    height, width = alpha.shape
    assert 2.5 < width / height < 3.2
    start, end = alpha[:, width // 8 : width // 4], alpha[:, -width // 4 : -width // 8]
    assert float(start.mean()) > 1.3 * float(end.mean()) > 0.1
    along = (alpha[:, 1:] - alpha[:, :-1]).abs().mean()
    across = (alpha[1:] - alpha[:-1]).abs().mean()
    assert float(across) > 2 * float(along)  # bristles run along the stroke


def test_an_unknown_shape_names_the_nearest():
    with pytest.raises(DiffbmpError, match="Unknown shape 'disk'; did you mean 'disc'"):
        shape("disk")
