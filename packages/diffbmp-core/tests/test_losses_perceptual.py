"""Grey, multi-scale and perceptual losses: against libraries and by hand, gradients in float64, what is refused."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_msssim
import torch
from torch import Tensor

from diffbmp import DiffbmpError
from diffbmp.fitting.build import begin_fit
from diffbmp.fitting.settings import FitSettings
from diffbmp.losses.laplacian import laplacian_pyramid
from diffbmp.losses.loss import Loss
from diffbmp.losses.lpips import LearnedPerceptualSimilarity
from diffbmp.losses.setup import LossSetup
from diffbmp.plugins.registry import registry
from diffbmp.testing import loss_inputs


def loss_of(name: str, **settings: Any) -> Loss:
    loss: Loss = registry().create("losses", name, settings)
    return loss


def photograph(side: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return a smooth random picture ``(3, side, side)``."""
    coarse = torch.rand((1, 3, 6, 6), generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return torch.nn.functional.interpolate(coarse, size=(side, side), mode="bicubic").clamp(0.02, 0.98)[0]


def gradcheck(loss: Loss, side: int, *, fast: bool = True) -> bool:
    image, target = photograph(side, 1).requires_grad_(), photograph(side, 2)
    return torch.autograd.gradcheck(lambda drawn: loss(loss_inputs(drawn, target=target)), image, fast_mode=fast)


class TestGrayscale:
    @pytest.mark.parametrize("name", ["mse", "l1", "huber", "ssim", "ms-ssim"])
    def test_is_the_loss_of_grey_pictures(self, name: str) -> None:
        image, target = photograph(24, 1), photograph(24, 2)
        weights = torch.tensor([0.299, 0.587, 0.114]).double().view(3, 1, 1)
        grays = [(weights * picture).sum(0).expand(3, -1, -1) for picture in (image, target)]
        expected = loss_of(name)(loss_inputs(grays[0], target=grays[1]))
        torch.testing.assert_close(loss_of(f"gray-{name}")(loss_inputs(image, target=target)), expected)

    def test_does_not_see_hue(self) -> None:
        image, target = torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.5 + 0.587 / 2, 0.5 - 0.299 / 2, 0.5])
        inputs = loss_inputs(image.view(3, 1, 1).expand(3, 4, 4), target=target.view(3, 1, 1).expand(3, 4, 4))
        assert float(loss_of("gray-mse")(inputs)) < 1e-12
        assert float(loss_of("mse")(inputs)) > 0.03


class TestMultiScale:
    def test_agrees_with_the_library(self) -> None:
        image = photograph(180, 1)
        target = (0.8 * image + 0.1 + 0.1 * torch.rand_like(image)).clamp(0, 1)
        expected = 1 - pytorch_msssim.ms_ssim(
            image[None],
            target[None],
            data_range=1,
            weights=[w / 1.0001 for w in (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)],
        )
        torch.testing.assert_close(
            loss_of("ms-ssim")(loss_inputs(image, target=target)), expected, rtol=1e-6, atol=1e-8
        )

    def test_zero_for_equal_pictures(self) -> None:
        image = photograph(40, 1)
        assert float(loss_of("ms-ssim")(loss_inputs(image, target=image))) == pytest.approx(0, abs=1e-12)

    def test_one_scale_is_ssim(self) -> None:
        inputs = loss_inputs(photograph(30, 1), target=(photograph(30, 1) * 0.7 + 0.2))
        torch.testing.assert_close(loss_of("ms-ssim", scales=1)(inputs), loss_of("ssim")(inputs))

    def test_gradient_where_structure_is_opposed(self) -> None:
        """Where the library's gradient is NaN, for it takes powers below 1 of 0."""
        image = photograph(40, 1).requires_grad_()
        loss_of("ms-ssim")(loss_inputs(image, target=1 - image.detach())).backward()
        assert bool(torch.isfinite(image.grad).all())

    @pytest.mark.parametrize("settings", [{}, {"window": 5, "scales": 2}])
    def test_gradcheck(self, settings: dict[str, int]) -> None:
        image = photograph(24, 1)
        target = 0.7 * image + 0.1 + 0.05 * photograph(24, 2)  # alike enough for every similarity to be above 0
        loss = loss_of("ms-ssim", **settings)
        assert torch.autograd.gradcheck(
            lambda drawn: loss(loss_inputs(drawn, target=target)), image.requires_grad_(), fast_mode=True
        )

    def test_room(self) -> None:
        loss_of("ms-ssim").prepare(LossSetup((11, 300)))
        loss_of("ms-ssim", scales=5).prepare(LossSetup((161, 300)))
        with pytest.raises(DiffbmpError, match=r"at 5 scales.*300 x 100 has room for 4.*losses\.ms-ssim\.scales"):
            loss_of("ms-ssim", scales=5).prepare(LossSetup((100, 300)))
        with pytest.raises(DiffbmpError, match=r"'gray-ms-ssim'.*10 x 10 has room for 0"):
            loss_of("gray-ms-ssim").prepare(LossSetup((10, 10)))


