"""The installed plugins, and the list of those that are let in."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from diffbmp.plugins.record import UNKNOWN

__all__ = ["ALLOW_VARIABLE", "InstalledPlugin", "allow_list", "canonical", "installed_plugins"]

ENTRY_POINT_GROUP = "diffbmp"
ALLOW_VARIABLE = "DIFFBMP_PLUGINS"


@dataclass(frozen=True)
class InstalledPlugin:
    """An entry point of the group ``diffbmp``.

    Attributes:
        name: the entry point's.
        package: its distribution, or "?" where the metadata are damaged.
        version: the distribution's, or "?".
        load: imports it.
    """

    name: str
    package: str
    version: str
    load: Callable[[], object]


def installed_plugins() -> Iterator[InstalledPlugin]:
    """Yield every installed plugin, by name, without importing any."""
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    for point in sorted(points, key=lambda point: (point.name, *_distribution(point))):
        yield InstalledPlugin(point.name, *_distribution(point), point.load)


def allow_list() -> set[str] | None:
    """Return the canonical names in ``DIFFBMP_PLUGINS``, or None where it is not set and all plugins are let in."""
    value = os.environ.get(ALLOW_VARIABLE)
    return None if value is None else {canonical(part) for part in value.split(",") if part.strip()}


def canonical(name: str) -> str:
    """Return a name as package indexes compare them: ``Diffbmp_Emoji`` is ``diffbmp-emoji``."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _distribution(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution, whose metadata may be damaged."""
    try:
        if point.dist is not None:
            return point.dist.name or UNKNOWN, point.dist.version or UNKNOWN
    except Exception:  # no METADATA, or one that does not parse: each version of Python raises its own
        pass
    return UNKNOWN, UNKNOWN
