"""The kernels' sources: each is put together into one text, with everything that it includes."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from diffbmp import get_include

__all__ = ["KERNELS", "Kernel", "source_of"]

KERNELS = ("setup", "bin", "forward", "backward", "reduce")
"""Name of each kernel, which is also that of its file."""

INCLUDE = re.compile(r'^\s*#include\s+"([^"]+)"\s*$', flags=re.MULTILINE)


@dataclass(frozen=True)
class Kernel:
    """A kernel, and the macros that choose what it is compiled for."""

    name: str
    macros: tuple[tuple[str, int], ...] = ()

    def __str__(self) -> str:
        chosen = ", ".join(f"{name.removeprefix('DIFFBMP_').lower()}={value}" for name, value in self.macros)
        return f"{self.name}({chosen})"


@functools.cache
def source_of(name: str) -> str:
    """Return the source of a kernel with its headers in place, those of core too.

    One text is what a cache can be keyed by, and what NVRTC compiles without looking for files.
    """
    return _with_headers(f"{name}.cu", set())


def _with_headers(name: str, seen: set[str]) -> str:
    def included(found: re.Match[str]) -> str:
        if found[1] in seen:
            return ""
        seen.add(found[1])
        return _with_headers(found[1], seen)

    text = _find(name).read_text(encoding="utf-8").replace("#pragma once\n", "")
    return INCLUDE.sub(included, text)


def _find(name: str) -> Traversable:
    if name.startswith("diffbmp/"):
        return Path(get_include()) / name
    return files("diffbmp_cuda") / "kernels" / name
