"""Writing a scene with whatever exporter its suffix asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.exporters.exporter import Exporter, Progress
from diffbmp.files import atomic_path
from diffbmp.plugins.registry import registry
from diffbmp.scene.scene import Scene

__all__ = ["exporter_for", "write_scene"]

Tables = Mapping[str, Mapping[str, Any]]


def exporter_for(path: str | Path, settings: Tables | None = None) -> Exporter:
    """Return the exporter of a file's suffix, with its settings.

    Raises:
        DiffbmpError: where nobody writes that suffix, or two plugins claim it.
    """
    suffix = Path(path).suffix.lower()
    if not suffix:
        raise DiffbmpError(f"'{path}' has no suffix to choose a format by; call it, for example, '{path}.png'.")
    entries = registry().entries("exporters")
    owners = [entry for entry in entries if suffix in entry.cls.suffixes]
    if not owners:
        raise unknown_name("file suffix", suffix, {s for entry in entries for s in entry.cls.suffixes})
    if len(owners) > 1:
        names = " and ".join(f"'{entry.name}' of '{entry.owner}'" for entry in owners)
        raise DiffbmpError(f"The suffix '{suffix}' is claimed by {names}; remove one of these plugins.")
    exporter: Exporter = registry().create("exporters", owners[0].name, (settings or {}).get(owners[0].name))
    return exporter


def write_scene(
    scene: Scene,
    path: Path,
    *,
    scale: float = 1.0,
    renderer: str = "auto",
    settings: Tables | None = None,
    progress: Progress = lambda fraction: None,
) -> None:
    """Write ``scene`` to ``path`` in the format of its suffix; never leaves half a file.

    Args:
        scene: what to write.
        path: where to.
        scale: size of the result relative to the canvas, above 0.
        renderer: the renderer to draw with, or "auto".
        settings: settings of exporters, by name.
        progress: called with the fraction done.

    Raises:
        DiffbmpError: where the format is unknown or cannot hold the scene, or the file cannot be written.
    """
    exporter = exporter_for(path, settings)
    with atomic_path(path) as temporary:
        exporter.export(scene, temporary, scale=scale, renderer=renderer, progress=progress)
