"""The ``diffbmp`` command: mounts core's commands and those of plugins, and turns mistakes into one sentence."""

from __future__ import annotations

import sys
import traceback
import warnings
from typing import Annotated

import typer
from rich.console import Console

from diffbmp.cli.bench import bench_command
from diffbmp.cli.command import mount
from diffbmp.cli.doctor import doctor_command
from diffbmp.cli.export import export_command, render_command
from diffbmp.cli.fit import fit_command
from diffbmp.cli.group import PluginCommands
from diffbmp.cli.layers import layers_command
from diffbmp.cli.plugins import plugins_command
from diffbmp.errors import DiffbmpError
from diffbmp.plugins.registry import registry
from diffbmp.version import __version__

__all__ = ["build_app", "main"]

DEBUG_FLAG = "--debug"

errors = Console(stderr=True, highlight=False, soft_wrap=True)


def build_app() -> typer.Typer:
    """Return the Typer app with every registered command mounted."""
    app = typer.Typer(
        name="diffbmp",
        cls=PluginCommands,
        help="Compose a picture out of thousands of bitmaps, by gradient descent.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_callback)
    app.command("fit")(fit_command)
    app.command("render")(render_command)
    app.command("export")(export_command)
    app.command("layers")(layers_command)
    app.command("plugins")(plugins_command)
    app.command("doctor")(doctor_command)
    app.command("bench")(bench_command)
    for entry in [*registry().entries("commands"), *registry().rivals("commands")]:
        mount(app, entry.cls, entry.name)
    return app


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"diffbmp {__version__}")
        raise typer.Exit


def _callback(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True)
    ] = False,
    debug: Annotated[bool, typer.Option(DEBUG_FLAG, help="Show the traceback of an error; goes anywhere.")] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line: exit code 0, 2 for a person's mistake, 130 when interrupted."""
    debug = DEBUG_FLAG in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != DEBUG_FLAG]
    warnings.showwarning = _show_warning
    try:
        build_app()(args=arguments)
    except DiffbmpError as error:
        if debug:
            traceback.print_exc()
        errors.print(f"[bold red]Error:[/] {_escape(str(error))}")
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as stop:
        if not _interrupted(stop):
            raise
        if debug:
            traceback.print_exc()
        errors.print("Interrupted; nothing was left half written.")
        sys.exit(130)


def _interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C led to this error: Typer turns it into an exit without a word."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _escape(text: str) -> str:
    return text.replace("[", "\\[")


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: object = None,
    line: str | None = None,
) -> None:
    if issubclass(category, (DeprecationWarning, FutureWarning)):
        return  # for developers, not for the person at the command line
    errors.print(f"[yellow]Warning:[/] {_escape(str(message))}")
