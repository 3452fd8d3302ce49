"""Sources as a person names them, on the command line or from Python, become textures."""

from __future__ import annotations

import glob
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffbmp.atlas.atlas import Texture
from diffbmp.errors import DiffbmpError
from diffbmp.loaders.loader import Loader, load_checked
from diffbmp.paths import missing_path, named
from diffbmp.plugins.registry import registry

__all__ = ["counted_source", "counted_sources", "joined_counts", "load_textures", "set_name"]

SCHEME = re.compile(r"[A-Za-z][\w.+-]+")
"""What a person may take for the name of a loader; one letter alone is a Windows drive."""

COUNT = re.compile(r".+:\d+", re.DOTALL)


def load_textures(sources: Sequence[str], settings: Mapping[str, Mapping[str, Any]] | None = None) -> list[Texture]:
    """Return the textures of all sources, in their order, under names that differ.

    Every texture knows the source that it is from by its ``set``: a source gives one set, and sets differ too.

    Args:
        sources: each one is ``NAME:rest`` or ``PLUGIN/NAME:rest`` for a registered loader (``text:HELLO``); or a
            file, whose loader its suffix chooses; or a folder, of which every visible file with a known suffix is
            taken, in natural order (``leaf2`` before ``leaf10``), without the folders in it; or a glob
            (``petals/*.png``, ``**`` for any depth), taken likewise.
        settings: settings of loaders, by the loader's name.

    Raises:
        DiffbmpError: where a source does not exist, is empty, is of an unknown kind, or cannot be read.
    """
    if not sources:
        raise DiffbmpError("No stamps are given; name a file, a folder, a glob, text:WORDS or shape:NAME.")
    settings = settings or {}
    loaders: dict[str, Loader] = {}

    def loader(name: str) -> Loader:
        if name not in loaders:
            loaders[name] = registry().create("loaders", name, settings.get(name))
        return loaders[name]

    for name in settings:
        loader(name)  # a mistake in settings that nothing uses is still a mistake
    textures = [
        replace(texture, set=called)
        for source, called in zip(sources, distinct([set_name(source) for source in sources]), strict=True)
        for name, rest in _resolve(source)
        for texture in load_checked(loader(name), rest)
    ]
    names = distinct([texture.name for texture in textures])
    return [t if t.name == name else replace(t, name=name) for t, name in zip(textures, names, strict=True)]


def counted_source(source: str) -> tuple[str, int | None]:
    """Split ``petals/:800`` into the source and its number of stamps.

    What exists under its whole name is that, and so is a scheme with nothing but digits (``text:2024``) or with a
    loader that reads numbers itself (``Loader.accepts_count``).

    Raises:
        DiffbmpError: for a number of 0.
    """
    scheme = _scheme(source)
    if scheme is not None and not registry().get("loaders", scheme[0]).accepts_count:
        return source, None
    if not COUNT.fullmatch(source if scheme is None else scheme[1]):
        return source, None
    plain, _, count = source.rpartition(":")
    try:
        if Path(source).expanduser().exists() or (SCHEME.fullmatch(plain) and not Path(plain).expanduser().exists()):
            return source, None
    except (OSError, RuntimeError, ValueError):  # no name of a file
        return source, None
    if int(count) < 1:
        raise DiffbmpError(f"The source '{source}' asks for no stamps; give a number of at least 1, or leave it out.")
    return plain, int(count)


