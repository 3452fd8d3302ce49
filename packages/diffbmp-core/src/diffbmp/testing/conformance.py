"""The suite that every renderer must pass, core's own and a stranger's alike."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar

import pytest
import torch
from torch import Tensor

from diffbmp.plugins.registry import registry
from diffbmp.rendering.reference import Reference
from diffbmp.rendering.renderer import CompositeInputs, Gradients, Renderer
from diffbmp.rendering.selection import renderer_key, resolve_renderer
from diffbmp.testing.comparison import SPRITE_INPUTS, assert_gradients_close, assert_same_bits, assert_values_close
from diffbmp.testing.kinks import in_double, kink_mask
from diffbmp.testing.scenes import SCENES, ConformanceScene, random_inputs

__all__ = ["RendererConformance"]

T = TypeVar("T", CompositeInputs, Gradients)
every_scene = pytest.mark.parametrize("scene", SCENES, ids=str)
TENSORS = ("frame", "opacity", "color", "color_blend", "texture", "texels", "levels", "textures")


@dataclasses.dataclass(frozen=True)
class Truth:
    """A scene as ``reference`` draws it in float64, with the gradients of sum(image * grad_image)."""

    image: Tensor
    kinks: Tensor
    grad_image: Tensor
    gradients: Gradients


@functools.cache
def truth(scene: ConformanceScene) -> Truth:
    """Draw ``scene`` with ``reference``; ``grad_image`` is random, and zero at kinks."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for tensors of this size, more threads only wait for each other
    try:
        inputs = scene.build()
        double = in_double(inputs)
        image, state = Reference().forward(double)
        kinks = kink_mask(inputs)
        random = torch.Generator().manual_seed(len(scene.name))
        grad_image = torch.randn(image.shape, generator=random).masked_fill(kinks[:, None], 0.0)
        gradients = Reference().backward(double, state, grad_image.double(), texel_gradient=True)
        return Truth(image, kinks, grad_image, gradients)
    finally:
        torch.set_num_threads(threads)


