"""The native renderer where it cannot be tested in Python: on Arm, emulated, and under the sanitizers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from native_driver.driven import DrivenNative, build

from diffbmp.rendering import cpu
from diffbmp.rendering.cpu import Cpu
from diffbmp.rendering.renderer import CompositeInputs, Gradients
from diffbmp.testing import RendererConformance
from diffbmp.testing.comparison import assert_gradients_close, assert_values_close
from diffbmp.testing.kinks import in_double
from diffbmp.testing.readers import require_programs
from diffbmp.testing.scenes import SCENES, ConformanceScene, random_inputs

pytestmark = pytest.mark.slow

ARM = (
    "CMAKE_SYSTEM_NAME=Linux",
    "CMAKE_SYSTEM_PROCESSOR=aarch64",
    "CMAKE_CXX_COMPILER=aarch64-linux-gnu-g++",
    "CMAKE_EXE_LINKER_FLAGS=-static",
)
SANITIZERS = ("address,undefined", "thread")


@pytest.fixture(scope="module")
def on_arm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrivenNative]:
    require_programs("cmake", "ninja", "aarch64-linux-gnu-g++", "qemu-aarch64")
    driven = DrivenNative(["qemu-aarch64", str(build(tmp_path_factory.mktemp("arm"), *ARM))])
    yield driven
    driven.close()


class TestOnArm(RendererConformance):
    """NEON, on a program that obeys Arm's instructions."""

    renderer = "cpu"

    @pytest.fixture(autouse=True)
    def _on_arm(self, on_arm: DrivenNative, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cpu, "_native", on_arm)

    def test_it_is_neon(self) -> None:
        assert cpu.instruction_sets() == ("neon",)

    def test_layers(self, on_arm: DrivenNative, monkeypatch: pytest.MonkeyPatch) -> None:
        inputs, boxes = random_inputs(70), boxes_of(random_inputs(70))
        floats, (bytes_, shown) = Cpu().layers(inputs, boxes), Cpu().layer_bytes(inputs, boxes)
        monkeypatch.undo()
        assert cpu._native is not on_arm
        assert_values_close(floats, Cpu().layers(inputs, boxes).double())
        expected, expected_shown = Cpu().layer_bytes(inputs, boxes)
        torch.testing.assert_close(bytes_.int(), expected.int(), atol=1, rtol=0)
        assert torch.equal(shown, expected_shown)


@pytest.fixture(scope="module", params=SANITIZERS)
def sanitized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrivenNative]:
    require_programs("cmake", "ninja")
    # Texels are fetched two at a time wherever they lie: the intrinsics allow that, their headers do not say so.
    checks = f"-fsanitize={request.param} -fno-sanitize=alignment -fno-sanitize-recover=all"
    definitions = (f"CMAKE_CXX_FLAGS={checks} -g1", "DIFFBMP_OPTIMIZATION=-O1")
    driven = DrivenNative([str(build(tmp_path_factory.mktemp("sanitized"), *definitions))])
    yield driven
    driven.close()  # a leak ends it with an error


@pytest.mark.parametrize("scene", SCENES, ids=str)
@pytest.mark.parametrize("simd", cpu.instruction_sets())
def test_no_sanitizer_objects(
    sanitized: DrivenNative, simd: str, scene: ConformanceScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No step outside an array, no undefined behaviour, no race; and what comes out is the extension's."""
    single = scene.build()
    renderer = Cpu(Cpu.Settings(simd=simd, threads=2))
    for inputs in (single, in_double(single)):
        expected, of_expected = draw_and_differentiate(renderer, inputs)
        with monkeypatch.context() as patched:
            patched.setattr(cpu, "_native", sanitized)
            image, gradients = draw_and_differentiate(renderer, inputs)
        assert_values_close(image, expected.double())
        assert_gradients_close(gradients, of_expected, single)
    if single.batch == 1:
        boxes = boxes_of(single)
        drawn, shown = renderer.layer_bytes(single, boxes)
        monkeypatch.setattr(cpu, "_native", sanitized)
        again, shown_again = renderer.layer_bytes(single, boxes)
        assert torch.equal(shown, shown_again)
        torch.testing.assert_close(drawn.int(), again.int(), atol=1, rtol=0)


def draw_and_differentiate(renderer: Cpu, inputs: CompositeInputs) -> tuple[torch.Tensor, Gradients]:
    """Return the picture, and every gradient for weights of both signs."""
    image, state = renderer.forward(inputs)
    weights = torch.linspace(-1, 1, image.numel(), dtype=image.dtype).view_as(image)
    return image, renderer.backward(inputs, state, weights, texel_gradient=True)


def boxes_of(inputs: CompositeInputs) -> torch.Tensor:
    """Return a box of half the canvas for each sprite, ``(count, 4)``."""
    return torch.tensor([[-3, 2, inputs.width // 2 + 1, inputs.height // 2 + 1]]).repeat(inputs.count, 1)