def counted_sources(sources: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """Split sources from the numbers of stamps after them, ``petals/:800``.

    Returns:
        The plain sources, and the numbers by the names that their sets have in ``load_textures``.

    Raises:
        DiffbmpError: for a number of 0.
    """
    pairs = [counted_source(source) for source in sources]
    plain = [source for source, _ in pairs]
    names = distinct([set_name(source) for source in plain])
    return plain, {name: count for name, (_, count) in zip(names, pairs, strict=True) if count is not None}


def joined_counts(counts: Mapping[str, int], others: Mapping[str, int]) -> dict[str, int]:
    """Return the numbers of stamps by set that are given in settings and after sources.

    Raises:
        DiffbmpError: where both give one for the same set, and they differ.
    """
    for name in set(counts) & set(others):
        if counts[name] != others[name]:
            raise DiffbmpError(
                f"The set '{name}' is to have {others[name]} stamps after its source and {counts[name]} in counts; "
                "give one number."
            )
    return {**counts, **others}


def set_name(source: str) -> str:
    """Return what people call the textures of one source.

    A folder or file by its name without the suffix, a glob by the folder that it looks in, and anything with a scheme
    as it was given: ``petals`` for ``art/petals/``, ``art/petals.png`` and ``art/petals/*.png``, ``text:HELLO`` for
    itself.
    """
    if _scheme(source) is not None:
        return source
    path = _expanded(source)
    try:
        if path.exists():
            path = path.resolve()
            return (path.name if path.is_dir() else path.stem) or str(path)
    except (OSError, ValueError):  # a name that no file can have; reading it will say so
        return source
    plain = [part for part in path.parent.parts if not glob.has_magic(part)]
    return plain[-1] if plain and plain[-1] not in ("..", path.anchor) else source


def _resolve(source: str) -> list[tuple[str, str]]:
    """Return the loader's name and what it is given, for each thing that one source stands for."""
    scheme = _scheme(source)
    if scheme is not None:
        return [scheme]
    if not source.strip():
        raise DiffbmpError("A source of stamps is empty; name a file, a folder, a glob, text:WORDS or shape:NAME.")
    path = _expanded(source)
    try:
        if path.is_dir():
            return _chosen(list(path.iterdir()), f"Folder '{source}'")
        if path.exists():
            return [(_loader_of(path), str(path))]
    except PermissionError:
        raise DiffbmpError(f"{named('stamp', source)} cannot be read: permission denied.") from None
    except (OSError, ValueError):  # a name that no file can have
        raise missing_path(path, "stamp") from None
    if glob.has_magic(source):
        found = glob.glob(str(path), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        return _chosen([Path(name) for name in found], f"Glob '{source}'")
    name, colon, _ = source.partition(":")
    if colon and (SCHEME.fullmatch(name) or registry().find("loaders", name.rpartition("/")[2])):
        registry().get("loaders", name)  # raises: nobody has it
    raise missing_path(path, "stamp")


def _scheme(source: str) -> tuple[str, str] | None:
    """Return the loader's name and the rest, where a source begins with ``NAME:`` or ``PLUGIN/NAME:`` of a loader."""
    name, colon, rest = source.partition(":")
    return (name, rest) if colon and registry().find("loaders", name) is not None else None


def _chosen(candidates: list[Path], where: str) -> list[tuple[str, str]]:
    """Return those of ``candidates`` that a loader reads, in natural order."""
    files = sorted((p for p in candidates if p.is_file() and not p.name.startswith(".")), key=_natural)
    owners = {s: claims[0].cls for s, claims in registry().suffixes("loaders").items() if not claims[0].cls.named_only}
    taken = [path for path in files if path.suffix.lower() in owners]
    if taken:
        return [(_loader_of(path), str(path)) for path in taken]
    if not candidates:
        said = "is empty" if where.startswith("Folder") else "matches nothing"
        raise DiffbmpError(f"{where} {said}; put pictures there or give another source.")
    names = ", ".join(f"'{path.name}'" for path in files[:3]) + (
        f" and {len(files) - 3} more" if len(files) > 3 else ""
    )
    only = f"only {names}" if files else "only folders or hidden files"
    raise DiffbmpError(f"{where} holds no stamps, {only}; known suffixes: {', '.join(sorted(owners))}.")


def _loader_of(path: Path) -> str:
    entry = registry().for_suffix("loaders", path.suffix.lower())
    if entry is None:
        known = ", ".join(sorted(registry().suffixes("loaders")))
        raise DiffbmpError(
            f"No loader reads '{path}'; known suffixes: {known} (a file of another name: image:{path})."
            f"{registry().explain_missing()}"
        )
    return entry.name


def _expanded(source: str) -> Path:
    try:
        return Path(source).expanduser()
    except RuntimeError:  # ~somebody unknown
        return Path(source)


def _natural(path: Path) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Return a key by which ``leaf2`` is before ``leaf10``, and folders go one after the other."""
    parts = re.split(r"(\d+)", str(path).casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts), str(path)


def distinct(names: Sequence[str]) -> list[str]:
    """Return the names with the later ones of a kind numbered: ``leaf``, ``leaf-2``, ``leaf-3``."""
    taken = set(names)
    seen: dict[str, int] = {}
    result = []
    for name in names:
        count = seen.get(name, 0) + 1
        chosen = name
        if count > 1:
            while f"{name}-{count}" in taken:
                count += 1
            chosen = f"{name}-{count}"
            taken.add(chosen)
        seen[name] = count
        result.append(chosen)
    return result
