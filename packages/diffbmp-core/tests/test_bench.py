"""The benchmark: its scenes, its counting, its report. How fast anything is, is no test."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

import diffbmp
from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.bench.fit import time_fit
from diffbmp.bench.measure import Call, alternate, measure_scene
from diffbmp.bench.memory import measure_memory
from diffbmp.bench.passes import BenchRenderer, RegisteredRenderer, available_renderers
from diffbmp.bench.scenes import RADII, STANDARD_SCENES, BenchScene, count_pairs, estimated_pairs, find_scene
from diffbmp.cli import bench as command
from diffbmp.errors import DiffbmpError
from diffbmp.rendering.cpu import Cpu
from diffbmp.rendering.renderer import CompositeInputs
from diffbmp.rendering.selection import resolve_renderer

CPU = torch.device("cpu")
TINY = BenchScene(7, 48, "small")

needs_extension = pytest.mark.skipif(Cpu.unavailable(CPU) is not None, reason="core has no compiled extension here")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command with one tiny standard scene more, and without the standard ones."""
    monkeypatch.setattr("diffbmp.bench.scenes.STANDARD_SCENES", (TINY,))
    monkeypatch.setattr(command, "STANDARD_SCENES", (TINY,))
    app = typer.Typer()
    app.command("bench")(command.bench_command)
    app.command("other")(lambda: None)
    return lambda *arguments: CliRunner().invoke(app, ["bench", *arguments], catch_exceptions=False)


def brute_force(inputs: CompositeInputs, margin: float = 0.0) -> int:
    """Count the pixel centres with |u| and |v| at most 1, or in a band of ``margin`` texels around that."""
    y, x = torch.meshgrid(
        torch.arange(inputs.height, dtype=torch.float64) + 0.5,
        torch.arange(inputs.width, dtype=torch.float64) + 0.5,
        indexing="ij",
    )
    total = 0
    for frame, texture in zip(inputs.frame[0].double(), inputs.texture[0], strict=True):
        if abs(float(torch.linalg.det(frame[:, :2]))) <= 1e-12:
            continue
        level = inputs.textures[texture, 0]
        size = inputs.levels[level, 1:].double()
        place = torch.stack([x, y]).reshape(2, -1) - frame[:, 2:]
        inside = torch.linalg.solve(frame[:, :2], place).abs() <= (1 + margin / size)[:, None]
        total += int(inside.all(dim=0).sum())
    return total


class TestScenes:
    def test_names_say_what_is_drawn(self) -> None:
        assert BenchScene(1000, 512, "mixed").name == "1k-512-mixed"
        assert BenchScene(10_000, 2048, "small", textures=200).name == "10k-2048-small-200t"
        assert BenchScene(1500, 512, "large").name == "1500-512-large"
        assert len({scene.name for scene in STANDARD_SCENES}) == len(STANDARD_SCENES)

    def test_the_standard_ones_span_what_they_are_for(self) -> None:
        sizes = {(scene.count, scene.side) for scene in STANDARD_SCENES}
        assert {(1000, 512), (4000, 1024), (10_000, 2048), (100_000, 4096)} <= sizes
        assert {scene.radii for scene in STANDARD_SCENES} == set(RADII)
        assert {scene.textures for scene in STANDARD_SCENES} == {1, 200}

    def test_found_by_name(self) -> None:
        assert all(find_scene(scene.name) is scene for scene in STANDARD_SCENES)
        with pytest.raises(DiffbmpError, match="Unknown scene '1k-512-mixd'; did you mean '1k-512-mixed'"):
            find_scene("1k-512-mixd")

    def test_the_same_every_time(self) -> None:
        first, second = BenchScene(9, 32, "mixed", textures=3).inputs(), BenchScene(9, 32, "mixed", textures=3).inputs()
        for name in ("frame", "opacity", "color", "texture", "texels", "levels", "textures"):
            assert torch.equal(getattr(first, name), getattr(second, name))
        assert first.frame.shape == (1, 9, 2, 3)
        assert sorted(set(first.texture[0].tolist())) == [0, 1, 2]

    def test_one_texture_has_128_texels_a_side(self) -> None:
        assert TINY.inputs().levels[0, 1:].tolist() == [128, 128]

    @pytest.mark.parametrize("radii", RADII)
    def test_half_extents_and_turns(self, radii: str) -> None:
        axes = BenchScene(200, 64, radii).inputs().frame[0, :, :, :2].double()
        lengths = axes.norm(dim=-2)
        assert torch.allclose(lengths[:, 0], lengths[:, 1])
        assert RADII[radii][0] - 1e-3 <= float(lengths.min())
        assert float(lengths.max()) <= RADII[radii][1] + 1e-3
        assert float((axes[:, :, 0] * axes[:, :, 1]).sum(dim=-1).abs().max()) < 1e-2


