"""The hooks. A plugin implements those it needs; each receives ``register`` and calls it with a class.

The smallest plugin is one module and an entry point in the group ``diffbmp``::

    # my_plugin.py
    import diffbmp

    class Darkness(diffbmp.Loss):
        \"\"\"Mean brightness of the picture: the darker, the better.\"\"\"

        name = "darkness"
        needs_target = False

        def __call__(self, view):
            return view.image.mean()

    @diffbmp.hookimpl
    def register_losses(register):
        register(Darkness)

    # pyproject.toml
    [project.entry-points.diffbmp]
    my-plugin = "my_plugin"

``docs/plugins.md`` shows the smallest working example of each hook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pluggy

__all__ = ["FAMILIES", "HOOKS", "Register", "hookimpl", "hookspec"]

Register = Callable[[type[Any]], None]

hookspec = pluggy.HookspecMarker("diffbmp")
hookimpl = pluggy.HookimplMarker("diffbmp")


@hookspec
def register_renderers(register: Register) -> None:
    """Register ``diffbmp.Renderer`` classes: forward and backward of the compositing operator."""


@hookspec
def register_loaders(register: Register) -> None:
    """Register ``diffbmp.Loader`` classes: a path, a glob or a ``scheme:`` becomes textures."""


@hookspec
def register_primitives(register: Register) -> None:
    """Register ``diffbmp.Primitive`` classes: learnable parameters become sprites."""


@hookspec
def register_losses(register: Register) -> None:
    """Register ``diffbmp.Loss`` classes: what a fit minimises."""


@hookspec
def register_initializers(register: Register) -> None:
    """Register ``diffbmp.Initializer`` classes: where stamps start."""


@hookspec
def register_refiners(register: Register) -> None:
    """Register ``diffbmp.Refiner`` classes: what acts on the parameters between steps."""


@hookspec
def register_exporters(register: Register) -> None:
    """Register ``diffbmp.Exporter`` classes: a scene becomes a file, chosen by its suffix."""


@hookspec
def register_commands(register: Register) -> None:
    """Register ``diffbmp.Command`` classes: a Typer app under ``diffbmp NAME``."""


@hookspec
def register_observers(register: Register) -> None:
    """Register ``diffbmp.Observer`` classes: what watches a fit start, step and finish."""


FAMILIES: Mapping[str, str] = {
    "renderers": "renderer",
    "loaders": "loader",
    "primitives": "primitive",
    "losses": "loss",
    "initializers": "initializer",
    "refiners": "refiner",
    "exporters": "exporter",
    "commands": "command",
    "observers": "observer",
}
"""Each family, and what one of it is called; its hook is ``register_`` and the family's name."""

HOOKS: Mapping[str, str] = {f"register_{family}": family for family in FAMILIES}
"""The family of each hook."""
