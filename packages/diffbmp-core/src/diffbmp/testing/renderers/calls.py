"""How a renderer is called: the same bits, inputs in any layout, nothing written to, memory of its own."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffbmp.testing.comparison import SPRITE_INPUTS, assert_same_bits
from diffbmp.testing.inputs import TENSORS, canvas_of, gradients_of, mapped
from diffbmp.testing.renderers.suite import RendererSuite, where
from diffbmp.testing.scenes import ConformanceScene

__all__ = ["Calls"]


def bits_of_gradients(suite: type[RendererSuite]) -> bool:
    """Whether gradients can be compared bit by bit, and are the same whatever else is drawn."""
    return suite.same_bits and not suite.claims().stochastic


class Calls(RendererSuite):
    """Tests that hold for whatever is drawn."""

    @where(lambda suite: suite.same_bits)
    def test_same_bits_every_time(self, some_scene: ConformanceScene) -> None:
        """Two runs agree in every bit; on the CPU for any number of threads."""
        inputs = self.build(some_scene)
        grad_image = self.gradient_like(inputs)
        first_image, first = self.draw_and_differentiate(inputs, grad_image)
        threads = torch.get_num_threads()
        try:
            for number in (1, 2, 3) if self.device == "cpu" else (threads,):
                torch.set_num_threads(number)
                image, gradients = self.draw_and_differentiate(inputs, grad_image)
                assert torch.equal(image, first_image), f"image differs with {number} threads"
                assert_same_bits(gradients, first, f"with {number} threads")
        finally:
            torch.set_num_threads(threads)

    @where(lambda suite: suite.same_bits)
    def test_two_renders_before_one_backward(self) -> None:
        """What a forward pass keeps is its own."""
        scenes = [self.random(seed, opacity=(0.3, 0.9)) for seed in (50, 51)]
        weights = [self.gradient_like(inputs, seed) for seed, inputs in enumerate(scenes)]
        alone = [self.draw_and_differentiate(i, w)[1] for i, w in zip(scenes, weights, strict=True)]
        leaves = [self.leaves(inputs) for inputs in scenes]
        images = [self.draw(leaf) for leaf in leaves]
        loss = (images[0] * weights[0]).sum() + (images[1] * weights[1]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        for leaf, expected in zip(leaves, alone, strict=True):
            assert_same_bits(gradients_of(leaf), expected, "when two scenes are drawn before backward")

    @where(lambda suite: suite.same_bits)
    @pytest.mark.parametrize("layout", ["expanded", "channels_last", "transposed"])
    def test_gradient_of_any_layout(self, layout: str) -> None:
        """A gradient of the image that is not contiguous counts like its contiguous copy."""
        inputs = self.random(52, batch=2)
        height, width = inputs.height, inputs.width
        grad_image = {
            "expanded": lambda: torch.full((1, 1, 1, 1), 0.7).expand(2, 4, height, width),
            "channels_last": lambda: torch.randn(2, height, width, 4).movedim(-1, 1),
            "transposed": lambda: torch.randn(2, 4, width, height).transpose(-1, -2),
        }[layout]()
        assert not grad_image.is_contiguous()
        _, strided = self.draw_and_differentiate(inputs, grad_image)
        _, expected = self.draw_and_differentiate(inputs, grad_image.contiguous())
        assert_same_bits(strided, expected, f"for a gradient that is {layout}")

    def test_inputs_of_any_layout(self) -> None:
        """Inputs that are not contiguous count like their contiguous copies."""
        inputs = self.random(53, batch=2)
        strided = {
            name: getattr(inputs, name).movedim(0, -1).contiguous().movedim(-1, 0)
            for name in (*SPRITE_INPUTS, "texture")
        }
        assert not any(value.is_contiguous() for value in strided.values())
        assert torch.equal(self.draw(dataclasses.replace(inputs, **strided)), self.draw(inputs))

    def test_nothing_given_is_written_to(self, blend: str) -> None:
        """Forward and backward leave inputs, state and gradient as they were, and return memory of their own."""
        inputs, before = (self.random(59, blend=blend) for _ in range(2))
        grad_image = self.gradient_like(inputs)
        image, state = self.drawing.forward(inputs)
        kept = [image.clone(), state.clone(), grad_image.clone()]
        gradients = self.drawing.backward(inputs, state, grad_image, texel_gradient=self.claims().texel_gradients)
        for name in TENSORS:
            assert torch.equal(getattr(inputs, name), getattr(before, name)), f"{name} was written to"
        for label, now, then in zip(("image", "state", "grad_image"), (image, state, grad_image), kept, strict=True):
            assert torch.equal(now, then), f"{label} was written to by backward"
        given = {getattr(inputs, name).data_ptr() for name in TENSORS} | {grad_image.data_ptr()}
        results = (getattr(gradients, name) for name in (*SPRITE_INPUTS, "texels"))
        returned = [image, *(value for value in results if value is not None)]
        assert not given & {value.data_ptr() for value in returned}, "a result shares memory with an input"

    def test_state_is_as_declared(self) -> None:
        """``state_planes`` says how many float32 planes a canvas needs."""
        inputs = self.random(54, batch=2)
        _, state = self.drawing.forward(inputs)
        assert state.shape == (2, self.claims().state_planes, inputs.height, inputs.width)
        assert state.dtype == torch.float32
        assert state.is_contiguous()

    def test_no_texel_gradient_where_none_is_asked_for(self) -> None:
        """Without ``texel_gradient`` there is none."""
        inputs = self.random(55)
        _, state = self.drawing.forward(inputs)
        gradients = self.drawing.backward(inputs, state, self.gradient_like(inputs), texel_gradient=False)
        assert gradients.texels is None, "there is a gradient of texels that nobody asked for"

    @where(lambda suite: suite.claims().texel_gradients and bits_of_gradients(suite))
    def test_texel_gradient_only_where_asked(self) -> None:
        """The other gradients are the same with and without it."""
        inputs = self.random(55)
        _, state = self.drawing.forward(inputs)
        grad_image = self.gradient_like(inputs)
        without = self.drawing.backward(inputs, state, grad_image, texel_gradient=False)
        asked = self.drawing.backward(inputs, state, grad_image, texel_gradient=True)
        assert_same_bits(dataclasses.replace(without, texels=asked.texels), asked, "with texel_gradient")

    @where(lambda suite: suite.same_bits)
    @pytest.mark.parametrize("textures", ["mixed", "cut_out"])
    def test_a_canvas_has_the_same_bits_alone_and_in_a_batch(self, textures: str, filter: str) -> None:
        """Whatever is on the other canvases; only the gradient of the texels is that of all canvases together."""
        options = {"radius": (4, 9), "margin": 0.1, "textures": textures, "filter": filter}
        inputs = self.random(58, count=6, size=(50, 70), batch=5, **options)
        grad_image = self.gradient_like(inputs)
        image, state = self.drawing.forward(inputs)
        gradients = self.drawing.backward(inputs, state, grad_image, texel_gradient=False)
        for index in range(inputs.batch):
            single = canvas_of(inputs, index)
            single_image, single_state = self.drawing.forward(single)
            assert torch.equal(image[index], single_image[0]), f"canvas {index} differs"
            if self.claims().stochastic:  # one seed is that of all canvases
                continue
            weights = grad_image[index : index + 1]
            own = self.drawing.backward(single, single_state, weights, texel_gradient=False)
            for name in SPRITE_INPUTS:
                assert torch.equal(getattr(gradients, name)[index], getattr(own, name)[0]), f"{name} of canvas {index}"

    @where(bits_of_gradients)
    def test_gradient_is_linear_in_what_comes_back(self) -> None:
        """Twice the gradient of the image gives twice every gradient, and none gives none."""
        inputs = self.random(57)
        grad_image = self.gradient_like(inputs)
        _, once = self.draw_and_differentiate(inputs, grad_image)
        _, twice = self.draw_and_differentiate(inputs, 2 * grad_image)
        _, none = self.draw_and_differentiate(inputs, torch.zeros_like(grad_image))
        assert_same_bits(twice, mapped(once, lambda value: 2 * value), "for twice the gradient")
        assert_same_bits(none, mapped(once, torch.zeros_like), "for a gradient of zero")