class RendererConformance:
    """Subclass it in a test module, and pytest runs the whole suite on your renderer::

        from diffbmp.testing import RendererConformance

        class TestMine(RendererConformance):
            renderer = "mine"
            device = "cuda"

    Values must lie within 1e-5 and gradients within 1e-4 (relative) of ``reference`` in float64, on scenes with
    rotation, shear, stretch, minification, overlap beyond 1000 deep, alpha exactly 1, sprites off the canvas and
    frames without area; ``diffbmp.testing.tolerances`` has every number. Gradients are not compared at the pixels
    that ``kink_mask`` finds. The same inputs must give the same bits, for any number of threads.

    A renderer may stop drawing a pixel once its transmittance T is small, in value and gradient alike. What is left
    out changes a pixel by up to T, so that only a threshold of about 5e-6 or less passes here.

    The suite skips where the renderer says that it cannot run on ``device``.
    """

    renderer: ClassVar[str]
    """Registered name."""

    device: ClassVar[str] = "cpu"
    """PyTorch device to draw on."""

    settings: ClassVar[Mapping[str, Any]] = {}
    """Values for the renderer's settings model."""

    @pytest.fixture(autouse=True)
    def _skip_where_unavailable(self) -> None:
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            pytest.skip(f"no device {self.device}: {str(error).partition(chr(10))[0]}")
        reason = registry().get("renderers", self.renderer).unavailable(torch.device(self.device))
        if reason is not None:
            pytest.skip(f"{self.renderer} cannot draw on {self.device}: {reason}")

    @property
    def key(self) -> str:
        """The operator's name for the renderer with its settings."""
        return renderer_key(self.renderer, self.settings)

    def draw(self, inputs: CompositeInputs) -> Tensor:
        """Draw through the operator, differentiably."""
        tensors = (getattr(inputs, name) for name in TENSORS)
        constants = (inputs.height, inputs.width, inputs.blend, inputs.filter)
        image: Tensor = torch.ops.diffbmp.composite(*tensors, *constants, self.key)[0]
        return image

    def draw_and_differentiate(self, inputs: CompositeInputs, grad_image: Tensor) -> tuple[Tensor, Gradients]:
        """Return image and gradients by autograd, each of them asked for."""
        leaves = leaves_of(inputs)
        image = self.draw(leaves)
        image.backward(grad_image.to(image))  # type: ignore[no-untyped-call]
        return image.detach(), gradients_of(leaves)

    def build(self, scene: ConformanceScene) -> CompositeInputs:
        """Return the scene on ``device``."""
        return moved(scene.build(), self.device)

    @every_scene
    def test_values(self, scene: ConformanceScene) -> None:
        """Every pixel is that of ``reference``."""
        inputs, expected = self.build(scene), truth(scene)
        image = self.draw(inputs)
        assert image.dtype == torch.float32
        assert image.is_contiguous()
        ignored = expected.kinks if inputs.filter == "nearest_texel" else None
        assert_values_close(image.cpu(), expected.image, ignored)

    @every_scene
    def test_gradients(self, scene: ConformanceScene) -> None:
        """Every gradient is that of ``reference``."""
        inputs, expected = self.build(scene), truth(scene)
        _, gradients = self.draw_and_differentiate(inputs, expected.grad_image)
        assert_gradients_close(moved(gradients, "cpu"), expected.gradients, scene.build())

    def test_degenerate_frames_are_nothing(self) -> None:
        """A sprite without area changes no pixel and has a gradient of exactly zero."""
        scene = next(s for s in SCENES if s.name == "degenerate")
        inputs = self.build(scene)
        linear = inputs.frame[..., :2].double()
        flat = torch.linalg.det(linear).abs()[0] < 1e-9
        assert 7 <= int(flat.sum()) < inputs.count
        image, gradients = self.draw_and_differentiate(inputs, truth(scene).grad_image)
        for name in ("frame", "opacity", "color", "color_blend"):
            assert bool((getattr(gradients, name)[:, flat] == 0).all()), f"gradient of {name}"
        kept = {
            name: getattr(inputs, name)[:, ~flat] for name in ("frame", "opacity", "color", "color_blend", "texture")
        }
        assert_values_close(self.draw(dataclasses.replace(inputs, **kept)).cpu(), image.cpu().double())

    def test_no_sprites_leave_the_canvas_empty(self) -> None:
        """N = 0 gives zeros, and gradients of no sprites."""
        inputs = moved(random_inputs(0, count=0, batch=2), self.device)
        image, gradients = self.draw_and_differentiate(inputs, torch.ones(2, 4, *inputs_size(inputs)))
        assert image.shape == (2, 4, *inputs_size(inputs))
        assert not bool(image.any())
        assert gradients.frame.shape == (2, 0, 2, 3)
        assert gradients.texels is not None
        assert not bool(gradients.texels.any())

    @pytest.mark.parametrize("name", ["over-mipmap", "add-trilinear", "deep-hidden", "batch", "wide"])
    def test_same_bits_every_time(self, name: str) -> None:
        """Two runs agree in every bit; on the CPU for any number of threads."""
        scene = next(s for s in SCENES if s.name == name)
        inputs, grad_image = self.build(scene), truth(scene).grad_image
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

    def test_two_renders_before_one_backward(self) -> None:
        """What a forward pass keeps is its own."""
        first, second = (moved(random_inputs(seed, opacity=(0.3, 0.9)), self.device) for seed in (50, 51))
        weights = [torch.randn(1, 4, *inputs_size(first), device=self.device) for _ in range(2)]
        alone = [self.draw_and_differentiate(i, w)[1] for i, w in zip((first, second), weights, strict=True)]
        leaves = [leaves_of(first), leaves_of(second)]
        images = [self.draw(leaf) for leaf in leaves]
        loss = (images[0] * weights[0]).sum() + (images[1] * weights[1]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        for leaf, expected in zip(leaves, alone, strict=True):
            assert_same_bits(gradients_of(leaf), expected, "when two scenes are drawn before backward")

    @pytest.mark.parametrize("layout", ["expanded", "channels_last", "transposed"])
    def test_gradient_of_any_layout(self, layout: str) -> None:
        """A gradient of the image that is not contiguous counts like its contiguous copy."""
        inputs = moved(random_inputs(52, batch=2), self.device)
        height, width = inputs_size(inputs)
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
        inputs = moved(random_inputs(53, batch=2), self.device)
        strided = {
            name: getattr(inputs, name).movedim(0, -1).contiguous().movedim(-1, 0)
            for name in ("frame", "opacity", "color", "color_blend", "texture")
        }
        assert not any(value.is_contiguous() for value in strided.values())
        assert torch.equal(self.draw(dataclasses.replace(inputs, **strided)), self.draw(inputs))

    @pytest.mark.parametrize("name", ["over-mipmap", "add-bilinear"])
    def test_nothing_given_is_written_to(self, name: str) -> None:
        """Forward and backward leave inputs, state and gradient as they were, and return memory of their own."""
        scene = next(s for s in SCENES if s.name == name)
        inputs, before = self.build(scene), self.build(scene)
        grad_image = truth(scene).grad_image.to(self.device)
        drawing: Renderer = resolve_renderer(self.key)
        image, state = drawing.forward(inputs)
        kept = [image.clone(), state.clone(), grad_image.clone()]
        gradients = drawing.backward(inputs, state, grad_image, texel_gradient=True)
        for name in TENSORS:
            assert torch.equal(getattr(inputs, name), getattr(before, name)), f"{name} was written to"
        for label, now, then in zip(("image", "state", "grad_image"), (image, state, grad_image), kept, strict=True):
            assert torch.equal(now, then), f"{label} was written to by backward"
        given = {getattr(inputs, name).data_ptr() for name in TENSORS} | {grad_image.data_ptr()}
        returned = [
            image,
            *(getattr(gradients, name) for name in ("frame", "opacity", "color", "color_blend", "texels")),
        ]
        assert not given & {value.data_ptr() for value in returned}, "a result shares memory with an input"

    def test_state_is_as_declared(self) -> None:
        """``state_planes`` says how many float32 planes a canvas needs."""
        inputs = moved(random_inputs(54, batch=2), self.device)
        drawing = resolve_renderer(self.key)
        _, state = drawing.forward(inputs)
        assert state.shape == (2, drawing.state_planes, *inputs_size(inputs))
        assert state.dtype == torch.float32
        assert state.is_contiguous()

    def test_texel_gradient_only_where_asked(self) -> None:
        """Without ``texel_gradient`` there is none, and the others are the same."""
        inputs = moved(random_inputs(55), self.device)
        drawing = resolve_renderer(self.key)
        image, state = drawing.forward(inputs)
        grad_image = torch.randn_like(image)
        without = drawing.backward(inputs, state, grad_image, texel_gradient=False)
        asked = drawing.backward(inputs, state, grad_image, texel_gradient=True)
        assert without.texels is None
        assert_same_bits(dataclasses.replace(without, texels=asked.texels), asked, "with texel_gradient")

    @pytest.mark.parametrize("blend", ["over", "add"])
    def test_a_batch_is_its_canvases(self, blend: str) -> None:
        """A batch gives what its canvases give one by one; a texel's gradient is the sum."""
        inputs = moved(random_inputs(56, batch=3, blend=blend), self.device)
        grad_image = torch.randn(3, 4, *inputs_size(inputs), device=self.device)
        image, gradients = self.draw_and_differentiate(inputs, grad_image)
        texels = torch.zeros_like(inputs.texels, dtype=torch.float64)
        for index in range(3):
            single = canvas_of(inputs, index)
            single_image, single_gradients = self.draw_and_differentiate(single, grad_image[index : index + 1])
            assert_values_close(image[index : index + 1], single_image.double())
            assert single_gradients.texels is not None
            texels += single_gradients.texels
            own = {name: getattr(gradients, name)[index : index + 1] for name in SPRITE_INPUTS}
            assert_gradients_close(
                Gradients(**own, texels=single_gradients.texels), as_double(single_gradients), single
            )
        assert_gradients_close(gradients, dataclasses.replace(as_double(gradients), texels=texels), inputs)

    @pytest.mark.parametrize("filter", ["mipmap", "bilinear"])
    @pytest.mark.parametrize("textures", ["mixed", "cut_out"])
    def test_a_canvas_has_the_same_bits_alone_and_in_a_batch(self, textures: str, filter: str) -> None:
        """Whatever is on the other canvases; only the gradient of the texels is that of all canvases together."""
        options: dict[str, Any] = {"radius": (4, 9), "margin": 0.1, "textures": textures, "filter": filter}
        inputs = moved(random_inputs(58, count=6, size=(50, 70), batch=5, **options), self.device)
        grad_image = torch.randn(5, 4, *inputs_size(inputs), device=self.device)
        drawing = resolve_renderer(self.key)
        image, state = drawing.forward(inputs)
        gradients = drawing.backward(inputs, state, grad_image, texel_gradient=False)
        for index in range(5):
            single = canvas_of(inputs, index)
            single_image, single_state = drawing.forward(single)
            assert torch.equal(image[index : index + 1], single_image), f"canvas {index} differs"
            own = drawing.backward(single, single_state, grad_image[index : index + 1], texel_gradient=False)
            for name in SPRITE_INPUTS:
                assert torch.equal(getattr(gradients, name)[index], getattr(own, name)[0]), f"{name} of canvas {index}"

    def test_gradient_is_linear_in_what_comes_back(self) -> None:
        """Twice the gradient of the image gives twice every gradient, and none gives none."""
        inputs = moved(random_inputs(57), self.device)
        grad_image = torch.randn(1, 4, *inputs_size(inputs), device=self.device)
        _, once = self.draw_and_differentiate(inputs, grad_image)
        _, twice = self.draw_and_differentiate(inputs, 2 * grad_image)
        _, none = self.draw_and_differentiate(inputs, torch.zeros_like(grad_image))
        assert_same_bits(twice, mapped(once, lambda value: 2 * value), "for twice the gradient")
        assert_same_bits(none, mapped(once, torch.zeros_like), "for a gradient of zero")


def inputs_size(inputs: CompositeInputs) -> tuple[int, int]:
    """Return canvas height and width."""
    return inputs.height, inputs.width


def canvas_of(inputs: CompositeInputs, index: int) -> CompositeInputs:
    """Return one canvas of a batch."""
    one = {name: getattr(inputs, name)[index : index + 1] for name in (*SPRITE_INPUTS, "texture")}
    return dataclasses.replace(inputs, **one)


def moved(values: T, device: str) -> T:
    """Return the same on another device."""
    return mapped(values, lambda value: value.to(device))


def mapped(values: T, change: Callable[[Tensor], Tensor]) -> T:
    """Return the same with every tensor changed."""
    fields = {field.name: getattr(values, field.name) for field in dataclasses.fields(values)}
    changed: dict[str, Any] = {name: change(value) for name, value in fields.items() if isinstance(value, Tensor)}
    return dataclasses.replace(values, **changed)


def as_double(gradients: Gradients) -> Gradients:
    """Return the gradients in float64."""
    return mapped(gradients, lambda value: value.double())


def leaves_of(inputs: CompositeInputs) -> CompositeInputs:
    """Return the inputs with every differentiable one a leaf that requires its gradient."""
    return mapped(inputs, lambda value: value.detach().requires_grad_() if value.is_floating_point() else value)


def gradients_of(leaves: CompositeInputs) -> Gradients:
    """Return what backward left in the leaves."""
    names = ("frame", "opacity", "color", "color_blend", "texels")
    return Gradients(**{name: getattr(leaves, name).grad for name in names})
