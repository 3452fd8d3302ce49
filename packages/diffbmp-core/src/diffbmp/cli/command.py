"""The command interface: a Typer app under ``diffbmp NAME``."""

from __future__ import annotations

from typing import ClassVar

import typer

from diffbmp.plugins.plugin import Plugin

__all__ = ["Command"]


class Command(Plugin):
    """Base of every command: ``app`` is mounted as ``diffbmp NAME``; the docstring is its help."""

    family: ClassVar[str] = "commands"

    app: ClassVar[typer.Typer]
