"""Core's own plugin: everything that core brings, registered through the same hooks as anyone's."""

from __future__ import annotations

from diffbmp.plugins.hookspecs import Register, hookimpl
from diffbmp.rendering.reference import Reference
from diffbmp.stamps.stamps import Stamps
from diffbmp.version import __version__

__all__ = ["__version__"]


@hookimpl
def register_renderers(register: Register) -> None:
    """Register the reference renderer."""
    register(Reference)


@hookimpl
def register_kinds(register: Register) -> None:
    """Register stamps."""
    register(Stamps)
