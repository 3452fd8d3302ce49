"""Plugins: what is registered, and how each thing that a stranger's plugin can do wrong is said and contained."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
import typer
from pydantic import Field
from typer.core import TyperGroup
from typer.testing import CliRunner

import diffbmp
from diffbmp import DiffbmpError, hookimpl
from diffbmp.cli.app import build_app
from diffbmp.cli.plugins import plugins_command
from diffbmp.plugins import registry as registry_module
from diffbmp.plugins.hookspecs import FAMILIES, HOOKS
from diffbmp.plugins.registry import Registry, registry
from diffbmp.plugins.report import plugin_report
from diffbmp.plugins.validation import RESERVED


class Plain(diffbmp.Loss):
    """A loss that is always nought."""

    name = "plain"
    needs_target = False

    def __call__(self, view: diffbmp.LossInputs) -> Any:
        return view.image.sum() * 0


def losses(*classes: Any) -> SimpleNamespace:
    """Return a plugin that registers losses."""

    @hookimpl
    def register_losses(register: Callable[[Any], None]) -> None:
        for cls in classes:
            register(cls)

    return SimpleNamespace(register_losses=register_losses)


def nothing(register: Callable[[Any], None]) -> None:
    """Register nothing."""


def named(name: str, **attributes: Any) -> type[diffbmp.Loss]:
    return type("Made", (Plain,), {"__doc__": "Made for a test.", "name": name, **attributes})


def only_problem(plugin: object) -> str:
    record = Registry().add(plugin, "bad")
    assert len(record.problems) == 1, record.problems
    return record.problems[0]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that installs a package with an entry point, as pip would."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("DIFFBMP_PLUGINS", raising=False)
    monkeypatch.delenv("DIFFBMP_TRACE", raising=False)

    def package(name: str, source: str, *, entry: str = "", point: str = "", metadata: str | None = None) -> None:
        module = f"{name.replace('-', '_')}_for_{tmp_path.name.replace('-', '_')}"
        (tmp_path / f"{module}.py").write_text(source)
        folder = tmp_path / f"{name.replace('-', '_')}-1.5.dist-info"
        folder.mkdir()
        if metadata is None:
            metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n"
        (folder / "METADATA").write_text(metadata)
        (folder / "entry_points.txt").write_text(f"[diffbmp]\n{point or name} = {entry or module}\n")

    return package


GOOD = '''
import diffbmp

class Good(diffbmp.Loss):
    """A loss from a package."""

    name = "{name}"

    def __call__(self, view):
        return view.image.mean()

@diffbmp.hookimpl
def register_losses(register):
    register(Good)
'''


def loaded() -> Registry:
    found = Registry()
    found.load()
    return found


def problems(found: Registry) -> dict[str, list[str]]:
    return {record.name: record.problems for record in found.plugins if record.problems}


class TestCore:
    def test_registers_through_the_hooks_without_a_problem(self) -> None:
        core = registry().plugins[0]
        assert (core.name, core.package, core.version) == ("core", "diffbmp-core", diffbmp.__version__)
        assert core.problems == []
        assert set(core.hooks) <= set(HOOKS)
        assert {"mse", "l1", "huber", "spatial", "ssim"} <= {e.name for e in registry().entries("losses")}

    def test_its_commands_are_reserved(self) -> None:
        commands = {command.name for command in build_app().registered_commands}
        assert commands == RESERVED["commands"]

    def test_each_family_has_a_base_class_and_a_singular(self) -> None:
        bases = {cls.family for cls in diffbmp_bases()}
        assert bases == set(FAMILIES)
        assert FAMILIES["losses"] == "loss"


def diffbmp_bases() -> list[type[diffbmp.Plugin]]:
    values = [getattr(diffbmp, name) for name in diffbmp.__all__]
    return [v for v in values if isinstance(v, type) and issubclass(v, diffbmp.Plugin) and "family" in v.__dict__]


class TestLoading:
    def test_finds_an_installed_plugin_by_its_entry_point(self, install: Callable[..., None]) -> None:
        install("good", GOOD.format(name="fine"))
        found = loaded()
        record = next(record for record in found.plugins if record.name == "good")
        assert (record.package, record.version, record.hooks) == ("good", "1.5", ["register_losses"])
        assert found.get("losses", "fine").__name__ == "Good"

    @pytest.mark.parametrize(
        ("source", "said"),
        [
            ("import no_such_module_at_all", "ModuleNotFoundError: No module named 'no_such_module_at_all'"),
            ("raise SystemExit(3)", "SystemExit: 3"),
            ("class Odd(BaseException): pass\nraise Odd('bang')", "Odd: bang"),
            ("def f(:", "SyntaxError"),
            ("class E(Exception):\n  def __str__(self): raise ValueError\nraise E", "E: (its message cannot be shown)"),
            ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
        ],
    )
    def test_a_broken_module_is_named_and_stops_nothing_else(
        self, install: Callable[..., None], source: str, said: str
    ) -> None:
        install("a-broken", source)
        install("good", GOOD.format(name="fine"))
        found = loaded()
        assert list(problems(found)) == ["a-broken"]
        assert said in problems(found)["a-broken"][0]
        assert next(r for r in found.plugins if r.name == "a-broken").debug.startswith("Traceback")
        assert found.get("losses", "fine")
        assert found.get("losses", "mse")

    @pytest.mark.parametrize("entry", ["not_there", "!!", "os:not_there"])
    def test_a_broken_entry_point_is_named(self, install: Callable[..., None], entry: str) -> None:
        install("lost", "", entry=entry)
        assert problems(loaded())["lost"][0].startswith("cannot be loaded: ")

    def test_damaged_metadata_stop_nothing(self, install: Callable[..., None]) -> None:
        install("nameless", GOOD.format(name="fine"), metadata="")
        found = loaded()
        assert found.get("losses", "fine")
        assert next(r for r in found.plugins if r.name == "nameless").version == "?"

    def test_printing_does_not_reach_stdout(
        self, install: Callable[..., None], capsys: pytest.CaptureFixture[str]
    ) -> None:
        install(
            "loud", "print('imported')\n" + GOOD.format(name="fine").replace("register(G", "print('asked'); register(G")
        )
        assert loaded().get("losses", "fine")
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.split() == ["imported", "asked"]

    def test_the_time_of_import_and_hooks_is_taken(self, install: Callable[..., None]) -> None:
        waiting = "import time; time.sleep(0.02)\n" + GOOD.format(name="fine").replace(
            "    register(Good)", "    time.sleep(0.02); register(Good)"
        )
        install("waiting", waiting)
        found = loaded()
        record = next(record for record in found.plugins if record.name == "waiting")
        assert found.get("losses", "fine")
        assert record.seconds >= 0.04
        assert found.plugins[0].seconds > 0

    def test_two_packages_with_a_plugin_of_one_name(self, install: Callable[..., None]) -> None:
        install("pack-a", GOOD.format(name="of-a"), point="same")
        install("pack-b", GOOD.format(name="of-b"), point="same")
        found = loaded()
        assert problems(found)["same"] == [
            "the packages pack-a and pack-b both have a plugin called 'same'; that of pack-a is kept"
        ]
        assert found.get("losses", "of-a")
        with pytest.raises(DiffbmpError, match="Unknown loss 'of-b'"):
            found.get("losses", "of-b")

    def test_ctrl_c_is_nobodys_problem_and_the_next_call_starts_over(
        self, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install("slow", "raise KeyboardInterrupt")
        monkeypatch.setattr(registry_module, "_registry", None)
        with pytest.raises(KeyboardInterrupt):
            registry()
        monkeypatch.setenv("DIFFBMP_PLUGINS", "")
        assert registry().get("losses", "mse")

    def test_a_plugin_may_ask_for_the_registry_while_it_is_loaded(
        self, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asking = (
            "from diffbmp.plugins.registry import registry\nseen = [e.name for e in registry().entries('losses')]\n"
        )
        install("asking", asking + "assert 'mse' in seen\n" + GOOD.format(name="fine"))
        monkeypatch.setattr(registry_module, "_registry", None)
        assert problems(registry()) == {}
        assert registry().get("losses", "fine")

    def test_threads_share_one_registry(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(registry_module, "_registry", None)
        found: list[Registry] = []
        threads = [threading.Thread(target=lambda: found.append(registry())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert len(set(map(id, found))) == 1
        assert found[0].entries("losses")


class TestEnvironment:
    @pytest.mark.parametrize(
        ("value", "let_in"),
        [("one", {"one"}), (" one , two", {"one", "two"}), ("Pack_One", {"one"}), ("", set()), (" , ", set())],
    )
    def test_allow_list(
        self, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, value: str, let_in: set[str]
    ) -> None:
        for name in ("one", "two", "three"):
            source = GOOD.format(name=f"of-{name}") if name in let_in else "raise AssertionError('imported')"
            install(f"pack-{name}", source, point=name)
        monkeypatch.setenv("DIFFBMP_PLUGINS", value)
        found = loaded()
        assert problems(found) == {}
        assert {r.name for r in found.plugins if r.allowed and r.package.startswith("pack-")} == let_in
        assert {e.name for e in found.entries("losses") if e.owner != "core"} == {f"of-{name}" for name in let_in}
        assert {"one", "two", "three"} <= {r.name for r in found.plugins}
        with pytest.raises(DiffbmpError, match=r"Plugins left out by DIFFBMP_PLUGINS: .*three"):
            found.get("losses", "of-three")

    def test_a_name_that_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DIFFBMP_PLUGINS", "emojy,core")
        assert problems(loaded()) == {"emojy": ["DIFFBMP_PLUGINS names it, but it is not installed"]}

    def test_trace(
        self, install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        install("good", GOOD.format(name="fine"))
        monkeypatch.setenv("DIFFBMP_TRACE", "1")
        loaded()
        captured = capsys.readouterr()
        assert captured.out == ""
        lines = [line.rpartition(" (")[0] for line in captured.err.splitlines()]
        assert "diffbmp: loaded 'good' (good 1.5)" in lines
        assert "diffbmp: register_losses of 'good' registered fine" in lines
        for off in ("0", ""):
            monkeypatch.setenv("DIFFBMP_TRACE", off)
            loaded()
            assert capsys.readouterr().err == ""


class TestHooks:
    def test_a_misspelt_hook_is_named_with_the_nearest_and_the_rest_works(self) -> None:
        plugin = losses(Plain)
        plugin.register_loses = hookimpl(nothing)
        found = Registry()
        record = found.add(plugin, "bad")
        assert len(record.problems) == 1
        assert "Unknown hook 'register_loses'; did you mean 'register_losses'?" in record.problems[0]
        assert record.hooks == ["register_losses"]
        assert found.get("losses", "plain") is Plain

    def test_an_optional_hook_of_another_version_is_no_problem(self) -> None:
        plugin = losses(Plain)
        plugin.register_dreams = hookimpl(optionalhook=True)(nothing)
        record = Registry().add(plugin, "good")
        assert (record.problems, record.hooks) == ([], ["register_losses"])

    def test_a_function_of_another_name(self) -> None:
        found = Registry()
        plugin = SimpleNamespace(mine=hookimpl(specname="register_losses")(lambda register: register(Plain)))
        assert found.add(plugin, "good").hooks == ["register_losses"]
        assert found.get("losses", "plain") is Plain

    def test_the_marker_is_forgotten(self) -> None:
        plugin = SimpleNamespace(register_losses=lambda register: register(Plain))
        assert only_problem(plugin) == "register_losses lacks the marker @diffbmp.hookimpl, so it is not called"

    def test_wrong_arguments_leave_the_other_hooks(self) -> None:
        def none() -> None: ...
        def misnamed(registry: Any) -> None: ...
        def more(register: Any, more: Any) -> None: ...
        def keyword(*, register: Any) -> None: ...
        def several(*register: Any) -> None: ...

        for function in (none, misnamed, more, keyword, several):
            plugin = losses(Plain)
            plugin.register_loaders = hookimpl(function)
            found = Registry()
            record = found.add(plugin, "bad")
            assert len(record.problems) == 1
            assert record.problems[0].startswith("register_loaders must take one argument called 'register', got (")
            assert found.get("losses", "plain") is Plain

    def test_further_arguments_with_a_default_are_fine(self) -> None:
        def register_losses(register: Any, extra: int = 1) -> None:
            register(Plain)

        plugin = SimpleNamespace(register_losses=hookimpl(register_losses))
        assert Registry().add(plugin, "good").problems == []

    def test_what_is_no_ordinary_function(self) -> None:
        async def register_losses(register: Any) -> None:
            pass

        def register_loaders(register: Any) -> Any:
            yield

        for function in (register_losses, register_loaders):
            plugin = SimpleNamespace(**{function.__name__: hookimpl(function)})
            assert only_problem(plugin) == (
                f"{function.__name__} must be an ordinary function, neither async nor with yield"
            )
        wrapper = SimpleNamespace(register_loaders=hookimpl(wrapper=True)(register_loaders))
        assert "there is nothing to wrap" in only_problem(wrapper)

    def test_an_object_a_class_and_nothing(self) -> None:
        class Bundle:
            __hash__ = None  # type: ignore[assignment]

            @hookimpl
            def register_losses(self, register: Any) -> None:
                register(Plain)

        found = Registry()
        assert found.add(Bundle(), "object").problems == []
        assert found.add(losses(named("after")), "next").problems == []
        assert {e.name for e in found.entries("losses")} == {"plain", "after"}
        assert only_problem(Bundle) == (
            "register_losses is a method of the class Bundle; the entry point must name an instance of it"
        )
        assert "names the class Plain; it must name the module" in only_problem(Plain)
        assert only_problem(ModuleType("empty")).startswith("implements no hook")
        assert only_problem(None).startswith("implements no hook")

    @pytest.mark.parametrize("error", [ValueError("no"), SystemExit("no"), GeneratorExit("no")])
    def test_a_hook_that_fails_keeps_what_it_registered(self, error: BaseException) -> None:
        def register_losses(register: Any) -> None:
            register(Plain)
            raise error

        found = Registry()
        plugin = SimpleNamespace(register_losses=hookimpl(register_losses), register_loaders=hookimpl(nothing))
        record = found.add(plugin, "bad")
        assert record.problems == [f"register_losses failed: {type(error).__name__}: no"]
        assert record.hooks == ["register_loaders", "register_losses"]
        assert found.get("losses", "plain") is Plain

    def test_an_object_that_cannot_be_looked_at(self) -> None:
        class Hostile:
            def __dir__(self) -> list[str]:
                raise RuntimeError("do not look")

        assert only_problem(Hostile()) == "cannot be loaded: RuntimeError: do not look"


class Touchy(type):
    def __getattribute__(cls, name: str) -> Any:
        if name == "family":
            raise RuntimeError("do not look")
        return super().__getattribute__(name)


def unknown_type(value: Nowhere) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Take a value of a type that there is not."""


