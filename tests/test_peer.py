"""The peer that ``benchmarks/cpu.py`` measures beside our renderers: ``pydiffbmp``, or a stand-in for it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cpu
import pydiffbmp_peer
import pytest
import torch
from pydiffbmp_peer import Peer, PeerRenderer, peer_available, peer_version

from diffbmp.bench.scenes import BenchScene
from diffbmp.cli.bench import bench_report
from diffbmp.errors import DiffbmpError
from diffbmp.rendering.cpu import Cpu

TINY = BenchScene(5, 32, "small")

needs_extension = pytest.mark.skipif(
    Cpu.unavailable(torch.device("cpu")) is not None, reason="core has no compiled extension here"
)
needs_peer = pytest.mark.skipif(not peer_available(), reason="pydiffbmp is not installed")

STAND_IN = """
class VectorRenderer:
    def __init__(self, canvas_size, S, **settings):
        self.size, self.mask, self.settings = canvas_size, S, settings
        print("chatter")
    def render_from_params(self, x, y, r, theta, v, c, no_background):
        return ((x + y + r + theta + v).sum() + c.sum()) * self.mask.new_ones(*self.size, 3)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Put a package in place of ``pydiffbmp``, version 9, and return the folder of its renderer."""
    folder = tmp_path / "pydiffbmp" / "core" / "renderer"
    folder.mkdir(parents=True)
    for package in (folder, *folder.parents[:2]):
        (package / "__init__.py").touch()
    (folder / "vector_renderer.py").write_text(STAND_IN)
    (tmp_path / "pydiffbmp-9.dist-info").mkdir()
    (tmp_path / "pydiffbmp-9.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: pydiffbmp\nVersion: 9\n")
    for name in [name for name in sys.modules if name.partition(".")[0] == "pydiffbmp"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_what_it_is_given(stand_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Imported although what it imports is missing, quiet, and leaving no trace."""
    imports = "import nowhere.pyplot as plt\nfrom nowhere.transforms import Resize\n"
    (stand_in / "vector_renderer.py").write_text(imports + STAND_IN)
    monkeypatch.setattr(pydiffbmp_peer, "UNUSED", frozenset({"nowhere"}))
    inputs = TINY.inputs()
    peer = PeerRenderer(inputs)
    assert not [name for name in sys.modules if name.partition(".")[0] == "nowhere"]
    assert capsys.readouterr().out == ""
    assert peer._renderer.size == (32, 32)
    assert peer._renderer.mask.shape == (128, 128)
    assert peer._renderer.settings["alpha_upper_bound"] == 1.0
    values, back_to_front = peer.parameters, inputs.frame[0].flip(0)
    assert torch.allclose(values["x"] + 0.5, back_to_front[:, 0, 2])
    assert torch.allclose(values["r"] * torch.cos(values["theta"]) * 128 / 127, back_to_front[:, 0, 0], atol=1e-4)
    assert torch.allclose(torch.sigmoid(values["v"]), inputs.opacity[0].flip(0), atol=1e-6)
    assert peer.forward().shape == (32, 32, 3)
    gradients = peer.backward(torch.ones(3, 32, 32))
    assert [gradient.shape for gradient in gradients] == [(5,)] * 5 + [(5, 3)]
    assert torch.equal(gradients[0], torch.full((5,), 3.0 * 32 * 32))


def test_it_starts_from_the_gradient_that_renderers_are_given(stand_in: Path) -> None:
    passes = Peer().passes(TINY)
    image, gradients = passes.forward(), passes.backward()
    assert isinstance(image, torch.Tensor)
    assert image.shape == (32, 32, 3)
    assert isinstance(gradients, tuple)
    assert torch.allclose(gradients[0], TINY.grad_image()[0, :3].sum().expand(5))


def test_what_is_left_out() -> None:
    assert Peer().left_out(TINY, 1) is None
    assert "gigabytes" in (Peer().left_out(TINY, 10**8) or "")
    assert "one size" in (Peer().left_out(replace(TINY, textures=2), 1) or "")


def test_one_that_cannot_be_imported(stand_in: Path) -> None:
    (stand_in / "vector_renderer.py").write_text("import missing_from_here")
    with pytest.raises(DiffbmpError, match=r"'missing_from_here'.*pip install --no-deps pydiffbmp==0\.1\.3"):
        Peer().passes(TINY)


@needs_peer
@needs_extension
def test_it_draws_the_same_picture() -> None:
    inputs = BenchScene(60, 96, "paper").inputs()
    ours, _ = Cpu().forward(replace(inputs, filter="bilinear"))
    assert torch.allclose(PeerRenderer(inputs).forward().permute(2, 0, 1), ours[0, :3], atol=1e-3)


class TestReport:
    """What ``benchmarks/cpu.py`` writes."""

    @pytest.fixture(autouse=True)
    def tiny(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for module in ("cpu", "diffbmp.bench.scenes"):
            monkeypatch.setattr(f"{module}.STANDARD_SCENES", (TINY,))
        monkeypatch.setattr(cpu, "THREADS", (1,))
        monkeypatch.setenv("OMP_WAIT_POLICY", "passive")

    def test_with_the_peer(self, stand_in: Path, tmp_path: Path) -> None:
        cpu.measure_scenes(tmp_path / "cpu.json", 0)
        report = json.loads((tmp_path / "cpu.json").read_text())
        (scene,) = report["scenes"]
        measured = cpu.find(report, scene["name"], "pydiffbmp", 1)
        assert measured is not None
        assert 0 <= measured["memory"]["added"] < measured["memory"]["process"]
        assert cpu.find(report, scene["name"], "reference", 1) is not None
        assert report["command"] == "python benchmarks/cpu.py --seconds 0"
        assert report["environment"] == {"OMP_WAIT_POLICY": "passive"}
        assert list(report["versions"]) == ["python", "torch", "pydiffbmp"]
        assert report["versions"]["pydiffbmp"] == peer_version() == "9"
        assert "pydiffbmp 9" in "\n".join(cpu.machine(report))
        assert any("| pydiffbmp | 1 |" in line for line in cpu.scenes(report))

    def test_without_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cpu, "peer_available", lambda: False)
        monkeypatch.setattr(cpu, "bench_report", partial(bench_report, memory=False))
        cpu.measure_scenes(tmp_path / "cpu.json", 0)
        report = json.loads((tmp_path / "cpu.json").read_text())
        assert cpu.find(report, report["scenes"][0]["name"], "reference", 1) is not None
        assert "pydiffbmp" not in (tmp_path / "cpu.json").read_text()
        assert "pydiffbmp" not in "\n".join(cpu.machine(report))
