"""Where the headers with the arithmetic of one sample are, for kernels that are compiled elsewhere."""

from __future__ import annotations

import diffbmp.include

__all__ = ["get_include"]


def get_include() -> str:
    """Return the folder to give a compiler with ``-I``; sources then say ``#include "diffbmp/sample.h"``.

    The headers need no standard library and no CUDA toolkit: a C++17 compiler and NVRTC both take them.
    """
    return next(iter(diffbmp.include.__path__))
