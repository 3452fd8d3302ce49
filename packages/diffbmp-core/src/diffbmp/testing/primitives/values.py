"""Values that people give: set, range and palette."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.primitives.instances import stacked, tensors_of
from diffbmp.primitives.primitive import Primitive
from diffbmp.testing.primitives.comparing import PALETTE, assert_tensors, copies, refusal
from diffbmp.testing.primitives.suite import PrimitiveSuite

__all__ = ["Values"]


class Values(PrimitiveSuite):
    """Tests of ``set`` and ``constrain``."""

    def test_set_sets_all_instances_or_refuses(self) -> None:
        """A value that is taken is that of all instances and within range; one that is refused changes nothing."""
        primitive, _ = self.build()
        with pytest.raises(DiffbmpError, match="nothing-like-that"):
            primitive.set("nothing-like-that", 1.0)
        unknown = set(self.values) - set(primitive.learnables())
        assert not unknown, f"no learnables: {unknown}"
        for name in primitive.learnables():
            for value in dict.fromkeys([self.values.get(name, 0.5), 0.0, 0.5, 1.0, 4.0, -1.0, 1e9, math.inf, math.nan]):
                primitive, _ = self.build()
                before = copies(primitive)
                refused = refusal(primitive.set, name, value)
                if refused is not None:
                    assert self.values.get(name) != value, f"set refuses {name} = {value:g}: {refused}"
                    assert name in refused, f"the sentence does not name '{name}': {refused}"
                    assert_tensors(primitive, before, f"set({name!r}, {value}) was refused, but changed")
                    continue
                assert abs(value) < math.inf, f"set takes {name} = {value}"
                self._check_set(primitive, name, value, before)

    def _check_set(self, primitive: Primitive, name: str, value: float, before: Mapping[str, Tensor]) -> None:
        once = copies(primitive)
        parameter = primitive.learnables()[name].parameter
        own = next(own for own, tensor in tensors_of(primitive).items() if tensor is parameter)
        axis = primitive.axes[own]
        if axis is not None:
            rows = parameter.movedim(axis, 0)
            assert bool((rows == rows[0]).all()), f"set({name!r}, {value}) leaves instances different"
        others = {key: tensor for key, tensor in before.items() if key != own}
        assert_tensors(primitive, others, f"set({name!r}, {value}) also changed")
        primitive.set(name, value)
        assert_tensors(primitive, once, f"set({name!r}, {value}) again changed")
        with torch.no_grad():
            primitive.constrain(None, 1.0)
        assert_tensors(primitive, once, f"set({name!r}, {value}) takes a value out of range: constrain changed")

    @pytest.mark.parametrize("batched", [False, True])
    def test_constrain_changes_nothing_the_second_time(self, batched: bool) -> None:
        """Values in their range and colours of the palette stay as they are, to the bit."""
        for palette in (None, PALETTE):
            primitive, atlas = self.build()
            if batched:
                primitive = stacked([primitive, self.build(1)[0]])
            with torch.no_grad():
                refused = refusal(primitive.constrain, palette, 1.0)
                if refused is not None:
                    assert palette is not None, refused
                    assert primitive.name in refused, f"the sentence does not name the kind: {refused}"
                    continue
                once = copies(primitive)
                primitive.constrain(palette, 1.0)
                assert_tensors(primitive, once, "constrain again changed")
                if palette is not None and not primitive.draws:
                    color = primitive(atlas).color
                    distance = (color[..., None, :] - PALETTE).abs().amax(dim=-1).amin(dim=-1)
                    assert float(distance.max()) < 1 / 510, "at progress 1 colours are not the palette's"