class HelpLess(TyperGroup):
    @property
    def help(self) -> str:
        raise ValueError("no help")

    @help.setter
    def help(self, text: str) -> None:
        pass


def fails() -> int:
    raise ZeroDivisionError


def settings(**fields: Any) -> type[diffbmp.Settings]:
    namespace = {"__annotations__": {name: kind for name, (kind, _) in fields.items()}, "__module__": __name__}
    return type("Settings", (diffbmp.Settings,), {**namespace, **{name: value for name, (_, value) in fields.items()}})


class TestClasses:
    @pytest.mark.parametrize(
        ("cls", "said"),
        [
            (Plain(), "which is not a class"),
            (None, "was given None, which is not a class"),
            (int, "was given int, which belongs to no family of plugins, not a loss"),
            (diffbmp.Plugin, "which belongs to no family of plugins"),
            (registry().get("loaders", "shape"), "was given ShapeLoader, which is a loader, not a loss"),
            (diffbmp.Loss, "Loss has no `name`"),
            (named(""), "has no `name`"),
            (named("Plain"), "two or more lower-case letters"),
            (named("a=b"), "two or more lower-case letters"),
            (named("x"), "two or more lower-case letters"),
            (named("mse.more"), "two or more lower-case letters"),
            (named("quiet", __doc__=None), "Made ('quiet') has no docstring"),
            (named("quiet", __doc__="  \n "), "Made ('quiet') has no docstring"),
            (named("odd", Settings=None), "Settings that are not a diffbmp.Settings model"),
            (named("odd", Settings=dict), "Settings that are not a diffbmp.Settings model"),
            (named("odd", Settings=settings(side=(int, Field(2, ge=3)))), "default out of its own range: "),
            (named("odd", Settings=settings(side=(int, Field(default_factory=fails)))), "shown: ZeroDiv"),
            (named("odd", Settings=settings(side=("Nowhere", 3))), "Settings that cannot be shown: "),
            (named("odd", needs_target="yes"), "`needs_target` that is not of type bool: 'yes'"),
            (Touchy("Touchy", (), {}), "was given Touchy, which belongs to no family"),
        ],
    )  # fmt: skip
    def test_unfit_classes_are_refused_and_the_rest_registered(self, cls: Any, said: str) -> None:
        found = Registry()
        record = found.add(losses(cls, Plain), "bad")
        assert len(record.problems) == 1
        assert said in record.problems[0]
        assert [e.name for e in found.entries("losses")] == ["plain"]

    def test_a_class_that_cannot_be_looked_at(self) -> None:
        class AbstractTouchy(Touchy, type(diffbmp.Loss)):
            pass

        cls = AbstractTouchy("Hidden", (Plain,), {"__doc__": "Hidden.", "name": "hidden"})
        assert (
            only_problem(losses(cls))
            == "register_losses registers a class that cannot be read: RuntimeError: do not look"
        )

    def test_abstract_methods_are_named(self) -> None:
        class Half(diffbmp.Loss):
            """Half a loss."""

            name = "half"

        assert only_problem(losses(Half)) == "Half ('half') does not define __call__"

    @pytest.mark.parametrize(
        ("suffixes", "said"),
        [
            (None, "`suffixes` that is not of type tuple[str, ...]: None"),
            (".odd", "`suffixes` that is not of type tuple[str, ...]: '.odd'"),
            (("odd",), "has the suffix 'odd'"),
            ((".ODD",), "has the suffix '.ODD'"),
        ],
    )
    def test_suffixes_that_would_take_every_exporter_down(self, suffixes: Any, said: str) -> None:
        class Odd(diffbmp.Exporter):
            """An exporter."""

            name = "odd"

            def export(self, *args: Any, **kwargs: Any) -> None:
                pass

        plugin = SimpleNamespace(register_exporters=hookimpl(lambda register: register(Odd)))
        assert only_problem(plugin) == "Odd ('odd') has no `suffixes`"
        Odd.suffixes = suffixes
        assert said in only_problem(plugin)
        Odd.suffixes = (".odd",)
        Odd.options = frozenset({"scale", "colour"})
        assert only_problem(plugin).startswith("Odd ('odd') has `options` with 'colour', which is none of scale, dpi, ")

    def test_commands_that_would_take_the_command_line_down(self) -> None:
        class Odd(diffbmp.Command):
            """A command."""

            name = "odd"

        plugin = SimpleNamespace(register_commands=hookimpl(lambda register: register(Odd)))
        assert only_problem(plugin) == "Odd ('odd') has no `app`"
        Odd.app = print  # type: ignore[assignment]
        assert "has a `app` that is not of type Typer" in only_problem(plugin)
        Odd.app = typer.Typer()
        assert Registry().add(plugin, "good").problems == []
        Odd.Settings = settings(side=(int, Field(2)))
        assert only_problem(plugin) == (
            "Odd ('odd') has Settings, which nobody can set; a command takes options through its Typer app"
        )
        Odd.Settings = settings()
        Odd.app = typer.Typer(cls=HelpLess)
        assert only_problem(plugin) == "Odd ('odd') has an `app` that cannot be mounted: ValueError: no help"
        Odd.app = typer.Typer()
        Odd.app.command()(unknown_type)
        assert only_problem(plugin) == (
            "Odd ('odd') has an `app` that cannot be mounted: NameError: name 'Nowhere' is not defined"
        )
        Odd.app = typer.Typer()
        Odd.name = "fit"
        assert only_problem(plugin) == "Odd ('fit') has a name that is taken by the program itself"

    def test_required_settings_are_fine(self) -> None:
        cls = named("needy", Settings=settings(path=(str, Field(description="A file."))))
        found = Registry()
        assert found.add(losses(cls), "good").problems == []
        with pytest.raises(DiffbmpError, match=r"Setting 'losses\.needy\.path' is required"):
            found.create("losses", "needy")


