"""docs/plugins.md is true: every hook is on it, and each example registers and works as it stands."""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shlex
import sys
import textwrap
import tomllib
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from skimage import data
from typer.testing import CliRunner

import diffbmp
from diffbmp.cli.app import main
from diffbmp.plugins import hookspecs
from diffbmp.plugins.hookspecs import FAMILIES, HOOKS
from diffbmp.plugins.installed import ALLOW_VARIABLE
from diffbmp.plugins.loading import TRACE_VARIABLE
from diffbmp.plugins.registry import Registry
from diffbmp.rendering.reference import Reference
from diffbmp.settings import setting_rows
from diffbmp.testing import PrimitiveConformance, loss_inputs

Registered = Callable[[str], Any]

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
PRIMITIVES = [
    block
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    if "def register_primitives" in block
]
"""One made of sprites, and one that draws its own layer."""
EXAMPLES = dict(re.findall(r"^### `(\w+)\(register\)`\n.*?^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL))


@pytest.fixture
def atlas() -> diffbmp.Atlas:
    return diffbmp.Atlas.from_pixels([torch.ones(6, 6), torch.ones(4, 3)])


@pytest.fixture
def scene(atlas: diffbmp.Atlas) -> diffbmp.Scene:
    stamps = diffbmp.Stamps(
        position=torch.tensor([[-9.0, 5.0], [8.0, 40.0]]),
        scale=torch.full((2,), 3.0),
        rotation=torch.zeros(2),
        opacity_logit=torch.zeros(2),
        color_logit=torch.zeros(2, 3),
        texture=torch.tensor([0, 1]),
    )
    return diffbmp.Scene(16, 12, atlas, [stamps])


def small_fit(output: Path, atlas: diffbmp.Atlas, **settings: Any) -> Any:
    target = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))
    return diffbmp.start_fit(target, stamps=atlas, n=2, steps=2, renderer="reference", output=output, **settings)


