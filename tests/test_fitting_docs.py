"""docs/fitting.md is true: it names every option, loss, start and refiner, and its commands run as they stand."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from diffbmp.fitting.presets import GOING_ON, WARMUP
from diffbmp.fitting.settings import FitSettings
from diffbmp.plugins.registry import registry
from diffbmp.settings import parse_settings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "fitting.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("family", ["losses", "initializers", "refiners"])
def test_names_everything_of_core(family: str) -> None:
    for entry in registry().entries(family):
        if entry.owner == "core":
            assert f"`{entry.name}`" in PAGE, entry.name


def test_names_every_setting() -> None:
    tables = {"loaders", "initializers", "losses", "refiners", "observers", "exporters", "renderers"}
    for name in set(FitSettings.model_fields) - tables:
        flag = f"--{name.replace('_', '-')}"
        assert re.search(rf"`{name}[`.]|{flag}\b|`{name}\b|^\[{name}\]|\(`{name}`\)| -{name} ", PAGE, re.MULTILINE), (
            name
        )


def test_the_file_of_settings_is_valid() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    values = tomllib.loads(text)
    settings = parse_settings(FitSettings, values, "")
    for family, tables in (("initializers", settings.initializers), ("losses", {n: {} for n in settings.loss})):
        for name, table in tables.items():
            registry().create(family, name, table)


def test_the_schedule_of_a_fit_that_goes_on() -> None:
    for table in ("optimizer", "resolution", "blur"):
        for name, value in GOING_ON[table].items():
            assert f"| `{table}.{name}` | {value:g}" in PAGE
    assert f"| `optimizer.warmup` | {WARMUP}," in PAGE


def test_links_exist() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


@pytest.mark.slow
def test_commands_run(tmp_path: Path) -> None:
    Image.fromarray(data.astronaut()).resize((64, 64)).save(tmp_path / "photo.jpg")
    y, x = np.mgrid[0:64, 0:64]
    Image.fromarray((((x - 32) ** 2 + (y - 32) ** 2 < 600) * 255).astype(np.uint8)).save(tmp_path / "shape.png")
    (tmp_path / "petals").mkdir()
    for number, box in enumerate([(40, 10, 70, 50), (160, 90, 220, 130)]):
        Image.fromarray(data.astronaut()).crop(box).convert("RGBA").save(tmp_path / "petals" / f"{number}.png")
    commands = re.findall(r"^\$ (.+)$", PAGE, flags=re.MULTILINE)
    assert sum(command.startswith("diffbmp fit") for command in commands) >= 8
    for number, command in enumerate(commands):
        if command.startswith("diffbmp "):
            words = [sys.executable, "-m", "diffbmp", *shlex.split(command)[1:], "-o", f"out-{number}"]
        else:
            words = ["sh", "-c", command]
        result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
