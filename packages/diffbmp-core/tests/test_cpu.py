"""The native CPU renderer, beyond what the conformance suite asks of every renderer."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import diffbmp
from diffbmp.bench.scenes import BenchScene, count_pairs
from diffbmp.plugins.registry import registry
from diffbmp.rendering import cpu
from diffbmp.rendering.cpu import Cpu
from diffbmp.rendering.reference import Reference
from diffbmp.rendering.renderer import BLENDS, FILTERS, CompositeInputs
from diffbmp.testing import RendererConformance

WIDTHS = list(cpu.instruction_sets())

SMALL = BenchScene(300, 200, "mixed", textures=5)


def test_the_extension_is_built() -> None:
    assert Cpu.unavailable(torch.device("cpu")) is None
    assert {"sse2", "neon"} & set(WIDTHS)


class TestBaseline(RendererConformance):
    """The instructions that every machine has; ``test_conformance`` runs the widest that this one has."""

    renderer = "cpu"
    settings = {"simd": WIDTHS[-1] if WIDTHS else "auto"}  # noqa: RUF012 - the suite reads it as a constant


class TestDispatch:
    def test_widths_agree(self) -> None:
        inputs = SMALL.inputs()
        images = [Cpu(Cpu.Settings(simd=name)).forward(inputs)[0] for name in WIDTHS]
        for image in images[1:]:
            torch.testing.assert_close(image, images[0], rtol=0, atol=2e-6)

    def test_the_widest_is_the_default(self) -> None:
        inputs = SMALL.inputs()
        widest = Cpu(Cpu.Settings(simd=WIDTHS[0])).forward(inputs)[0]
        assert torch.equal(Cpu().forward(inputs)[0], widest)

    def test_a_width_of_another_machine_is_one_sentence(self) -> None:
        with pytest.raises(diffbmp.DiffbmpError, match="altivec"):
            Cpu(Cpu.Settings(simd="altivec"))


class TestInputs:
    @pytest.mark.parametrize(
        ("name", "index", "value"),
        [
            ("levels", (0, 0), 10**9),  # offset outside the texels
            ("levels", (0, 0), -1),
            ("levels", (0, 1), 0),  # no width
            ("levels", (0, 1), 10**6),
            ("textures", (0, 0), 10**6),
            ("textures", (0, 1), 0),
            ("textures", (0, 2), 3),  # neither alpha-only nor RGBA
            ("texture", (0, 0), 99),
            ("texture", (0, 0), -1),
        ],
    )
    def test_tables_that_do_not_fit_are_refused(self, name: str, index: tuple[int, int], value: int) -> None:
        inputs = SMALL.inputs()
        table = getattr(inputs, name).clone()
        table[index] = value
        with pytest.raises(diffbmp.DiffbmpError, match="Renderer 'cpu'"):
            Cpu().forward(dataclasses.replace(inputs, **{name: table}))

    @pytest.mark.parametrize("size", [1e-6, 1e-3, 1e6, 1e18, 3e38])
    def test_any_finite_frame_is_drawn_without_harm(self, size: float) -> None:
        inputs = SMALL.inputs()
        frame = (inputs.frame * (size / 64)).clamp(-3e38, 3e38)
        changed = dataclasses.replace(inputs, frame=frame)
        image, state = Cpu().forward(changed)
        gradients = Cpu().backward(changed, state, torch.ones_like(image), texel_gradient=True)
        assert bool(torch.isfinite(image).all())
        assert bool(torch.isfinite(gradients.opacity).all())

    def test_no_sprites(self) -> None:
        inputs = BenchScene(1, 40, "small").inputs()
        names = ("frame", "opacity", "color", "color_blend", "texture")
        none = dataclasses.replace(inputs, **{name: getattr(inputs, name)[:, :0] for name in names})
        image, state = Cpu().forward(none)
        assert not image.any()
        assert Cpu().backward(none, state, image, texel_gradient=False).frame.shape == (1, 0, 2, 3)


def test_an_invisible_sprite_still_has_a_gradient() -> None:
    inputs = BenchScene(20, 48, "small").inputs()
    clear = dataclasses.replace(inputs, opacity=torch.zeros_like(inputs.opacity))
    image, state = Cpu().forward(clear)
    assert not image.any()
    grad_image = torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    gradients = Cpu().backward(clear, state, grad_image, texel_gradient=False)
    expected = Reference().backward(clear, state, grad_image, texel_gradient=False)
    assert expected.opacity.abs().max() > 1
    torch.testing.assert_close(gradients.opacity, expected.opacity, rtol=1e-4, atol=1e-4)


class TestContent:
    """Pairs where the texture shows nothing are left out; nobody may be able to tell."""

    @pytest.mark.parametrize("blend", ["over", "add"])
    def test_sparse_textures_are_drawn_whole(self, blend: str) -> None:
        random = torch.Generator().manual_seed(3)
        spots = (torch.rand(2, 40, 30, generator=random) > 0.995).float()
        spots[1] = 0
        atlas = diffbmp.Atlas.from_pixels([spots[0], spots[1], torch.eye(25), torch.eye(25).flip(0)])
        inputs = BenchScene(60, 64, "mixed").inputs()
        inputs = dataclasses.replace(
            inputs,
            texels=atlas.texels,
            levels=atlas.levels,
            textures=atlas.table,
            texture=torch.arange(60)[None] % 4,
            blend=blend,
        )
        image, state = Cpu().forward(inputs)
        torch.testing.assert_close(image, Reference().forward(inputs)[0], rtol=0, atol=1e-5)
        grad_image = torch.ones_like(image)
        narrow = Cpu().backward(inputs, state, grad_image, texel_gradient=False)
        whole = Cpu().backward(inputs, state, grad_image, texel_gradient=True)
        for name in ("frame", "opacity", "color"):
            torch.testing.assert_close(getattr(narrow, name), getattr(whole, name), rtol=1e-4, atol=1e-4)
        truth = Reference().backward(inputs, state, grad_image, texel_gradient=True)
        torch.testing.assert_close(whole.texels, truth.texels, rtol=1e-3, atol=1e-3)


class TestEarlyStop:
    def test_hidden_sprites_get_no_gradient_and_change_nothing(self) -> None:
        inputs = covered(BenchScene(60, 64, "mixed").inputs(), layers=40)
        image, state = Cpu().forward(inputs)
        gradients = Cpu().backward(inputs, state, torch.ones_like(image), texel_gradient=False)
        assert gradients.opacity[0, :60].abs().max() < 1e-6
        moved = dataclasses.replace(inputs, color=torch.cat([1 - inputs.color[:, :60], inputs.color[:, 60:]], dim=1))
        torch.testing.assert_close(Cpu().forward(moved)[0], image, rtol=0, atol=1e-6)


def covered(inputs: CompositeInputs, layers: int) -> CompositeInputs:
    """Put opaque sprites that fill the canvas in front of everything."""
    side = inputs.width
    front = torch.tensor([[[2.0 * side, 0, side / 2], [0, 2.0 * side, side / 2]]]).expand(1, layers, 2, 3)
    return dataclasses.replace(
        inputs,
        frame=torch.cat([inputs.frame, front], dim=1),
        opacity=torch.cat([inputs.opacity, torch.full((1, layers), 0.9)], dim=1),
        color=torch.cat([inputs.color, torch.full((1, layers, 3), 0.5)], dim=1),
        color_blend=torch.cat([inputs.color_blend, torch.zeros(1, layers)], dim=1),
        texture=torch.cat([inputs.texture, torch.zeros(1, layers, dtype=torch.int64)], dim=1),
    )


class TestFetch:
    def test_counts_the_pairs(self) -> None:
        inputs = SMALL.inputs()
        # Corners where the textures show nothing are left out; half a texel all round is let in.
        times = Cpu().time_fetches(inputs)
        assert 0.7 * count_pairs(inputs) <= times["pairs"] <= 1.1 * count_pairs(inputs)
        assert 0 < times["tuned"] < 1
        assert 0 < times["plain"] < 1


class TestCodes:
    """Blend modes and filters go to kernels as numbers, which ``diffbmp/codes.h`` gives."""

    @pytest.mark.parametrize(("macro", "names"), [("DIFFBMP_EACH_BLEND", BLENDS), ("DIFFBMP_EACH_FILTER", FILTERS)])
    def test_names_have_the_header_s_order(self, macro: str, names: tuple[str, ...]) -> None:
        header = (Path(diffbmp.get_include()) / "diffbmp" / "codes.h").read_text()
        found = re.search(rf"#define {macro}\(X\)((?:.*\\\n)*.*)", header)
        assert found is not None
        assert tuple(re.findall(r'X\(\w+, "(\w+)"\)', found[1])) == names

    def test_an_extension_with_other_numbers_is_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        other = SimpleNamespace(blends=list(BLENDS), filters=list(reversed(FILTERS)))
        monkeypatch.setitem(sys.modules, "diffbmp._native", other)  # type: ignore[arg-type]
        monkeypatch.setattr(cpu, "_native", cpu._import_native())
        assert Cpu.unavailable(torch.device("cpu")) == (
            "its compiled extension is of another version; reinstall diffbmp-core"
        )
        assert cpu.instruction_sets() == ()

    def test_inputs_give_the_numbers(self) -> None:
        inputs = SMALL.inputs()
        codes = [
            (changed.blend_code, changed.filter_code)
            for changed in (dataclasses.replace(inputs, blend=b, filter=f) for b in BLENDS for f in FILTERS)
        ]
        assert codes == [(b, f) for b in range(2) for f in range(4)]


class TestHeaders:
    def source(self, tmp_path: Path) -> Path:
        headers = sorted((Path(diffbmp.get_include()) / "diffbmp").glob("*.h"))
        names = ["base.h", "codes.h", "frame.h", "level.h", "over.h", "span.h", "texture.h"]
        assert [header.name for header in headers] == names
        path = tmp_path / "use.cpp"
        path.write_text(
            "".join(f'#include "diffbmp/{name}"\n' for name in names) + "float use(const float* f, float* g) {\n"
            "  const auto inverse = diffbmp::invert_frame<double>(f);\n"
            "  diffbmp::frame_gradient(inverse, diffbmp::Moments<double>{1, 2, 3, 4, 5, 6}, (double*)g);\n"
            "  float behind = f[0];\n"
            "  return diffbmp::bilinear(f[0], f[1], f[2], f[3], f[4], f[5]).value\n"
            "    + diffbmp::over_adjoint(f[0], f[1], f[2], f[3], f[4], f[5], behind).coverage;\n"
            "}\n"
        )
        return path

    @pytest.mark.parametrize("compiler", ["g++", "clang++"])
    def test_need_no_standard_library(self, compiler: str, tmp_path: Path) -> None:
        if shutil.which(compiler) is None:
            pytest.skip(f"no {compiler} here")
        flags = [
            "-std=c++17",
            "-ffreestanding",
            "-nostdinc",
            "-nostdinc++",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsyntax-only",
        ]
        command = [compiler, *flags, "-I", diffbmp.get_include(), str(self.source(tmp_path))]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def test_registered_through_the_hook() -> None:
    assert registry().get("renderers", "cpu") is Cpu
