"""Writing files: whole or not at all, with one sentence for every way in which a disk refuses."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diffbmp.errors import DiffbmpError
from diffbmp.files import atomic_path, output_directory

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX system")


def write(path: Path, data: bytes = b"new") -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def mounted(folder: Path, options: str) -> contextlib.AbstractContextManager[None]:
    """Mount a small memory disk, or skip the test where that is not allowed."""

    @contextlib.contextmanager
    def mount() -> Iterator[None]:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except OSError as error:
            pytest.skip(f"cannot mount: {error}")
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
        try:
            yield
        finally:
            subprocess.run(["umount", str(folder)], check=True)

    return mount()


@pytest.fixture
def unprivileged(tmp_path: Path) -> Iterator[None]:
    """Give up root's right to ignore permissions, where the tests run as root, once ``tmp_path`` is made."""
    if sys.platform == "win32":
        pytest.skip("needs POSIX permissions")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


class TestAtomicPath:
    def test_writes_and_leaves_nothing_else(self, tmp_path: Path) -> None:
        with atomic_path(tmp_path / "a.png") as temporary:
            assert temporary.parent == tmp_path.resolve()
            assert temporary.suffix == ".png"
            assert temporary.name.startswith(".")
            temporary.write_bytes(b"data")
            assert not (tmp_path / "a.png").exists()
        assert (tmp_path / "a.png").read_bytes() == b"data"
        assert names(tmp_path) == ["a.png"]

    def test_makes_missing_folders(self, tmp_path: Path) -> None:
        write(tmp_path / "x" / "y" / "a.png")
        assert (tmp_path / "x" / "y" / "a.png").read_bytes() == b"new"

    @pytest.mark.parametrize("raised", [ValueError, KeyboardInterrupt, SystemExit])
    def test_any_exception_keeps_the_old_file(self, tmp_path: Path, raised: type[BaseException]) -> None:
        def fail_half_way() -> None:
            with atomic_path(path) as temporary:
                temporary.write_bytes(b"half")
                raise raised

        path = tmp_path / "a.png"
        path.write_bytes(b"old")
        with pytest.raises(raised):
            fail_half_way()
        assert path.read_bytes() == b"old"
        assert names(tmp_path) == ["a.png"]

    @posix
    @pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
    def test_an_interrupt_at_any_moment_leaves_the_old_or_the_new(self, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(b"old")
        outcomes = set()
        previous = signal.signal(signal.SIGALRM, signal.default_int_handler)
        try:
            for microseconds in [*range(1, 400, 8), 1_000_000]:
                path.write_bytes(b"old")
                try:
                    signal.setitimer(signal.ITIMER_REAL, microseconds / 1e6)
                    write(path)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    pass
                assert names(tmp_path) == ["a.png"]
                outcomes.add(path.read_bytes())
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
        assert outcomes == {b"old", b"new"}

    def test_keeps_permissions_and_writes_through_links(self, tmp_path: Path) -> None:
        real = tmp_path / "real.png"
        real.write_bytes(b"old")
        real.chmod(0o600)
        link = tmp_path / "link.png"
        link.symlink_to(real)
        write(link)
        assert link.is_symlink()
        assert real.read_bytes() == b"new"
        assert real.stat().st_mode & 0o777 == 0o600

    @posix
    def test_a_new_file_has_the_usual_permissions(self, tmp_path: Path) -> None:
        previous = os.umask(0o027)
        try:
            write(tmp_path / "a.png")
        finally:
            os.umask(previous)
        assert (tmp_path / "a.png").stat().st_mode & 0o777 == 0o640

    def test_expands_home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("USERPROFILE", str(tmp_path))
        write(Path("~/a.png"))
        assert (tmp_path / "a.png").read_bytes() == b"new"

    def test_a_folder_of_that_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.png").mkdir()
        with pytest.raises(
            DiffbmpError, match=r"a\.png' cannot be written: it is a folder; give the name of a file\.$"
        ):
            write(tmp_path / "a.png")

    def test_a_file_in_place_of_a_folder(self, tmp_path: Path) -> None:
        (tmp_path / "x").write_bytes(b"")
        for path in (tmp_path / "x" / "a.png", tmp_path / "x" / "y" / "a.png"):
            with pytest.raises(DiffbmpError, match=r"cannot be written: a part of its path is a file, not a folder\.$"):
                write(path)

    def test_a_name_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(DiffbmpError, match=r"the name is too long; choose a shorter one\.$"):
            write(tmp_path / ("a" * 300 + ".png"))
        longest = tmp_path / ("a" * 251 + ".png")
        write(longest)
        assert longest.read_bytes() == b"new"

    def test_what_is_no_path(self, tmp_path: Path) -> None:
        with pytest.raises(DiffbmpError, match="holds a NUL character"):
            write(tmp_path / "a\0b.png")
        with pytest.raises(DiffbmpError, match="there is no such user"):
            write(Path("~nobody-of-this-name/a.png"))

    @posix
    def test_a_device_is_not_replaced(self) -> None:
        with pytest.raises(DiffbmpError, match="not an ordinary file"):
            write(Path("/dev/null"))
        assert Path("/dev/null").is_char_device()

    @posix
    def test_circular_links(self, tmp_path: Path) -> None:
        (tmp_path / "a").symlink_to(tmp_path / "b")
        (tmp_path / "b").symlink_to(tmp_path / "a")
        with pytest.raises(DiffbmpError, match="lead in a circle"):
            write(tmp_path / "a")

    @pytest.mark.usefixtures("unprivileged")
    def test_no_permission(self, tmp_path: Path) -> None:
        folder = tmp_path / "shut"
        if os.getuid() != 0:
            folder.mkdir(mode=0o555)
        with pytest.raises(DiffbmpError, match="permission denied; choose a place that you may write to"):
            write(folder / "a.png")

    @posix
    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="has no /dev/full")
    def test_no_space_told_by_the_system(self, tmp_path: Path) -> None:
        with (
            pytest.raises(DiffbmpError, match=r"a\.png' cannot be written: the disk is full; free some space"),
            atomic_path(tmp_path / "a.png"),
            Path("/dev/full").open("wb", buffering=0) as full,
        ):
            full.write(b"data")
        assert names(tmp_path) == []

    @posix
    def test_full_disk(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        with mounted(disk, "size=64k"):
            write(disk / "a.png", b"old")
            with pytest.raises(DiffbmpError, match="the disk is full"):
                write(disk / "a.png", bytes(100_000))
            assert names(disk) == ["a.png"]
            assert (disk / "a.png").read_bytes() == b"old"
            with contextlib.suppress(OSError):
                (disk / "filler").write_bytes(bytes(100_000))
            with pytest.raises(DiffbmpError, match=r"The folder .*disk is full"):
                output_directory(disk)
            assert names(disk) == ["a.png", "filler"]

    @posix
    def test_read_only_disk(self, tmp_path: Path) -> None:
        disk = tmp_path / "disk"
        with mounted(disk, "ro"):
            with pytest.raises(DiffbmpError, match="the disk is read-only; choose another place"):
                write(disk / "a.png")
            with pytest.raises(DiffbmpError, match="the disk is read-only"):
                output_directory(disk / "deeper")

    @posix
    def test_file_size_limit(self, tmp_path: Path) -> None:
        import resource

        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        signals = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
            with pytest.raises(DiffbmpError, match="it would be larger than the system allows"):
                write(tmp_path / "a.png", bytes(100_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, signals)
        assert names(tmp_path) == []

    def test_errors_about_other_files_go_through(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.png"):
            (tmp_path / "font.ttf").read_bytes()
        with pytest.raises(OSError, match="decoder"), atomic_path(tmp_path / "a.png"):
            raise OSError("decoder failed")  # Pillow's errors have no number
        assert names(tmp_path) == []

    def test_an_unknown_reason_is_said_as_the_system_says_it(self, tmp_path: Path) -> None:
        with pytest.raises(DiffbmpError, match=r"cannot be written: input/output error\."), atomic_path(tmp_path / "a"):
            raise OSError(errno.EIO, "Input/output error")


class TestOutputDirectory:
    def test_makes_it_and_leaves_it_empty(self, tmp_path: Path) -> None:
        folder = output_directory(tmp_path / "x" / "out")
        assert folder == tmp_path / "x" / "out"
        assert names(folder) == []
        assert output_directory(folder) == folder

    def test_a_file_of_that_name(self, tmp_path: Path) -> None:
        (tmp_path / "out").write_bytes(b"")
        with pytest.raises(DiffbmpError, match="is a file, not a folder; choose another name"):
            output_directory(tmp_path / "out")
        with pytest.raises(DiffbmpError, match="a part of its path is a file"):
            output_directory(tmp_path / "out" / "deeper")

    @pytest.mark.usefixtures("unprivileged")
    def test_no_permission(self, tmp_path: Path) -> None:
        folder = tmp_path / "shut"
        if os.getuid() != 0:
            folder.mkdir(mode=0o555)
        with pytest.raises(DiffbmpError, match="cannot be written to: permission denied"):
            output_directory(folder)
