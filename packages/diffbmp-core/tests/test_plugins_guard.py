"""What a plugin's code raises becomes a sentence that names the plugin, whoever calls it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import typer

import diffbmp
from diffbmp import DiffbmpError
from diffbmp.fitting.observer import Observer
from diffbmp.plugins.guard import TyperError, failure, guarded, member_title
from diffbmp.plugins.record import Entry
from diffbmp.plugins.registry import Registry

Register = Callable[..., Any]


class Dark(diffbmp.Loss):
    """Mean brightness."""

    name = "dark"

    def __call__(self, view: Any) -> Any:
        return view


def test_an_exception_is_named_with_the_plugin_and_keeps_its_traceback(register: Register) -> None:
    register("emoji", Dark)
    for member in (Dark(), Dark):
        with pytest.raises(DiffbmpError) as caught, guarded(member, "at step 3"):
            raise ValueError("two\nlines.")
        assert str(caught.value) == (
            "The loss 'dark' of the plugin 'emoji' (diffbmp-emoji 1.0) failed at step 3: ValueError: two lines."
        )
        assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(DiffbmpError, match=r"failed: KeyError: 'x'\.$"), guarded(Dark()):
        raise KeyError("x")


def test_what_no_plugin_registers_is_named_without_one(core_registry: Registry) -> None:
    class Nameless(diffbmp.Loss):
        def __call__(self, view: Any) -> Any:
            return view

    assert member_title(Dark()) == "The loss 'dark'"
    assert member_title(Nameless()) == "The loss 'Nameless'"
    said = r"^The loss 'dark' failed at step 3: ZeroDivisionError: nought\.$"
    with pytest.raises(DiffbmpError, match=said), guarded(Dark(), "at step 3"):
        raise ZeroDivisionError("nought")


def test_a_name_that_two_plugins_have_is_said_of_the_right_one(register: Register) -> None:
    class Darker(Dark):
        """Another one."""

    register("one", Dark)
    register("two", Darker)
    assert member_title(Darker()) == "The loss 'dark' of the plugin 'two' (diffbmp-two 1.0)"
    assert member_title(Dark()) == "The loss 'dark' of the plugin 'one' (diffbmp-one 1.0)"


def test_a_plugin_without_a_record(core_registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(core_registry._entries, ("losses", "dark"), Entry("losses", "dark", Dark, "somewhere"))
    assert member_title(Dark) == "The loss 'dark' of the plugin 'somewhere'"


@pytest.mark.parametrize(
    "error",
    [
        DiffbmpError("A mistake."),
        typer.Exit(3),
        typer.Abort(),
        typer.BadParameter("a mistake"),
        MemoryError(),
        KeyboardInterrupt(),
        SystemExit(3),
    ],
)
def test_what_means_the_same_whoever_raises_it_is_not_changed(register: Register, error: BaseException) -> None:
    register("emoji", Dark)
    with pytest.raises(type(error)) as caught, guarded(Dark(), "at step 3"):
        raise error
    assert caught.value is error


def test_the_base_of_typers_errors() -> None:
    """Typer moves it about: it must be below ``Exception``, and above nothing that is not an error shown to people."""
    assert issubclass(typer.BadParameter, TyperError)
    assert TyperError is not Exception
    assert not issubclass(ValueError, TyperError)


def test_an_exception_that_is_none_of_exception(register: Register) -> None:
    """Libraries in Rust raise such: ``pyo3_runtime.PanicException``."""

    class PanicException(BaseException):
        pass

    register("emoji", Dark)
    with pytest.raises(DiffbmpError, match=r"failed: PanicException: index out of bounds\.$"), guarded(Dark()):
        raise PanicException("index out of bounds")


def test_a_bug_of_core_keeps_its_traceback(core_registry: Registry) -> None:
    class Quiet(Observer):
        """An observer that only a test has."""

        name = "quiet"

    for member in (core_registry.create("losses", "mse"), core_registry.get("loaders", "image"), Observer):
        with pytest.raises(ValueError, match=r"^a bug$"), guarded(member):
            raise ValueError("a bug")
        assert failure(member, "", ValueError("a bug")) is None
    with pytest.raises(DiffbmpError, match="The observer 'quiet' failed: ValueError"), guarded(Quiet()):
        raise ValueError("not core's")


def test_a_block_that_does_not_fail(register: Register) -> None:
    with guarded(Dark(), "at step 3"):
        done = True
    assert done
