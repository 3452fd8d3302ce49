"""What the CUDA renderer promises beyond the conformance suite, shown on the host."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from cuda_host.launcher import HostLauncher
from torch import Tensor

import diffbmp
from diffbmp import CompositeInputs, Gradients
from diffbmp.rendering.cpu import Cpu
from diffbmp.testing import SCENES, random_inputs
from diffbmp_cuda import Cuda, pipeline
from diffbmp_cuda.pipeline import Choices

NAMES = ("frame", "opacity", "color", "color_blend", "texels")


def grad_like(inputs: CompositeInputs, seed: int = 0) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(inputs.batch, 4, inputs.height, inputs.width, generator=random)


def gradients(inputs: CompositeInputs, launcher: HostLauncher, choices: Choices | None = None) -> Gradients:
    chosen = choices or Choices()
    return pipeline.backward(inputs, grad_like(inputs), launcher, chosen, texel_gradient=True)


def same_bits(first: Gradients, second: Gradients) -> None:
    for name in NAMES:
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def close(first: Gradients, second: Gradients, tolerance: float) -> None:
    for name in NAMES:
        a, b = getattr(first, name).double(), getattr(second, name).double()
        assert (a - b).norm() <= tolerance * b.norm(), name


def reference(inputs: CompositeInputs) -> tuple[Tensor, Gradients]:
    """Draw and differentiate in float64 by core's ``reference``."""
    tensors = ("frame", "opacity", "color", "color_blend", "texture", "texels", "levels", "textures")
    values = [getattr(inputs, name) for name in tensors]
    leaves = [v.double().requires_grad_() if v.is_floating_point() else v for v in values]
    constants = (inputs.height, inputs.width, inputs.blend, inputs.filter, "reference")
    image = torch.ops.diffbmp.composite(*leaves, *constants)[0]
    image.backward(grad_like(inputs).double())
    frame, opacity, color, color_blend, _, texels, _, _ = (leaf.grad for leaf in leaves)
    return image.detach(), Gradients(frame, opacity, color, color_blend, texels)


@pytest.fixture
def crowded() -> CompositeInputs:
    """Return several tiles, bins and canvases, RGBA and alpha-only textures, some sprites opaque."""
    inputs = random_inputs(60, count=90, batch=2, size=(40, 70), radius=(4, 30), margin=0.1)
    inputs.opacity[:, ::7] = 1.0
    return inputs


class TestDeterminism:
    def test_the_same_bits_in_every_order(self, host: HostLauncher, crowded: CompositeInputs) -> None:
        """Whichever block and thread come first, and however many blocks there are."""
        first = gradients(crowded, host)
        for seed, resident in ((1, 1), (2, 5), (3, 40)):
            same_bits(gradients(crowded, HostLauncher(host.folder, seed=seed, resident=resident)), first)

    def test_sums_in_floats_come_close_to_those_in_integers(self, host: HostLauncher, crowded: CompositeInputs) -> None:
        close(gradients(crowded, host, Choices(exact=False)), gradients(crowded, host), 1e-5)

    @pytest.mark.parametrize("size", [1e-30, 1e-8, 1e8, 1e30])
    def test_integers_are_wide_enough_for_any_gradient(self, host: HostLauncher, size: float) -> None:
        inputs = random_inputs(61)
        grad_image = grad_like(inputs)
        plain, scaled = (
            pipeline.backward(inputs, grad_image * factor, host, Choices(), texel_gradient=True)
            for factor in (1.0, size)
        )
        for name in NAMES:
            a, b = getattr(scaled, name).double() / size, getattr(plain, name).double()
            assert (a - b).norm() <= 1e-5 * b.norm(), name

    def test_a_gradient_that_is_no_number_is_no_number(self, host: HostLauncher) -> None:
        inputs = random_inputs(62)
        grad_image = grad_like(inputs).fill_(float("nan"))
        result = pipeline.backward(inputs, grad_image, host, Choices(), texel_gradient=False)
        assert bool(torch.isnan(result.opacity).any())


