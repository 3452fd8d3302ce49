"""Writing a scene with whatever exporter its suffix asks for."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.exporters.exporter import Exporter, FormatLimitExceeded, Progress
from diffbmp.exporters.options import ExportOptions
from diffbmp.files import atomic_path
from diffbmp.plugins.guard import guarded, member_title
from diffbmp.plugins.registry import registry
from diffbmp.plugins.validation import NAME
from diffbmp.scene.scene import Scene
from diffbmp.settings import parse_settings

__all__ = ["canvas_path", "check_options", "export_scene", "exporter_for", "named_output", "write_scene"]

Tables = Mapping[str, Mapping[str, Any]]

LIKE_A_NAME = re.compile(rf"(\w[^/\\]*/)?{NAME.pattern}")
"""What a person may take for the name of an exporter, with or without its plugin's; one letter alone is a drive."""


def named_output(text: str) -> tuple[str | None, str]:
    """Split ``NAME:FILE`` or ``PLUGIN/NAME:FILE``, as a person chooses an exporter, from what is written.

    A drive (``C:\\picture.png``) is no name, and a file whose own name has a colon is written as ``./a:b.png``.

    Args:
        text: the path of a file, or a suffix, with or without a name before it.

    Returns:
        The exporter's name, or None; and the rest.

    Raises:
        DiffbmpError: for a name that no exporter has.
    """
    name, colon, rest = text.partition(":")
    found = registry().find("exporters", name) if colon else None
    if found is None and colon and LIKE_A_NAME.fullmatch(name):
        known = [entry.name for entry in registry().entries("exporters")]
        raise DiffbmpError(
            f"{unknown_name('exporter', name, known)} (A file of this name: './{text}'.){registry().explain_missing()}"
        )
    return (None, text) if found is None else (name, rest)


def exporter_for(path: str | Path, settings: Tables | None = None, *, name: str | None = None) -> Exporter:
    """Return the exporter that writes a file, with its settings.

    Args:
        path: the file, whose suffix chooses the exporter.
        settings: settings of exporters, by name.
        name: the exporter's name, whatever the suffix.

    Raises:
        DiffbmpError: where nobody has that name or writes that suffix.
    """
    if name is None:
        suffix = Path(path).suffix.lower()
        if not suffix:
            raise DiffbmpError(f"'{path}' has no suffix to choose a format by; call it, for example, '{path}.png'.")
        entry = registry().for_suffix("exporters", suffix)
        if entry is None:
            error = unknown_name("file suffix", suffix, registry().suffixes("exporters"))
            raise DiffbmpError(f"{error}{registry().explain_missing()}")
        name = entry.name
    exporter: Exporter = registry().create("exporters", name, (settings or {}).get(name))
    return exporter


def check_options(exporters: Sequence[Exporter], options: ExportOptions) -> None:
    """Refuse an option that was asked for and means nothing to any of the formats.

    Raises:
        DiffbmpError: naming the option.
    """
    taken = frozenset().union(*(exporter.options for exporter in exporters))
    for name in sorted(_asked_for(options) - taken):
        formats = " or ".join(dict.fromkeys(exporter.name for exporter in exporters))
        raise DiffbmpError(f"The option {name} means nothing to {formats}; leave it out.")


