"""Every kernel compiles for every card, without one, and what is compiled is kept."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from cuda.bindings import nvrtc

from diffbmp import get_include
from diffbmp.rendering.renderer import BLENDS
from diffbmp_cuda import compiling
from diffbmp_cuda.availability import architecture_for
from diffbmp_cuda.compiling import CACHE_VARIABLE, CubinCache, compile_kernel, open_cache
from diffbmp_cuda.pipeline import LOOKUPS
from diffbmp_cuda.resources import every_kernel, kernel_resources
from diffbmp_cuda.sources import KERNELS, Kernel, source_of

ARCHITECTURES = [f"sm_{number}" for number in nvrtc.nvrtcGetSupportedArchs()[1]]
SAMPLED = ["sm_75", "sm_90", "sm_120"]
FIT = {"LOOKUP": 0, "BLEND": 0, "HALF_TEXELS": 0, "TEXEL_GRADIENT": 0, "EXACT": 1}
MOST = {"LOOKUP": 1, "BLEND": 0, "HALF_TEXELS": 0, "TEXEL_GRADIENT": 1, "EXACT": 1}


def choosing(choices: dict[str, int]) -> list[Kernel]:
    """Return the kernels with these choices, as far as they have them."""
    wanted = {f"DIFFBMP_{name}": value for name, value in choices.items()}
    return [kernel for kernel in every_kernel() if set(kernel.macros) <= set(wanted.items())]


DRAWN = choosing(FIT)
"""What a fit of stamps runs."""

HEAVIEST = [kernel for kernel in choosing(MOST) if kernel.macros]
"""What needs most registers."""


def check(kernel: Kernel, architecture: str) -> None:
    needs = kernel_resources(kernel, architecture)
    said = f"{kernel} for {architecture}: {needs}"
    assert needs.spill_stores == needs.spill_loads == 0, said
    assert needs.stack == 0, said
    assert needs.shared <= 48 * 1024, said  # what every card has without being asked
    if kernel.name == "backward":
        assert needs.registers * 128 * 2 <= 65536, said  # two blocks on a multiprocessor at least


class TestEveryCard:
    def test_nvrtc_knows_turing_to_blackwell(self) -> None:
        assert set(ARCHITECTURES) >= {"sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"}

    @pytest.mark.parametrize("architecture", SAMPLED)
    @pytest.mark.parametrize("kernel", DRAWN, ids=str)
    def test_what_a_fit_runs_compiles_without_spills(self, kernel: Kernel, architecture: str) -> None:
        check(kernel, architecture)

    @pytest.mark.slow
    @pytest.mark.parametrize("architecture", sorted(set(ARCHITECTURES) - set(SAMPLED)))
    @pytest.mark.parametrize("kernel", [*DRAWN, *HEAVIEST], ids=str)
    def test_every_kernel_compiles_without_spills(self, kernel: Kernel, architecture: str) -> None:
        check(kernel, architecture)

    @pytest.mark.slow
    @pytest.mark.parametrize("architecture", SAMPLED)
    @pytest.mark.parametrize("kernel", list(every_kernel()), ids=str)
    def test_every_choice_compiles_without_spills(self, kernel: Kernel, architecture: str) -> None:
        check(kernel, architecture)

    def test_every_choice_is_all_that_the_pipeline_asks_for(self) -> None:
        forward = {kernel.macros for kernel in every_kernel() if kernel.name == "forward"}
        names = ("DIFFBMP_LOOKUP", "DIFFBMP_BLEND", "DIFFBMP_HALF_TEXELS")
        asked = itertools.product(set(LOOKUPS.values()), range(len(BLENDS)), (0, 1))
        assert forward == {tuple(zip(names, values, strict=True)) for values in asked}

    def test_a_card_between_two_that_are_known_gets_the_older(self) -> None:
        assert architecture_for((8, 7), (75, 80, 86, 90)) == "sm_86"
        assert architecture_for((9, 0), (75, 80, 90)) == "sm_90"
        assert architecture_for((11, 0), (75, 80, 90)) is None


class TestSource:
    @pytest.mark.parametrize("name", KERNELS)
    def test_a_kernel_is_one_text_with_core_s_headers_in_it(self, name: str) -> None:
        text = source_of(name)
        assert '#include "' not in text
        assert text.count("DIFFBMP_INLINE bool is_finite(T a)") == 1
        assert f"\n{name}(" in text

    def test_lookups_have_the_numbers_of_core_s_header(self) -> None:
        header = (Path(get_include()) / "diffbmp" / "codes.h").read_text()
        found = re.search(r"enum class Lookup : int \{ (.*?) \};", header)
        assert found is not None
        assert found[1].split(", ") == ["kBilinear", "kTrilinear", "kNearestTexel"]
        assert LOOKUPS == {"mipmap": 0, "trilinear": 1, "bilinear": 0, "nearest_texel": 2}

    def test_sampling_is_core_s(self) -> None:
        assert "DIFFBMP_INLINE Sample<V> bilinear(" in source_of("forward")
        assert "LayerAdjoint<V> over_adjoint(" in source_of("backward")


class TestCache:
    def test_what_is_compiled_is_kept(self, tmp_path: Path) -> None:
        cache = CubinCache(tmp_path)
        first = compile_kernel(Kernel("bin"), "sm_75", cache=cache)
        assert len(cache) == 1
        again = compile_kernel(Kernel("bin"), "sm_75", cache=CubinCache(tmp_path))
        assert bytes(again.code) == bytes(first.code)
        assert len(cache) == 1

    def test_it_is_keyed_by_source_architecture_and_choices(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cache = CubinCache(tmp_path)
        compile_kernel(Kernel("bin"), "sm_75", cache=cache)
        compile_kernel(Kernel("bin"), "sm_90", cache=cache)
        assert len(cache) == 2
        compile_kernel(Kernel("bin", (("UNUSED", 1),)), "sm_75", cache=cache)
        assert len(cache) == 3
        monkeypatch.setattr(compiling, "source_of", lambda name: source_of(name) + "// changed\n")
        compile_kernel(Kernel("bin"), "sm_75", cache=cache)
        assert len(cache) == 4

    def test_a_damaged_file_is_compiled_again(self, tmp_path: Path) -> None:
        cache = CubinCache(tmp_path)
        first = bytes(compile_kernel(Kernel("bin"), "sm_75", cache=cache).code)
        stored = [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size > len(first) - 1]
        assert len(stored) == 1
        damaged = bytearray(stored[0].read_bytes())
        damaged[len(damaged) // 2] ^= 255
        stored[0].write_bytes(damaged)
        assert bytes(compile_kernel(Kernel("bin"), "sm_75", cache=CubinCache(tmp_path)).code) == first

    def test_the_folder_can_be_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "here"))
        open_cache.cache_clear()
        try:
            assert open_cache() is not None
            assert (tmp_path / "here").is_dir()
        finally:
            open_cache.cache_clear()

    def test_a_folder_that_cannot_be_written_to_is_said_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("")
        monkeypatch.setenv(CACHE_VARIABLE, str(blocked / "cache"))
        open_cache.cache_clear()
        try:
            with pytest.warns(RuntimeWarning, match=f"'{blocked / 'cache'}' cannot be written to .*{CACHE_VARIABLE}"):
                assert open_cache() is None
            assert open_cache() is None
        finally:
            open_cache.cache_clear()