def module_of(source: str, path: Path) -> ModuleType:
    """Return a module with this source, imported from a file as a plugin's would be."""
    path.write_text(source, encoding="utf-8")
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def installed(source: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let everybody find, for the length of a test, the one class that an example registers; return its name."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    found = Registry()
    found.load()
    record = found.add(module_of(source, path / "example.py"), "example")
    assert record.problems == []
    monkeypatch.setattr("diffbmp.plugins.registry._registry", found)
    (entry,) = found.owned(record)
    return entry.name


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registered:
    """Return a function that gives an instance of what the page's example of a hook registers."""
    monkeypatch.setattr("sys.dont_write_bytecode", True)

    def create(hook: str) -> Any:
        found = Registry()
        record = found.add(module_of(EXAMPLES[hook], tmp_path / f"example_{hook}.py"), "example")
        assert record.problems == []
        assert record.hooks == [hook]
        (entry,) = found.entries(HOOKS[hook])
        assert all(row["description"] for row in setting_rows(entry.cls.Settings))
        return entry.cls if entry.family == "primitives" else found.create(entry.family, entry.name)

    return create


def test_every_hook_is_on_the_page_with_an_example() -> None:
    assert set(EXAMPLES) == set(HOOKS)
    for hook in HOOKS:
        assert f"| [`{hook}`](#{hook}register) |" in PAGE
    for variable in (ALLOW_VARIABLE, TRACE_VARIABLE):
        assert f"`{variable}" in PAGE


def test_the_table_names_the_base_class_of_each_family() -> None:
    bases = {cls.family: cls for cls in vars(diffbmp).values() if isinstance(cls, type) and hasattr(cls, "family")}
    for family in FAMILIES:
        row = next(line for line in PAGE.splitlines() if line.startswith(f"| [`register_{family}`]"))
        base = next(c for c in bases[family].__mro__ if "family" in c.__dict__)
        assert f"| `diffbmp.{base.__name__}`: " in row
        assert f"``diffbmp.{base.__name__}``" in (getattr(hookspecs, f"register_{family}").__doc__ or "")


def test_the_smallest_plugin_in_the_hook_specifications(tmp_path: Path) -> None:
    source, _, toml = (hookspecs.__doc__ or "").partition("::\n")[2].partition("# pyproject.toml")
    assert "[project.entry-points.diffbmp]" in toml
    source = source.rstrip(" ")
    found = Registry()
    assert found.add(module_of(textwrap.dedent(source), tmp_path / "my_plugin.py"), "my-plugin").problems == []
    inputs = loss_inputs(torch.full((3, 2, 2), 0.25))
    assert float(found.create("losses", "darkness")(inputs)) == 0.25


class TestExamples:
    def test_renderer(self, registered: Registered, scene: diffbmp.Scene) -> None:
        renderer = registered("register_renderers")
        frame = scene.sprites().frame[None].detach()
        inputs = diffbmp.CompositeInputs(
            frame=frame,
            opacity=torch.full((1, 2), 0.5),
            color=torch.rand(1, 2, 3),
            color_blend=torch.zeros(1, 2),
            texture=torch.tensor([[0, 1]]),
            texels=scene.atlas.texels,
            levels=scene.atlas.levels,
            textures=scene.atlas.table,
            height=12,
            width=16,
            blend="over",
            filter="mipmap",
        )
        image, state = renderer.forward(inputs)
        expected, _ = Reference().forward(inputs)
        torch.testing.assert_close(image, expected)
        found = renderer.backward(inputs, state, torch.ones_like(image), texel_gradient=True)
        wanted = Reference().backward(inputs, state, torch.ones_like(image), texel_gradient=True)
        torch.testing.assert_close(found.frame, wanted.frame, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(found.texels, wanted.texels, rtol=1e-3, atol=1e-4)

    def test_renderer_made_on_the_spot(self, registered: Registered, atlas: diffbmp.Atlas, tmp_path: Path) -> None:
        mine = registered("register_renderers")
        fit = small_fit(tmp_path, atlas).run()
        again = diffbmp.start_fit(fit.target, stamps=atlas, n=2, steps=2, renderer=mine).run()
        assert again.losses == pytest.approx(fit.losses, rel=1e-5)
        assert "the renderer 'reference64'" in again.objects

    def test_loader(self, registered: Registered) -> None:
        loader = registered("register_loaders")
        (texture,) = loader.load("8")
        assert texture.pixels.shape == (1, 32, 32)
        assert float(texture.pixels.mean()) == 0.5
        with pytest.raises(diffbmp.DiffbmpError, match="a number of fields"):
            loader.load("many")

    @pytest.mark.parametrize("example", PRIMITIVES, ids=["sprites", "layer"])
    def test_primitive(self, example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It is fitted, locked, saved and loaded; a batch comes out as its canvases alone."""
        name = installed(example, tmp_path, monkeypatch)
        targets = torch.full((2, 3, 24, 32), 0.2)
        targets[1, 0] = 1.0
        primitives = [{"kind": name, "n": 5, "lock": "2-3"}]

        def fitted(target: torch.Tensor) -> diffbmp.FitResult:
            return diffbmp.fit(target, primitives=primitives, steps=12, noisy_canvas=False, renderer="reference")

        batch = fitted(targets)
        assert batch.report["losses"][-1] < batch.report["losses"][0]
        for index, target in enumerate(targets):
            alone = fitted(target)
            assert torch.equal(alone.image, batch.image[index])
            assert alone.scene.count == 5
            diffbmp.save_scene(alone.scene, tmp_path / "scene.diffbmp")
            loaded = diffbmp.load_scene(tmp_path / "scene.diffbmp")
            assert torch.equal(loaded.render(renderer="reference"), alone.image)
        with pytest.raises(diffbmp.DiffbmpError, match=f"'{name}'.*palette"):
            diffbmp.fit(targets, primitives=[{"kind": name, "n": 5, "palette": "red"}], steps=1)

    def test_loss(self, registered: Registered) -> None:
        inputs = loss_inputs(torch.full((3, 4, 4), 0.75))
        assert float(registered("register_losses")(inputs)) == 0.0625

    def test_initializer(self, registered: Registered, atlas: diffbmp.Atlas) -> None:
        generator = torch.Generator().manual_seed(0)
        start = diffbmp.StartInputs(4, 12, 16, target=None, target_alpha=None, atlas=atlas, generator=generator)
        stamps = registered("register_initializers")(start)
        assert stamps.position.tolist() == [[2, 1.5], [6, 4.5], [10, 7.5], [14, 10.5]]
        assert stamps.texture.tolist() == [0, 1, 0, 1]

    def test_refiner(self, registered: Registered, scene: diffbmp.Scene) -> None:
        fit: Any = SimpleNamespace(scene=scene)
        registered("register_refiners").refine(fit, None)
        (stamps,) = scene.primitives
        assert stamps.position.tolist() == [[0, 5], [8, 12]]

    def test_exporter(self, registered: Registered, scene: diffbmp.Scene, tmp_path: Path) -> None:
        told: list[float] = []
        registered("register_exporters").export(
            scene, tmp_path / "a.csv", diffbmp.ExportOptions(scale=2), renderer="auto", progress=told.append
        )
        assert (tmp_path / "a.csv").read_text() == "x,y\n-18.000,10.000\n16.000,80.000\n"
        assert told[-1] == 1

    def test_command(self, registered: Registered) -> None:
        command = registered("register_commands")
        app = typer.Typer()
        app.add_typer(command.app, name=command.name, help=command.summary())
        said = re.search(r"`diffbmp (hello .*)`", PAGE)
        assert said is not None
        result = CliRunner().invoke(app, said[1].split())
        assert result.stdout == f"Hello Ada, this is diffbmp {diffbmp.__version__}.\n"

    def test_observer(self, registered: Registered, atlas: diffbmp.Atlas, tmp_path: Path) -> None:
        fit = small_fit(tmp_path, atlas)
        fit.observers.append(registered("register_observers"))
        fit.run()
        assert [float(line) for line in (tmp_path / "losses.txt").read_text().split()] == pytest.approx(
            fit.losses, rel=1e-5
        )


def test_the_loader_is_that_of_the_example_package() -> None:
    """The page and the package that the tests install show the same loader."""
    package = (ROOT / "tests" / "example_plugin" / "src" / "diffbmp_example.py").read_text(encoding="utf-8")

    def cut(text: str) -> str:
        start = text.index("class Checker")
        return text[start : text.index("\n\n\n", start)]

    assert cut(package) == cut(EXAMPLES["register_loaders"])


def test_both_kinds_of_primitives_are_on_the_page() -> None:
    assert ["def draw(self, canvas)" in block for block in PRIMITIVES] == [False, True]


def primitive_of(block: str) -> type[diffbmp.Primitive]:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block, "docs/plugins.md", "exec"), names)
    (kind,) = (one for one in names.values() if isinstance(one, type) and issubclass(one, diffbmp.Primitive))
    return kind


class TestTheFirstPrimitive(PrimitiveConformance):
    primitive = primitive_of(PRIMITIVES[0])


class TestTheSecondPrimitive(PrimitiveConformance):
    primitive = primitive_of(PRIMITIVES[1])


def test_the_tests_of_the_page_pass(registered: Registered) -> None:
    (block,) = (
        one for one in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "def test_" in one
    )
    names: dict[str, Any] = {
        "Brightness": type(registered("register_losses")),
        "Dashes": registered("register_primitives"),
    }
    exec(compile(block, "docs/plugins.md", "exec"), names)
    assert issubclass(names["TestDashes"], PrimitiveConformance)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert len(tests) == 2
    for test in tests:
        test()


def test_the_tables_of_primitives_are_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(PRIMITIVES[0], tmp_path, monkeypatch)
    (text,) = re.findall(r"^```toml\n(primitives = .*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    fit = diffbmp.start_fit(torch.rand(3, 12, 16), **tomllib.loads(text), steps=1, renderer="reference")
    assert [(one.name, len(one)) for one in fit.scene.primitives] == [("stamps", 40), ("dashes", 20)]


INHERITED = set(diffbmp.PrimitiveSettings.model_fields)


def test_the_models_of_settings_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    models = [block for block in blocks if re.search(r"^class Settings", block, flags=re.MULTILINE)]
    assert len(models) == 2
    for number, block in enumerate(models):
        source = block if "import diffbmp" in block else f"import diffbmp\nfrom pydantic import Field\n\n\n{block}"
        module = module_of(source, tmp_path / f"model_{number}.py")
        assert all(row["description"] for row in setting_rows(module.Settings) if row["name"] not in INHERITED)


def test_the_command_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (command,) = re.findall(r"^\$ (diffbmp fit .+)$", PAGE, flags=re.MULTILINE)
    installed(PRIMITIVES[0], tmp_path, monkeypatch)
    Image.fromarray(data.astronaut()).resize((32, 24)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", shlex.split(command))
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    with contextlib.suppress(SystemExit):
        main()
    (dashes,) = diffbmp.load_scene(tmp_path / "dashes" / "scene.diffbmp").primitives
    assert len(dashes) == 60
    assert len(dashes.state_dict()["width"].unique()) == 1
