"""``diffbmp.testing.loss_inputs``: a loss sees what it would see in a fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError
from diffbmp.losses.pixelwise import MeanSquaredError
from diffbmp.losses.total import TotalLoss
from diffbmp.testing import loss_inputs


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scene_of(*shape: int, **changes: Any) -> diffbmp.Scene:
    """Return stamps on a canvas of 12 x 16 pixels."""
    stamps = diffbmp.Stamps(
        16 * noise(*shape, 2), 2 + 3 * noise(*shape), noise(*shape), noise(*shape), noise(*shape, 3),
        torch.zeros(shape[-1], dtype=torch.int64),
    )  # fmt: skip
    atlas = diffbmp.Atlas.from_pixels([torch.ones((8, 8), dtype=torch.float64)])
    return diffbmp.Scene(16, 12, atlas, [stamps], **changes)


class TestPictures:
    def test_an_image_is_opaque_and_keeps_its_gradient(self) -> None:
        image = noise(3, 5, 7).requires_grad_()
        inputs = loss_inputs(image, background=0.3)
        assert torch.equal(inputs.image, image)
        assert bool((inputs.layer[3] == 1).all())
        assert (inputs.size, inputs.height, inputs.width) == ((5, 7), 5, 7)
        assert (inputs.target, inputs.batch, len(inputs.sprites)) == (None, None, 0)
        assert not inputs.draw().any()
        inputs.image.sum().backward()
        assert torch.equal(image.grad, torch.ones_like(image))

    def test_a_layer_and_a_target_lie_over_the_background(self) -> None:
        layer, target, background = 0.5 * noise(4, 5, 7), noise(4, 5, 7, seed=1), noise(3, 5, 7, seed=2)
        inputs = loss_inputs(layer, target=target, background=background)
        torch.testing.assert_close(inputs.image, layer[:3] + (1 - layer[3:]) * background)
        torch.testing.assert_close(inputs.target, target[:3] * target[3:] + (1 - target[3:]) * background)
        assert torch.equal(inputs.target_alpha, target[3:])
        for given in (0.25, torch.full((3,), 0.25), torch.full((3, 1, 1), 0.25)):
            assert torch.equal(loss_inputs(layer, background=given).background, torch.full((3, 1, 1), 0.25).double())
        assert torch.equal(loss_inputs(layer).background, torch.ones(3, 1, 1).double())

    def test_a_batch_has_a_figure_for_each_canvas(self) -> None:
        images, targets = noise(2, 3, 5, 7), noise(2, 3, 5, 7, seed=1)
        inputs = loss_inputs(images, target=targets)
        total, terms = TotalLoss({"mse": 1.0})(inputs)
        assert inputs.batch == 2
        alone = [MeanSquaredError()(loss_inputs(image, target=t)) for image, t in zip(images, targets, strict=True)]
        assert total.tolist() == terms["mse"] == [float(value) for value in alone]

    def test_what_else_a_step_has(self) -> None:
        generator, tensors = torch.Generator().manual_seed(5), {"words": torch.ones(2)}
        inputs = loss_inputs(noise(3, 2, 2), step=3, steps=9, generator=generator, tensors=tensors)
        assert (inputs.step, inputs.steps) == (3, 9)
        assert inputs.generator is generator
        assert inputs.tensors is tensors
        assert loss_inputs(noise(3, 2, 2)).generator.initial_seed() == 0


class TestScenes:
    def test_are_drawn_at_the_first_look(self) -> None:
        scene = scene_of(4, background=torch.full((3,), 0.2).double())
        inputs = loss_inputs(scene=scene, renderer="reference")
        assert not inputs.drawn
        assert torch.equal(inputs.image, scene.render(renderer="reference"))
        assert len(inputs.sprites) == 4
        inputs.image.sum().backward()
        assert bool(scene.primitives[0].position.grad.any())

    def test_a_fit_that_is_coarse(self) -> None:
        scene = scene_of(4)
        inputs = loss_inputs(scene=scene, resolution=0.5, renderer="reference")
        assert (inputs.size, inputs.height, inputs.width) == ((6, 8), 12, 16)
        assert torch.equal(inputs.layer, scene.layer(scale=0.5, renderer="reference"))
        assert torch.equal(inputs.sprites.frame, scene.sprites().frame)

    def test_other_sprites(self) -> None:
        scene = scene_of(4)
        sprites = scene.sprites().scaled(0.5)
        inputs = loss_inputs(scene=scene, sprites=sprites, renderer="reference")
        assert inputs.sprites is sprites
        assert torch.equal(inputs.layer, scene.layer(sprites=[sprites], renderer="reference"))
        without = loss_inputs(noise(3, 12, 16), sprites=sprites, renderer="reference")
        assert without.sprites is sprites
        torch.testing.assert_close(without.draw(), inputs.layer)  # of full squares, as the scene's are

    def test_a_picture_of_a_scene(self) -> None:
        scene, image = scene_of(4), noise(3, 12, 16)
        inputs = loss_inputs(image, scene=scene, renderer="reference")
        assert torch.equal(inputs.image, image)
        assert torch.equal(inputs.draw(), scene.layer(renderer="reference"))

    def test_a_batch(self) -> None:
        scene = scene_of(2, 4)
        inputs = loss_inputs(scene=scene, target=noise(3, 12, 16), renderer="reference")
        assert inputs.image.shape == (2, 3, 12, 16)
        for index, one in enumerate(inputs.canvases()):
            assert torch.equal(one.layer, inputs.layer[index])
            assert torch.equal(one.target, noise(3, 12, 16))


@pytest.mark.parametrize(
    ("picture", "given", "sentence"),
    [
        (None, {}, "takes a picture or a scene"),
        (torch.ones(2, 5, 7), {}, r"A picture has shape \(3, H, W\).*not \(2, 5, 7\)"),
        (torch.ones(5, 7), {}, "A picture has shape"),
        (torch.ones(3, 5, 7), {"scene": scene_of(4)}, r"has shape \(4, 12, 16\), not \(4, 5, 7\)"),
        (torch.ones(3, 12, 16), {"scene": scene_of(2, 4)}, r"has shape \(2, 4, 12, 16\), not \(4, 12, 16\)"),
        (torch.ones(3, 5, 7), {"target": torch.full((3, 5, 7), 2.0)}, r"must be in \[0, 1\]"),
        (None, {"scene": scene_of(4), "sprites": [None, None]}, "Sprites of 2 primitives are given, but .* has 1"),
    ],
)
def test_refusals(picture: Tensor | None, given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DiffbmpError, match=sentence):
        loss_inputs(picture, **given)
