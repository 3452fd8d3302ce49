"""The wheel in an environment of its own, with PyTorch for the CPU and nothing of CUDA."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image

ROOT = Path(__file__).parents[3]


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(torch.version.cuda is not None, reason="this environment's PyTorch is for CUDA")
def test_a_clean_environment_without_a_gpu(tmp_path: Path) -> None:
    build = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", tmp_path)
    for package in ("diffbmp-core", "diffbmp-cuda"):
        run(*build, ROOT / "packages" / package)
    wheels = {path.name.split("-")[0]: path for path in tmp_path.glob("*.whl")}
    assert wheels["diffbmp_cuda"].name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheels["diffbmp_cuda"]) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    assert {"forward.cu", "backward.cu", "setup.cu", "bin.cu", "reduce.cu", "scene.cuh", "py.typed"} <= names

    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", environment)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", *wheels.values())
    installed = {item["name"] for item in json.loads(run(python, "-m", "pip", "list", "--format=json"))}
    assert "cuda-core" in installed
    assert not {name for name in installed if name.startswith("nvidia-") or name == "cuda-bindings"}

    report = json.loads(run(python, "-m", "diffbmp", "doctor", "--json"))
    (cpu,) = report["devices"]
    reasons = {renderer["name"]: renderer["unavailable"] for renderer in cpu["renderers"]}
    assert reasons["cuda"] == "it draws on NVIDIA GPUs only, and this build of PyTorch is for the CPU only"
    assert report["chosen"] == {"device": "cpu", "renderer": "cpu"}
    assert "it draws on NVIDIA GPUs only" in run(python, "-m", "diffbmp", "doctor", COLUMNS="200")
    run(
        python, "-m", "diffbmp", "fit", _photo(tmp_path), "--stamps", "shape:disc", "-n", "5", "--steps", "2",
        "--output", tmp_path / "out",
    )  # fmt: skip
    assert (tmp_path / "out" / "picture.png").exists()


def _photo(folder: Path) -> Path:
    path = folder / "photo.png"
    Image.effect_noise((24, 16), 60).convert("RGB").save(path)
    return path
