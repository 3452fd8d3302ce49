"""diffbmp-psd installed from its wheel, by pip, beside core: found by its entry point, and it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import diffbmp

ROOT = Path(__file__).parents[1]

PLACE = "import diffbmp_psd, psd_tools, sys; print(diffbmp_psd.__file__)"


@pytest.mark.slow
def test_the_wheel_writes_a_psd(tmp_path: Path) -> None:
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [*install, "--disable-pip-version-check", "--target", str(site), str(ROOT / "packages" / "diffbmp-psd")],
        check=True,
        capture_output=True,
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}

    def run(*command: str) -> str:
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, check=True, capture_output=True, text=True
        ).stdout

    assert run("-c", PLACE).startswith(str(site))
    (plugin,) = [entry for entry in json.loads(run("-m", "diffbmp", "plugins", "--json")) if "psd" in entry["name"]]
    assert plugin["version"] == diffbmp.__version__
    stamps = diffbmp.Stamps(
        torch.tensor([[4.0, 4.0]]), torch.ones(1), torch.zeros(1), torch.zeros(1), torch.zeros(1, 3), torch.tensor([0])
    )
    scene = diffbmp.Scene(8, 8, diffbmp.Atlas.from_pixels([torch.ones(4, 4)]), [stamps])
    diffbmp.save_scene(scene, tmp_path / "scene.diffbmp")
    run("-m", "diffbmp", "export", "scene.diffbmp", "-o", "layers.psd")
    assert (tmp_path / "layers.psd").read_bytes()[:4] == b"8BPS"
