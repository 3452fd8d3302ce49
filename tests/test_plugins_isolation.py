"""A plugin from a package of its own, beside broken ones: found by its entry point only, harmed by none.

The example package is built into a wheel (with hatchling, offline) and unpacked where only these tests' processes
look, so the environment that the tests run in is not touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

EXAMPLE = Path(__file__).parent / "example_plugin"

LOSS = '''
import diffbmp

class Other(diffbmp.Loss):
    """A loss of a sibling."""

    name = "{name}"

    def __call__(self, view):
        return view.image.mean()

@diffbmp.hookimpl
def {hook}(register):
    register(Other)
'''

GREEDY = '''
import diffbmp, typer

class Pictures(diffbmp.Loader):
    """Claims core's pictures, and fails on them."""

    name = "pictures"
    suffixes = (".png", ".jpg")

    def load(self, source):
        raise RuntimeError("nothing to see")

class Writer(diffbmp.Exporter):
    """Claims core's PNG, and writes nothing."""

    name = "writer"
    suffixes = (".png",)

    def export(self, scene, path, options, *, renderer, progress):
        pass

class Wave(diffbmp.Command):
    """Fails."""

    name = "wave"
    app = typer.Typer()

@Wave.app.command()
def go():
    raise RuntimeError("no hands")

class Lost(diffbmp.Command):
    """Cannot be mounted."""

    name = "lost"
    app = typer.Typer()

@Lost.app.command()
def find(it: "Nowhere"):
    pass

@diffbmp.hookimpl
def register_loaders(register):
    register(Pictures)

@diffbmp.hookimpl
def register_exporters(register):
    register(Writer)

@diffbmp.hookimpl
def register_commands(register):
    register(Lost)
    register(Wave)