class TestDuplicates:
    def test_the_first_is_kept_and_both_owners_are_named(self) -> None:
        found = Registry()
        assert found.add(losses(Plain), "one", package="pack-one", version="1").problems == []
        record = found.add(losses(named("plain"), named("other")), "two", package="pack-two", version="2")
        assert record.problems == [
            "the loss 'plain' is registered by both 'one' (pack-one 1) and 'two' (pack-two 2); that of 'one' is kept, "
            "and the other one is called 'two/plain'"
        ]
        assert found.get("losses", "other")
        with pytest.warns(UserWarning, match="'plain'") as warned:
            assert found.get("losses", "plain") is Plain
        assert str(warned[0].message) == (
            "The loss 'plain' is registered by both 'one' (pack-one 1) and 'two' (pack-two 2); that of 'one' is used. "
            "Write 'one/plain' or 'two/plain' to choose."
        )
        assert found.get("losses", "plain") is Plain  # said once: a warning would be an error here

    def test_a_person_chooses_by_the_plugin(self) -> None:
        found = Registry()
        second, third = named("plain", marker=2), named("plain", marker=3)
        found.add(losses(Plain), "one", package="pack-one", version="1")
        found.add(losses(second), "two", package="Pack_Two", version="2")
        found.add(losses(third, second), "three")
        assert found.get("losses", "two/plain") is second
        assert found.get("losses", "pack-two/plain") is second
        assert found.get("losses", "three/plain") is third
        assert found.get("losses", "one/plain") is Plain
        assert isinstance(found.create("losses", "three/plain", {}), third)
        assert [entry.name for entry in found.entries("losses")] == ["plain"]
        assert [entry.name for entry in found.rivals("losses")] == ["three/plain", "two/plain"]
        assert found.plugins[2].problems[1] == "the loss 'plain' is registered twice; the first one is kept"
        with pytest.warns(UserWarning, match=r"by 'one' \(pack-one 1\), 'three' and 'two' \(Pack_Two 2\); that"):
            found.get("losses", "plain")
        with pytest.raises(DiffbmpError, match="Unknown loss 'tow/plain'; did you mean 'two/plain'"):
            found.get("losses", "tow/plain")
        with pytest.raises(DiffbmpError, match="Unknown loss 'two/mse'"):
            found.get("losses", "two/mse")

    def test_the_names_of_plugins_come_before_those_of_packages(self) -> None:
        found = Registry()
        second = named("plain")
        found.add(losses(Plain), "one", package="two", version="1")
        found.add(losses(second), "two", package="one", version="1")
        assert found.get("losses", "one/plain") is Plain
        assert found.get("losses", "two/plain") is second

    def test_settings_are_under_the_name_that_is_written(self) -> None:
        found = Registry()
        found.add(losses(Plain), "one")
        found.add(losses(named("plain", Settings=settings(side=(int, Field(2, ge=1))))), "two")
        assert found.create("losses", "two/plain", {"side": "7"}).settings.side == 7
        with pytest.raises(DiffbmpError, match=r"Unknown setting in 'losses\.two/plain' 'sides'"):
            found.create("losses", "two/plain", {"sides": 7})

    def test_twice_in_one_plugin(self) -> None:
        found = Registry()
        record = found.add(losses(Plain, Plain), "one")
        assert record.problems == ["the loss 'plain' is registered twice; the first one is kept"]
        assert found.get("losses", "plain") is Plain

    def test_one_name_in_two_families_is_fine(self) -> None:
        class Loader(diffbmp.Loader):
            """A loader."""

            name = "plain"

            def load(self, source: str) -> list[diffbmp.Texture]:
                return [diffbmp.Texture(source, torch.ones(1, 1, 1))]

        plugin = losses(Plain)
        plugin.register_loaders = hookimpl(lambda register: register(Loader))
        assert Registry().add(plugin, "good").problems == []


