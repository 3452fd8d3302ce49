"""Runs the kernels on the host: the same sources, compiled by g++ behind ``shim.h``."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch

from diffbmp_cuda.pipeline import THREADS, Argument
from diffbmp_cuda.sources import Kernel, source_of

SHIM = Path(__file__).with_name("shim.h")
FLAGS = (
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-fno-gnu-unique",
    "-Wall",
    "-Wextra",
    "-Wno-unknown-pragmas",
    "-Wno-unused-variable",
    "-Werror",
)
LAUNCH = """
extern "C" const char* shim_launch(long long blocks, int threads, void** arguments, unsigned seed) {{
  return shim::launch(&{name}, blocks, threads, arguments, seed);
}}
"""


class HostError(AssertionError):
    """What the shim found wrong with a kernel."""


def build(name: str, source: str, macros: Sequence[tuple[str, int]], folder: Path, flags: Sequence[str]) -> Path:
    """Compile a kernel's source into a shared library, or return the one that was compiled before."""
    defined = [f"-D{macro}={value}" for macro, value in macros]
    text = source + LAUNCH.format(name=name)
    command = ["g++", *FLAGS, *flags, *defined, "-include", str(SHIM), "-x", "c++", "-"]
    digest = hashlib.sha256(repr((text, SHIM.read_text(), command)).encode()).hexdigest()[:16]
    library = folder / f"{name}-{digest}.so"
    if not library.exists():
        partial = library.with_suffix(f".{os.getpid()}")
        result = subprocess.run([*command, "-o", str(partial)], input=text, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        partial.replace(library)
    return library


class HostLauncher:
    """A launcher whose card is this machine's processor.

    Attributes:
        seed: which of the possible timings is played.
        resident: blocks of ``backward`` that "run at once".
        launched: names of the kernels so far.
    """

    def __init__(self, folder: Path, *, seed: int = 0, resident: int = 3, flags: Sequence[str] = ("-O1",)) -> None:
        self.folder, self.seed, self.resident, self.flags = folder, seed, resident, flags
        self.launched: list[str] = []
        self.libraries: dict[Kernel, ctypes.CDLL] = {}

    def launch(self, kernel: Kernel, blocks: int, arguments: Sequence[Argument]) -> None:
        if kernel not in self.libraries:
            path = build(kernel.name, source_of(kernel.name), kernel.macros, self.folder, self.flags)
            self.libraries[kernel] = load(path)
        self.launched.append(kernel.name)
        run(self.libraries[kernel], blocks, arguments, self.seed)

    def resident_blocks(self, kernel: Kernel) -> int:
        return self.resident


def load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.shim_launch.restype = ctypes.c_char_p
    library.shim_launch.argtypes = (ctypes.c_longlong, ctypes.c_int, ctypes.c_void_p, ctypes.c_uint)
    return library


def run(library: ctypes.CDLL, blocks: int, arguments: Sequence[Argument], seed: int = 0) -> None:
    values = [ctypes.c_void_p(a.data_ptr()) if isinstance(a, torch.Tensor) else a for a in arguments]
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    complaint = library.shim_launch(blocks, THREADS, ctypes.addressof(pointers), seed)
    if complaint is not None:
        raise HostError(complaint.decode())
