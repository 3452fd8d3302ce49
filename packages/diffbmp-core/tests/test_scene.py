"""A scene renders itself, at any size, over its background."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from diffbmp import Atlas, DiffbmpError, Scene, Stamps, composite


def stamps(count: int = 6, extent: float = 24.0) -> Stamps:
    random = torch.Generator().manual_seed(3)
    return Stamps(
        position=extent * torch.rand(count, 2, generator=random),
        scale=4 + 4 * torch.rand(count, generator=random),
        rotation=6 * torch.rand(count, generator=random),
        opacity_logit=2 * torch.randn(count, generator=random),
        color_logit=torch.randn(count, 3, generator=random),
        texture=torch.zeros(count, dtype=torch.long),
    )


def checkerboard(side: int = 64, cells: int = 8) -> Tensor:
    cell = torch.arange(side) * cells // side
    return ((cell[:, None] + cell) % 2).float()


def scene(**changes: Any) -> Scene:
    atlas = Atlas.from_pixels([checkerboard()])
    return Scene(**{"width": 24, "height": 20, "atlas": atlas, "primitives": [stamps()], **changes})


class TestRender:
    def test_without_a_background_it_is_the_composite(self) -> None:
        drawn = scene(alpha_max=0.8, blend="add", filter="trilinear")
        sprites = drawn.sprites()
        expected = composite(
            sprites.frame, sprites.opacity, sprites.color, sprites.texture, drawn.atlas,
            size=(20, 24), alpha_max=0.8, blend="add", filter="trilinear",
        )  # fmt: skip
        assert torch.equal(drawn.render(), expected)

    @pytest.mark.parametrize("background", [torch.tensor([1.0, 0.5, 0.0]), torch.rand(3, 20, 24)])
    def test_a_background_shows_through(self, background: Tensor) -> None:
        drawn = scene(background=background)
        layer, image = drawn.layer(), drawn.render()
        behind = background if background.dim() == 3 else background[:, None, None]
        assert image.shape == (3, 20, 24)
        torch.testing.assert_close(image, layer[:3] + (1 - layer[3:]) * behind)

    def test_primitives_are_painted_in_order(self) -> None:
        covering = stamps(1)
        with torch.no_grad():
            covering.position.fill_(10.0)
            covering.scale.fill_(100.0)
            covering.opacity_logit.fill_(100.0)
            covering.color_logit.fill_(-100.0)
        solid = Atlas.from_pixels([torch.ones(4, 4)])
        front = scene(atlas=solid, primitives=[stamps(), covering]).render()
        behind = scene(atlas=solid, primitives=[covering, stamps()]).render()
        assert not bool(front[:3].any())
        assert bool(behind[:3].any())

    def test_a_variant_of_the_atlas(self) -> None:
        drawn = scene()
        assert not torch.equal(drawn.layer(atlas=drawn.atlas.blurred(4.0)), drawn.layer())

    def test_gradients_reach_the_stamps(self) -> None:
        drawn = scene(background=torch.ones(3))
        drawn.render(scale=2.0).square().mean().backward()
        for name, value in drawn.primitives[0].named_parameters():
            assert value.grad is not None, name
            assert bool(value.grad.any()), name


class TestScale:
    @pytest.mark.parametrize("scale", [1.0, 2.0, 4.0, 0.5, 1.37])
    def test_size(self, scale: float) -> None:
        expected = (max(1, round(20 * scale)), max(1, round(24 * scale)))
        assert scene().render(scale=scale).shape == (4, *expected)
        assert scene(background=torch.rand(3, 20, 24)).render(scale=scale).shape == (3, *expected)

    @torch.no_grad()
    @pytest.mark.parametrize("scale", [2, 4])
    def test_it_is_sharp_and_not_the_picture_enlarged(self, scale: int) -> None:
        """More pixels show more of the texture; averaged, they are the smaller picture again."""
        drawn = scene()
        small, large = drawn.layer(), drawn.layer(scale=scale)
        enlarged = functional.interpolate(small[None], scale_factor=scale, mode="bilinear")[0]

        def sharpness(image: Tensor) -> float:
            return float(image[3].diff(dim=-1).abs().max())

        assert sharpness(large) > 1.3 * sharpness(enlarged)
        reduced = functional.avg_pool2d(large[None], scale)[0]
        assert float((reduced - small).abs().mean()) < 0.05

    def test_it_is_the_scene_of_larger_stamps(self) -> None:
        drawn = scene()
        larger = stamps()
        with torch.no_grad():
            larger.position.mul_(3)
            larger.scale.mul_(3)
        expected = Scene(72, 60, drawn.atlas, [larger]).render()
        torch.testing.assert_close(drawn.render(scale=3), expected, rtol=0, atol=1e-4)

    def test_a_picture_behind_is_resized(self) -> None:
        ramp = torch.linspace(0, 1, 24).expand(3, 20, 24)
        behind = scene(background=ramp).background_at(2.0)
        assert behind is not None
        assert behind.shape == (3, 40, 48)
        assert bool((behind.diff(dim=-1) >= 0).all())
        assert scene(background=torch.ones(3)).background_at(2.0).shape == (3, 1, 1)
        assert scene().background_at(2.0) is None

    @pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_scale_that_is_none(self, scale: float) -> None:
        with pytest.raises(DiffbmpError, match="scale must be a number above 0"):
            scene().render(scale=scale)


class TestModule:
    def test_the_atlas_moves_along(self) -> None:
        drawn = scene(background=torch.ones(3))
        single = drawn.render()
        double = drawn.double().render(renderer="reference")
        assert drawn.atlas.texels.dtype == torch.float64
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, rtol=0, atol=1e-5)

    def test_parameters_are_those_of_its_primitives(self) -> None:
        drawn = scene(primitives=[stamps(2), stamps(3)])
        assert len(list(drawn.parameters())) == 10


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"width": 0}, "at least 1 x 1 pixels, got 0 x 20"),
            ({"height": -1}, "at least 1 x 1"),
            ({"primitives": []}, "at least one primitive"),
            ({"background": torch.ones(4)}, r"background must have shape \(3,\) or \(3, 20, 24\), got \(4,\)"),
            ({"background": torch.ones(3, 24, 20)}, "background must have shape"),
            ({"background": torch.tensor([1.0, torch.nan, 0.0])}, "background holds NaN"),
            ({"blend": "ad"}, "did you mean 'add'"),
            ({"filter": "trilinea"}, "did you mean 'trilinear'"),
            ({"alpha_max": 2.0}, r"alpha_max must lie in \[0, 1\]"),
        ],
    )
    def test_one_sentence(self, changes: dict[str, Any], sentence: str) -> None:
        with pytest.raises(DiffbmpError, match=sentence):
            scene(**changes)