class TestPairs:
    @pytest.mark.parametrize("radii", RADII)
    def test_against_brute_force(self, radii: str) -> None:
        inputs = BenchScene(40, 96, radii).inputs()
        assert count_pairs(inputs) == brute_force(inputs)

    def test_shear_edges_along_the_axes_and_off_canvas(self) -> None:
        frames = [
            [[4.0, 0.0, 10.0], [0.0, 3.0, 10.0]],  # upright: 8 by 6 pixels
            [[0.0, 5.0, 20.0], [2.0, 0.0, 20.0]],  # turned by a quarter: 10 by 4
            [[6.0, 4.0, 3.0], [0.0, 2.0, 28.0]],  # sheared, over the edge
            [[-3.0, 0.0, 0.0], [0.0, 3.0, 0.0]],  # mirrored, a quarter of it on the canvas
            [[5.0, 1.0, -40.0], [-1.0, 5.0, 12.0]],  # off canvas
            [[5.0, 5.0, 12.0], [5.0, 5.0, 12.0]],  # no area
            [[0.0, 0.0, 12.0], [0.0, 0.0, 12.0]],
        ]
        one = BenchScene(len(frames), 32, "small").inputs()
        inputs = replace(one, frame=torch.tensor(frames)[None])
        single = [count_pairs(replace(inputs, frame=inputs.frame[:, k : k + 1])) for k in range(len(frames))]
        assert single[:2] == [8 * 6, 10 * 4]
        assert single[3:] == [9, 0, 0, 0]
        assert count_pairs(inputs) == sum(single) == brute_force(inputs)

    def test_in_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        inputs = BenchScene(25, 64, "mixed").inputs()
        whole = count_pairs(inputs)
        monkeypatch.setattr("diffbmp.bench.scenes.BLOCK", 4)
        assert count_pairs(inputs) == whole

    def test_the_estimate_is_near_where_nothing_is_cut_off(self) -> None:
        scene = BenchScene(500, 2048, "small")
        assert estimated_pairs(scene) == pytest.approx(count_pairs(scene.inputs()), rel=0.1)

    @needs_extension
    @pytest.mark.parametrize("radii", RADII)
    def test_the_floor_fetches_these_pairs(self, radii: str) -> None:
        """And the band of half a texel around them, where a texture fades to nothing."""
        full = Atlas([Texture("full", torch.ones(1, 64, 64))])
        inputs = replace(BenchScene(40, 96, radii).inputs(), filter="bilinear")
        inputs = replace(inputs, texels=full.texels, levels=full.levels, textures=full.table)
        fetched = Cpu().time_fetches(inputs)["pairs"]
        assert count_pairs(inputs) <= fetched
        assert fetched == pytest.approx(brute_force(inputs, margin=1.0), rel=1e-3)


