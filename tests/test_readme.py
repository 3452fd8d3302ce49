"""The README is true: its commands and its Python run as they stand, in a folder with a photograph and stamps."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with ``photo.jpg``, ``petals/`` and ``drawings/``, as the README takes for granted."""
    photo = Image.fromarray(data.astronaut()).resize((48, 48))
    photo.save(tmp_path / "photo.jpg")
    for name, mode in (("petals", "RGBA"), ("drawings", "RGB")):
        (tmp_path / name).mkdir()
        for number, box in enumerate([(40, 10, 70, 50), (160, 90, 220, 130), (300, 300, 340, 380)]):
            cut = Image.fromarray(data.astronaut()).crop(box).convert(mode)
            cut.save(tmp_path / name / f"{number}.png")
    return tmp_path


def run(command: list[str], cwd: Path) -> None:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert result.returncode == 0, f"{shlex.join(command)}\n{result.stdout}\n{result.stderr}"


@pytest.mark.slow
def test_commands_run(folder: Path) -> None:
    commands = re.findall(r"^\$ diffbmp (.+)$", README, flags=re.MULTILINE)
    assert len(commands) >= 4
    for command in commands:
        run([sys.executable, "-m", "diffbmp", *shlex.split(command, comments=True)], folder)
    assert (folder / "out" / "report.json").exists()


@pytest.mark.slow
def test_python_runs(folder: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        run([sys.executable, "-W", "error", "-c", block], folder)


def test_links_and_make_targets_exist() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert set(re.findall(r"^\$ make (\S+)", README, flags=re.MULTILINE)) <= targets


def test_names_every_package() -> None:
    for package in (ROOT / "packages").iterdir():
        assert f"(packages/{package.name})" in README
