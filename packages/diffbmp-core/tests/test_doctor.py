"""``diffbmp doctor``: the machine, who would draw and why, and what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable

import psutil
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

import diffbmp
from diffbmp.cli.doctor import doctor_command, doctor_report
from diffbmp.cli.plugins import plugins_command
from diffbmp.plugins import registry as registry_module
from diffbmp.plugins.registry import Registry
from diffbmp.plugins.report import SLOW
from diffbmp.rendering.reference import Reference
from diffbmp.rendering.selection import choose_device, choose_renderer


class Fast(Reference):
    """A renderer that is preferred to every other one."""

    name = "fast"
    priority = 1000


class Absent(Reference):
    """A renderer that is never there."""

    name = "absent"
    priority = 2000

    @classmethod
    def unavailable(cls, device: torch.device) -> str | None:
        return f"it needs [more] than {device}"


class Narrow(Reference):
    """A renderer that cannot draw what a fit asks for."""

    name = "narrow"
    priority = 3000
    blends = ("add",)
    texel_gradients = False


class Sketchy(Reference):
    """A renderer that nobody gets unless he names it."""

    name = "sketchy"
    priority = 4000
    exact = False
    stochastic = True


class Extras:
    def __init__(self, *renderers: type[diffbmp.Renderer]) -> None:
        self.renderers = renderers

    @diffbmp.hookimpl
    def register_renderers(self, register: Callable[[type[diffbmp.Renderer]], None]) -> None:
        for renderer in self.renderers:
            register(renderer)


@pytest.fixture
def found(core_registry: Registry) -> Registry:
    return core_registry


@pytest.fixture
def run(found: Registry) -> Callable[..., Result]:
    app = typer.Typer()
    app.command("doctor")(doctor_command)
    app.command("plugins")(plugins_command)
    return lambda *arguments: CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_the_machine(found: Registry) -> None:
    report = json.loads(json.dumps(doctor_report(), allow_nan=False))
    assert report["diffbmp"] == diffbmp.__version__
    assert report["torch"]["version"] == torch.__version__
    assert report["torch"]["threads"] == torch.get_num_threads()
    assert report["system"]["memory"] == psutil.virtual_memory().total
    assert 1 <= report["system"]["usable_cores"] <= report["system"]["logical_cores"]
    assert report["system"]["cpu"]
    libraries = {library["name"]: library for library in report["libraries"]}
    assert libraries["torch"] == {"name": "torch", "version": torch.__version__, "for": ["diffbmp-core"]}
    assert report["plugins"] == []


def test_devices_are_those_that_torch_sees(found: Registry) -> None:
    report = doctor_report()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    assert [device["device"] for device in report["devices"]] == ["cpu", *(f"cuda:{i}" for i in range(count))]
    assert (report["torch"]["no_cuda_device"] is None) == (count > 0)


def test_the_preferred_renderer_that_can_draw_is_chosen_and_why(found: Registry) -> None:
    found.add(Extras(Fast, Absent), "extras")
    cpu = doctor_report()["devices"][0]
    assert [renderer["name"] for renderer in cpu["renderers"]][:2] == ["absent", "fast"]
    assert cpu["renderers"][0]["unavailable"] == "it needs [more] than cpu"
    assert cpu["renderers"][1] == {
        "name": "fast",
        "plugin": "extras",
        "priority": 1000,
        "unavailable": None,
        "only_by_name": None,
        "dtypes": ["float32", "float64"],
        "blends": ["over", "add"],
        "filters": ["mipmap", "trilinear", "bilinear", "nearest_texel"],
        "texel_gradients": True,
        "layers": True,
        "exact": True,
        "stochastic": False,
        "limits": [],
    }
    assert cpu["chosen"] == "fast"
    assert cpu["why"] == "it is the most preferred one that can draw here; 'absent' cannot"
    assert doctor_report()["chosen"]["renderer"] == "fast"


def test_renderers_that_must_be_named_or_that_lack_what_a_fit_asks_for_are_passed_over(
    found: Registry, run: Callable[..., Result]
) -> None:
    found.add(Extras(Sketchy, Narrow, Fast), "extras")
    cpu = doctor_report()["devices"][0]
    assert [renderer["name"] for renderer in cpu["renderers"]][:3] == ["sketchy", "narrow", "fast"]
    assert [renderer["unavailable"] for renderer in cpu["renderers"]][:3] == [None, None, None]
    assert cpu["renderers"][0]["only_by_name"] == "it has a look of its own"
    assert cpu["chosen"] == "fast"
    assert cpu["why"] == ("it is the most preferred one that can draw here; 'narrow' cannot; 'sketchy' only by name")
    lines = [" ".join(line.split()) for line in run("doctor").stdout.splitlines()]
    assert "sketchy extras 4000 a look of its own; random gradients available by name" in lines
    assert "narrow extras 3000 add only; no texel gradients available" in lines


def test_without_a_renderer_that_is_preferred_and_absent(found: Registry) -> None:
    found.add(Extras(Fast), "extras")
    assert doctor_report()["devices"][0]["why"] == "it is the most preferred one"


def test_of_two_renderers_of_one_name_the_second_draws_where_it_is_asked_for(
    found: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnCards(Fast):
        """A renderer of the same name, for cards only."""

        priority = 2000

        @classmethod
        def unavailable(cls, device: torch.device) -> str | None:
            return None if device.type == "cuda" else "it draws on cards only"

    found.add(Extras(Fast), "first")
    found.add(Extras(OnCards), "second")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("second/fast", "auto").type == "cuda"
    assert choose_renderer("auto", torch.device("cuda")) == "fast"
    with pytest.raises(diffbmp.DiffbmpError, match="'second/fast' cannot draw on cpu: it draws on cards only"):
        choose_device("second/fast", "cpu")
    with pytest.raises(diffbmp.DiffbmpError, match="Unknown renderer 'third/fast'; did you mean 'second/fast'"):
        choose_device("third/fast", "auto")


def test_plain_text(found: Registry, run: Callable[..., Result]) -> None:
    found.add(Extras(Fast, Absent), "extras")
    result = run("doctor")
    assert result.exit_code == 0
    assert "\x1b" not in result.stdout
    lines = result.stdout.splitlines()
    assert any(line.split() == ["diffbmp", diffbmp.__version__] for line in lines)
    assert any(line.split() == ["absent", "extras", "2000", "it", "needs", "[more]", "than", "cpu"] for line in lines)
    assert "chosen on cpu: fast; it is the most preferred one that can draw here; 'absent' cannot." in lines
    assert any(line.startswith("A fit would be drawn by fast on ") for line in lines)
    assert "Problem" not in result.stdout


@pytest.mark.parametrize("arguments", [["doctor"], ["doctor", "--json"]])
def test_a_plugin_with_a_problem_ends_it_with_exit_code_1(
    found: Registry, run: Callable[..., Result], arguments: list[str]
) -> None:
    found.add(Extras(Fast, Fast), "twice", package="pack", version="3")
    result = run(*arguments)
    assert result.exit_code == 1
    assert "the renderer 'fast' is registered twice; the first one is kept" in result.stdout
    if "--json" in arguments:
        assert [plugin["name"] for plugin in json.loads(result.stdout)["plugins"]] == ["twice"]
    else:
        assert "Problem with plugin 'twice' (pack 3): " in result.stdout


def test_a_plugin_that_is_slow_to_load_is_named_but_no_problem(found: Registry, run: Callable[..., Result]) -> None:
    found.add(Extras(Fast), "quick").seconds = SLOW
    found.plugins[0].seconds = 10  # core is nobody's to make faster
    assert "Slow" not in run("doctor").stdout
    found.add(Extras(Absent), "heavy", package="pack", version="3").seconds = 2.26
    result = run("doctor")
    assert result.exit_code == 0
    said = "Slow plugin 'heavy' (pack 3): it takes 2.3 s to load; import heavy packages inside the function that needs"
    assert said in result.stdout
    assert [plugin["seconds"] for plugin in doctor_report()["plugins"]] == [2.26]


def test_a_plugin_that_is_left_out_is_no_problem(found: Registry, run: Callable[..., Result]) -> None:
    found.plugins.append(registry_module.PluginRecord("out", "away", "9", allowed=False))
    assert run("doctor").exit_code == 0
    assert "left out by DIFFBMP_PLUGINS" in run("plugins").stdout
