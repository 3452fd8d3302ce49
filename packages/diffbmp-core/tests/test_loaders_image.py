"""Picture files as stamps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from diffbmp.errors import DiffbmpError
from diffbmp.loaders.image import ImageLoader


def load(path, **settings):
    return ImageLoader(ImageLoader.Settings(**settings)).load(str(path))


def saved(picture, path, **options):
    picture.save(path, **options)
    return path


def test_a_quarter_black_png_has_alpha_a_quarter(tmp_path):
    (texture,) = load(saved(Image.new("RGBA", (4, 4), (0, 0, 0, 64)), tmp_path / "a.png"))
    assert texture.pixels.shape == (4, 4, 4)
    assert torch.equal(texture.pixels[:3], torch.zeros(3, 4, 4))
    assert torch.equal(texture.pixels[3], torch.full((4, 4), 64 / 255))


def test_an_opaque_white_png_is_opaque_white(tmp_path):
    (texture,) = load(saved(Image.new("RGB", (4, 3), "white"), tmp_path / "a.png"))
    assert torch.equal(texture.pixels, torch.ones(4, 3, 4))


def test_a_jpeg_is_an_opaque_rectangle_in_its_colors(tmp_path):
    (texture,) = load(saved(Image.new("RGB", (16, 8), (250, 10, 10)), tmp_path / "a.JPG"))
    assert texture.name == "a"
    assert texture.pixels.shape == (4, 8, 16)
    assert float(texture.pixels[3].min()) == 1
    assert float(texture.pixels[0].min()) > 0.95


def test_luminance_of_a_drawing_is_alpha(tmp_path):
    picture = Image.new("RGB", (20, 10), "white")
    picture.paste((0, 0, 0), (4, 2, 8, 5))
    picture.paste((128, 128, 128), (8, 2, 14, 5))
    (texture,) = load(saved(picture, tmp_path / "a.png"), mask="luminance")
    assert texture.pixels.shape == (1, 3, 10)  # trimmed
    assert torch.equal(texture.pixels[0, :, :4], torch.ones(3, 4))
    assert torch.allclose(texture.pixels[0, :, 4:], torch.tensor(127 / 255))


def test_luminance_sees_transparency_as_paper(tmp_path):
    picture = Image.new("RGBA", (6, 6), (0, 0, 0, 0))
    picture.paste((0, 0, 0, 128), (1, 1, 4, 3))
    (texture,) = load(saved(picture, tmp_path / "a.png"), mask="luminance")
    assert texture.pixels.shape == (1, 2, 3)
    assert torch.allclose(texture.pixels, torch.tensor(128 / 255), atol=1 / 255)


def test_trimmed_to_where_alpha_is_above_zero(tmp_path):
    picture = Image.new("RGBA", (50, 40), (255, 255, 255, 0))
    picture.putpixel((10, 5), (255, 0, 0, 1))
    picture.paste((255, 0, 0, 255), (20, 10, 31, 13))
    (texture,) = load(saved(picture, tmp_path / "a.png"))
    assert texture.pixels.shape == (4, 8, 21)
    assert float(texture.pixels[3, 0, 0]) == pytest.approx(1 / 255)


def test_large_pictures_are_reduced_with_their_aspect(tmp_path):
    path = saved(Image.new("RGB", (3000, 1500), "red"), tmp_path / "a.png")
    assert load(path)[0].pixels.shape == (4, 512, 1024)
    assert load(path, max_side=30)[0].pixels.shape == (4, 15, 30)
    assert load(saved(Image.new("RGB", (3000, 1)), path), max_side=30)[0].pixels.shape == (4, 1, 30)


def test_the_limit_counts_after_trimming(tmp_path):
    picture = Image.new("RGBA", (400, 400), (0, 0, 0, 0))
    picture.paste((9, 9, 9, 255), (100, 100, 140, 120))
    assert load(saved(picture, tmp_path / "a.png"), max_side=40)[0].pixels.shape == (4, 20, 40)


def test_frames_are_textures_and_blank_ones_are_left_out(tmp_path):
    frames = [Image.new("RGBA", (8, 8), (0, 0, 0, 0)) for _ in range(3)]
    frames[0].paste((255, 0, 0, 255), (0, 0, 4, 8))
    frames[2].paste((0, 0, 255, 255), (0, 0, 8, 2))
    path = saved(frames[0], tmp_path / "walk.gif", save_all=True, append_images=frames[1:], disposal=2)
    textures = load(path)
    assert [t.name for t in textures] == ["walk#1", "walk#3"]
    assert [tuple(t.pixels.shape) for t in textures] == [(4, 8, 4), (4, 2, 8)]
    assert textures[1].pixels[:, 0, 0].tolist() == [0, 0, 1, 1]


def test_pages_of_a_tiff_may_differ_in_size(tmp_path):
    pages = [Image.new("RGB", size, "red") for size in ((4, 6), (9, 3))]
    path = saved(pages[0], tmp_path / "a.tiff", save_all=True, append_images=pages[1:])
    assert [tuple(t.pixels.shape) for t in load(path)] == [(4, 6, 4), (4, 3, 9)]


def test_nothing_visible_is_an_error_that_names_the_file(tmp_path):
    clear = saved(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), tmp_path / "clear.png")
    with pytest.raises(DiffbmpError, match=r"clear\.png' is fully transparent"):
        load(clear)
    white = saved(Image.new("RGB", (4, 4), "white"), tmp_path / "white.png")
    with pytest.raises(DiffbmpError, match=r"white\.png' is white or transparent throughout"):
        load(white, mask="luminance")


def test_damage_is_an_error_that_names_the_file(tmp_path):
    values = np.random.default_rng(0).integers(0, 256, (50, 50, 3), dtype=np.uint8)
    path = saved(Image.fromarray(values), tmp_path / "leaf.png")
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DiffbmpError, match=r"^Stamp '.*leaf\.png' is damaged or cut short"):
        load(path)