class TestNormalizedLaplacianPyramid:
    def test_the_pyramid_adds_up_to_the_picture(self) -> None:
        picture = photograph(37, 3)[:, :, :20]
        levels = laplacian_pyramid(picture, 4)
        assert [tuple(level.shape[1:]) for level in levels] == [(37, 20), (19, 10), (10, 5), (5, 3)]
        total = levels.pop()
        while levels:
            finer = levels.pop()
            total = finer + torch.nn.functional.interpolate(total[None], size=finer.shape[-2:], mode="bilinear")[0]
        torch.testing.assert_close(total, picture)

    def test_by_hand_on_flat_pictures(self) -> None:
        one, other = torch.full((3, 8, 8), 0.5).double(), torch.full((3, 8, 8), 0.25).double()
        expected = (0.5 / (0.17 + 0.5) - 0.25 / (0.17 + 0.25)) ** 2 / 4  # of 4 levels only the last differs
        assert float(loss_of("nlpd")(loss_inputs(one, target=other))) == pytest.approx(expected, rel=1e-9)

    def test_zero_for_equal_pictures_with_a_finite_gradient(self) -> None:
        image = photograph(16, 1).requires_grad_()
        value = loss_of("nlpd")(loss_inputs(image, target=image.detach()))
        value.backward()
        assert float(value.detach()) == 0
        assert not image.grad.any()

    def test_blur_costs_more_than_a_faint_shift_of_brightness_of_the_same_error(self) -> None:
        image = (photograph(48, 1) + 0.2 * (torch.rand(3, 48, 48).double() - 0.5)).clamp(0, 1)
        blurred = torch.nn.functional.avg_pool2d(image[None], 3, 1, 1, count_include_pad=False)[0]
        shift = (blurred - image).square().mean().sqrt()
        costs = [float(loss_of("nlpd")(loss_inputs(other, target=image))) for other in (blurred, image + shift)]
        assert costs[0] > 5 * costs[1]

    def test_gradcheck(self) -> None:
        assert gradcheck(loss_of("nlpd", levels=3), 9, fast=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of weights as torchvision publishes them, of the smallest network, drawn at random."""
    from diffbmp.losses.lpips import _library

    _library()
    import torchvision

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "squeezenet.pth"
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), path)
    return path


class TestLpips:
    def test_agrees_with_the_library(self, weights: Path) -> None:
        import lpips

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = lpips.LPIPS(net="squeeze", pnet_rand=True, verbose=False)
        state = torch.load(weights, weights_only=True)
        for name, parameter in model.net.named_parameters():
            parameter.data = state[f"features.{name.partition('.')[2]}"]
        image, target = photograph(48, 1, torch.float32), photograph(48, 2, torch.float32)
        loss = loss_of("lpips", network="squeeze", weights=str(weights))
        expected = model(image[None], target[None], normalize=True)
        torch.testing.assert_close(
            loss(loss_inputs(image, target=target)), expected.detach()[0, 0, 0, 0], rtol=1e-4, atol=1e-7
        )
        assert float(loss(loss_inputs(target, target=target))) == 0

    def test_gradcheck(self, weights: Path) -> None:
        assert gradcheck(loss_of("lpips", network="squeeze", weights=str(weights)), 32)

    def test_pulls_the_picture_toward_the_target(self, weights: Path) -> None:
        loss = loss_of("lpips", network="squeeze", weights=str(weights))
        image, target = photograph(40, 1, torch.float32).requires_grad_(), photograph(40, 2, torch.float32)
        before = loss(loss_inputs(image, target=target))
        before.backward()
        with torch.no_grad():
            image -= 0.05 * image.grad.sign()
            after = loss(loss_inputs(image, target=target))
        assert float(after) < 0.9 * float(before.detach())

    def test_is_part_of_a_fit(self, weights: Path, photo: Path, stamps: Path) -> None:
        settings = FitSettings(
            target=str(photo),
            stamps=[str(stamps)],
            n=6,
            steps=2,
            width=48,
            renderer="reference",
            loss={"mse": 1, "lpips": 0.1},
            losses={"lpips": {"network": "squeeze", "weights": str(weights)}},
        )
        steps = list(begin_fit(settings))
        assert steps[-1].terms["lpips"] > 0

    def test_weights_of_another_network(self, weights: Path, tmp_path: Path) -> None:
        with pytest.raises(DiffbmpError, match="not those of alexnet"):
            loss_of("lpips", network="alex", weights=str(weights)).prepare(LossSetup((64, 64)))
        (tmp_path / "no.pth").write_text("no weights")
        with pytest.raises(DiffbmpError, match=r"no\.pth' cannot be read"):
            loss_of("lpips", network="squeeze", weights=str(tmp_path / "no.pth")).prepare(LossSetup((64, 64)))
        with pytest.raises(DiffbmpError, match=r"gone\.pth"):
            loss_of("lpips", weights="gone.pth").prepare(LossSetup((64, 64)))

    def test_weights_that_cannot_be_downloaded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        monkeypatch.setattr("socket.getaddrinfo", _unreachable)
        with pytest.raises(
            DiffbmpError, match=r"squeezenet1_1 \(5 MB\).*download https://.*losses\.lpips\.weights.*nlpd"
        ):
            loss_of("lpips", network="squeeze").prepare(LossSetup((64, 64)))

    def test_the_package_is_named_where_it_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = importlib.util.find_spec
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lpips" else found(name))
        with pytest.raises(DiffbmpError, match="needs the package lpips: pip install lpips"):
            loss_of("lpips").prepare(LossSetup((64, 64)))

    def test_too_small_a_canvas(self) -> None:
        with pytest.raises(DiffbmpError, match=r"32 x 32.*40 x 20"):
            LearnedPerceptualSimilarity().prepare(LossSetup((20, 40)))

    def test_is_imported_only_when_used(self) -> None:
        code = (
            "import sys, diffbmp; from diffbmp.plugins.registry import registry; registry().create('losses', 'lpips')"
        )
        code += "; sys.exit(bool({'lpips', 'torchvision'} & set(sys.modules)))"
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def _unreachable(*_: Any, **__: Any) -> Any:
    raise OSError("no network")
