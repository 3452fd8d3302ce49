"""Textures, their mip chains and their blurred variant."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffbmp import Atlas, DiffbmpError, Texture, composite


def level_of(atlas: Atlas, texture: int, level: int) -> Tensor:
    """Read one mip level back, ``(C, h + 2, w + 2)``, border included."""
    first, count, channels = atlas.table[texture].tolist()
    assert level < count
    offset, width, height = atlas.levels[first + level].tolist()
    texels = atlas.texels[offset : offset + (height + 2) * (width + 2) * channels]
    return texels.view(height + 2, width + 2, channels).movedim(-1, 0)


def disc(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return (1.2 - 1.2 * (x**2 + y**2).sqrt()).clamp(0, 1).double()


def draw(atlas: Atlas, frame: Tensor, size: tuple[int, int], **options: object) -> Tensor:
    one = torch.ones(1, dtype=atlas.texels.dtype)
    return composite(
        frame[None].to(one), one, one[:, None].expand(1, 3), torch.zeros(1, dtype=torch.long), atlas,
        size=size, renderer="reference", **options,
    )  # fmt: skip


class TestLayout:
    def test_levels_follow_each_other_with_a_border_of_zeros(self) -> None:
        alpha, rgba = torch.rand(5, 3), torch.rand(4, 2, 6)
        atlas = Atlas([Texture("a", alpha[None]), Texture("b", rgba)])
        assert atlas.table.tolist() == [[0, 4, 1], [4, 4, 4]]
        sizes = [(3, 5), (2, 3), (1, 2), (1, 1), (6, 2), (3, 1), (2, 1), (1, 1)]
        assert [tuple(row[1:]) for row in atlas.levels.tolist()] == sizes
        offset = 0
        for (begin, width, height), channels in zip(atlas.levels.tolist(), [1] * 4 + [4] * 4, strict=True):
            assert begin == offset
            offset += (width + 2) * (height + 2) * channels
        assert atlas.texels.shape == (offset,)
        assert torch.equal(level_of(atlas, 0, 0)[0, 1:-1, 1:-1], alpha)
        base = level_of(atlas, 1, 0)[:, 1:-1, 1:-1]
        assert torch.equal(base, torch.cat([rgba[:3] * rgba[3:], rgba[3:]]))
        for texture, levels in ((0, 4), (1, 4)):
            for level in range(levels):
                whole = level_of(atlas, texture, level)
                assert float(whole.sum()) == pytest.approx(float(whole[:, 1:-1, 1:-1].sum()))

    def test_what_it_tells_about_its_textures(self) -> None:
        atlas = Atlas.from_pixels([torch.rand(4, 8), torch.rand(4, 6, 3)])
        assert len(atlas) == 2
        assert [texture.name for texture in atlas.textures] == ["0", "1"]
        assert atlas.colored.tolist() == [False, True]
        torch.testing.assert_close(atlas.aspect, torch.tensor([[1.0, 0.5], [0.5, 1.0]]))
        assert atlas.extent.tolist() == [[1.0, 1.0], [1.0, 1.0]]
        assert not atlas.padded

    def test_another_dtype(self) -> None:
        atlas = Atlas.from_pixels([torch.rand(4, 8)])
        assert atlas.to(dtype=torch.float64).texels.dtype == torch.float64
        assert atlas.to("cpu") is atlas
        assert atlas.blurred(2.0).to(dtype=torch.float64).blur == 2.0


class TestMipChain:
    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 3), (8, 8), (13, 100)])
    def test_a_constant_stays_constant(self, size: tuple[int, int]) -> None:
        atlas = Atlas.from_pixels([torch.full(size, 0.75)])
        count = int(atlas.table[0, 1])
        for level in range(count):
            inner = level_of(atlas, 0, level)[:, 1:-1, 1:-1]
            torch.testing.assert_close(inner, torch.full_like(inner, 0.75))
        assert level_of(atlas, 0, count - 1).shape == (1, 3, 3)

    @pytest.mark.parametrize("size", [(16, 16), (15, 17), (7, 30), (1, 13)])
    def test_coverage_is_kept(self, size: tuple[int, int]) -> None:
        """Down to the last texel, so that a picture has the same tone at every scale."""
        picture = disc(*size)
        atlas = Atlas.from_pixels([picture])
        for level in range(int(atlas.table[0, 1])):
            mean = float(level_of(atlas, 0, level)[:, 1:-1, 1:-1].mean())
            assert mean == pytest.approx(float(picture.mean()), rel=1e-6)

    def test_a_level_lies_where_its_base_does(self) -> None:
        """A ramp is the same ramp in every level: nothing shifts by half a texel."""
        ramp = ((torch.arange(32) + 0.5) / 32).expand(32, 32)
        atlas = Atlas.from_pixels([ramp])
        level = level_of(atlas, 0, 2)[0, 1:-1, 1:-1]
        torch.testing.assert_close(level, ((torch.arange(8) + 0.5) / 8).expand(8, 8))

    def test_transparent_colour_does_not_bleed(self) -> None:
        pixels = torch.zeros(4, 8, 8)
        pixels[0], pixels[3, :, :3] = 1.0, 1.0
        pixels[1, :, 3:] = 1.0  # green where transparent
        atlas = Atlas.from_pixels([pixels])
        for level in range(int(atlas.table[0, 1])):
            red, green, _, alpha = level_of(atlas, 0, level)
            torch.testing.assert_close(red, alpha)
            assert not bool(green.any())

    def test_minified_drawing_keeps_the_coverage(self) -> None:
        big = draw(Atlas.from_pixels([disc(128, 128)]), torch.tensor([[64.0, 0, 70], [0, 64.0, 70]]), (140, 140))
        small = draw(Atlas.from_pixels([disc(128, 128)]), torch.tensor([[4.0, 0, 8], [0, 4.0, 8]]), (16, 16))
        assert float(small[3].sum()) == pytest.approx(float(big[3].sum()) / 256, rel=0.02)


class TestBlur:
    @pytest.mark.parametrize("sigma", [0.5, 4.0, 30.0])
    @pytest.mark.parametrize("size", [(32, 32), (9, 31)])
    def test_coverage_is_kept_whole(self, sigma: float, size: tuple[int, int]) -> None:
        picture = torch.ones(size, dtype=torch.float64)
        atlas = Atlas.from_pixels([picture]).blurred(sigma)
        blurred = level_of(atlas, 0, 0)[0, 1:-1, 1:-1]
        assert float(blurred.sum()) == pytest.approx(float(picture.sum()), rel=1e-9)
        assert float(max(blurred[0].max(), blurred[:, 0].max())) < 1e-3  # a skirt ends where there is none left

    def test_extent_is_that_of_the_enlarged_texture(self) -> None:
        atlas = Atlas.from_pixels([torch.ones(16, 32)]).blurred(8.0)  # 8 / 128 of 32 texels: sigma 2, radius 8
        _, width, height = atlas.levels[0].tolist()
        assert (width, height) == (48, 32)
        assert atlas.extent.tolist() == [[48 / 32, 32 / 16]]
        assert atlas.aspect.tolist() == [[1.0, 0.5]]
        assert atlas.padded

    def test_drawn_it_is_the_blurred_picture_in_place(self) -> None:
        """One texel a pixel: drawing the blurred stamp equals blurring the drawn one, skirts and all."""
        picture = disc(21, 32)
        frame = torch.tensor([[16.0, 0, 40], [0, 10.5, 40.5]])
        atlas = Atlas.from_pixels([picture])
        sharp = draw(atlas, frame, (80, 80))[3]
        assert torch.allclose(sharp[30:51, 24:56], picture)
        soft = draw(atlas.blurred(8.0), frame, (80, 80))[3]
        at = torch.arange(-20, 21).double()
        kernel = torch.exp(-(at**2) / (2 * 2.0**2))
        kernel = kernel / kernel.sum()
        expected = torch.nn.functional.conv2d(sharp[None, None], (kernel[:, None] * kernel)[None, None], padding=20)
        torch.testing.assert_close(soft, expected[0, 0], rtol=0, atol=2e-4)  # the kernel ends at four sigma

    def test_colour_is_blurred_premultiplied(self) -> None:
        pixels = torch.zeros(4, 16, 16)
        pixels[0], pixels[3, 4:12, 4:12] = 1.0, 1.0
        level = level_of(Atlas.from_pixels([pixels]).blurred(10.0), 0, 0)
        torch.testing.assert_close(level[0], level[3])

    def test_no_blur_is_the_atlas_itself(self) -> None:
        atlas = Atlas.from_pixels([torch.rand(4, 4)])
        assert atlas.blurred(0.0) is atlas
        assert torch.equal(atlas.blurred(3.0).blurred(0.0).texels, atlas.texels)

    @pytest.mark.parametrize("sigma", [-1.0, float("nan"), float("inf")])
    def test_a_blur_that_is_none(self, sigma: float) -> None:
        with pytest.raises(DiffbmpError, match="blur must be a number of at least 0"):
            Atlas.from_pixels([torch.rand(4, 4)]).blurred(sigma)


class TestGradients:
    @pytest.mark.parametrize("blur", [0.0, 12.0])
    @pytest.mark.parametrize("channels", [1, 4])
    def test_pixels_are_learnable(self, blur: float, channels: int) -> None:
        """The gradient reaches the pixels through premultiplication, blur, mip chain and renderer."""
        pixels = (0.1 + 0.8 * torch.rand(channels, 5, 4, dtype=torch.float64)).requires_grad_()
        frame = torch.tensor([[1.6, 0.3, 3.1], [-0.4, 1.8, 2.8]])

        def picture(pixels: Tensor) -> Tensor:
            atlas = Atlas([Texture("learned", pixels)], blur=blur)
            return draw(atlas, frame, (6, 6), color_blend=0.7, filter="trilinear")

        assert torch.autograd.gradcheck(picture, (pixels,), fast_mode=channels == 4)

    def test_a_texture_learns_a_picture(self) -> None:
        target = disc(8, 8).float()
        pixels = torch.full((8, 8), 0.5, requires_grad=True)
        frame = torch.tensor([[4.0, 0, 4], [0, 4.0, 4]])
        optimizer = torch.optim.SGD([pixels], lr=20.0)
        for _ in range(10):
            optimizer.zero_grad()
            draw(Atlas.from_pixels([pixels]), frame, (8, 8))[3].sub(target).square().mean().backward()
            optimizer.step()
        torch.testing.assert_close(pixels.detach(), target, rtol=0, atol=0.02)


class TestRefusals:
    def test_no_textures(self) -> None:
        with pytest.raises(DiffbmpError, match="at least one texture"):
            Atlas([])

    @pytest.mark.parametrize("shape", [(3, 4, 4), (2, 4, 4), (1, 0, 4), (4,), (1, 1, 4, 4)])
    def test_shapes(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(DiffbmpError, match="Texture 'odd' must have shape"):
            Texture("odd", torch.zeros(shape))

    @pytest.mark.parametrize(
        ("pixels", "sentence"),
        [
            (torch.zeros(1, 2, 2, dtype=torch.uint8), "must hold floats in"),
            (torch.full((1, 2, 2), 255.0), r"must hold values in \[0, 1\], got 255 to 255"),
            (torch.full((1, 2, 2), -0.5), r"got -0.5 to -0.5"),
            (torch.tensor([[[0.0, torch.nan]]]), "holds NaN or infinity"),
            (torch.tensor([[[0.0, torch.inf]]]), "holds NaN or infinity"),
        ],
    )
    def test_values(self, pixels: Tensor, sentence: str) -> None:
        with pytest.raises(DiffbmpError, match=sentence):
            Texture("odd", pixels)

    def test_mixed_dtypes(self) -> None:
        with pytest.raises(DiffbmpError, match="one dtype"):
            Atlas.from_pixels([torch.zeros(2, 2), torch.zeros(2, 2).double()])
