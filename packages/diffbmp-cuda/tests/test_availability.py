"""What a person reads where the renderer cannot draw."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch

import diffbmp
from diffbmp.plugins.registry import registry
from diffbmp_cuda import CapturedStep, Cuda, availability
from diffbmp_cuda.availability import Machine, reason

FINE = Machine(
    nvrtc=(13, 0), architectures=(75, 80, 86, 90, 100, 120), driver=(13, 0), card="NVIDIA H200", capability=(9, 0)
)


def machine(**changes: object) -> Machine:
    return Machine(**{**FINE.__dict__, **changes})  # type: ignore[arg-type]


class TestReasons:
    def test_a_machine_that_has_everything_draws(self) -> None:
        assert reason(FINE) is None

    @pytest.mark.parametrize(
        ("found", "sentence"),
        [
            (Machine(no_device="PyTorch finds none"), "PyTorch finds none"),
            (
                machine(card="Tesla V100", capability=(7, 0)),
                "Tesla V100 has compute capability 7.0, and 7.5 is the least",
            ),
            (
                machine(no_nvrtc="No module named 'cuda.bindings'"),
                "the compiler NVRTC is missing (No module named 'cuda.bindings'); pip install 'diffbmp-cuda[cu13]'",
            ),
            (
                machine(no_nvrtc="No module named 'cuda.bindings'", driver=(12, 4)),
                "the compiler NVRTC is missing (No module named 'cuda.bindings'); pip install 'diffbmp-cuda[cu12]'",
            ),
            (
                machine(driver=(12, 8)),
                "the driver is too old: it runs CUDA up to 12.8 and NVRTC is 13.0; "
                "pip install 'diffbmp-cuda[cu12]' or update the driver",
            ),
            (
                machine(nvrtc=(12, 9), driver=(11, 8)),
                "the driver is too old: it runs CUDA up to 11.8 and NVRTC is 12.9; update the driver",
            ),
            (
                machine(card="NVIDIA Next", capability=(13, 0)),
                "NVRTC 13.0 does not know NVIDIA Next (compute capability 13.0); pip install -U 'diffbmp-cuda[cu13]'",
            ),
        ],
    )
    def test_each_is_one_clause_that_says_what_to_do(self, found: Machine, sentence: str) -> None:
        assert reason(found) == sentence

    def test_a_missing_nvrtc_is_found_when_it_is_looked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        properties = type("Properties", (), {"name": "NVIDIA H200", "major": 9, "minor": 0})()
        monkeypatch.setattr(availability, "_no_device", lambda: None)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _index: properties)
        monkeypatch.setattr(availability, "_driver", lambda: (13, 0))
        monkeypatch.setitem(sys.modules, "cuda.bindings", None)
        availability.machine.cache_clear()
        try:
            said = reason(availability.machine(0))
        finally:
            availability.machine.cache_clear()
        assert said is not None
        assert re.fullmatch(r"the compiler NVRTC is missing \(.+\); pip install 'diffbmp-cuda\[cu13\]'", said)

    def test_nvrtc_needs_no_card(self) -> None:
        version, architectures = availability._nvrtc()
        assert version >= (12, 0)
        assert {75, 90} <= set(architectures)

    def test_a_driver_that_is_not_there_is_no_error(self) -> None:
        if not torch.cuda.is_available():
            assert availability._driver() == (0, 0)


class TestWithoutACard:
    pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")

    def test_on_the_cpu_it_says_why_not(self) -> None:
        said = Cuda.unavailable(torch.device("cpu"))
        assert said is not None
        assert said.startswith("it draws on NVIDIA GPUs only, and ")

    @pytest.mark.parametrize("device", ["cuda", "cuda:1"])
    def test_a_device_that_is_not_there_is_no_crash(self, device: str) -> None:
        said = Cuda.unavailable(torch.device(device))
        assert said is not None
        assert re.match("this build of PyTorch is for|PyTorch finds none", said)

    def test_core_s_renderer_goes_on(self) -> None:
        atlas = diffbmp.Atlas.from_pixels([torch.ones(3, 3)])
        frame = torch.tensor([[[2.0, 0, 4], [0, 2, 4]]])
        image = diffbmp.composite(frame, torch.ones(1), torch.ones(1, 3), torch.tensor([0]), atlas, size=(8, 8))
        assert image[3, 4, 4] == 1

    def test_asking_for_it_by_name_is_an_error_of_one_sentence(self) -> None:
        atlas = diffbmp.Atlas.from_pixels([torch.ones(3, 3)])
        frame = torch.tensor([[[2.0, 0, 4], [0, 2, 4]]])
        values = (frame, torch.ones(1), torch.ones(1, 3), torch.tensor([0]), atlas)
        with pytest.raises(diffbmp.DiffbmpError, match="Renderer 'cuda' cannot draw on cpu: it draws on NVIDIA GPUs"):
            diffbmp.composite(*values, size=(8, 8), renderer="cuda")

    def test_doctor_says_it(self) -> None:
        told = subprocess.run([sys.executable, "-m", "diffbmp", "doctor", "--json"], capture_output=True, check=True)
        report = json.loads(told.stdout)
        (cpu,) = report["devices"]
        cuda = next(renderer for renderer in cpu["renderers"] if renderer["name"] == "cuda")
        assert cuda["plugin"] == "cuda"
        assert cuda["unavailable"].startswith("it draws on NVIDIA GPUs only, and ")
        assert report["chosen"] == {"device": "cpu", "renderer": "cpu"}

    def test_a_step_cannot_be_captured(self) -> None:
        with pytest.raises(diffbmp.DiffbmpError, match="only be captured on an NVIDIA GPU, and PyTorch finds none"):
            CapturedStep(lambda: None)


def test_a_step_needs_warming_up() -> None:
    with pytest.raises(diffbmp.DiffbmpError, match="warm_up must be at least 1, got 0"):
        CapturedStep(lambda: None, warm_up=0)


def test_it_is_preferred_where_it_can_draw() -> None:
    entries = {entry.name: entry for entry in registry().entries("renderers")}
    assert entries["cuda"].cls.priority > entries["cpu"].cls.priority > entries["reference"].cls.priority
    assert entries["cuda"].owner == "cuda"


def test_importing_it_does_not_import_cuda_core() -> None:
    code = "import sys, diffbmp_cuda; sys.exit('cuda.core' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
