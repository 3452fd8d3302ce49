"""docs/jobs.md is true: its Python runs from top to bottom as in a notebook, its commands as they stand."""

from __future__ import annotations

import re
import shlex
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from skimage import data

import diffbmp
from diffbmp.cli.app import main
from diffbmp.fitting.settings import FitSettings
from diffbmp.settings import parse_settings

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "jobs.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with three photographs of one size and ``petals/``, as the page takes for granted."""
    folder = tmp_path_factory.mktemp("jobs")
    for name, source in (("photo", data.astronaut()), ("second", data.chelsea()), ("third", data.coffee())):
        Image.fromarray(source).resize((48, 40)).save(folder / f"{name}.jpg")
    (folder / "petals").mkdir()
    for number, box in enumerate([(40, 10, 70, 50), (160, 90, 220, 130)]):
        Image.fromarray(data.astronaut()).crop(box).convert("RGBA").save(folder / "petals" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def notebook(folder: Path) -> Iterator[dict[str, Any]]:
    """Return what the page's names stand for once all of its Python has run."""
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in BLOCKS:
            exec(compile(block, "docs/jobs.md", "exec"), names)
        yield names


def test_each_scene_is_whole(notebook: dict[str, Any]) -> None:
    scenes = {name: value for name, value in notebook.items() if isinstance(value, diffbmp.Scene)}
    assert len(scenes) >= 10
    for name, scene in scenes.items():
        assert all(bool(torch.isfinite(value).all()) for value in scene.state_dict().values()), name
        assert scene.width in (48, 96), name


def test_a_fit_without_a_target_follows_its_loss(notebook: dict[str, Any]) -> None:
    scene = notebook["waves"]
    assert (scene.height, scene.width) == (64, 96)
    assert notebook["spread"].count == scene.count == 40


def test_a_batch_has_the_bits_of_its_canvases_alone(
    notebook: dict[str, Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    alone = diffbmp.fit("second.jpg", stamps="petals/", n=60, steps=20)
    assert torch.equal(alone.image, notebook["pictures"][1])
    assert torch.equal(alone.image, notebook["second"].render())


def test_a_sequence_is_linked(notebook: dict[str, Any]) -> None:
    assert notebook["sequence"].linked
    assert notebook["sequence"].batch == 3
    assert notebook["live"].next_step == 8
    assert notebook["steady"].linked


def test_each_primitive_uses_its_own_textures(notebook: dict[str, Any]) -> None:
    assert set(notebook["back"].texture.tolist()) == {0}
    assert set(notebook["front"].texture.tolist()) <= {1, 2}


def test_a_scene_that_is_given_stays_as_it_is(notebook: dict[str, Any], folder: Path) -> None:
    saved = diffbmp.load_scene(folder / "photo.diffbmp")
    assert torch.equal(saved.primitives[0].state_dict()["position"], notebook["stamps"].position)
    colors = torch.sigmoid(notebook["sepia"].primitives[0].color_logit).mul(255).round().int()
    assert {tuple(color) for color in colors.tolist()} <= {(0x2B, 0x1D, 0x0E), (0x8A, 0x5A, 0x2B), (0xE8, 0xD3, 0xA9)}


def test_a_changed_fit_takes_its_new_steps_and_losses(notebook: dict[str, Any]) -> None:
    assert notebook["fit"].next_step == 30
    assert set(notebook["step"].terms) == {"mse", "ssim"}


def test_locked_stamps_keep_their_bits(notebook: dict[str, Any]) -> None:
    before, after = notebook["stamps"].state_dict(), notebook["around"].primitives[0].state_dict()
    for name, value in before.items():
        assert torch.equal(value[:10], after[name][:10]), name
    assert not torch.equal(before["position"][10:], after["position"][10:])


def test_the_weighted_half_is_closer(notebook: dict[str, Any]) -> None:
    with torch.no_grad():
        error = (notebook["half"].render() - notebook["photo"]).square()
    middle = error.shape[-1] // 2
    assert float(error[..., :middle].mean()) < float(error[..., middle:].mean())


def test_observed_and_resumed(notebook: dict[str, Any]) -> None:
    assert len(notebook["curve"].psnrs) == 20
    assert notebook["resumed"].next_step == 20


def test_the_file_of_settings_names_primitives() -> None:
    (text,) = re.findall(r"^```toml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    settings = parse_settings(FitSettings, tomllib.loads(text), "")
    assert [table["kind"] for table in settings.primitives or []] == ["stamps", "stamps"]


def test_links_exist() -> None:
    for link, anchor in re.findall(r"\]\(([^)#:]+)(?:#([\w-]+))?\)", PAGE):
        linked = ROOT / "docs" / link
        assert linked.exists(), link
        headings = re.findall(r"^#+ (.+)$", linked.read_text(encoding="utf-8"), flags=re.MULTILINE)
        anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert not anchor or anchor in anchors, anchor


@pytest.mark.parametrize("command", re.findall(r"^\$ (diffbmp .+)$", PAGE, flags=re.MULTILINE))
def test_command_runs(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    code: object = 0
    try:
        main()
    except SystemExit as stop:
        code = stop.code
    assert not code, command