def write_scene(
    scene: Scene,
    path: Path,
    options: ExportOptions | None = None,
    *,
    exporter: str | Exporter | None = None,
    renderer: str = "auto",
    settings: Tables | None = None,
    progress: Progress = lambda fraction: None,
) -> list[Path]:
    """Write ``scene`` to ``path`` in the format of its suffix; never leaves half a file.

    Of a batch of canvases each is a file of its own, ``NAME-1.png``, ``NAME-2.png`` and so on (``canvas_path``).

    Args:
        scene: what to write.
        path: where to.
        options: what is asked of the file; those that the format does not take are left out (``check_options``).
        exporter: what writes it, by name or as an instance; left out, the suffix chooses.
        renderer: the renderer to draw with, or "auto".
        settings: settings of exporters, by name.
        progress: called with the fraction done.

    Returns:
        The files that were written: ``path``; or of a batch, or with ``options.split``, several beside it; or with a
        warning the larger sibling of a format whose limit the scene exceeds.

    Raises:
        DiffbmpError: where the format is unknown or cannot hold the scene, or the file cannot be written; where the
            exporter fails with an error of its own or writes nothing, it is named.
    """
    if not isinstance(exporter, Exporter):
        exporter = exporter_for(path, settings, name=exporter)
    options = options or ExportOptions()
    options = options.model_copy(
        update={name: ExportOptions.model_fields[name].default for name in _asked_for(options) - exporter.options}
    )
    if scene.batch is not None and not exporter.batched:
        files: list[Path] = []
        for index in range(scene.batch):

            def of_all(fraction: float, index: int = index, count: int = scene.batch) -> None:
                progress((index + fraction) / count)

            files += write_scene(
                scene.canvas(index), canvas_path(path, index, scene.batch), options,
                exporter=exporter, renderer=renderer, settings=settings, progress=of_all,
            )  # fmt: skip
        return files
    if exporter.flattens:
        scene = scene.flattened(options.scale, renderer=renderer)
    runs = _runs(scene, path, exporter, options)
    written = []
    for number, run in enumerate(runs):
        named = path if len(runs) == 1 else path.with_name(f"{path.stem}-{number + 1}{path.suffix}")
        wanted = options if len(runs) == 1 else options.model_copy(update={"stamps": run})

        def part(fraction: float, number: int = number) -> None:
            progress((number + fraction) / len(runs))

        try:
            _export(exporter, scene, named, wanted, renderer, part)
        except FormatLimitExceeded as limit:
            named = _sibling(named, limit)
            larger = exporter if limit.suffix in exporter.suffixes else exporter_for(named, settings)
            _export(larger, scene, named, wanted, renderer, part)
        written.append(named)
    return written


def _export(
    exporter: Exporter, scene: Scene, path: Path, options: ExportOptions, renderer: str, progress: Progress
) -> None:
    """Have one file written, and see that it is."""
    with guarded(exporter, f"on '{path}'"), atomic_path(path) as temporary:
        exporter.export(scene, temporary, options, renderer=renderer, progress=progress)
        if not (temporary.is_file() and temporary.stat().st_size):
            raise DiffbmpError(f"{member_title(exporter)} wrote nothing into '{path}', and raised no error.")


def export_scene(
    scene: Scene, path: str | Path, *, renderer: str = "auto", exporter: str | Exporter | None = None, **options: Any
) -> list[Path]:
    """Write ``scene`` to ``path`` in the format of its suffix, as ``diffbmp export`` does; never leaves half a file.

    Args:
        scene: what to write; of a batch each canvas becomes a file of its own.
        path: where to.
        renderer: the renderer to draw with, or "auto".
        exporter: what writes it, by name or as an instance; left out, the suffix chooses.
        **options: fields of ``ExportOptions``: ``scale=2``, ``groups="depth"``.

    Returns:
        The files that were written.

    Raises:
        DiffbmpError: for an unknown option or one that means nothing to the format, a format that is unknown or cannot
            hold the scene, or a file that cannot be written.

    Example:
        >>> diffbmp.export_scene(scene, "layers.psd", scale=2)
    """
    chosen = exporter if isinstance(exporter, Exporter) else exporter_for(path, name=exporter)
    asked = parse_settings(ExportOptions, options, "")
    check_options([chosen], asked)
    return write_scene(scene, Path(path), asked, exporter=chosen, renderer=renderer)


def canvas_path(path: Path, index: int, count: int) -> Path:
    """Return the file of one canvas of a batch of ``count``: ``NAME-07.png`` is the seventh of ten or more."""
    return path.with_name(f"{path.stem}-{index + 1:0{len(str(count))}}{path.suffix}")


def _asked_for(options: ExportOptions) -> set[str]:
    """Return the options that are not as they are where nobody asks."""
    return {name for name, field in ExportOptions.model_fields.items() if getattr(options, name) != field.default}


def _runs(scene: Scene, path: Path, exporter: Exporter, options: ExportOptions) -> list[tuple[int, int]]:
    """Return the first and last stamp of each file.

    Raises:
        DiffbmpError: where one file cannot hold them all and nobody asked for several.
    """
    with guarded(exporter, f"on '{path}'"):
        limit = exporter.layer_limit(options)
    if limit is not None and (type(limit) is not int or limit < 1):
        raise DiffbmpError(
            f"{member_title(exporter)} gives {limit!r} as its layer_limit; it must be a number of at least 1, or None."
        )
    total = scene.count if limit is not None else 0
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


def _sibling(path: Path, limit: FormatLimitExceeded) -> Path:
    """Warn that another file is written than was asked for, and return its path."""
    chosen = path.with_suffix(limit.suffix)
    warnings.warn(f"{limit.reason}, so '{chosen}' is written instead of '{path.name}'.", stacklevel=3)
    return chosen
