"""``diffbmp doctor``: what this machine has, which renderer would draw here and why, and what is wrong."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import psutil
import torch
import typer
from rich.console import Console

from diffbmp.cli.listing import print_json, print_table
from diffbmp.cli.plugins import print_findings
from diffbmp.plugins.record import UNKNOWN
from diffbmp.plugins.registry import registry
from diffbmp.plugins.report import is_slow, plugin_report
from diffbmp.rendering.claims import limits
from diffbmp.rendering.selection import RendererChoice, choose_device, choose_renderer, renderer_choices
from diffbmp.version import __version__

__all__ = ["doctor_command", "doctor_report"]


def doctor_command(
    as_json: Annotated[bool, typer.Option("--json", help="Write everything as JSON.")] = False,
) -> None:
    """Say what this machine has, which renderer would draw, and why.

    The exit code is 1 where a plugin has a problem, else 0: a renderer that cannot run here is no problem, since
    another one draws.
    """
    report = doctor_report()
    if as_json:
        print_json(report)
    else:
        _print(report)
    if any(plugin["problems"] for plugin in report["plugins"]):
        raise typer.Exit(1)


def doctor_report() -> dict[str, Any]:
    """Return what this machine has, as JSON values.

    ``system``, ``torch`` and ``libraries`` are what is installed; memory is in bytes. Each item of ``devices`` has
    ``device``, ``name``, ``memory``, ``renderers`` (the most preferred first, each with what it can do and with
    ``unavailable``: why it cannot draw there, or None; ``only_by_name``: why it draws only where it is named, or None),
    ``chosen`` (the renderer's name, None where none can draw) and ``why``. ``chosen`` is what a fit takes that names no
    device and no renderer. ``plugins`` are those with problems and those that are slow to load, as ``plugin_report``
    gives them.
    """
    plugins = plugin_report(registry())
    cuda, reason = _cuda()
    devices = [_device(torch.device("cpu")), *(_device(torch.device("cuda", index)) for index in range(cuda))]
    return {
        "diffbmp": __version__,
        "system": _system(),
        "torch": {
            "version": torch.__version__,
            "threads": torch.get_num_threads(),
            "vector_instructions": torch.backends.cpu.get_cpu_capability(),
            "cuda": torch.version.cuda,
            "no_cuda_device": reason,
        },
        "devices": devices,
        "chosen": _chosen(),
        "libraries": _libraries({plugin["package"] for plugin in plugins} - {UNKNOWN}),
        "plugins": [plugin for plugin in plugins if plugin["problems"] or is_slow(plugin)],
    }


def _system() -> dict[str, Any]:
    memory = psutil.virtual_memory()
    return {
        "os": platform.platform(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "cpu": cpu_name(),
        "cores": psutil.cpu_count(logical=False),
        "logical_cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": memory.total,
        "memory_available": memory.available,
    }


def cpu_name() -> str:
    """Return the processor's name as its maker gives it, where the system tells, else its architecture."""
    if sys.platform == "linux":  # platform.processor() says only "x86_64" there, or nothing
        try:
            found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
        except OSError:
            found = None
        if found:
            return found[1].strip()
    return platform.processor() or platform.machine()


def _cuda() -> tuple[int, str | None]:
    """Return how many CUDA devices PyTorch sees, and, where there is none, why."""
    if torch.version.cuda is None and torch.version.hip is None:
        return 0, "this build of PyTorch is for the CPU only"
    with warnings.catch_warnings(record=True) as said:  # PyTorch tells a driver's trouble as a warning
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        return count, None
    return 0, str(said[0].message).partition("\n")[0].rstrip(".") if said else "PyTorch finds no CUDA device"


def _device(device: torch.device) -> dict[str, Any]:
    """Return what a device is and who would draw on it."""
    name, memory = "", None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        capability = f"compute capability {properties.major}.{properties.minor}"
        name, memory = f"{properties.name}, {capability}", properties.total_memory
    choices = renderer_choices(device)
    usable = [choice.name for choice in renderer_choices(device, blend=BLEND, filter=FILTER) if choice.automatic]
    chosen = _quietly_chosen(device) if usable else None
    return {
        "device": str(device),
        "name": name,
        "memory": memory,
        "renderers": [_renderer(choice) for choice in choices],
        "chosen": chosen,
        "why": _why(chosen, choices, usable),
    }


BLEND, FILTER = "over", "mipmap"
"""What a fit asks of its renderer where nothing else is set."""


def _renderer(choice: RendererChoice) -> dict[str, Any]:
    cls = choice.cls
    return {
        "name": choice.name,
        "plugin": choice.owner,
        "priority": choice.priority,
        "unavailable": choice.unavailable,
        "only_by_name": choice.only_by_name,
        "dtypes": [str(dtype).removeprefix("torch.") for dtype in cls.dtypes],
        "blends": list(cls.blends),
        "filters": list(cls.filters),
        "texel_gradients": cls.texel_gradients,
        "layers": cls.draws_layers,
        "exact": cls.exact,
        "stochastic": cls.stochastic,
        "limits": list(limits(cls)),
    }


def _chosen() -> dict[str, str]:
    with warnings.catch_warnings(action="ignore"):
        device = choose_device("auto", "auto", blend=BLEND, filter=FILTER)
    return {"device": str(device), "renderer": _quietly_chosen(device)}


def _quietly_chosen(device: torch.device) -> str:
    """Return the renderer of a device; that it is a fallback is said in the report, not beside it."""
    with warnings.catch_warnings(action="ignore"):
        return choose_renderer("auto", device, blend=BLEND, filter=FILTER)


def _why(chosen: str | None, choices: list[RendererChoice], usable: list[str]) -> str:
    names = [choice.name for choice in choices]
    if chosen is None:
        return "no renderer can draw here unless it is named"
    passed = choices[: names.index(chosen)]
    named = [f"'{c.name}'" for c in passed if c.unavailable is None and c.only_by_name is not None]
    lacking = [f"'{c.name}'" for c in passed if c.unavailable is not None or c.only_by_name is None]
    if passed:
        clauses = ["it is the most preferred one that can draw here"]
        clauses += [f"{' and '.join(lacking)} cannot"] if lacking else []
        clauses += [f"{' and '.join(named)} only by name"] if named else []
        return "; ".join(clauses)
    if len(usable) == 1:
        return "it is the only one that can draw here" if len(names) > 1 else "it is the only one"
    return "it is the most preferred one"


def _libraries(packages: set[str]) -> list[dict[str, Any]]:
    """Return the libraries that core and the plugins name in their metadata, optional ones included."""
    found: dict[str, dict[str, Any]] = {}
    for package in sorted(packages):
        try:
            requirements = importlib.metadata.requires(package) or []
        except importlib.metadata.PackageNotFoundError:  # core is run from its sources
            continue
        for requirement in requirements:
            name = re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0]
            extra = re.search(r"""extra\s*==\s*['"]([^'"]+)['"]""", requirement)
            library = found.setdefault(name, {"name": name, "version": _version(name), "for": []})
            library["for"].append(f"{package}[{extra[1]}]" if extra else package)
    return sorted(found.values(), key=lambda library: str(library["name"]).lower())


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _print(report: dict[str, Any]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    print_table(["this machine", ""], _machine(report))
    print_table(["library", "version", "needed by"], _library_rows(report["libraries"]), title="\nLibraries")
    for device in report["devices"]:
        rows = [
            [r["name"], r["plugin"], str(r["priority"]), "; ".join(r["limits"]), _state(r)] for r in device["renderers"]
        ]
        title = f"\nRenderers on {device['device']}" + (f" ({device['name']})" if device["name"] else "")
        print_table(["renderer", "plugin", "priority", "limits", "state"], rows, title=title)
        console.print(f"chosen on {device['device']}: {device['chosen'] or 'none'}; {device['why']}.", markup=False)
    chosen = report["chosen"]
    console.print()
    console.print(f"A fit would be drawn by {chosen['renderer']} on {chosen['device']}.", markup=False)
    print_findings(report["plugins"])


def _state(renderer: dict[str, Any]) -> str:
    if renderer["unavailable"] is not None:
        return str(renderer["unavailable"])
    return "available" if renderer["only_by_name"] is None else "available by name"


def _machine(report: dict[str, Any]) -> Iterator[list[str]]:
    system, installed = report["system"], report["torch"]
    yield ["system", system["os"]]
    yield ["Python", system["python"]]
    yield ["diffbmp", report["diffbmp"]]
    yield ["PyTorch", f"{installed['version']}, {installed['threads']} threads"]
    yield ["CPU", f"{system['cpu']}, {installed['vector_instructions']}"]
    physical = "" if system["cores"] is None else f"{system['cores']} physical, "
    yield ["cores", f"{physical}{system['logical_cores']} logical, {system['usable_cores']} usable"]
    yield ["memory", f"{_gigabytes(system['memory'])}, {_gigabytes(system['memory_available'])} available"]
    if installed["no_cuda_device"] is not None:
        yield ["CUDA", f"none: {installed['no_cuda_device']}"]
    for device in report["devices"]:
        if device["memory"] is not None:
            yield [device["device"], f"{device['name']}, {_gigabytes(device['memory'])}"]


def _library_rows(libraries: list[dict[str, Any]]) -> Iterator[list[str]]:
    for library in libraries:
        yield [library["name"], library["version"] or "not installed", ", ".join(library["for"])]


def _gigabytes(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