class TestMeasuring:
    def test_in_turns(self) -> None:
        order: list[str] = []
        calls = {name: Call(lambda name=name: order.append(name), 1, CPU) for name in "ABC"}
        timings = alternate(calls, seconds=0)
        assert order == ["A", "B", "C"]
        assert {timing.runs for timing in timings.values()} == {1}

    def test_three_rounds_after_one_to_warm_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = iter(range(1000))
        monkeypatch.setattr("diffbmp.bench.measure.time.perf_counter", lambda: next(clock))  # a second each
        timings = alternate({name: Call(int, 1, CPU) for name in "AB"}, seconds=6.5)
        assert {(timing.median, timing.least, timing.runs) for timing in timings.values()} == {(1, 1, 3)}

    def test_threads_are_set_and_put_back(self) -> None:
        before, seen = torch.get_num_threads(), []
        alternate({n: Call(lambda: seen.append(torch.get_num_threads()), n, CPU) for n in (2, 3)}, seconds=0)
        assert seen == [2, 3]
        assert torch.get_num_threads() == before

    @pytest.mark.parametrize("renderer", available_renderers())
    def test_passes_are_the_renderers(self, renderer: str) -> None:
        both = RegisteredRenderer(renderer, CPU).passes(TINY)
        image = both.forward()
        assert isinstance(image, torch.Tensor)
        assert image.shape == (1, 4, 48, 48)
        gradients = both.backward()
        assert isinstance(gradients, diffbmp.Gradients)
        assert gradients.frame.abs().sum() > 0
        assert gradients.texels is None

    def test_memory_of_a_process_of_its_own(self) -> None:
        held = bytearray(600 << 20)  # a peak of this process must not be taken for that one's
        held[:: 1 << 12] = b"x" * len(held[:: 1 << 12])
        scene = BenchScene(10, 1024, "small")
        memory = measure_memory(scene, RegisteredRenderer.find(available_renderers()[0]), 1)
        image = 4 * 4 * 1024**2
        assert 0.9 * image <= memory.added <= 200 << 20
        assert memory.added < memory.process < 600 << 20

    def test_memory_says_why_it_failed(self) -> None:
        with pytest.raises(DiffbmpError, match=r"could not be measured: .*nothing.*--no-memory"):
            measure_memory(TINY, RegisteredRenderer("nothing", CPU), 1)

    def test_what_is_left_out(self) -> None:
        reference = RegisteredRenderer("reference", CPU)
        assert reference.left_out(TINY, 1) is None
        assert "minutes" in (reference.left_out(BenchScene(4000, 1024, "mixed"), 1) or "")
        assert RegisteredRenderer("cpu", CPU).left_out(BenchScene(4000, 1024, "mixed"), 1) is None

    def test_a_renderer_that_cannot_draw_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Cpu, "unavailable", classmethod(lambda cls, device: "it is broken"))
        assert "cpu" not in available_renderers()
        with pytest.raises(DiffbmpError, match=r"'cpu' cannot draw here .*it is broken"):
            RegisteredRenderer.find("cpu")


class TestCommand:
    def test_json(self, run: Callable[..., Result], tmp_path: Path) -> None:
        result = run("--seconds", "0.1", "--no-memory", "--json", str(tmp_path / "deep" / "bench.json"))
        assert result.exit_code == 0
        assert "7-48-small" in result.stdout
        report = json.loads((tmp_path / "deep" / "bench.json").read_text())
        assert report["diffbmp"] == diffbmp.__version__
        assert report["versions"]["torch"] == torch.__version__
        assert report["machine"]["cpu"]
        assert report["machine"]["usable_cores"] >= 1
        assert report["date"].endswith("+00:00")
        assert report["command"].startswith("diffbmp")
        assert report["left_out"] == {}
        (scene,) = report["scenes"]
        assert {name: scene[name] for name in ("name", "count", "side", "radii", "textures", "left_out")} == {
            "name": "7-48-small", "count": 7, "side": 48, "radii": "small", "textures": 1, "left_out": {},
        }  # fmt: skip
        assert scene["pairs"] == count_pairs(TINY.inputs())
        counts = {1, report["machine"]["usable_cores"]}
        expected = {(name, count) for name in available_renderers() for count in counts} - {("reference", max(counts))}
        expected.add(("reference", 1))
        assert {(r["renderer"], r["threads"]) for r in scene["results"]} == expected
        floor = scene["floor"]
        for measured in scene["results"]:
            assert measured["memory"] is None
            for timing in (measured["forward"], measured["backward"]):
                assert 0 < timing["min_ms"] <= timing["median_ms"]
                assert timing["runs"] >= 1
                assert timing["ns_per_pair"] == pytest.approx(timing["median_ms"] * 1e6 / scene["pairs"])
                if floor is not None:
                    assert timing["to_floor"] == pytest.approx(timing["median_ms"] / floor["median_ms"])
                    assert timing["min_to_floor"] == pytest.approx(timing["min_ms"] / floor["min_ms"])
            seconds = (measured["forward"]["median_ms"] + measured["backward"]["median_ms"]) / 1e3
            expected_rate = scene["pairs"] / seconds / measured["threads"]
            assert measured["pairs_per_second_per_thread"] == pytest.approx(expected_rate)

    def test_json_alone_on_the_output(self, run: Callable[..., Result]) -> None:
        result = run(
            "--scene", "7-48-small", "--renderer", "reference", "--threads", "1", "--seconds", "0", "--json", "-"
        )
        report = json.loads(result.stdout)
        (measured,) = report["scenes"][0]["results"]
        assert measured["renderer"] == "reference"
        assert 0 <= measured["memory"]["added"] < measured["memory"]["process"]

    def test_scenes_that_do_not_fit_the_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(command, "STANDARD_SCENES", (TINY, BenchScene(100_000, 4096, "mixed")))
        chosen, omitted = command._scenes(None, 1.0, 2)
        assert chosen == [TINY]
        assert list(omitted) == ["100k-4096-mixed"]
        assert "--scene" in omitted["100k-4096-mixed"]
        assert command._scenes(["100k-4096-mixed"], 1.0, 2) == ([find_scene("100k-4096-mixed")], {})

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--scene", "7-48-smal"), "Unknown scene '7-48-smal'; did you mean '7-48-small'"),
            (("--renderer", "referense"), "Unknown renderer 'referense'; did you mean 'reference'"),
        ],
    )
    def test_mistakes(self, run: Callable[..., Result], arguments: tuple[str, ...], said: str) -> None:
        with pytest.raises(DiffbmpError, match=said):
            run(*arguments)