class TestAsking:
    def test_unknown_names(self) -> None:
        found = Registry()
        found.add(losses(Plain), "good")
        found.add(None, "bad")
        with pytest.raises(DiffbmpError) as caught:
            found.get("losses", "PLANE")
        assert str(caught.value) == (
            "Unknown loss 'PLANE'; did you mean 'plain'? Known: plain. "
            "Plugins with problems: bad (see `diffbmp plugins`)."
        )
        with pytest.raises(DiffbmpError, match=r"Unknown primitive 'plain'\. There is none to choose from"):
            found.get("primitives", "plain")
        with pytest.raises(DiffbmpError, match="Unknown family of plugins 'loss'; did you mean 'losses'"):
            found.get("loss", "plain")

    def test_create_checks_settings(self) -> None:
        assert registry().create("losses", "huber", {"delta": "0.5"}).settings.delta == 0.5
        with pytest.raises(DiffbmpError, match=r"Unknown setting in 'losses\.huber' 'delt'; did you mean 'delta'"):
            registry().create("losses", "huber", {"delt": 1})
        with pytest.raises(DiffbmpError, match=r"'losses\.huber' must be a table of settings by name, got 3"):
            registry().create("losses", "huber", 3)
        model = registry().get("losses", "ssim").Settings
        with pytest.raises(DiffbmpError, match=r"takes settings of the model Huber\.Settings, not of Structural"):
            registry().create("losses", "huber", model())

    def test_a_class_that_cannot_be_made_names_its_plugin(self) -> None:
        def broken(self: Any, settings: Any) -> None:
            raise ImportError("No module named 'heavy'")

        def refusing(self: Any, settings: Any) -> None:
            raise DiffbmpError("Not today.")

        found = Registry()
        found.add(
            losses(named("broken", __init__=broken), named("refusing", __init__=refusing)),
            "p",
            package="q",
            version="3",
        )
        with pytest.raises(
            DiffbmpError, match=r"The loss 'broken' of the plugin 'p' \(q 3\) cannot be made: ImportError"
        ):
            found.create("losses", "broken")
        with pytest.raises(DiffbmpError, match=r"^Not today\.$"):
            found.create("losses", "refusing")


