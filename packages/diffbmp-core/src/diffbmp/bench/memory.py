"""The memory that drawing takes, measured in a process of its own: ``python -m diffbmp.bench.memory``."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import torch

from diffbmp.bench.passes import BenchRenderer
from diffbmp.bench.scenes import BenchScene
from diffbmp.errors import DiffbmpError
from diffbmp.fitting.report import peak_memory

__all__ = ["Memory", "measure_memory"]


@dataclass(frozen=True)
class Memory:
    """Bytes held while one forward and one backward pass are made.

    Attributes:
        added: at most, above what the process held before, the scene itself included; on a GPU, the card's memory.
        process: at most by the whole process, Python and PyTorch included.
    """

    added: int
    process: int


def measure_memory(scene: BenchScene, renderer: BenchRenderer, threads: int) -> Memory:
    """Draw a scene forward and backward in a fresh process and return the memory that it took.

    Raises:
        DiffbmpError: where the process fails, for instance for lack of memory.
    """
    finished = subprocess.run(
        [sys.executable, "-m", "diffbmp.bench.memory"],
        input=pickle.dumps((scene, renderer, threads)),
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)},
    )
    if finished.returncode != 0:
        said = finished.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {finished.returncode}"]
        raise DiffbmpError(
            f"The memory of '{renderer.name}' on {scene.name} could not be measured: {said[-1].rstrip('.')}; "
            "measure without it by --no-memory."
        )
    return Memory(**json.loads(finished.stdout.splitlines()[-1]))


def _measure(scene: BenchScene, renderer: BenchRenderer, threads: int) -> Memory:
    torch.set_num_threads(threads)
    passes, device = renderer.passes(scene), renderer.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    else:
        _forget_peak()
        before = psutil.Process().memory_info().rss
    passes.forward()
    passes.backward()
    process = peak_memory()
    if device.type == "cuda":
        return Memory(torch.cuda.max_memory_allocated(device) - before, process)
    return Memory(max(0, process - before), process)


def _forget_peak() -> None:
    """Let the peak begin at what is held now, where the system allows it: on Linux."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


if __name__ == "__main__":
    print(json.dumps(asdict(_measure(*pickle.load(sys.stdin.buffer)))))
