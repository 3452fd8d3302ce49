"""The command interface: a Typer app under ``diffbmp NAME``."""

from __future__ import annotations

import contextlib
import io
from typing import ClassVar

import typer
from rich.markup import escape

from diffbmp.plugins.plugin import Plugin
from diffbmp.plugins.validation import describe

__all__ = ["Command", "mount"]


class Command(Plugin):
    """Base of every command: ``app`` is mounted as ``diffbmp NAME``; the docstring's first line is its help.

    A command takes its options through the Typer app, and has no ``Settings``.
    """

    family: ClassVar[str] = "commands"

    app: ClassVar[typer.Typer]

    @classmethod
    def registration_problem(cls) -> str | None:
        """Return a sentence where there are settings, which nobody could set, or where the app cannot be mounted."""
        if cls.Settings.model_fields:
            return "has Settings, which nobody can set; a command takes options through its Typer app"
        try:
            listing = typer.Typer(rich_markup_mode="rich", add_completion=False)
            mount(listing, cls, cls.name)
            with contextlib.redirect_stdout(io.StringIO()):
                listing(args=["--help"], standalone_mode=False)
        except Exception as error:  # a plugin's parameters, groups and help texts
            return f"has an `app` that cannot be mounted: {describe(error)}"
        return None


def mount(app: typer.Typer, command: type[Command], name: str) -> None:
    """Add a command to ``app``, under ``name``."""
    app.add_typer(command.app, name=name, help=escape(command.summary()))