class Detailed(Plain):
    """A loss with settings.

    And a second paragraph.
    """

    name = "detailed"

    class Settings(diffbmp.Settings):
        """Its settings."""

        mode: str = "plain"
        """What it does."""
        limits: ClassVar[int] = 3
        weight: float = Field(1.0, ge=0, lt=4)
        """How much."""


class TestReport:
    def test_everything_is_in_it_and_is_json(self) -> None:
        found = Registry()
        found.add(losses(Detailed), "good", package="pack", version="2")
        found.add(None, "bad")
        good, bad = json.loads(json.dumps(plugin_report(found), allow_nan=False))
        assert good == {
            "name": "good",
            "package": "pack",
            "version": "2",
            "allowed": True,
            "hooks": ["register_losses"],
            "registers": [
                {
                    "family": "losses",
                    "name": "detailed",
                    "class": f"{__name__}.Detailed",
                    "summary": "A loss with settings.",
                    "description": "A loss with settings.\n\nAnd a second paragraph.",
                    "settings": [
                        {
                            "name": "mode",
                            "type": "str",
                            "default": "plain",
                            "required": False,
                            "range": "",
                            "description": "What it does.",
                        },
                        {
                            "name": "weight",
                            "type": "float",
                            "default": 1.0,
                            "required": False,
                            "range": ">= 0, < 4",
                            "description": "How much.",
                        },
                    ],
                }
            ],
            "problems": [],
            "seconds": good["seconds"],
            "traceback": "",
        }
        assert 0 < good["seconds"] < 1
        assert bad["registers"] == []
        assert bad["problems"]

    def test_every_setting_of_core_is_described(self) -> None:
        for item in plugin_report(registry())[0]["registers"]:
            assert item["summary"]
            for row in item["settings"]:
                assert row["description"], (item["name"], row["name"])
                assert row["type"]


