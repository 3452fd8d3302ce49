"""What a primitive paints: sprites, or a layer of its own."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.primitives.instances import stacked
from diffbmp.rendering.canvas import Canvas
from diffbmp.scene.scene import Scene
from diffbmp.testing.primitives.comparing import assert_near, blends_of, drawn
from diffbmp.testing.primitives.suite import PrimitiveSuite

__all__ = ["Painting"]


class Painting(PrimitiveSuite):
    """Tests of sprites and layers."""

    @pytest.mark.parametrize("batched", [False, True])
    def test_gradients_in_double_precision(self, batched: bool) -> None:
        """Sprites, or a layer of its own, have the gradients of their values."""
        if not self.double_precision:
            pytest.skip("it is not drawn in float64")
        primitive, atlas = self.build(count=2)
        if batched:
            primitive = stacked([primitive, self.build(1, count=2)[0]])
        primitive, atlas = primitive.double(), atlas.to(dtype=torch.float64)
        height, width = self.size
        canvas = Canvas(atlas, self.size, blend=blends_of(primitive)[0]).window((0, 0, width, height), (5, 7))

        def function(*_: Tensor) -> tuple[Tensor, ...]:
            values = drawn(primitive, atlas, canvas).values()
            return tuple(value for value in values if value.requires_grad)

        parameters = tuple(learnable.parameter for learnable in primitive.learnables().values())
        assert all(value.dtype == torch.float64 for value in function())
        assert torch.autograd.gradcheck(function, parameters, eps=1e-6, atol=1e-5)

    def test_sprites_can_be_drawn(self) -> None:
        """After any step, once ``constrain`` was called, values are finite and opacities lie in [0, 1]."""
        for seed in range(4):
            primitive, atlas = self.build(seed)
            random = torch.Generator().manual_seed(seed)
            with torch.no_grad():
                for learnable in primitive.learnables().values():
                    learnable.parameter.add_(30 * torch.randn(learnable.parameter.shape, generator=random))
                primitive.constrain(None, 0.5)
            values = drawn(primitive, atlas, self.canvas(atlas, primitive))
            painted = {name: value.detach() for name, value in values.items()}
            for name, value in painted.items():
                assert bool(torch.isfinite(value).all()), f"{name} holds NaN or infinity after a step"
            if not primitive.draws:
                assert 0 <= float(painted["opacity"].min()) <= float(painted["opacity"].max()) <= 1
                assert 0 <= float(painted["color"].min()) <= float(painted["color"].max()) <= 1

    def test_a_layer_of_its_own_is_drawn_in_any_window(self) -> None:
        """Windows, bands and other sizes are parts of one picture; ``alpha_max`` and ``blend`` apply."""
        primitive, atlas = self.build()
        if not primitive.draws:
            pytest.skip("it is made of sprites, which core draws")
        height, width = self.size
        primitive.requires_grad_(False)
        for blend in blends_of(primitive):
            canvas = replace(self.canvas(atlas, primitive), blend=blend)
            whole = primitive.draw(canvas)
            assert tuple(whole.shape) == (4, height, width)
            assert 0 <= float(whole[3].min()) <= float(whole[3].max()) <= 1 + 1e-6
            for left, top, right, bottom in ((3, 2, width - 5, height - 1), (0, height // 2, width, height)):
                window = canvas.window((left, top, right, bottom), (bottom - top, right - left))
                assert_near(primitive.draw(window), whole[:, top:bottom, left:right])
            large = primitive.draw(replace(canvas, size=(2 * height, 3 * width), scale=(3.0, 2.0)))
            assert tuple(large.shape) == (4, 2 * height, 3 * width)
            part = primitive.draw(replace(canvas, size=(4, 6), scale=(3.0, 2.0), offset=(2.0, 3.0)))
            assert_near(part, large[:, 6:10, 6:12])
            outside = primitive.draw(replace(canvas, offset=(2.0 - width, 0.0)))
            assert_near(outside[..., width - 2 :], whole[..., :2])
            assert not bool(primitive.draw(replace(canvas, alpha_max=0.0)).any()), "alpha_max = 0 draws something"
            half = primitive.draw(replace(canvas, alpha_max=0.5))
            assert float(half[3].sum()) < float(whole[3].sum())

    def test_a_layer_of_its_own_is_flattened(self) -> None:
        """For an exporter it is one sprite that looks the same; under "add" it is refused by name."""
        primitive, atlas = self.build()
        if not primitive.draws:
            pytest.skip("it is made of sprites, which need no flattening")
        height, width = self.size
        for blend in primitive.blends:
            scene = Scene(width, height, atlas, [primitive], blend=blend)
            if blend == "over":
                flat = scene.flattened()
                assert flat.count == 1
                torch.testing.assert_close(flat.layer(), scene.layer(), rtol=0, atol=1e-3)
            else:
                with pytest.raises(DiffbmpError, match=f"'{primitive.name}'"):
                    scene.flattened()