'''

SIBLINGS = {
    "aborting": "raise SystemExit('no licence')",
    "greedy": GREEDY,
    "broken": "print('on stdout')\nimport a_library_that_nobody_has",
    "misspelt": LOSS.format(name="misspelt", hook="register_loses"),
    "twin": LOSS.format(name="darkness", hook="register_losses"),
    "zzz-late": LOSS.format(name="late", hook="register_losses"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of installed packages: the example and its siblings."""
    folder = tmp_path_factory.mktemp("site")
    wheels = tmp_path_factory.mktemp("wheels")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
    subprocess.run(build, cwd=EXAMPLE, check=True, capture_output=True)
    (wheel,) = wheels.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for name, source in SIBLINGS.items():
        module = f"sibling_{name.replace('-', '_')}"
        (folder / f"{module}.py").write_text(source)
        metadata = folder / f"{module}-2.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: sibling-{name}\nVersion: 2.0\n")
        (metadata / "entry_points.txt").write_text(f"[diffbmp]\n{name} = {module}\n")
    return folder


def run(site: Path, *arguments: object, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DIFFBMP_")}
    return subprocess.run(
        [sys.executable, "-m", "diffbmp", *map(str, arguments)],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def listed(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    assert result.returncode == 0, result.stderr
    return {plugin["name"]: plugin for plugin in json.loads(result.stdout)}


def test_the_example_is_small() -> None:
    lines = (EXAMPLE / "src" / "diffbmp_example.py").read_text(encoding="utf-8").splitlines()
    assert sum(bool(line.strip()) for line in lines) <= 30


def test_every_plugin_is_listed_and_broken_ones_are_reported_by_name(site: Path, tmp_path: Path) -> None:
    plugins = listed(run(site, "plugins", "--json", cwd=tmp_path))

    example = plugins["example"]
    assert (example["package"], example["version"]) == ("diffbmp-example", "0.1.0")
    assert example["hooks"] == ["register_loaders", "register_losses"]
    assert [(item["family"], item["name"]) for item in example["registers"]] == [
        ("loaders", "checker"),
        ("losses", "darkness"),
    ]
    assert [item["name"] for item in plugins["zzz-late"]["registers"]] == ["late"]
    sound = {name for name, plugin in plugins.items() if not plugin["problems"]}
    assert {"core", "example", "zzz-late"} <= sound
    assert not sound & {"aborting", "broken", "greedy", "misspelt", "twin"}

    problems = {name: " ".join(plugin["problems"]) for name, plugin in plugins.items()}
    assert problems["aborting"] == "cannot be loaded: SystemExit: no licence"
    assert "No module named 'a_library_that_nobody_has'" in problems["broken"]
    assert "Unknown hook 'register_loses'; did you mean 'register_losses'?" in problems["misspelt"]
    assert problems["twin"] == (
        "the loss 'darkness' is registered by both 'example' (diffbmp-example 0.1.0) and 'twin' (sibling-twin 2.0); "
        "that of 'example' is kept, and the other one is called 'twin/darkness'"
    )
    assert [item["name"] for item in plugins["twin"]["registers"]] == ["twin/darkness"]
    greedy = plugins["greedy"]["problems"]
    assert len(greedy) == 3
    assert "the suffixes .png, .jpg are claimed by both the loader 'image' of 'core'" in greedy[0]
    assert "the suffix .png is claimed by both the exporter 'png' of 'core'" in greedy[1]
    assert "Lost ('lost') has an `app` that cannot be mounted: NameError" in greedy[2]
    assert all(0 <= plugin["seconds"] < 10 for plugin in plugins.values())


def test_its_loader_and_loss_fit_a_picture(site: Path, tmp_path: Path) -> None:
    Image.linear_gradient("L").resize((24, 16)).convert("RGB").save(tmp_path / "photo.png")
    wanted = ["photo.png", "--stamps", "checker:8", "--loss", "darkness=1"]
    result = run(site, "fit", *wanted, "-n", 20, "--steps", 3, "-o", "out", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["steps"] == 3
    assert report["settings"]["loss"] == {"darkness": 1.0}
    assert report["versions"]["diffbmp-example"] == "0.1.0"
    with Image.open(tmp_path / "out" / "picture.png") as picture:
        assert picture.size == (24, 16)
    assert "registered by both 'example'" in result.stderr  # the name that was asked for is contested
    assert result.stderr.count("registered by both") == 1
    assert "The suffix .png is claimed" not in result.stderr  # a fit's picture is core's, whoever claims the suffix

    result = run(site, "export", "out/scene.diffbmp", "-o", "picture.png", "-o", "again.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("The suffix .png is claimed by both the exporter 'png' of 'core'") == 1

    files = ["-o", "png:first.png", "-o", "greedy/writer:second.png"]
    result = run(site, "export", "out/scene.diffbmp", *files, cwd=tmp_path)
    assert result.returncode == 2
    assert result.stdout == "first.png\n"
    assert result.stderr.splitlines()[-1] == (
        "Error: The exporter 'writer' of the plugin 'greedy' (sibling-greedy 2.0) wrote nothing into "
        "'second.png', and raised no error."
    )
    assert "claimed by" not in result.stderr  # a person has chosen
    assert not (tmp_path / "second.png").exists()


def test_a_command_that_fails_is_named_and_one_that_cannot_be_mounted_harms_none(site: Path, tmp_path: Path) -> None:
    result = run(site, "wave", "go", cwd=tmp_path)
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == (
        "Error: The command 'wave' of the plugin 'greedy' (sibling-greedy 2.0) failed: RuntimeError: no hands."
    )
    result = run(site, "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert " wave " in result.stdout
    assert " lost " not in result.stdout


def test_the_allow_list_and_the_trace(site: Path, tmp_path: Path) -> None:
    result = run(site, "plugins", "--json", cwd=tmp_path, DIFFBMP_PLUGINS="diffbmp-example", DIFFBMP_TRACE="1")
    plugins = listed(result)
    assert {name for name, plugin in plugins.items() if plugin["allowed"]} == {"core", "example"}
    assert all(not plugin["problems"] for plugin in plugins.values())
    assert set(SIBLINGS) <= set(plugins)
    traced = [line for line in result.stderr.splitlines() if line.startswith("diffbmp: ")]
    assert any(line.startswith("diffbmp: loaded 'example' (diffbmp-example 0.1.0) (") for line in traced)
    assert any(line.startswith("diffbmp: register_loaders of 'example' registered checker (") for line in traced)
    assert not any("sibling" in line for line in traced)


@pytest.mark.slow
def test_an_empty_allow_list_is_core_alone(site: Path, tmp_path: Path) -> None:
    result = run(site, "plugins", "--json", cwd=tmp_path, DIFFBMP_PLUGINS="")
    assert [name for name, plugin in listed(result).items() if plugin["allowed"]] == ["core"]
    assert "diffbmp: " not in result.stderr
