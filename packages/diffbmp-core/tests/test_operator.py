"""The operator as PyTorch sees it: schema, fake kernels, autograd, ``torch.compile``."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import diffbmp
from diffbmp import CompositeInputs, DiffbmpError, composite, over_background
from diffbmp.plugins.registry import registry
from diffbmp.rendering.keys import renderer_key
from diffbmp.testing import TEXTURE_SETS, random_atlas, random_inputs

SIZE = (9, 11)


def operands(inputs: CompositeInputs, *, grad: bool, renderer: str = "reference") -> tuple[list[Tensor], list[Any]]:
    """Return the operator's tensors and its constants."""
    floats = [inputs.frame, inputs.opacity, inputs.color, inputs.color_blend]
    tensors = [value.clone().requires_grad_(grad) for value in floats]
    tensors += [inputs.texture, inputs.texels.clone().requires_grad_(grad), inputs.levels, inputs.textures]
    return tensors, [inputs.height, inputs.width, inputs.blend, inputs.filter, renderer]


SAMPLES = {
    "plain": {},
    "batch": {"batch": 2, "blend": "add", "filter": "trilinear"},
    "no sprites": {"count": 0},
    "nearest": {"filter": "nearest_texel", "textures": "rgba"},
}


def sample(name: str) -> CompositeInputs:
    return random_inputs(80, **{"count": 5, "size": SIZE, "radius": (2, 5), **SAMPLES[name]})


@pytest.mark.parametrize("name", SAMPLES)
class TestOpcheck:
    def test_forward(self, name: str) -> None:
        tensors, constants = operands(sample(name), grad=True)
        torch.library.opcheck(torch.ops.diffbmp.composite.default, (*tensors, *constants))

    @pytest.mark.parametrize("texel_gradient", [False, True])
    @pytest.mark.parametrize("renderer", ["reference", "cpu"])
    def test_backward(self, name: str, texel_gradient: bool, renderer: str) -> None:
        if registry().get("renderers", renderer).unavailable(torch.device("cpu")):
            pytest.skip(f"{renderer} is not available")
        tensors, constants = operands(sample(name), grad=False)
        constants[-1] = renderer
        image, state = torch.ops.diffbmp.composite(*tensors, *constants)
        torch.library.opcheck(
            torch.ops.diffbmp.composite_backward.default,
            (*tensors, state, torch.randn_like(image), *constants, texel_gradient),
        )


class TestCompile:
    @pytest.mark.parametrize(
        "backend",
        [
            "aot_eager",
            pytest.param(
                "inductor",
                marks=[
                    pytest.mark.slow,
                    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # inductor's own
                    pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler"),
                ],
            ),
        ],
    )
    def test_a_compiled_loss_is_the_eager_one(self, backend: str) -> None:
        inputs = sample("plain")
        atlas = random_atlas(TEXTURE_SETS["mixed"], 80)
        texture = inputs.texture[0]

        def loss(frame: Tensor, opacity: Tensor, color: Tensor, mu: Tensor) -> Tensor:
            image = composite(
                frame, opacity.sigmoid(), color, texture, atlas, size=SIZE, color_blend=mu, renderer="reference"
            )
            return over_background(image, torch.ones(3, 1, 1)).square().mean()

        leaves = [
            v[0].clone().requires_grad_() for v in (inputs.frame, inputs.opacity, inputs.color, inputs.color_blend)
        ]
        expected = loss(*leaves)
        compiled = torch.compile(loss, fullgraph=True, backend=backend)(*leaves)
        torch.testing.assert_close(compiled, expected)
        ours, theirs = torch.autograd.grad(compiled, leaves), torch.autograd.grad(expected, leaves)
        torch.testing.assert_close(ours, theirs)

    def test_compiled_code_still_refuses_an_index_that_is_none(self) -> None:
        inputs = sample("plain")
        atlas = random_atlas(TEXTURE_SETS["alpha"])

        @torch.compile(fullgraph=True, backend="eager")
        def draw(texture: Tensor) -> Tensor:
            return composite(inputs.frame[0], inputs.opacity[0], inputs.color[0], texture, atlas, size=SIZE)

        assert draw(torch.zeros(5, dtype=torch.long)).shape == (4, *SIZE)
        with pytest.raises(DiffbmpError, match="indices from 3 to 3"):
            draw(torch.full((5,), 3))


