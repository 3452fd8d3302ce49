"""What a primitive declares: axes, learnables, names and outlines."""

from __future__ import annotations

from xml.etree import ElementTree

import torch

from diffbmp.fitting.learning import checked_learnables
from diffbmp.primitives.instances import check_axes, tensors_of
from diffbmp.primitives.primitive import InstanceName
from diffbmp.testing.primitives.comparing import gradients_of
from diffbmp.testing.primitives.suite import COUNT, PrimitiveSuite

__all__ = ["Declarations"]

SHAPES = ("g", "path", "polygon", "polyline", "line", "rect", "circle", "ellipse", "title")
"""Elements that an outline may be made of."""


class Declarations(PrimitiveSuite):
    """Tests of what is declared."""

    def test_every_tensor_has_its_instance_axis(self) -> None:
        """``axes`` names each tensor of the ``state_dict`` and no other, from the end, and counts the instances."""
        primitive, _ = self.build()
        check_axes(primitive)
        assert set(primitive.axes) == set(tensors_of(primitive)), "axes must name the tensors of the state_dict"
        assert primitive.batch == (), f"one canvas has a batch {primitive.batch}; the axes count from the end"
        assert len(primitive) == COUNT

    def test_learnables_can_be_learned(self) -> None:
        """They are contiguous, extents broadcast, rates are numbers, and whatever requires a gradient is learned."""
        primitive, atlas = self.build()
        learnables = checked_learnables(primitive)
        assert learnables, "learnables is empty, so that nothing is learned"
        assert all(learnable.parameter.requires_grad for learnable in learnables.values())
        assert list(primitive.learnables()) == list(learnables), "learnables must keep their order"
        gradients = gradients_of(primitive, atlas, self.canvas(atlas, primitive))
        for name, gradient in gradients.items():
            assert bool(torch.isfinite(gradient).all()), f"the gradient of '{name}' holds NaN or infinity"
            assert bool(gradient.any()), f"'{name}' changes nothing that is drawn"

    def test_names_and_outlines(self) -> None:
        """Every instance has a name; an outline is one SVG element without links or scripts."""
        primitive, atlas = self.build()
        names = primitive.names(atlas)
        assert len(names) == COUNT
        assert all(isinstance(name, InstanceName) and name.label for name in names)
        for outline in (primitive.outline(index, atlas) for index in range(COUNT)):
            if outline is not None:
                for element in ElementTree.fromstring(outline).iter():
                    assert element.tag.rpartition("}")[2] in SHAPES, f"an outline holds <{element.tag}>"
                    assert not [key for key in element.attrib if key.startswith("on") or key.endswith("href")]
