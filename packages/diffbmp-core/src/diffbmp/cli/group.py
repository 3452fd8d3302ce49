"""The group of all commands: says which plugin a command is from where it fails or may be missing."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from diffbmp.plugins.guard import TyperError, failure
from diffbmp.plugins.registry import registry

__all__ = ["PluginCommands"]


class PluginCommands(TyperGroup):
    """Core's commands and those of plugins. What fails in a plugin's command is named; core's own fail as they are."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is asked for."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # whoever reads the output has seen enough: Typer ends quietly
            raise
        except BaseException as error:
            entry = registry().find("commands", ctx.invoked_subcommand or "")
            sentence = None if entry is None else failure(entry.cls, "", error)
            if sentence is None:
                raise
            raise sentence from error

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of this name, ``NAME`` or ``PLUGIN/NAME``, or None."""
        entry = registry().find("commands", cmd_name) if "/" in cmd_name else None
        return super().get_command(ctx, cmd_name if entry is None else entry.name)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; warn where several plugins have its name, and say which might bring one that is unknown."""
        try:
            found = super().resolve_command(ctx, args)
        except TyperError as error:
            usage: Any = error
            usage.message += registry().explain_missing()
            raise
        if registry().find("commands", args[0]) is not None and not ctx.resilient_parsing:
            registry().entry("commands", args[0])
        return found
