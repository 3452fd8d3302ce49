"""The container of a scene file: a zip of stored entries, read within limits, written to the same bytes each time.

Entries are never compressed (PNG is already, and numbers hardly shrink), so that a small file cannot become a large
one: what is read is never more than what lies on the disk.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Self, TypeVar

__all__ = ["MOST_BYTES", "MOST_ENTRIES", "Archive", "SceneFileError", "reason", "write_archive"]

MOST_BYTES = 2**32 - 2**24
"""Largest file: what a zip can hold without its 64-bit extension, less room for the directory."""

MOST_ENTRIES = 2**16 - 2
"""Most entries, for the same reason; it bounds the directory, which is read before anything can be checked."""

LONGEST_NAME = 64
"""Longest name of an entry, in bytes; names are our own."""

EARLIEST = (1980, 1, 1, 0, 0, 0)
"""The time given to every entry: the earliest that a zip can hold."""

LOCAL_HEADER = b"PK\x03\x04"
LOCAL_HEADER_SIZE = 30
DIRECTORY_HEADER_SIZE = 46
END_RECORD = b"PK\x05\x06"
END_RECORD_FIELDS = struct.Struct("<4s4H2LH")
LOCATOR_64 = b"PK\x06\x07"
LOCATOR_64_SIZE = 20

MOST_DIRECTORY_BYTES = MOST_ENTRIES * (DIRECTORY_HEADER_SIZE + LONGEST_NAME)

T = TypeVar("T")


LONGEST_REASON = 300


class SceneFileError(Exception):
    """What is wrong with a scene file, as the clause that follows the file's name in a sentence."""


def reason(error: Exception) -> str:
    """Return what a parser says, fit for a sentence: on one line, not endless, free of a stranger's control codes."""
    text = "".join(letter if letter.isprintable() else " " for letter in str(error)[:LONGEST_REASON])
    return " ".join(text.split()).rstrip(".") or type(error).__name__


def write_archive(path: Path, entries: Mapping[str, bytes]) -> None:
    """Write ``entries`` in their order; the same entries give the same bytes.

    Raises:
        SceneFileError: where they are more than a scene file may hold.
        OSError: where the file cannot be written.
    """
    if len(entries) > MOST_ENTRIES:
        raise SceneFileError(f"would hold {len(entries)} entries; the limit is {MOST_ENTRIES}")
    size = sum(len(data) for data in entries.values())
    if size > MOST_BYTES:
        raise SceneFileError(f"would be {_gigabytes(size)} large; the limit is {_gigabytes(MOST_BYTES)}")
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=False) as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name, EARLIEST)
            info.create_system = 3  # Unix, on every system
            info.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(info, data)


class Archive:
    """A scene file opened for reading; a context manager.

    Nothing is ever extracted by name, and nothing is read before its size has been checked.

    Attributes:
        names: what the file holds, in the order of its directory.
    """

    def __init__(self, path: Path) -> None:
        """Open ``path``, an existing file, and check its directory.

        Raises:
            SceneFileError: where it is no zip, is damaged, or holds what a scene file never holds.
        """
        self._file = path.open("rb")
        try:
            size = _check_size(self._file)
            self._zip = _parsed("its directory", lambda: zipfile.ZipFile(self._file))
            self._entries = _checked(self._zip.infolist(), size)
        except BaseException:
            self._file.close()
            raise
        self.names = list(self._entries)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()
        self._file.close()

    def read(self, name: str, *, limit: int = MOST_BYTES) -> bytes:
        """Return an entry's contents, at most ``limit`` bytes of them.

        Raises:
            SceneFileError: where the entry is missing, too large, compressed, encrypted or damaged.
        """
        info = self._entries.get(name)
        if info is None:
            raise SceneFileError(f"is damaged: '{name}' is missing")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
            raise SceneFileError(f"is refused: '{name}' is compressed; entries of a scene file are stored as they are")
        if info.flag_bits & 1:
            raise SceneFileError(f"is refused: '{name}' is encrypted")
        if info.file_size > limit:
            raise SceneFileError(f"is refused: '{name}' has {info.file_size} bytes; the limit is {limit}")

        def contents() -> bytes:
            with self._zip.open(info) as entry:
                return entry.read(info.file_size + 1)  # one more, so that the end is met and the checksum compared

        data = _parsed(f"'{name}'", contents)
        if len(data) != info.file_size:
            raise SceneFileError(f"is damaged: '{name}' is cut short")
        return data


def _check_size(file: BinaryIO) -> int:
    """Return the size of a file that ends as a plain zip does, without a comment and without 64-bit records."""
    size = file.seek(0, io.SEEK_END)
    if size > MOST_BYTES:
        raise SceneFileError(f"is refused: it is {_gigabytes(size)} large; the limit is {_gigabytes(MOST_BYTES)}")
    file.seek(0)
    if file.read(4) not in (LOCAL_HEADER, END_RECORD):
        raise SceneFileError("is not a scene file of DiffBMP")
    file.seek(max(0, size - END_RECORD_FIELDS.size - LOCATOR_64_SIZE))
    tail = file.read()
    end = tail[-END_RECORD_FIELDS.size :]
    if len(end) < END_RECORD_FIELDS.size or not end.startswith(END_RECORD) or not end.endswith(b"\0\0"):
        raise SceneFileError("is damaged or cut short; get a whole copy of it")
    if tail.startswith(LOCATOR_64):
        raise SceneFileError("is refused: it is a 64-bit zip, which a scene file never is")
    directory_bytes = END_RECORD_FIELDS.unpack(end)[5]
    if directory_bytes > MOST_DIRECTORY_BYTES:
        limit = MOST_DIRECTORY_BYTES
        raise SceneFileError(f"is refused: its directory has {directory_bytes} bytes; the limit is {limit}")
    return size


def _checked(infos: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the entries by name; refuse names given twice and entries that share bytes (overlapping bombs)."""
    entries: dict[str, zipfile.ZipInfo] = {}
    free = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        name = info.orig_filename
        if len(name) > LONGEST_NAME or not name.isascii():
            raise SceneFileError(f"is refused: {name[:LONGEST_NAME]!r} has no place in a scene file")
        if name in entries:
            raise SceneFileError(f"is refused: it holds {name!r} twice")
        start, free = free, info.header_offset + LOCAL_HEADER_SIZE + len(name) + info.compress_size
        if info.header_offset < start or free > size:
            raise SceneFileError(f"is damaged: {name!r} lies outside the file or upon another entry")
        entries[name] = info
    return {info.orig_filename: info for info in infos}


def _parsed(what: str, parse: Callable[[], T]) -> T:
    """Return what ``parse`` returns; zipfile raises nearly anything on damaged data."""
    try:
        return parse()
    except MemoryError:
        raise
    except Exception as error:
        raise SceneFileError(f"is damaged: {what} cannot be read ({reason(error)})") from error


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"
