"""What a compiled kernel needs of a multiprocessor, as the assembler says it; needs no GPU."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from diffbmp import DiffbmpError
from diffbmp_cuda.sources import Kernel

__all__ = ["Resources", "every_kernel", "kernel_resources"]

NUMBERS = {
    "registers": r"Used (\d+) registers",
    "stack": r"(\d+) bytes stack frame",
    "spill_stores": r"(\d+) bytes spill stores",
    "spill_loads": r"(\d+) bytes spill loads",
}


@dataclass(frozen=True)
class Resources:
    """What one kernel needs.

    Attributes:
        registers: of each thread.
        stack: bytes of local memory of each thread, which lies in global memory.
        spill_stores: bytes that each thread writes there for want of registers.
        spill_loads: bytes that it reads back.
        shared: bytes of shared memory of each block.
        cubin: bytes of compiled code.
    """

    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    shared: int
    cubin: int


def every_kernel() -> Iterator[Kernel]:
    """Return every kernel with every choice that it can be compiled for: each filter, blend, precision, gradient."""
    yield from (Kernel("setup"), Kernel("bin"), Kernel("reduce"))
    for lookup, blend, half in itertools.product((0, 1, 2), (0, 1), (0, 1)):
        macros = (("DIFFBMP_LOOKUP", lookup), ("DIFFBMP_BLEND", blend), ("DIFFBMP_HALF_TEXELS", half))
        yield Kernel("forward", macros)
        for texel_gradient, exact in itertools.product((0, 1), (0, 1)):
            own = (("DIFFBMP_TEXEL_GRADIENT", texel_gradient), ("DIFFBMP_EXACT", exact))
            yield Kernel("backward", macros + own)


def kernel_resources(kernel: Kernel, architecture: str) -> Resources:
    """Compile a kernel and read what the assembler says.

    Args:
        kernel: which one, and its macros.
        architecture: such as "sm_90".

    Raises:
        DiffbmpError: where the assembler does not say what is asked for.
    """
    from diffbmp_cuda.compiling import compile_kernel  # cuda.core is imported only when used

    log = io.StringIO()
    code = compile_kernel(kernel, architecture, log=log)
    found = {name: re.search(pattern, log.getvalue()) for name, pattern in NUMBERS.items()}
    missing = [name for name, match in found.items() if match is None]
    if missing:
        raise DiffbmpError(f"The assembler does not say {' and '.join(missing)} of {kernel}: {log.getvalue()!r}.")
    numbers = {name: int(match[1]) for name, match in found.items() if match is not None}
    shared = re.search(r"(\d+) bytes smem", log.getvalue())
    return Resources(**numbers, shared=int(shared[1]) if shared else 0, cubin=len(code.code))
