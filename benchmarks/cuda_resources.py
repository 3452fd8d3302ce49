"""Compile every CUDA kernel with every choice for every architecture, and write down what each needs; needs no GPU.

python benchmarks/cuda_resources.py            a quarter of an hour on two cores; writes docs/cuda/resources.json
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path

from cuda.bindings import nvrtc
from rich.console import Console
from rich.table import Table

from diffbmp_cuda.resources import Resources, every_kernel, kernel_resources
from diffbmp_cuda.sources import Kernel

FILE = Path(__file__).parents[1] / "docs" / "cuda" / "resources.json"


def main() -> None:
    _, major, minor = nvrtc.nvrtcVersion()
    architectures = [f"sm_{number}" for number in nvrtc.nvrtcGetSupportedArchs()[1]]
    jobs = [(kernel, architecture) for architecture in architectures for kernel in every_kernel()]
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = list(pool.map(kernel_resources, *zip(*jobs, strict=True), chunksize=8))
    results = dict(zip(jobs, found, strict=True))
    rows = [
        {"kernel": str(kernel), "architecture": architecture, **asdict(needs)}
        for (kernel, architecture), needs in results.items()
    ]
    FILE.parent.mkdir(exist_ok=True)
    head = json.dumps({"command": "python benchmarks/cuda_resources.py", "nvrtc": f"{major}.{minor}"})
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    FILE.write_text(f'{head[:-1]}, "kernels": [\n{lines}\n]}}\n', encoding="utf-8")
    Console().print(table(results, architectures))
    spilling = [job for job, needs in results.items() if needs.spill_stores or needs.spill_loads or needs.stack]
    if spilling:
        sys.exit("These spill: " + ", ".join(f"{kernel} for {architecture}" for kernel, architecture in spilling))


def table(results: dict[tuple[Kernel, str], Resources], architectures: list[str]) -> Table:
    """Return least and most registers over the choices of each kernel."""
    registers = defaultdict(list)
    for (kernel, architecture), needs in results.items():
        registers[kernel.name, architecture].append(needs.registers)
    names = list(dict.fromkeys(name for name, _ in registers))
    printed = Table("registers a thread", *names)
    for architecture in architectures:
        cells = [sorted({min(registers[n, architecture]), max(registers[n, architecture])}) for n in names]
        printed.add_row(architecture, *("-".join(map(str, cell)) for cell in cells))
    return printed


if __name__ == "__main__":
    main()