class TestDepth:
    """Depths beyond a chunk (32 sprites in shared memory), and beyond the checkpoints that there is room for."""

    @pytest.mark.parametrize("count", [31, 32, 33, 64, 65, 129])
    @pytest.mark.parametrize("blend", ["over", "add"])
    def test_around_the_size_of_a_chunk(self, host: HostLauncher, count: int, blend: str) -> None:
        inputs = random_inputs(count, count=count, size=(5, 7), radius=(20, 60), opacity=(0.01, 0.1), blend=blend)
        image, expected = reference(inputs)
        torch.testing.assert_close(pipeline.forward(inputs, host, Choices()).double(), image, atol=1e-5, rtol=1e-5)
        close(gradients(inputs, host), expected, 1e-3)

    @pytest.mark.parametrize("checkpoints", [2, 6])
    @pytest.mark.parametrize("name", ["deep", "deep-add", "deep-hidden"])
    def test_fewer_checkpoints_give_the_same_bits(self, host: HostLauncher, name: str, checkpoints: int) -> None:
        """Chunks that are walked again are walked alike; ``deep`` has 33 of them."""
        inputs = next(scene for scene in SCENES if scene.name == name).build()
        same_bits(gradients(inputs, host, Choices(checkpoints=checkpoints)), gradients(inputs, host))

    def test_memory_for_the_way_back_does_not_grow_with_depth(self) -> None:
        sizes = {count: sum(pipeline._checkpoints(count, 32)) for count in (10**3, 10**5, 10**7)}
        assert sizes[10**3] <= 32
        assert sizes[10**5] <= 32 + 128
        assert sizes[10**7] <= 32 + 16384


class TestOpaque:
    def test_gradients_of_opaque_sprites_over_opaque_sprites(self, host: HostLauncher) -> None:
        """Alpha exactly 1 in front of alpha exactly 1: the front one's gradient is what showing the other would do."""
        inputs = random_inputs(63, count=12, textures="solid", radius=(6, 14), opacity=(1.0, 1.0))
        inputs.opacity[:] = 1.0
        image, expected = reference(inputs)
        assert bool((image[:, 3] == 1).any())
        assert expected.opacity.abs().max() > 1
        close(gradients(inputs, host), expected, 1e-3)

    def test_an_invisible_sprite_has_a_gradient(self, host: HostLauncher) -> None:
        inputs = random_inputs(64)
        inputs.opacity[:] = 0.0
        _, expected = reference(inputs)
        result = gradients(inputs, host)
        torch.testing.assert_close(result.opacity.double(), expected.opacity, rtol=1e-3, atol=1e-3)


class TestHalfTexels:
    @pytest.mark.parametrize("filter", ["mipmap", "trilinear", "nearest_texel"])
    @pytest.mark.parametrize("blend", ["over", "add"])
    def test_half_precision_rounds_texels_and_nothing_else(self, host: HostLauncher, blend: str, filter: str) -> None:
        inputs = random_inputs(65, blend=blend, filter=filter, stretch=2.0)
        rounded = dataclasses.replace(inputs, texels=inputs.texels.half().float())
        half = Choices(half_texels=True)
        assert torch.equal(pipeline.forward(inputs, host, half), pipeline.forward(rounded, host, Choices()))
        same_bits(gradients(inputs, host, half), gradients(rounded, host))

    @pytest.mark.usefixtures("on_host")
    def test_it_is_a_setting(self) -> None:
        inputs = random_inputs(66)
        image = Cuda(Cuda.Settings(texels="float16")).forward(inputs)[0]
        whole = Cuda().forward(inputs)[0]
        assert 0 < (image - whole).abs().max() < 2e-3