PEER = """
import torch
from diffbmp.bench.passes import BenchRenderer, Passes

class Peer(BenchRenderer):
    name = "peer"
    device = torch.device("cpu")

    def left_out(self, scene, pairs):
        return f"it cannot draw {scene.count}, nor {pairs} pairs" if scene.count == 8 else None

    def passes(self, scene):
        self.held = None
        def forward():
            self.held = b"x" * (50 << 20)
        return Passes(forward, lambda: None)
"""


class TestPeers:
    """Programs that are no renderers of ours, measured beside them."""

    @pytest.fixture
    def peer(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BenchRenderer]:
        (tmp_path / "outsider.py").write_text(PEER)
        monkeypatch.syspath_prepend(tmp_path)
        yield importlib.import_module("outsider").Peer()
        del sys.modules["outsider"]

    def test_beside_renderers(self, peer: BenchRenderer, monkeypatch: pytest.MonkeyPatch) -> None:
        scenes = (TINY, BenchScene(8, 48, "small"))
        monkeypatch.setattr("diffbmp.bench.scenes.STANDARD_SCENES", scenes)
        names = [scene.name for scene in scenes]
        drawn, without = command.bench_report(
            scenes=names, renderers=["reference"], peers=[peer], threads=[1, 2], seconds=0, memory=False
        )["scenes"]
        measured = [("reference", 1), ("peer", 1), ("peer", 2)]
        assert [(result["renderer"], result["threads"]) for result in drawn["results"]] == measured
        assert drawn["left_out"] == {}
        assert [result["renderer"] for result in without["results"]] == ["reference"]
        assert without["left_out"] == {"peer": f"it cannot draw 8, nor {without['pairs']} pairs"}

    def test_memory(self, peer: BenchRenderer) -> None:
        (measurement,) = measure_scene(TINY, [peer], threads=[1], seconds=0, memory=True).measurements
        assert measurement.memory is not None
        assert 50 << 20 <= measurement.memory.added <= 60 << 20

    def test_names_that_are_taken(self, peer: BenchRenderer) -> None:
        for peers in ([peer, peer], [RegisteredRenderer.find("reference")]):
            with pytest.raises(ValueError, match="needs a name"):
                command.bench_report(renderers=["reference"], peers=peers)


@needs_extension
def test_the_kernels_share_of_a_fit(photo: Path, stamps: Path) -> None:
    times = time_fit(diffbmp.start_fit(photo, stamps=stamps, n=20, steps=3, renderer="cpu", device="cpu"))
    assert times.steps == 3
    assert 0 < times.forward + times.backward < times.total
    assert 0 < times.kernel_share < 1
    assert "forward" not in vars(resolve_renderer("cpu"))
