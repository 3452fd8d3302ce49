"""Runs the kernels on the host: the same sources, compiled by g++ behind ``shim.h`` and run by ``shim.cpp``."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from diffbmp_cuda.pipeline import THREADS, Argument
from diffbmp_cuda.sources import Kernel, source_of

HEADER, RUNTIME = (Path(__file__).with_name(name) for name in ("shim.h", "shim.cpp"))
COMMON = ("g++", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
KERNEL = (
    "-O1",
    "-fno-threadsafe-statics",
    "-ffp-contract=off",
    "-Wno-unknown-pragmas",
    "-Wno-unused-variable",
    "-fsanitize=thread",  # a call in front of every access to memory: see shim.cpp
    "--param=tsan-instrument-func-entry-exit=0",
)
CALL = """
extern "C" SHIM_UNCHECKED void shim_kernel(void** arguments) {{ shim::call(&{name}, arguments); }}
"""
GUARD = 4096
"""Bytes on both sides of every array that belong to none."""


def why_not() -> str | None:
    """Return why kernels cannot be run on this host, or None."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return f"the shim's fibers are written for x86-64, not {platform.machine()}"
    return None if shutil.which("g++") else "there is no g++"


class HostError(AssertionError):
    """What the shim found wrong with a kernel."""


def compiled(text: str, flags: Sequence[str], folder: Path) -> Path:
    """Compile C++, or return the object that was compiled before."""
    command = [*COMMON, *flags, "-c", "-x", "c++", "-"]
    digest = hashlib.sha256(repr((text, HEADER.read_text(), command)).encode()).hexdigest()[:16]
    target = folder / f"{digest}.o"
    if not target.exists():
        partial = target.with_suffix(f".{os.getpid()}")
        result = subprocess.run([*command, "-o", str(partial)], input=text, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        partial.replace(target)
    return target


def build(name: str, source: str, macros: Sequence[tuple[str, int]], folder: Path) -> Path:
    """Compile a kernel's source into a shared library, or return the one that was compiled before."""
    defined = [f"-D{macro}={value}" for macro, value in macros]
    kernel = compiled(source + CALL.format(name=name), [*KERNEL, *defined, "-include", str(HEADER)], folder)
    runtime = compiled(RUNTIME.read_text(), ["-O2", f"-I{HEADER.parent}"], folder)
    library = folder / f"{name}-{kernel.stem}-{runtime.stem}.so"
    if not library.exists():
        partial = library.with_suffix(f".{os.getpid()}")
        subprocess.run(["g++", "-shared", "-Wl,-Bsymbolic", str(kernel), str(runtime), "-o", str(partial)], check=True)
        partial.replace(library)
    return library


def load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.shim_launch.restype = ctypes.c_char_p
    library.shim_launch.argtypes = (
        ctypes.c_longlong, ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p,
        ctypes.c_uint,
    )  # fmt: skip
    return library


def run(
    library: ctypes.CDLL, blocks: int, arguments: Sequence[Argument], *, threads: int = THREADS, seed: int = 0
) -> None:
    """Launch a kernel on copies of its arrays, each with a guard on both sides, and copy them back.

    Raises:
        HostError: the first thing that was wrong.
    """
    arrays = [argument for argument in arguments if isinstance(argument, Tensor)]
    sizes = [array.numel() * array.element_size() for array in arrays]
    copies = [torch.empty(size + 2 * GUARD, dtype=torch.uint8)[GUARD : GUARD + size] for size in sizes]
    for array, copy in zip(arrays, copies, strict=True):
        assert array.is_contiguous(), "a kernel is given addresses, so its arrays must be contiguous"
        copy.copy_(array.reshape(-1).view(torch.uint8))
    begins = iter(copy.data_ptr() for copy in copies)
    values = [ctypes.c_void_p(next(begins)) if isinstance(a, Tensor) else a for a in arguments]
    pointers = (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
    complaint = library.shim_launch(
        blocks, threads, pointers, len(copies),
        (ctypes.c_size_t * len(copies))(*(copy.data_ptr() for copy in copies)), (ctypes.c_size_t * len(sizes))(*sizes),
        seed,
    )  # fmt: skip
    if complaint is not None:
        raise HostError(complaint.decode())
    for array, copy in zip(arrays, copies, strict=True):
        array.copy_(copy.view(array.dtype).view(array.shape))


class HostLauncher:
    """A launcher whose card is this machine's processor.

    Attributes:
        seed: which of the possible timings is played.
        resident: blocks of ``backward`` that "run at once".
        launched: the kernels so far.
    """

    def __init__(self, folder: Path, *, seed: int = 0, resident: int = 3) -> None:
        self.folder, self.seed, self.resident = folder, seed, resident
        self.launched: list[Kernel] = []
        self.libraries: dict[Kernel, ctypes.CDLL] = {}

    def launch(self, kernel: Kernel, blocks: int, arguments: Sequence[Argument]) -> None:
        if kernel not in self.libraries:
            self.libraries[kernel] = load(build(kernel.name, source_of(kernel.name), kernel.macros, self.folder))
        self.launched.append(kernel)
        run(self.libraries[kernel], blocks, arguments, seed=self.seed)

    def resident_blocks(self, kernel: Kernel) -> int:
        return self.resident
