"""Paths that a person gives: what is wrong with one, and the nearest name that exists."""

from __future__ import annotations

import difflib
import stat
from pathlib import Path

from diffbmp.errors import DiffbmpError

__all__ = ["missing_path", "named", "require_file", "shortened"]

LONGEST = 200
"""Characters of a path or source that a sentence shows."""


def named(what: str, path: str | Path) -> str:
    """Return how a sentence about a file begins: ``Target 'photo.jpg'`` for the target of that path."""
    return f"{what[:1].upper()}{what[1:]} '{path}'"


def shortened(text: str) -> str:
    """Return a path or source for a sentence: on one line, and cut where it is very long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."


def missing_path(path: Path, what: str) -> DiffbmpError:
    """Return the error for a path that does not exist, with the nearest name beside it where there is one."""
    sentence = f"{named(what, path)} does not exist"
    try:
        beside = [entry.name for entry in path.parent.iterdir()]
    except (OSError, ValueError):
        return DiffbmpError(f"{sentence}; check the path.")
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.5)
    return DiffbmpError(
        f"{sentence}; did you mean '{path.parent / near[0]}'?" if near else f"{sentence}; check the path."
    )


def require_file(path: str | Path, what: str) -> Path:
    """Return ``path`` with ``~`` expanded, an ordinary file that is not empty.

    Args:
        path: as a person gave it.
        what: what the file is for, to begin the sentence with ("target", "stamp").

    Raises:
        DiffbmpError: where it is missing (with the nearest name beside it), a folder, empty, or closed to us.
    """
    path = Path(path)
    try:
        path = path.expanduser()
        status = path.stat()
    except PermissionError:
        raise DiffbmpError(f"{named(what, path)} cannot be reached: permission denied.") from None
    except (OSError, ValueError, RuntimeError):  # ValueError: a NUL in it; RuntimeError: ~somebody unknown
        raise missing_path(path, what) from None
    if stat.S_ISDIR(status.st_mode):
        raise DiffbmpError(f"{named(what, path)} is a folder; give a file.")
    if not stat.S_ISREG(status.st_mode):
        raise DiffbmpError(f"{named(what, path)} is not an ordinary file.")
    if status.st_size == 0:
        raise DiffbmpError(f"{named(what, path)} is empty (0 bytes).")
    try:
        path.open("rb").close()
    except OSError as error:
        raise DiffbmpError(
            f"{named(what, path)} cannot be read: {(error.strerror or 'unknown reason').lower()}."
        ) from None
    return path
