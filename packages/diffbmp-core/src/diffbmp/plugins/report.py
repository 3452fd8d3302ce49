"""What is known of every plugin, as plain data: for ``diffbmp plugins``, ``diffbmp doctor`` and reference pages."""

from __future__ import annotations

from typing import Any

from diffbmp.plugins.record import CORE, Entry
from diffbmp.plugins.registry import Registry
from diffbmp.settings import setting_rows

__all__ = ["SLOW", "is_slow", "plugin_report"]

SLOW = 0.3
"""Seconds that a plugin may take to load without being told so."""


def plugin_report(registry: Registry) -> list[dict[str, Any]]:
    """Return a dictionary of JSON values for each plugin, core first.

    Its keys are ``name`` (of the entry point), ``package``, ``version``, ``allowed`` (false where the allow-list
    leaves it out), ``hooks`` (those that were called), ``registers``, ``problems`` (sentences), ``seconds`` (that its
    import and its hooks took) and ``traceback`` (of its last exception, or ""). Each item of ``registers`` has
    ``family``, ``name`` (``PLUGIN/NAME`` where another plugin has the name), ``class``, ``summary`` (first line of the
    docstring), ``description`` (all of it) and ``settings``, the rows of ``setting_rows``.
    """
    return [
        {
            "name": record.name,
            "package": record.package,
            "version": record.version,
            "allowed": record.allowed,
            "hooks": list(record.hooks),
            "registers": [_described(entry) for entry in registry.owned(record)] if record.hooks else [],
            "problems": list(record.problems),
            "seconds": round(record.seconds, 4),
            "traceback": record.debug,
        }
        for record in registry.plugins
    ]


def is_slow(plugin: dict[str, Any]) -> bool:
    """Return whether a plugin, as ``plugin_report`` gives it, makes every command start late. Core is not judged."""
    return bool(plugin["name"] != CORE and plugin["seconds"] > SLOW)


def _described(entry: Entry) -> dict[str, Any]:
    return {
        "family": entry.family,
        "name": entry.name,
        "class": f"{entry.cls.__module__}.{entry.cls.__qualname__}",
        "summary": entry.cls.summary(),
        "description": entry.cls.description(),
        "settings": list(setting_rows(entry.cls.Settings)),
    }
