"""The one way to write a file: whole under a temporary name, then renamed, so that nothing is ever half written."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from diffbmp.errors import DiffbmpError

__all__ = ["atomic_path", "output_directory"]

REASONS = {
    errno.ENOSPC: "the disk is full; free some space or choose another place",
    errno.EDQUOT: "the disk quota is used up; free some space or choose another place",
    errno.EFBIG: "it would be larger than the system allows; choose another place",
    errno.EACCES: "permission denied; choose a place that you may write to",
    errno.EPERM: "permission denied; choose a place that you may write to",
    errno.EROFS: "the disk is read-only; choose another place",
    errno.ENOTDIR: "a part of its path is a file, not a folder",
    errno.EISDIR: "it is a folder; give the name of a file",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ELOOP: "its symbolic links lead in a circle",
}

PROBE = b"\0" * 4096
"""What is written to learn whether a folder takes data: a whole block, since an empty file fits on a full disk."""


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write to, which takes the place of ``path`` when the block ends without an error.

    The temporary file lies beside the target, hidden, with the same suffix, and exists (empty) from the start.
    On success it is flushed to the disk and renamed; on any exception, ``KeyboardInterrupt`` included, it is
    removed and what was at ``path`` stays as it was. Missing folders are made. A symbolic link is written
    through, and a file that is replaced keeps its permissions.

    Args:
        path: where the file is to be in the end; ``~`` is expanded.

    Raises:
        DiffbmpError: where the file cannot be written: no permission, a folder or a device of that name, a file in
            place of a folder, a full disk, a name too long. An ``OSError`` of the block that is about another
            file goes through unchanged.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        target = _prepared(path)
        temporary = target.with_name(f".{secrets.token_hex(6)}{target.suffix}")
        _create(temporary, like=target)
        yield temporary
        _flush(temporary)
        temporary.replace(target)
    except BaseException as error:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and _concerns(error, path, temporary):
            raise DiffbmpError(f"'{path}' cannot be written: {_reason(error)}.") from error
        raise


def output_directory(path: str | Path) -> Path:
    """Make a folder for results, with its parents, and make sure that files can be written into it.

    Args:
        path: the folder; ``~`` is expanded.

    Returns:
        The folder's path.

    Raises:
        DiffbmpError: where it cannot be made or written to, or its disk is full.
    """
    path = Path(path)
    probe: Path | None = None
    try:
        folder = _expanded(path)
        if folder.exists() and not folder.is_dir():
            raise DiffbmpError(f"'{path}' is a file, not a folder; choose another name for the results.")
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{secrets.token_hex(6)}"
        probe.write_bytes(PROBE)
        _flush(probe)
    except OSError as error:
        raise DiffbmpError(f"The folder '{path}' cannot be written to: {_reason(error)}.") from error
    finally:
        if probe is not None:
            with suppress(OSError):
                probe.unlink(missing_ok=True)
    return folder


def _prepared(path: Path) -> Path:
    """Return the file to replace, links followed, in a folder that exists; refuse what a rename would destroy."""
    target = Path(os.path.realpath(_expanded(path)))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        target.parent.mkdir(parents=True, exist_ok=True)
        return target
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise DiffbmpError(f"'{path}' cannot be written: it is not an ordinary file; give another name.")
    if not os.access(target, os.W_OK):
        raise DiffbmpError(f"'{path}' cannot be written: it is write-protected; give another name.")
    return target


def _expanded(path: Path) -> Path:
    if "\0" in str(path):
        raise DiffbmpError(f"{str(path)!r} is no path: it holds a NUL character.")
    try:
        return path.expanduser()
    except RuntimeError:
        raise DiffbmpError(f"'{path}' cannot be written: there is no such user.") from None


def _create(temporary: Path, *, like: Path) -> None:
    """Make an empty file with the permissions of ``like``, or where that is missing with the usual ones."""
    os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    with suppress(FileNotFoundError):
        temporary.chmod(stat.S_IMODE(like.stat().st_mode))


def _flush(file: Path) -> None:
    """Wait until the contents are on the disk: renamed earlier, a crash could leave an empty file of that name."""
    with file.open("r+b") as opened:
        os.fsync(opened.fileno())


def _concerns(error: OSError, path: Path, temporary: Path | None) -> bool:
    """Return whether an error is about writing this file, not about another one that the block reads."""
    if temporary is None or error.filename is None:
        return True
    return os.fspath(error.filename) in {str(path), str(temporary), str(temporary.parent)}


def _reason(error: OSError) -> str:
    if error.errno in REASONS:
        return REASONS[error.errno]
    return (error.strerror or "unknown reason").lower()
