"""PSNR and SSIM against hand computation and scikit-image."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from diffbmp import DiffbmpError
from diffbmp.metrics import psnr, ssim


def pair(height: int, width: int, noise: float = 0.1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(height * 1000 + width)
    target = torch.rand((3, height, width), generator=generator)
    return (target + noise * torch.randn((3, height, width), generator=generator)).clamp(0, 1), target


class TestPsnr:
    @pytest.mark.parametrize(("difference", "expected"), [(1.0, 0.0), (0.1, 20.0), (0.01, 40.0)])
    def test_by_hand(self, difference: float, expected: float) -> None:
        target = torch.zeros(3, 4, 5, dtype=torch.float64)
        assert psnr(target + difference, target) == pytest.approx(expected, abs=1e-9)

    def test_is_infinite_for_equal_pictures(self) -> None:
        assert psnr(torch.rand(3, 4, 4), torch.rand(3, 4, 4)) < math.inf
        same = torch.rand(3, 4, 4)
        assert psnr(same, same.clone()) == math.inf

    def test_agrees_with_scikit_image(self) -> None:
        image, target = pair(32, 20)
        expected = peak_signal_noise_ratio(target.numpy(), image.numpy(), data_range=1)
        assert psnr(image, target) == pytest.approx(expected, abs=1e-4)

    def test_half_precision_is_measured_in_single(self) -> None:
        target = torch.zeros(3, 64, 64, dtype=torch.float16)
        assert psnr(target + 0.001, target) == pytest.approx(60, abs=0.01)  # 1e-6 is lost in half precision

    def test_records_no_gradient(self) -> None:
        assert isinstance(psnr(torch.rand(3, 4, 4, requires_grad=True), torch.zeros(3, 4, 4)), float)


class TestSsim:
    def test_agrees_with_scikit_image(self) -> None:
        image, target = (value.double() for value in pair(40, 33))
        # Wang et al.'s settings; scikit-image mirrors at the border, so the windows within are compared
        _, full = structural_similarity(
            target.numpy(), image.numpy(), channel_axis=0, data_range=1, full=True,
            gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
        )  # fmt: skip
        assert ssim(image, target) == pytest.approx(full[:, 5:-5, 5:-5].mean(), abs=1e-6)

    @given(height=st.integers(1, 16), width=st.integers(1, 16))
    @settings(deadline=None, max_examples=40)
    def test_every_size_has_a_figure(self, height: int, width: int) -> None:
        image, target = pair(height, width)
        assert ssim(target, target) == pytest.approx(1, abs=1e-6)
        assert -1 <= ssim(image, target) <= 1
        assert ssim(image, target) == pytest.approx(ssim(target, image), abs=1e-5)

    def test_one_row_compares_brightness(self) -> None:
        image, target = torch.full((3, 1, 9), 0.25), torch.full((3, 1, 9), 0.5)
        c1 = 0.01**2
        assert ssim(image, target) == pytest.approx((2 * 0.125 + c1) / (0.0625 + 0.25 + c1), abs=1e-6)

    def test_worse_for_more_noise(self) -> None:
        figures = [ssim(*pair(48, 48, noise)) for noise in (0.02, 0.1, 0.3)]
        assert figures == sorted(figures, reverse=True)
        assert figures[0] - figures[2] > 0.2


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize(("first", "second"), [((3, 4, 5), (3, 5, 4)), ((4, 5), (4, 5)), ((3, 0, 5), (3, 0, 5))])
def test_shapes_that_cannot_be_compared(measure: object, first: tuple[int, ...], second: tuple[int, ...]) -> None:
    with pytest.raises(DiffbmpError, match="one shape"):
        measure(torch.zeros(first), torch.zeros(second))  # type: ignore[operator]