class TestCommand:
    @pytest.fixture
    def run(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
        found = Registry()
        found.add(losses(Detailed), "good", package="pack", version="2")
        found.add(losses(named("detailed", __doc__="[bold]Not[/] markup.")), "bad", package="[red]odd", version="1")
        found.plugins.append(registry_module.PluginRecord("out", "away", "9", allowed=False))
        monkeypatch.setattr(registry_module, "_registry", found)
        app = typer.Typer()
        app.command()(plugins_command)

        def invoke(*arguments: str) -> str:
            result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
            assert result.exit_code == 0, result.output
            return result.stdout

        return invoke

    def test_table(self, run: Callable[..., str]) -> None:
        text = run()
        lines = [line.split() for line in text.splitlines()]
        assert lines[0] == ["plugin", "version", "registers", "name", "what", "it", "is"]
        assert lines[1] == ["good", "pack", "2", "loss", "detailed", "A", "loss", "with", "settings."]
        assert lines[2] == ["bad", "[red]odd", "1", "loss", "bad/detailed", "[bold]Not[/]", "markup."]
        assert "left out by DIFFBMP_PLUGINS" in text
        assert "Problem with plugin 'bad' ([red]odd 1): the loss 'detailed' is registered by both 'good'" in text
        assert "\x1b" not in text

    def test_verbose_shows_settings(self, run: Callable[..., str]) -> None:
        row = next(line for line in run("--verbose").splitlines() if line.startswith("losses.detailed.weight"))
        assert row.split() == ["losses.detailed.weight", "float", "1.0", ">=", "0,", "<", "4", "How", "much."]

    def test_verbose_shows_cores_own_settings(
        self, run: Callable[..., str], monkeypatch: pytest.MonkeyPatch, core_registry: Registry
    ) -> None:
        monkeypatch.setattr(registry_module, "_registry", core_registry)
        rows = [line.split() for line in run("--verbose").splitlines()]
        assert ["losses.huber.delta", "float", "0.1"] in [row[:3] for row in rows]
        assert "exporters.html.detail" in [row[0] for row in rows if row]

    def test_slow_imports(self, run: Callable[..., str]) -> None:
        assert "Slow" not in run()
        good, bad, _ = registry().plugins
        good.seconds, bad.seconds = 1.25, 0.2
        text = run()
        assert "Slow plugin 'good' (pack 2): it takes 1.2 s to load; import heavy packages inside the function" in text
        assert text.count("Slow plugin") == 1
        table = run("--verbose").partition("\nTime\n")[2].splitlines()
        assert [line.split() for line in table[:3]] == [
            ["plugin", "seconds", "to", "load"],
            ["good", "1.250"],
            ["bad", "0.200"],
        ]
        assert [plugin["seconds"] for plugin in json.loads(run("--json"))] == [1.25, 0.2, 0.0]

    def test_json(self, run: Callable[..., str]) -> None:
        assert [plugin["name"] for plugin in json.loads(run("--json"))] == ["good", "bad", "out"]
