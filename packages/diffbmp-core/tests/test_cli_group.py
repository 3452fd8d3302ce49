"""Commands of plugins: mounted, named where they fail, and never in the way of core's own."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

import diffbmp
from diffbmp.cli import app as app_module
from diffbmp.cli.app import build_app, main

Register = Callable[..., Any]


def command(name: str, function: Callable[..., None], summary: str = "Does what a test asks.") -> type[diffbmp.Command]:
    app = typer.Typer()
    app.command("go")(function)
    return type("Made", (diffbmp.Command,), {"__doc__": summary, "name": name, "app": app})


def fail() -> None:
    raise ValueError("no [red] way")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(build_app(), list(arguments))


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[object, str]]:
    """Return a function that runs the program and gives its exit code and what it wrote on stderr."""

    def invoke(*arguments: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["diffbmp", *arguments])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # which the program replaces
        with pytest.raises(SystemExit) as left:
            main()
        return left.value.code, capsys.readouterr().err

    return invoke


class TestFailures:
    def test_a_command_that_fails_is_one_sentence_and_exit_code_2(self, register: Register, typed: Any) -> None:
        register("odd", command("wave", fail))
        code, said = typed("wave", "go")
        assert code == 2
        sentence = "The command 'wave' of the plugin 'odd' (diffbmp-odd 1.0) failed: ValueError: no [red] way."
        assert said == f"Error: {sentence}\n"
        code, said = typed("wave", "go", "--debug")
        assert code == 2
        assert "in fail\n" in said
        assert "ValueError: no [red] way\n" in said

    def test_the_other_ends_of_a_command_are_its_own(self, register: Register, typed: Any) -> None:
        def end(how: int) -> None:
            if how == 1:
                raise typer.Exit(7)
            if how == 2:
                raise typer.BadParameter("not this")
            if how == 3:
                raise diffbmp.DiffbmpError("A mistake.")
            if how == 4:
                raise KeyboardInterrupt
            if how == 5:
                raise BrokenPipeError

        register("odd", command("wave", end))
        assert typed("wave", "go", "0") == (0, "")
        assert typed("wave", "go", "1") == (7, "")
        code, said = typed("wave", "go", "2")
        assert code == 2
        assert "not this" in said
        assert typed("wave", "go", "3") == (2, "Error: A mistake.\n")
        assert typed("wave", "go", "4")[0] == 130
        with pytest.raises(BrokenPipeError):
            raise run("wave", "go", "5").exception  # type: ignore[misc]

    def test_a_bug_in_a_command_of_cores_keeps_its_traceback(
        self, register: Register, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        register("odd", command("wave", fail))
        monkeypatch.setattr(app_module, "layers_command", fail)
        with pytest.raises(ValueError, match=r"^no \[red\] way$"):
            raise run("layers").exception  # type: ignore[misc]


class TestNames:
    def test_two_plugins_with_a_command_of_one_name(self, register: Register) -> None:
        register("one", command("wave", lambda: print("first")))
        register("two", command("wave", lambda: print("second")))
        with pytest.warns(UserWarning, match="The command 'wave' is .* Write 'one/wave' or 'two/wave' to choose"):
            assert run("wave", "go").output == "first\n"
        for name, said in {"one/wave": "first\n", "two/wave": "second\n", "diffbmp-two/wave": "second\n"}.items():
            assert run(name, "go").output == said
        listed = run("--help").output
        assert " wave " in listed
        assert " two/wave " in listed

    def test_an_unknown_command_says_which_plugins_may_bring_it(self, register: Register) -> None:
        assert "Plugins with problems" not in run("wave").output
        register("odd", command("wave", fail), command("fit", fail))
        result = run("wav")
        assert result.exit_code == 2
        assert "Plugins with problems: odd" in " ".join(result.output.replace("│", " ").split())


def test_a_help_text_that_looks_like_markup(register: Register) -> None:
    assert register("odd", command("wave", fail, "Greets [/bold] with [red]paint.")).problems == []
    result = run("--help")
    assert result.exit_code == 0
    assert "Greets [/bold] with [red]paint." in result.output
    assert run("wave", "--help").exit_code == 0