class TestAutograd:
    def test_strided_inputs_and_gradients(self) -> None:
        inputs = sample("batch")
        tensors, constants = operands(inputs, grad=False)
        weight = torch.randn(*SIZE, 4, 2).permute(3, 2, 0, 1)
        straight = [value.clone().requires_grad_(value.is_floating_point()) for value in tensors[:6]]
        strided = [v.movedim(0, -1).contiguous().movedim(-1, 0) for v in tensors[:5]] + [
            tensors[5].repeat_interleave(2)[::2]
        ]
        strided = [value.detach().requires_grad_(value.is_floating_point()) for value in strided]
        images = [torch.ops.diffbmp.composite(*leaves, *tensors[6:], *constants)[0] for leaves in (straight, strided)]
        assert torch.equal(*images)
        floats = [0, 1, 2, 3, 5]
        first = torch.autograd.grad(images[0], [straight[k] for k in floats], weight.contiguous())
        second = torch.autograd.grad(images[1], [strided[k] for k in floats], weight)
        for one, other in zip(first, second, strict=True):
            assert torch.equal(one, other)

    def test_two_renders_before_one_backward(self) -> None:
        leaves: list[Tensor] = []
        images, apart = [], []
        for seed in (81, 82):
            tensors, constants = operands(random_inputs(seed, count=5, size=SIZE), grad=True)
            leaves.append(tensors[0])
            image = torch.ops.diffbmp.composite(*tensors, *constants)[0]
            apart.append(torch.autograd.grad(image.square().sum(), tensors[0], retain_graph=True)[0])
            images.append(image)
        together = torch.autograd.grad(sum(image.square().sum() for image in images), leaves)
        for one, other in zip(apart, together, strict=True):
            assert torch.equal(one, other)

    def test_backward_twice(self) -> None:
        tensors, constants = operands(sample("plain"), grad=True)
        loss = torch.ops.diffbmp.composite(*tensors, *constants)[0].sum()
        loss.backward(retain_graph=True)
        once = tensors[0].grad.clone()
        loss.backward()
        assert torch.equal(tensors[0].grad, 2 * once)

    def test_only_what_requires_a_gradient_has_one(self) -> None:
        tensors, constants = operands(sample("plain"), grad=False)
        tensors[1].requires_grad_()
        image, state = torch.ops.diffbmp.composite(*tensors, *constants)
        assert not state.requires_grad
        image.sum().backward()
        assert [value.grad is not None for value in tensors] == [index == 1 for index in range(8)]

    def test_a_tensor_changed_before_backward_is_refused(self) -> None:
        tensors, constants = operands(sample("plain"), grad=True)
        image = torch.ops.diffbmp.composite(*tensors, *constants)[0]
        with torch.no_grad():
            tensors[0].add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            image.sum().backward()

    def test_a_second_derivative_is_refused(self) -> None:
        tensors, constants = operands(sample("plain"), grad=True)
        image = torch.ops.diffbmp.composite(*tensors, *constants)[0]
        (gradient,) = torch.autograd.grad(image.square().sum(), tensors[0], create_graph=True)
        with pytest.raises(RuntimeError, match="no autograd formula"):
            gradient.sum().backward()


class TestFake:
    def test_shapes_without_drawing(self) -> None:
        tensors, constants = operands(sample("batch"), grad=False)
        with FakeTensorMode() as mode:
            fake = [mode.from_tensor(value) for value in tensors]
            image, state = torch.ops.diffbmp.composite(*fake, *constants)
        assert image.shape == (2, 4, *SIZE)
        assert state.shape == (2, 0, *SIZE)
        assert state.dtype == torch.float32

    def test_state_planes_come_from_the_renderer(self) -> None:
        class Keeping(diffbmp.Renderer):
            """Fills its state."""

            name = "keeping"
            state_planes = 3

            def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
                image = inputs.frame.new_zeros(inputs.batch, 4, inputs.height, inputs.width)
                return image, image.new_full((inputs.batch, 3, inputs.height, inputs.width), 5.0)

            def backward(
                self, inputs: CompositeInputs, state: Tensor, grad_image: Tensor, *, texel_gradient: bool
            ) -> diffbmp.Gradients:
                total = state.sum() * torch.ones_like(inputs.frame)
                others = (torch.zeros_like(v) for v in (inputs.opacity, inputs.color, inputs.color_blend))
                return diffbmp.Gradients(total, *others, texels=torch.zeros_like(inputs.texels))

        keeping = Keeping()
        tensors, constants = operands(sample("batch"), grad=True, renderer=renderer_key(keeping))
        torch.library.opcheck(torch.ops.diffbmp.composite.default, (*tensors, *constants))
        torch.ops.diffbmp.composite(*tensors, *constants)[0].sum().backward()
        assert float(tensors[0].grad[0, 0, 0, 0]) == 5.0 * 2 * 3 * SIZE[0] * SIZE[1]
