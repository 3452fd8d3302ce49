"""The reference renderer against finite differences, against ``grid_sample`` and against itself."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import diffbmp.rendering.reference as reference_module
from diffbmp import Atlas, CompositeInputs, Gradients, composite, over_background
from diffbmp.rendering.reference import Reference, composite_points, composite_points_adjoint
from diffbmp.rendering.renderer import BLENDS, FILTERS
from diffbmp.testing import SCENES, ConformanceScene, kink_mask, random_inputs
from diffbmp.testing.kinks import in_double

NAMES = ("frame", "opacity", "color", "color_blend", "texels")


@pytest.fixture(autouse=True)
def _one_thread() -> object:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def draw(inputs: CompositeInputs, *values: Tensor) -> Tensor:
    """Draw through the operator with ``values`` in place of frame, opacity, color, color_blend and texels."""
    i = dataclasses.replace(inputs, **dict(zip(NAMES, values, strict=False)))
    image: Tensor = torch.ops.diffbmp.composite(
        i.frame, i.opacity, i.color, i.color_blend, i.texture, i.texels, i.levels, i.textures,
        i.height, i.width, i.blend, i.filter, "reference",
    )[0]  # fmt: skip
    return image


def check_gradients(inputs: CompositeInputs, *, fast: bool = True) -> None:
    """Run gradcheck on every input and on a background, away from kinks."""
    double = in_double(inputs)
    clear = ~kink_mask(double, margin=1e-4)[:, None]
    assert int(clear.sum()) > 0.6 * clear.numel()
    background = torch.rand(3, inputs.height, inputs.width, dtype=torch.float64)
    values = [getattr(double, name).detach().clone().requires_grad_() for name in NAMES]

    def picture(*values: Tensor) -> Tensor:
        *sprites, behind = values
        image = draw(double, *sprites)
        return torch.cat([over_background(image, behind), image[:, 3:]], dim=1) * clear

    assert torch.autograd.gradcheck(picture, (*values, background.requires_grad_()), fast_mode=fast)


class TestGradcheck:
    @pytest.mark.parametrize("blend", BLENDS)
    @pytest.mark.parametrize("filter", FILTERS)
    def test_every_blend_and_filter(self, blend: str, filter: str) -> None:
        check_gradients(
            random_inputs(
                60, count=7, size=(7, 8), batch=2, radius=(2, 5), stretch=2.0, shear=0.5, blend=blend, filter=filter
            )
        )

    @pytest.mark.parametrize("blend", BLENDS)
    def test_every_number_on_its_own(self, blend: str) -> None:
        inputs = random_inputs(61, count=4, size=(5, 4), radius=(2, 5), shear=0.5, textures="one_texel", blend=blend)
        check_gradients(inputs, fast=False)

    def test_minified_trilinear(self) -> None:
        inputs = random_inputs(62, count=6, size=(7, 8), radius=(1, 5), stretch=2, textures="large", filter="trilinear")
        check_gradients(inputs)

    @pytest.mark.parametrize("blend", BLENDS)
    def test_alpha_exactly_one(self, blend: str) -> None:
        inputs = random_inputs(63, count=6, size=(7, 8), radius=(4, 9), textures="solid", blend=blend)
        inputs.opacity[:, ::2] = 1.0
        image = draw(in_double(inputs))
        assert bool((image[:, 3] == 1.0).any())
        check_gradients(inputs)

    @pytest.mark.parametrize("blend", BLENDS)
    def test_deep_overlap(self, blend: str) -> None:
        check_gradients(random_inputs(64, count=40, size=(3, 3), radius=(20, 30), opacity=(0.01, 0.2), blend=blend))

    def test_off_canvas(self) -> None:
        check_gradients(random_inputs(65, count=12, size=(6, 5), radius=(1, 6), margin=1.0))

    def test_frames_without_area_have_no_gradient(self) -> None:
        inputs = random_inputs(66, count=5, size=(6, 5), radius=(2, 6), textures="rgba")
        flat = torch.tensor([False, True, True, True, False])
        inputs.frame[:, 1, :, 0] = 0.0
        inputs.frame[:, 2, :, 1] = 3 * inputs.frame[:, 2, :, 0]
        inputs.frame[:, 3] = 0.0
        double = in_double(inputs)
        values = [getattr(double, name).requires_grad_() for name in NAMES]
        image = draw(double, *values)
        gradients = torch.autograd.grad(image.square().sum(), values)
        for gradient in gradients[:4]:
            assert bool(torch.isfinite(gradient).all())
            assert not bool(gradient[:, flat].any())
            assert bool(gradient[:, ~flat].any())
        others = {name: getattr(double, name)[:, ~flat] for name in (*NAMES[:4], "texture")}
        torch.testing.assert_close(draw(dataclasses.replace(double, **others)), image)

    @pytest.mark.parametrize("filter", FILTERS)
    @pytest.mark.parametrize("scale", [1e-5, 1e-3, 1e4])
    def test_nothing_is_nan_at_any_size(self, filter: str, scale: float) -> None:
        inputs = random_inputs(67, count=20, size=(6, 5), radius=(1, 3), filter=filter)
        inputs.frame[..., :2] *= scale
        inputs.frame[:, ::2, :, 2] *= 1e6
        inputs.frame[:, 1, :, 2] = 2.5  # a pixel's centre: even the smallest sprite is seen there
        values = [getattr(inputs, name).requires_grad_() for name in NAMES]
        image = draw(inputs, *values)
        for value in (image, *torch.autograd.grad(image.sum(), values)):
            assert bool(torch.isfinite(value).all())


class TestAdjoint:
    @pytest.mark.parametrize("scene", SCENES, ids=str)
    def test_it_is_the_gradient_that_autograd_finds(self, scene: ConformanceScene) -> None:
        inputs = in_double(scene.build())
        index = torch.arange(0, inputs.height * inputs.width, 7)  # some pixels of each row
        points = torch.stack([index % inputs.width, index // inputs.width], dim=-1).double() + 0.5
        grad = torch.randn(inputs.batch, 4, len(points), dtype=torch.float64)
        leaves = [getattr(inputs, name).requires_grad_() for name in NAMES]
        expected = torch.autograd.grad((composite_points(inputs, points) * grad).sum(), leaves, materialize_grads=True)
        with torch.no_grad():
            gradients = composite_points_adjoint(inputs, points, grad, texel_gradient=True)
        for name, truth in zip(NAMES, expected, strict=True):
            difference = (getattr(gradients, name) - truth).norm()
            assert float(difference) <= 1e-9 * float(truth.norm()), name


class TestTrilinear:
    def test_gradient_of_a_round_footprint_is_the_mean_of_both_sides(self) -> None:
        """lambda has a kink where both axes are alike, so that the one-sided derivatives of a stretch differ."""
        inputs = in_double(random_inputs(70, count=1, size=(9, 9), radius=(3, 3), textures="alpha", filter="trilinear"))
        torch.manual_seed(0)
        weight = torch.randn(1, 4, 9, 9, dtype=torch.float64) * ~kink_mask(inputs, margin=2e-3)[:, None]
        frame = inputs.frame.clone().requires_grad_()

        def loss(frame: Tensor) -> Tensor:
            return (draw(inputs, frame) * weight).sum()

        (gradient,) = torch.autograd.grad(loss(frame), frame)
        one_sided_differ = 0
        for row in range(2):
            for column in range(2):
                step = torch.zeros_like(inputs.frame)
                step[..., row, column] = 1e-3
                ahead, here, behind = loss(inputs.frame + step), loss(inputs.frame), loss(inputs.frame - step)
                mean = float(ahead - behind) / 2e-3
                assert float(gradient[0, 0, row, column]) == pytest.approx(mean, rel=1e-3, abs=1e-3)
                one_sided_differ += abs(float((ahead - here) - (here - behind))) / 1e-3 > 0.01
        assert one_sided_differ == 4

    def test_a_level_in_between_is_the_mean_of_its_neighbours(self) -> None:
        inputs = in_double(random_inputs(71, count=1, size=(9, 9), radius=(6, 6), textures="large", filter="trilinear"))
        inputs.frame[..., :2] = torch.eye(2) * (96 / 2) / 2**1.5  # lambda 1.5 for a texture 96 wide and as high
        atlas_like = dataclasses.replace(inputs, texture=torch.zeros_like(inputs.texture))
        base = inputs.textures[0, 0]
        atlas_like.frame[..., 1, 1] *= 128 / 96  # 128 texels high

        def at_level(level: int) -> Tensor:
            table = inputs.textures.clone()
            table[0, 0], table[0, 1] = base + level, 1
            return draw(dataclasses.replace(atlas_like, textures=table, filter="bilinear"))

        # Both levels cover the same square, so that levels can be compared texel for texel.
        torch.testing.assert_close(draw(atlas_like), (at_level(1) + at_level(2)) / 2, rtol=1e-6, atol=1e-6)


def grid_sample_picture(
    textures: list[Tensor], frame: Tensor, opacity: Tensor, color: Tensor, size: tuple[int, int], mode: str
) -> Tensor:
    """Compose the same picture from ``grid_sample`` and a loop over sprites, back to front."""
    rows, columns = (torch.arange(side, dtype=frame.dtype) + 0.5 for side in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    image = torch.zeros(4, *size, dtype=frame.dtype)
    for texture, matrix, alpha, tint in zip(textures, frame, opacity, color, strict=True):
        offset = torch.stack([x - matrix[0, 2], y - matrix[1, 2]], dim=-1)
        uv = offset @ torch.linalg.inv(matrix[:, :2]).T
        coverage = functional.grid_sample(texture[None, None], uv[None], mode=mode, align_corners=False)[0, 0]
        layer = alpha * coverage * torch.cat([tint, torch.ones(1, dtype=tint.dtype)])[:, None, None]
        image = layer + (1 - layer[3]) * image
    return image


class TestGridSample:
    @pytest.mark.parametrize(("filter", "mode"), [("bilinear", "bilinear"), ("nearest_texel", "nearest")])
    def test_same_picture_and_gradients(self, filter: str, mode: str) -> None:
        inputs = random_inputs(72, count=6, size=(14, 17), radius=(3, 9), stretch=2, shear=0.3, filter=filter)
        frame, opacity, color = (getattr(inputs, n)[0].double().requires_grad_() for n in ("frame", "opacity", "color"))
        textures = [torch.rand(5 + k, 9 - k, dtype=torch.float64, requires_grad=True) for k in range(6)]
        leaves = [frame, opacity, color, *textures]
        expected = grid_sample_picture(textures, frame, opacity, color, (14, 17), mode)
        image = composite(
            frame, opacity, color, torch.arange(6), Atlas.from_pixels(textures),
            size=(14, 17), filter=filter, renderer="reference",
        )  # fmt: skip
        torch.testing.assert_close(image, expected)
        weight = torch.randn_like(expected)
        for leaf, ours, theirs in zip(
            leaves,
            torch.autograd.grad((image * weight).sum(), leaves),
            torch.autograd.grad((expected * weight).sum(), leaves),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, msg=f"gradient of shape {tuple(leaf.shape)}")


class TestMemory:
    @pytest.mark.parametrize("blend", BLENDS)
    def test_any_number_of_pairs_gives_the_same(self, blend: str) -> None:
        inputs = in_double(random_inputs(73, count=9, size=(7, 11), batch=2, radius=(2, 6), blend=blend))
        weight = torch.randn(2, 4, 7, 11, dtype=torch.float64)
        expected, state = Reference().forward(inputs)
        gradients = Reference().backward(inputs, state, weight, texel_gradient=True)
        for pairs in (1, 100, 18 * 50):
            drawing = Reference(Reference.Settings(pairs=pairs))
            torch.testing.assert_close(drawing.forward(inputs)[0], expected)
            other = drawing.backward(inputs, state, weight, texel_gradient=True)
            for name in NAMES:
                torch.testing.assert_close(getattr(other, name), getattr(gradients, name))

    def test_no_more_than_the_set_pairs_are_held_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[int] = []

        def counting(inputs: CompositeInputs, points: Tensor) -> Tensor:
            seen.append(len(points) * inputs.batch * inputs.count)
            return composite_points(inputs, points)

        def counting_backward(inputs: CompositeInputs, points: Tensor, grad: Tensor, **options: bool) -> Gradients:
            seen.append(len(points) * inputs.batch * inputs.count)
            return composite_points_adjoint(inputs, points, grad, **options)

        monkeypatch.setattr(reference_module, "composite_points", counting)
        monkeypatch.setattr(reference_module, "composite_points_adjoint", counting_backward)
        inputs = random_inputs(74, count=9, size=(20, 30), batch=2)
        drawing = Reference(Reference.Settings(pairs=1000))
        image, state = drawing.forward(inputs)
        assert sum(seen) == 2 * 9 * 20 * 30
        drawing.backward(inputs, state, image, texel_gradient=False)
        assert sum(seen) == 2 * 2 * 9 * 20 * 30
        assert max(seen) <= 1000
