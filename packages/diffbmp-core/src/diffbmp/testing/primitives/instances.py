"""Instances and canvases: selected, reordered, joined, stacked."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import torch

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.learning import checked_learnables
from diffbmp.primitives.instances import canvas_of, check_axes, joined, selected, stacked, tensors_of
from diffbmp.rendering.composite import put_upon
from diffbmp.scene.scene import Scene
from diffbmp.testing.primitives.comparing import (
    PALETTE,
    TRAILING,
    assert_near,
    assert_same,
    blends_of,
    drawn,
    gradients_of,
    sprite_values,
)
from diffbmp.testing.primitives.suite import COUNT, PrimitiveSuite

__all__ = ["Instances"]


class Instances(PrimitiveSuite):
    """Tests of instances, and of batches of canvases."""

    def test_instances_are_numbered_as_they_are_selected(self) -> None:
        """Drawn alone, an instance is what ``Sprites.instance`` says is its, or its part of the layer."""
        primitive, atlas = self.build()
        alone = [selected(primitive, torch.tensor([index])) for index in range(COUNT)]
        assert [len(one) for one in alone] == [1] * COUNT
        if primitive.draws:
            for blend in blends_of(primitive):
                canvas = replace(self.canvas(atlas, primitive), blend=blend)
                whole = primitive.draw(canvas)
                layers = [one.draw(canvas) for one in alone]
                picture = layers[0]
                for layer in layers[1:]:
                    picture = put_upon(layer, picture, blend)
                assert_near(picture, whole)
            return
        whole_sprites = Scene(8, 8, atlas, [primitive]).sprites()  # checks the numbers, too
        for index, one in enumerate(alone):
            own = (whole_sprites.instances == index).nonzero()[:, 0]
            assert len(own), f"instance {index} has no sprites"
            for name, value in sprite_values(one(atlas)).items():
                expected = sprite_values(whole_sprites)[name].movedim(-1 - TRAILING[name], 0)[own]
                torch.testing.assert_close(value.movedim(-1 - TRAILING[name], 0), expected, msg=f"{name} of {index}")

    def test_selecting_reordering_and_joining_come_back(self) -> None:
        """Every tensor and lock follows the instances, and results share no memory with what they are made of."""
        primitive, _ = self.build()
        primitive.locked = torch.arange(COUNT) % 2 == 0
        order = torch.tensor([2, 0, 4, 1, 3])
        turned = selected(primitive, order)
        assert turned.locked is not None
        assert turned.locked.tolist() == [True, True, True, False, False]
        assert_same(selected(turned, order.argsort()), primitive)
        front, back = (selected(primitive, torch.arange(COUNT)[part]) for part in (slice(2, None), slice(2)))
        whole = joined(back, front)
        assert_same(whole, primitive)
        assert not {t.data_ptr() for t in tensors_of(whole).values()} & {
            t.data_ptr() for one in (primitive, back, front) for t in tensors_of(one).values()
        }

    def test_canvases_stack_and_come_back(self) -> None:
        """A batch has one more dimension, and each of its canvases is the one that it was made of."""
        canvases = [self.build(seed)[0] for seed in range(3)]
        canvases[1].locked = torch.arange(COUNT) == 3
        batch = stacked(canvases)
        assert batch.batch == (3,)
        assert len(batch) == COUNT
        check_axes(batch)
        checked_learnables(batch)
        for index, canvas in enumerate(canvases):
            assert_same(canvas_of(batch, index), canvas)
        assert stacked([batch, batch]).batch == (2, 3)

    def test_a_batch_has_the_bits_of_its_canvases(self) -> None:
        """What is drawn, its gradients and what ``constrain`` leaves are those of each canvas alone.

        PyTorch computes the last few values of a tensor by other formulas (sigmoid) or in another order (matrix
        products): compute those canvas by canvas.
        """
        canvases = [self.build(seed)[0] for seed in range(3)]
        atlas, _ = self.joint_atlas()
        batch = stacked(canvases)
        drawing = self.canvas(atlas, batch)
        painted, gradients = drawn(batch, atlas, drawing), gradients_of(batch, atlas, drawing)
        for index, canvas in enumerate(canvases):
            for name, value in drawn(canvas, atlas, drawing).items():
                one = painted[name]
                one = one[index] if one.dim() > value.dim() else one
                assert torch.equal(one, value), f"{name} of canvas {index} has other bits in a batch"
            for name, value in gradients_of(canvas, atlas, drawing, index).items():
                assert torch.equal(gradients[name][index], value), (
                    f"the gradient of '{name}' of canvas {index} has other bits in a batch"
                )
        for step in (0.5, 1.0):
            for primitive in (batch, *canvases):
                with torch.no_grad():
                    primitive.constrain(None, step)
                    with contextlib.suppress(DiffbmpError):  # where it takes no palette
                        primitive.constrain(PALETTE, step)
        for index, canvas in enumerate(canvases):
            assert_same(canvas_of(batch, index), canvas)
