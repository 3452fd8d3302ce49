"""Sprites drawn alone, as layered files hold them."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diffbmp.rendering.layers import layer_boxes
from diffbmp.rendering.reference import Reference
from diffbmp.testing.inputs import moved
from diffbmp.testing.kinks import in_double
from diffbmp.testing.renderers.suite import RendererSuite, where
from diffbmp.testing.scenes import ConformanceScene
from diffbmp.testing.tolerances import LAYER, VALUE
from diffbmp.testing.truth import one_thread

__all__ = ["Layers"]


class Layers(RendererSuite):
    """Tests of ``layers`` and ``layer_bytes``."""

    @where(lambda suite: suite.claims().draws_layers and suite.claims().exact)
    def test_layers_are_those_of_reference(self, layer_scene: ConformanceScene) -> None:
        """In floats nearly, in bytes with the nearest value on either side of a rounding."""
        single = layer_scene.build()
        inputs, boxes = moved(single, self.device), layer_boxes(single)
        with one_thread():
            truth = Reference().layers(in_double(single), boxes)
            wanted, _ = Reference().layer_bytes(in_double(single), boxes)
        layers = self.drawing.layers(inputs, boxes)
        assert layers.shape == truth.shape
        assert layers.dtype == torch.float32
        assert _largest(layers.cpu() - truth) <= LAYER
        found, _ = self.drawing.layer_bytes(inputs, boxes)
        for a, b in zip(_each(found.cpu().int(), boxes), _each(wanted.int(), boxes), strict=True):
            assert _largest(a[3] - b[3]) <= 1
            solid = (a[3] > 32) & (b[3] > 32)
            assert _largest((a - b) * solid) <= 2

    @where(lambda suite: suite.claims().draws_layers)
    def test_layers_fill_their_boxes(self, layer_scene: ConformanceScene) -> None:
        """Premultiplied floats; straight bytes that are clear outside of the boxes within them."""
        single = layer_scene.build()
        inputs, boxes = moved(single, self.device), layer_boxes(single)
        layers = self.drawing.layers(inputs, boxes)
        assert layers.shape == (4 * int(boxes[:, 2:].prod(dim=1).sum()),)
        assert layers.dtype == torch.float32
        for layer in _each(layers, boxes):
            assert _largest(layer.clamp(max=0)) <= VALUE
            assert _largest((layer[:3] - layer[3:]).clamp(min=0)) <= VALUE
            assert _largest((layer[3] - 1).clamp(min=0)) <= VALUE
        drawn, shown = self.drawing.layer_bytes(inputs, boxes)
        assert drawn.shape == layers.shape
        assert drawn.dtype == torch.uint8
        assert shown.shape == boxes.shape
        assert bool((shown[:, :2] + shown[:, 2:] <= boxes[:, 2:]).all())
        for layer, (left, top, width, height) in zip(_each(drawn.cpu().clone(), boxes), shown.tolist(), strict=True):
            layer[3, top : top + height, left : left + width] = 0
            assert not bool(layer[3].any())

    @where(lambda suite: suite.claims().draws_layers and suite.same_bits)
    def test_layers_have_the_same_bits_every_time(self) -> None:
        """Whatever the blend and the size of the canvas say, which layers have nothing to do with."""
        inputs = self.random(60)
        boxes = layer_boxes(inputs)
        first = self.drawing.layers(inputs, boxes)
        for blend in self.claims().blends:
            other = dataclasses.replace(inputs, blend=blend, height=3, width=5)
            assert torch.equal(self.drawing.layers(other, boxes), first)


def _each(flat: Tensor, boxes: Tensor) -> list[Tensor]:
    """Return the layers ``(4, height, width)`` of a flat result."""
    sizes = boxes[:, 2:].tolist()
    parts = torch.split(flat, [4 * width * height for width, height in sizes])
    return [part.view(4, height, width) for part, (width, height) in zip(parts, sizes, strict=True)]


def _largest(difference: Tensor) -> float:
    return float(difference.abs().max()) if difference.numel() else 0.0
