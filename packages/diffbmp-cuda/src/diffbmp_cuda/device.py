"""Running kernels on a card: compiled at first use, launched on PyTorch's current stream."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence

import torch
from cuda.core import LEGACY_DEFAULT_STREAM, LaunchConfig, Stream, launch
from cuda.core import Kernel as LoadedKernel
from torch import Tensor

from diffbmp import DiffbmpError
from diffbmp_cuda.availability import architecture_for, machine
from diffbmp_cuda.compiling import compile_kernel, open_cache
from diffbmp_cuda.pipeline import THREADS, Argument
from diffbmp_cuda.sources import Kernel

__all__ = ["DeviceLauncher", "device_launcher", "parameters_of"]


def parameters_of(arguments: Sequence[Argument]) -> list[object]:
    """Return what ``cuda.core.launch`` takes: a tensor as the number that is its address."""
    return [value.data_ptr() if isinstance(value, Tensor) else value for value in arguments]


class DeviceLauncher:
    """Runs kernels on one card."""

    def __init__(self, index: int) -> None:
        found = machine(index)
        architecture = architecture_for(found.capability, found.architectures)
        if architecture is None:
            raise DiffbmpError(f"Renderer 'cuda' cannot compile for {found.card}; 'diffbmp doctor' says why.")
        self.index = index
        self.architecture = architecture
        self.multiprocessors = torch.cuda.get_device_properties(index).multi_processor_count
        self._kernels: dict[Kernel, LoadedKernel] = {}
        self._blocks: dict[Kernel, int] = {}
        self._lock = threading.Lock()

    def launch(self, kernel: Kernel, blocks: int, arguments: Sequence[Argument]) -> None:
        """Run a kernel on PyTorch's current stream of this card."""
        with torch.cuda.device(self.index):
            handle = torch.cuda.current_stream(self.index).cuda_stream
            stream = Stream.from_handle(handle) if handle else LEGACY_DEFAULT_STREAM
            launch(stream, LaunchConfig(grid=blocks, block=THREADS), self._loaded(kernel), *parameters_of(arguments))

    def resident_blocks(self, kernel: Kernel) -> int:
        """Return how many blocks of a kernel the card runs at once."""
        if kernel not in self._blocks:
            with torch.cuda.device(self.index):
                occupancy = self._loaded(kernel).occupancy
                self._blocks[kernel] = self.multiprocessors * max(
                    1, occupancy.max_active_blocks_per_multiprocessor(THREADS, 0)
                )
        return self._blocks[kernel]

    def _loaded(self, kernel: Kernel) -> LoadedKernel:
        with self._lock:
            if kernel not in self._kernels:
                code = compile_kernel(kernel, self.architecture, cache=open_cache())
                self._kernels[kernel] = code.get_kernel(kernel.name)
            return self._kernels[kernel]


@functools.cache
def _launcher(index: int) -> DeviceLauncher:
    return DeviceLauncher(index)


def device_launcher(device: torch.device) -> DeviceLauncher:
    """Return the one launcher of a card."""
    return _launcher(torch.cuda.current_device() if device.index is None else device.index)