class TestInputs:
    @pytest.mark.parametrize("index", [99, -1])
    def test_an_index_of_no_texture_is_drawn_as_nan(self, host: HostLauncher, index: int) -> None:
        """It cannot be refused without waiting for the card, and must not be read with."""
        inputs = random_inputs(67, count=3, radius=(60, 80), size=(8, 8))
        inputs.texture[0, 1] = index
        assert bool(torch.isnan(pipeline.forward(inputs, host, Choices())).any())
        gradients(inputs, host)

    @pytest.mark.parametrize("name", ["frame", "opacity", "color"])
    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_no_value_makes_a_kernel_leave_its_arrays(self, host: HostLauncher, name: str, value: float) -> None:
        inputs = random_inputs(68)
        getattr(inputs, name).view(-1)[::5] = value
        pipeline.forward(inputs, host, Choices())
        gradients(inputs, host)

    @pytest.mark.parametrize("size", [1e-6, 1e-3, 1e6, 1e18, 3e38])
    def test_any_finite_frame_is_drawn_without_harm(self, host: HostLauncher, size: float) -> None:
        inputs = random_inputs(69, count=40, margin=1.0)
        inputs = dataclasses.replace(inputs, frame=(inputs.frame * (size / 8)).clamp(-3e38, 3e38))
        assert bool(torch.isfinite(pipeline.forward(inputs, host, Choices())).all())
        assert bool(torch.isfinite(gradients(inputs, host).opacity).all())

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"width": 2**23 + 1}, "at most 8388608 pixels a side"),
            ({"frame": torch.empty(1, 1, 2, 3).expand(1, 2**30 + 1, 2, 3)}, "at most 1073741824 sprites"),
            ({"frame": torch.empty(1, 1, 2, 3).expand(2**20, 1, 2, 3), "width": 2**16, "height": 2**16}, "tiles"),
        ],
    )
    def test_what_is_too_large_to_count_is_refused(
        self, host: HostLauncher, changes: dict[str, object], sentence: str
    ) -> None:
        inputs = dataclasses.replace(random_inputs(70), **changes)  # type: ignore[arg-type]
        with pytest.raises(diffbmp.DiffbmpError, match=sentence):
            pipeline.forward(inputs, host, Choices())


class TestBinning:
    def test_a_bin_marks_every_sprite_that_is_seen_in_it_and_few_others(self, host: HostLauncher) -> None:
        inputs = random_inputs(71, count=70, size=(150, 200), radius=(3, 40), stretch=6.0, margin=0.2)
        _, _, masks = pipeline._prepare(inputs, host)
        words = masks.view(3, 4, 3)  # lines and columns of bins, and words of 32 bits
        marked = torch.stack([(words[..., depth // 32] >> depth % 32) & 1 for depth in range(70)]).bool()
        fields = ("frame", "opacity", "color", "color_blend", "texture")
        own = {name: getattr(inputs, name)[0].flip(0)[:, None] for name in fields}  # a canvas each, the front one first
        alpha = torch.zeros(70, 192, 256)
        alpha[:, :150, :200] = Cpu().forward(dataclasses.replace(inputs, **own))[0][:, 3]
        seen = alpha.view(70, 3, 64, 4, 64).amax(dim=(2, 4)) > 0
        assert not bool((seen & ~marked).any())
        assert int(marked.sum()) <= int(seen.sum()) + 12  # most of the boxes' corners are left out

    def test_nothing_waits_for_the_card(self, host: HostLauncher, crowded: CompositeInputs) -> None:
        """The number and sizes of launches follow from the shapes alone, so a graph can be replayed on new values."""

        def launches(inputs: CompositeInputs) -> list[object]:
            recorder = HostLauncher(host.folder)
            seen: list[object] = []
            launch = recorder.launch
            recorder.launch = lambda kernel, blocks, arguments: (  # type: ignore[method-assign]
                seen.append((kernel, blocks, [a.shape for a in arguments if isinstance(a, Tensor)])),
                launch(kernel, blocks, arguments),
            )[1]
            pipeline.forward(inputs, recorder, Choices())
            gradients(inputs, recorder)
            return seen

        away = dataclasses.replace(crowded, frame=crowded.frame + 1e4)
        assert launches(crowded) == launches(away)


def test_autograd_reaches_the_kernels(on_host: Callable[[HostLauncher], None], host: HostLauncher) -> None:
    on_host(launcher := HostLauncher(host.folder))
    atlas = diffbmp.Atlas.from_pixels([torch.ones(5, 5)])
    frame = torch.tensor([[[6.0, 0, 8], [0, 6, 8]]], requires_grad=True)
    image = diffbmp.composite(
        frame, torch.ones(1), torch.ones(1, 3), torch.tensor([0]), atlas, size=(16, 16), renderer="cuda"
    )
    (image * torch.linspace(0, 1, 16)).sum().backward()
    assert [kernel.name for kernel in launcher.launched] == [
        "setup", "bin", "forward", "setup", "bin", "backward", "reduce",
    ]  # fmt: skip
    assert frame.grad is not None
    assert frame.grad[0, 0, 2] > 1
