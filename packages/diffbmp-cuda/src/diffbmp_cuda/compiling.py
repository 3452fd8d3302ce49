"""Compiling kernels with NVRTC, which needs no GPU, and keeping what was compiled on disk."""

from __future__ import annotations

import functools
import hashlib
import os
import warnings
from pathlib import Path
from typing import Any

from cuda.core import ObjectCode, Program, ProgramOptions
from cuda.core.utils import FileStreamProgramCache, ProgramCacheResource
from platformdirs import user_cache_path

from diffbmp_cuda.sources import Kernel, source_of

__all__ = ["CACHE_VARIABLE", "CubinCache", "compile_kernel", "open_cache"]

CACHE_VARIABLE = "DIFFBMP_CUDA_CACHE"
"""Environment variable that names the folder to keep compiled kernels in."""

UNREFERENCED = 177
"""NVRTC's number for "declared but never referenced": headers declare more than each kernel uses."""

DIGEST = hashlib.sha256().digest_size


class CubinCache(FileStreamProgramCache):  # type: ignore[misc]  # cuda.core's stubs leave its base untyped
    """A folder of compiled kernels; each ends with its SHA-256, so that one that is damaged counts as missing."""

    def __getitem__(self, key: bytes | str) -> bytes:
        stored = super().__getitem__(key)
        binary, digest = stored[:-DIGEST], stored[-DIGEST:]
        if hashlib.sha256(binary).digest() != digest:
            raise KeyError(key)
        return bytes(binary)

    def __setitem__(self, key: bytes | str, value: Any) -> None:
        binary = bytes(value.code) if isinstance(value, ObjectCode) else bytes(value)
        super().__setitem__(key, binary + hashlib.sha256(binary).digest())


@functools.cache
def open_cache() -> CubinCache | None:
    """Return the cache: in the folder that ``DIFFBMP_CUDA_CACHE`` names, or in the user's folder of caches.

    Where that cannot be written to, this is said once, and there is none.
    """
    folder = Path(os.environ.get(CACHE_VARIABLE) or user_cache_path("diffbmp") / "cuda")
    try:
        return CubinCache(folder)
    except OSError as error:
        warnings.warn(
            f"Compiled CUDA kernels are not kept, since '{folder}' cannot be written to ({error.strerror}); "
            f"name another folder by {CACHE_VARIABLE}.",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def compile_kernel(
    kernel: Kernel, architecture: str, *, cache: ProgramCacheResource | None = None, log: Any = None
) -> ObjectCode:
    """Compile a kernel to a cubin, or take it from ``cache``.

    A cache's key is made of the source, the options, the architecture and the version of NVRTC.

    Args:
        kernel: which one, and its macros.
        architecture: such as "sm_90".
        cache: where compiled kernels are kept.
        log: something with ``write`` that receives what the assembler says about registers, stack and spills.
    """
    options = ProgramOptions(
        name=kernel.name,
        arch=architecture,
        std="c++17",
        define_macro=[(name, str(value)) for name, value in kernel.macros] or None,
        diag_suppress=UNREFERENCED,
        ptxas_options=["-v"] if log is not None else None,
    )
    program = Program(source_of(kernel.name), "c++", options)
    try:
        return program.compile("cubin", logs=log, cache=cache)
    finally:
        program.close()
