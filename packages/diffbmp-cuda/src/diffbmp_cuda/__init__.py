"""The CUDA renderer of DiffBMP."""

from collections.abc import Callable

from diffbmp import Renderer, hookimpl
from diffbmp_cuda.graphs import CapturedStep
from diffbmp_cuda.renderer import Cuda
from diffbmp_cuda.version import __version__

__all__ = ["CapturedStep", "Cuda", "__version__"]


@hookimpl
def register_renderers(register: Callable[[type[Renderer]], None]) -> None:
    """Register ``cuda``."""
    register(Cuda)
