"""The conformance suite notices what is wrong."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffbmp import CompositeInputs, Gradients
from diffbmp.rendering.reference import Reference
from diffbmp.testing import SCENES, kink_mask, level_margin, random_inputs
from diffbmp.testing.comparison import assert_gradients_close, assert_values_close, texel_border
from diffbmp.testing.kinks import in_double


@pytest.fixture(scope="module")
def drawn() -> tuple[CompositeInputs, torch.Tensor, Gradients]:
    inputs = in_double(random_inputs(90, count=12, size=(16, 18), radius=(3, 8)))
    image, state = Reference().forward(inputs)
    return inputs, image, Reference().backward(inputs, state, torch.randn_like(image), texel_gradient=True)


class TestValues:
    def test_close_enough(self, drawn: tuple[CompositeInputs, torch.Tensor, Gradients]) -> None:
        assert_values_close((drawn[1] + 5e-6).float(), drawn[1])

    @pytest.mark.parametrize("wrong", [3e-5, -3e-5, torch.nan])
    def test_one_wrong_pixel(self, drawn: tuple[CompositeInputs, torch.Tensor, Gradients], wrong: float) -> None:
        image = drawn[1].clone()
        image[0, 2, 5, 7] += wrong
        with pytest.raises(AssertionError, match="NaN" if wrong != wrong else r"\[0, 2, 5, 7\] differs"):
            assert_values_close(image, drawn[1])
        ignored = torch.zeros(1, 16, 18, dtype=torch.bool)
        ignored[0, 5, 7] = True
        if wrong == wrong:
            assert_values_close(image, drawn[1], ignored)


class TestGradients:
    def test_close_enough(self, drawn: tuple[CompositeInputs, torch.Tensor, Gradients]) -> None:
        inputs, _, truth = drawn
        near = Gradients(
            *(getattr(truth, field.name).float() for field in dataclasses.fields(truth)),
        )
        assert_gradients_close(near, truth, inputs)

    @pytest.mark.parametrize("name", ["frame", "opacity", "color", "color_blend", "texels"])
    def test_a_slightly_wrong_factor(self, drawn: tuple[CompositeInputs, torch.Tensor, Gradients], name: str) -> None:
        inputs, _, truth = drawn
        wrong = dataclasses.replace(truth, **{name: getattr(truth, name) * 1.0002})
        with pytest.raises(AssertionError, match=f"gradient of {name}"):
            assert_gradients_close(wrong, truth, inputs)

    def test_one_small_sprite_among_many(self) -> None:
        """Too little to be seen in the whole, and still found."""
        inputs = in_double(random_inputs(91, count=3000, size=(3, 3)))
        truth = Gradients(torch.ones(1, 3000, 2, 3).double(), *[torch.ones(1, 3000).double()] * 3, inputs.texels)
        wrong = truth.frame.clone()
        wrong[0, 1234] *= 1.003
        with pytest.raises(AssertionError, match=r"sprite \(batch, index\) \[0, 1234\]"):
            assert_gradients_close(dataclasses.replace(truth, frame=wrong), truth, inputs)

    def test_the_border_of_a_texture_does_not_count(
        self, drawn: tuple[CompositeInputs, torch.Tensor, Gradients]
    ) -> None:
        inputs, _, truth = drawn
        assert truth.texels is not None
        border = texel_border(inputs)
        assert not bool(inputs.texels[border].any())
        assert bool((inputs.texels[~border] > 0).all())
        assert_gradients_close(dataclasses.replace(truth, texels=truth.texels.masked_fill(border, 7.0)), truth, inputs)


class TestKinks:
    def test_found_where_a_sample_meets_a_texel(self) -> None:
        inputs = random_inputs(92, count=1, size=(4, 8), textures="solid", filter="bilinear")
        inputs.texture.zero_()  # 6 x 6 texels over 12 x 12 pixels: two pixels a texel, which meets no pixel's centre
        inputs.frame[:] = torch.tensor([[6.0, 0.0, 6.0], [0.0, 6.0, 6.0]])
        assert not bool(kink_mask(inputs).any())
        inputs.frame[..., 0, 2] = 6.5  # and now a texel's centre lies on every second column
        assert kink_mask(inputs)[0, 0].tolist() == [False, True] * 4

    def test_a_wider_margin_finds_more(self) -> None:
        inputs = random_inputs(93)
        narrow, wide = kink_mask(inputs, 1e-3), kink_mask(inputs, 1e-2)
        assert 0 < int(narrow.sum()) < int(wide.sum())
        assert bool((wide | ~narrow).all())

    def test_every_scene_keeps_off_level_switches(self) -> None:
        for scene in SCENES:
            assert bool((level_margin(scene.build()) > 5e-4).all()), scene.name
