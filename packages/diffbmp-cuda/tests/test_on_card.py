"""What only a card can show; skipped where there is none. ``scripts/gpu_check`` runs it."""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable
from typing import ClassVar

import cuda.bindings
import pytest
import torch
from torch import Tensor

import diffbmp
from diffbmp.bench.scenes import BenchScene
from diffbmp.rendering.cpu import Cpu
from diffbmp.testing import RendererConformance
from diffbmp_cuda import CapturedStep, Cuda
from diffbmp_cuda.device import parameters_of

needs_a_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no card")


class TestCard(RendererConformance):
    renderer = "cuda"
    device = "cuda"


class TestCardWithFloatSums(RendererConformance):
    renderer = "cuda"
    device = "cuda"
    settings: ClassVar = {"deterministic": False}
    same_bits = False  # sums in floats have others every time


def scene() -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Return two frames, and what draws them."""
    atlas = diffbmp.Atlas.from_pixels([torch.ones(9, 9)]).to(torch.device("cuda"), torch.float32)
    frame = torch.tensor([[[9.0, 0, 20], [0, 9, 30]], [[5.0, 3, 40], [-3, 5, 30]]], device="cuda")

    def draw(frame: Tensor) -> Tensor:
        values = (torch.full((2,), 0.7, device="cuda"), torch.full((2, 3), 0.5, device="cuda"))
        texture = torch.zeros(2, dtype=torch.long, device="cuda")
        return diffbmp.composite(frame, *values, texture, atlas, size=(64, 64), renderer="cuda")

    return frame, draw


@needs_a_card
class TestStreams:
    def test_it_draws_on_the_caller_s_stream(self) -> None:
        frame, draw = scene()
        expected = draw(frame)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            torch.cuda._sleep(50_000_000)  # what follows must come after this, on this stream
            moved = frame.clone()
            image = draw(moved)
        stream.synchronize()
        assert torch.equal(image, expected)

    def test_nothing_waits_for_the_card(self) -> None:
        frame, draw = scene()
        draw(frame.clone().requires_grad_()).sum().backward()  # compiles
        leaf = frame.clone().requires_grad_()
        torch.cuda.set_sync_debug_mode("error")
        try:
            draw(leaf).sum().backward()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert leaf.grad is not None


@needs_a_card
class TestGraph:
    def test_a_captured_step_does_what_the_step_does(self) -> None:
        frame, draw = scene()
        target = torch.rand(4, 64, 64, device="cuda", generator=torch.Generator("cuda").manual_seed(0))

        def fit(capture: bool) -> Tensor:
            leaf = frame.clone().requires_grad_()
            optimizer = torch.optim.Adam([leaf], lr=0.1, capturable=True)

            def step() -> Tensor:
                optimizer.zero_grad(set_to_none=True)
                loss = (draw(leaf) - target).square().mean()
                loss.backward()
                optimizer.step()
                return loss.detach()

            take = CapturedStep(step) if capture else step
            for _ in range(17 if capture else 20):  # capturing takes three
                take()
            return leaf.detach()

        assert torch.equal(fit(True), fit(False))


@needs_a_card
@pytest.mark.parametrize("name", ["1k-512-mixed", "10k-2048-mixed"])
def test_full_size_is_what_the_cpu_draws(name: str) -> None:
    count, side, radii = name.split("-")
    inputs = BenchScene(int(count.removesuffix("k")) * 1000, int(side), radii).inputs()
    image, state = Cpu().forward(inputs)
    grad_image = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    expected = Cpu().backward(inputs, state, grad_image, texel_gradient=True)
    card = BenchScene(int(count.removesuffix("k")) * 1000, int(side), radii).inputs(device="cuda")
    drawn, kept = Cuda().forward(card)
    torch.testing.assert_close(drawn.cpu(), image, atol=2e-5, rtol=0)
    gradients = Cuda().backward(card, kept, grad_image.cuda(), texel_gradient=True)
    for field in ("frame", "opacity", "color", "texels"):
        actual, truth = getattr(gradients, field).cpu().double(), getattr(expected, field).double()
        assert (actual - truth).norm() <= 1e-3 * truth.norm(), field


@needs_a_card
def test_memory_does_not_grow_with_overlap() -> None:
    inputs = BenchScene(10_000, 2048, "mixed").inputs(device="cuda")
    peaks = []
    for size in (0.1, 1.0):
        drawn = dataclasses.replace(inputs, frame=inputs.frame * inputs.frame.new_tensor([size, size, 1]))
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        image, state = Cuda().forward(drawn)
        Cuda().backward(drawn, state, image, texel_gradient=False)
        peaks.append(torch.cuda.max_memory_allocated() - before)
    assert peaks[0] == peaks[1] < 200e6


def test_arguments_reach_a_kernel_as_they_are() -> None:
    """A tensor as its address, an int and a long long as they are wide; needs no card."""
    core = pytest.importorskip(f"cuda.core.cu{cuda.bindings.__version__.partition('.')[0]}._kernel_arg_handler")
    tensor = torch.zeros(3)
    holder = core.ParamHolder(parameters_of([tensor, ctypes.c_int(-3), ctypes.c_longlong(2**40)]))
    first, second, third = ctypes.cast(holder.ptr, ctypes.POINTER(ctypes.c_void_p * 3)).contents
    assert ctypes.c_void_p.from_address(first).value == tensor.data_ptr()
    assert ctypes.c_int.from_address(second).value == -3
    assert ctypes.c_longlong.from_address(third).value == 2**40
