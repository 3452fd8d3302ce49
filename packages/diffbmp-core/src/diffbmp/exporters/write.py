"""Writing a scene with whatever exporter its suffix asks for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.exporters.exporter import Exporter, FormatOutgrown, Progress
from diffbmp.exporters.options import ExportOptions
from diffbmp.files import atomic_path
from diffbmp.plugins.registry import registry
from diffbmp.scene.scene import Scene

__all__ = ["check_options", "exporter_for", "write_scene"]

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


def check_options(exporters: Sequence[Exporter], options: ExportOptions) -> None:
    """Refuse an option that was asked for and means nothing to any of the formats.

    Raises:
        DiffbmpError: naming the option.
    """
    heeded = frozenset().union(*(exporter.heeds for exporter in exporters))
    for name in sorted(_asked_for(options) - heeded):
        formats = " or ".join(dict.fromkeys(exporter.name for exporter in exporters))
        raise DiffbmpError(f"The option {name} means nothing to {formats}; leave it out.")


def write_scene(
    scene: Scene,
    path: Path,
    options: ExportOptions | None = None,
    *,
    renderer: str = "auto",
    settings: Tables | None = None,
    progress: Progress = lambda fraction: None,
) -> list[Path]:
    """Write ``scene`` to ``path`` in the format of its suffix; never leaves half a file.

    Args:
        scene: what to write.
        path: where to.
        options: what is asked of the file; those that the format does not heed are left out (``check_options``).
        renderer: the renderer to draw with, or "auto".
        settings: settings of exporters, by name.
        progress: called with the fraction done.

    Returns:
        The files that were written: ``path``; or with ``options.split`` several beside it; or with a warning the
        larger sibling of a format that the scene has outgrown.

    Raises:
        DiffbmpError: where the format is unknown or cannot hold the scene, or the file cannot be written.
    """
    exporter = exporter_for(path, settings)
    options = options or ExportOptions()
    options = options.model_copy(
        update={name: ExportOptions.model_fields[name].default for name in _asked_for(options) - exporter.heeds}
    )
    runs = _runs(scene, path, exporter, options)
    written = []
    for number, run in enumerate(runs):
        named = path if len(runs) == 1 else path.with_name(f"{path.stem}-{number + 1}{path.suffix}")
        wanted = options if len(runs) == 1 else options.model_copy(update={"stamps": run})

        def part(fraction: float, number: int = number) -> None:
            progress((number + fraction) / len(runs))

        try:
            with atomic_path(named) as temporary:
                exporter.export(scene, temporary, wanted, renderer=renderer, progress=part)
        except FormatOutgrown as outgrown:
            named = _sibling(named, outgrown)
            larger = exporter_for(named, settings)
            with atomic_path(named) as temporary:
                larger.export(scene, temporary, wanted, renderer=renderer, progress=part)
        written.append(named)
    return written


def _asked_for(options: ExportOptions) -> set[str]:
    """Return the options that are not as they are where nobody asks."""
    return {name for name, field in ExportOptions.model_fields.items() if getattr(options, name) != field.default}


def _runs(scene: Scene, path: Path, exporter: Exporter, options: ExportOptions) -> list[tuple[int, int]]:
    """Return the first and last stamp of each file.

    Raises:
        DiffbmpError: where one file cannot hold them all and nobody asked for several.
    """
    limit = exporter.layer_limit(options)
    total = sum(len(part(scene.atlas)) for part in scene.parts) if limit is not None else 0
    first, last = options.stamps or (1, total)
    flattened = max(0, options.flatten_below - first)
    count = last - first + 1 - flattened
    if limit is None or count <= limit:
        return [(first, last)]
    files = math.ceil(count / limit)
    if not options.split:
        raise DiffbmpError(
            f"'{path}' would need a layer for each of {count} stamps, and {path.suffix} holds {limit}: use "
            f"--flatten-below {last - limit + 1} to make one layer of those at the back, or --split to write "
            f"{files} files."
        )
    if scene.blend == "add":
        raise DiffbmpError(
            f"'{path}' cannot be split: the stamps of this scene are added up (blend=add), which needs them all in one "
            f"file with the background; use --flatten-below {last - limit + 1}."
        )
    ends = [first + flattened + count * (number + 1) // files - 1 for number in range(files)]
    return list(zip([first, *(end + 1 for end in ends[:-1])], ends, strict=True))


def _sibling(path: Path, outgrown: FormatOutgrown) -> Path:
    """Say that another file is written than was asked for, and return its path."""
    chosen = path.with_suffix(outgrown.suffix)
    warnings.warn(f"{outgrown.reason}, so '{chosen}' is written instead of '{path.name}'.", stacklevel=3)
    return chosen
