"""What a renderer draws, and its gradients: against ``reference``, or within bounds where it has a look of its own."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diffbmp.rendering.renderer import CompositeInputs, Gradients
from diffbmp.testing.comparison import SPRITE_INPUTS, assert_gradients_close, assert_values_close, texel_border
from diffbmp.testing.inputs import as_double, canvas_of, moved
from diffbmp.testing.renderers.suite import RendererSuite, where
from diffbmp.testing.scenes import SCENES, ConformanceScene
from diffbmp.testing.tolerances import TOTAL_GRADIENT, VALUE
from diffbmp.testing.truth import truth

__all__ = ["Pictures"]


class Pictures(RendererSuite):
    """Tests of pixels and of gradients."""

    @where(lambda suite: suite.claims().exact)
    def test_values(self, scene: ConformanceScene, dtype: torch.dtype) -> None:
        """Every pixel is that of ``reference``."""
        inputs, expected = self.build(scene, dtype), truth(scene)
        image = self.draw(inputs)
        assert image.dtype == dtype
        assert image.is_contiguous()
        ignored = expected.kinks if inputs.filter == "nearest_texel" else None
        assert_values_close(image.cpu(), expected.image, ignored, double=dtype == torch.float64)

    @where(lambda suite: suite.claims().exact and not suite.claims().stochastic)
    def test_gradients(self, scene: ConformanceScene, dtype: torch.dtype) -> None:
        """Every gradient is that of ``reference``."""
        inputs, expected = self.build(scene, dtype), truth(scene)
        _, gradients = self.draw_and_differentiate(inputs, expected.grad_image)
        wanted = self._claimed(expected.gradients)
        assert_gradients_close(moved(gradients, "cpu"), wanted, scene.build(), double=dtype == torch.float64)

    @where(lambda suite: not suite.claims().exact)
    def test_a_look_of_its_own_is_a_premultiplied_picture(self, scene: ConformanceScene, dtype: torch.dtype) -> None:
        """Whatever it looks like: alpha in [0, 1], no colour below 0 nor, under "over", above alpha."""
        inputs = self.build(scene, dtype)
        image = self.draw(inputs)
        assert image.shape == (inputs.batch, 4, inputs.height, inputs.width)
        assert image.dtype == dtype
        assert image.is_contiguous()
        color, alpha = image[:, :3], image[:, 3:]
        assert float(alpha.min()) >= -VALUE, "alpha is below 0"
        assert float(alpha.max()) <= 1 + VALUE, "alpha is above 1"
        assert float(color.min()) >= -VALUE, "colour is below 0"
        if inputs.blend == "over":
            assert float((color - alpha).max()) <= VALUE, "colour is above alpha, so it is not premultiplied"

    @where(lambda suite: not suite.claims().exact or suite.claims().stochastic)
    def test_gradients_have_the_shape_of_their_inputs(self, scene: ConformanceScene, dtype: torch.dtype) -> None:
        """And are finite."""
        inputs = self.build(scene, dtype)
        image, gradients = self.draw_and_differentiate(inputs, self.gradient_like(inputs))
        assert bool(torch.isfinite(image).all()), "image holds NaN or infinity"
        for name in (*SPRITE_INPUTS, *(("texels",) if self.claims().texel_gradients else ())):
            gradient = getattr(gradients, name)
            assert gradient.shape == getattr(inputs, name).shape, f"gradient of {name}"
            assert gradient.dtype == dtype, f"gradient of {name}"
            assert bool(torch.isfinite(gradient).all()), f"gradient of {name} holds NaN or infinity"

    def test_degenerate_frames_are_nothing(self) -> None:
        """A sprite without area changes no pixel and has a gradient of exactly zero."""
        inputs = self.build(self._scene("degenerate"))
        flat = torch.linalg.det(inputs.frame[0, :, :, :2].double()).abs() < 1e-9
        assert 7 <= int(flat.sum()) < inputs.count
        self._check_nothing(inputs, flat)

    def test_sprites_far_off_the_canvas_are_nothing(self) -> None:
        """They change no pixel and have a gradient of exactly zero."""
        inputs = self.random(61, count=16)
        away = torch.arange(inputs.count, device=inputs.frame.device) % 3 == 0
        inputs.frame[:, away, :, 2] += 1e5
        self._check_nothing(inputs, away)

    def _check_nothing(self, inputs: CompositeInputs, nothing: Tensor) -> None:
        image, gradients = self.draw_and_differentiate(inputs, self.gradient_like(inputs))
        for name in SPRITE_INPUTS if not self.claims().stochastic else ():
            assert bool((getattr(gradients, name)[:, nothing] == 0).all()), f"gradient of {name}"
        kept = {name: getattr(inputs, name)[:, ~nothing] for name in (*SPRITE_INPUTS, "texture")}
        assert_values_close(self.draw(dataclasses.replace(inputs, **kept)).cpu(), image.cpu().double())

    def test_no_sprites_leave_the_canvas_empty(self) -> None:
        """N = 0 gives zeros, and gradients of no sprites."""
        inputs = self.random(0, count=0, batch=2)
        image, gradients = self.draw_and_differentiate(inputs, self.gradient_like(inputs))
        assert image.shape == (2, 4, inputs.height, inputs.width)
        assert not bool(image.any())
        assert gradients.frame.shape == (2, 0, 2, 3)
        if self.claims().texel_gradients:
            assert gradients.texels is not None
            assert not bool(gradients.texels.any())

    def test_a_batch_is_its_canvases(self, blend: str) -> None:
        """A batch gives what its canvases give one by one; a texel's gradient is the sum."""
        inputs = self.random(56, batch=3, blend=blend)
        grad_image = self.gradient_like(inputs)
        image, gradients = self.draw_and_differentiate(inputs, grad_image)
        texels = torch.zeros_like(inputs.texels, dtype=torch.float64)
        for index in range(3):
            single = canvas_of(inputs, index)
            single_image, of_single = self.draw_and_differentiate(single, grad_image[index : index + 1])
            assert_values_close(image[index : index + 1], single_image.double())
            if self.claims().stochastic:  # one seed is that of all canvases
                continue
            parts = {name: getattr(gradients, name)[index : index + 1] for name in SPRITE_INPUTS}
            own = Gradients(**parts, texels=of_single.texels)
            assert_gradients_close(own, as_double(of_single), single)
            texels += 0 if of_single.texels is None else of_single.texels
        if gradients.texels is not None and not self.claims().stochastic:
            difference = (gradients.texels.double() - texels).masked_fill(texel_border(inputs), 0.0)
            assert float(difference.norm()) <= TOTAL_GRADIENT * float(texels.norm())

    def _claimed(self, gradients: Gradients) -> Gradients:
        """Return the gradients that the renderer has."""
        return gradients if self.claims().texel_gradients else dataclasses.replace(gradients, texels=None)

    def _scene(self, name: str) -> ConformanceScene:
        claims = self.claims()
        found = next(scene for scene in SCENES if scene.name == name).drawn_with(claims.blends, claims.filters)
        assert found is not None
        return found
