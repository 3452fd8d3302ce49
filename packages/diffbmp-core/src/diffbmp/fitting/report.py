"""The report of a fit: what came out, how fast, with which program and settings."""

from __future__ import annotations

import json
import math
import platform
import re
import sys
from pathlib import Path
from typing import Any

import psutil
import torch

from diffbmp.files import atomic_path
from diffbmp.fitting.fit import Fit
from diffbmp.metrics import psnr, ssim
from diffbmp.plugins.registry import registry
from diffbmp.rendering.composite import over_background
from diffbmp.rendering.selection import renderer_label

__all__ = ["fit_report", "peak_memory", "write_report"]


@torch.no_grad()
def fit_report(fit: Fit, seconds: float) -> dict[str, Any]:
    """Return the report of a fit; JSON values only.

    ``losses``, ``psnrs`` and ``step_seconds`` have an entry for each step, also of runs before a resumed one; ``psnrs``
    are those of ``Step.psnr``. ``psnr`` (dB) and ``ssim`` compare the sharp picture with the target, both over the
    scene's background, or over white where that is transparent; None without a target. Figures of a batch are means,
    and ``canvases`` has those of each canvas. ``stamps`` is the number of instances of all ``primitives``. ``seconds``
    is the time of the steps taken in this run, ``peak_memory`` in bytes is that of the whole process.
    """
    scene, target = fit.scene, fit.target
    quality: list[dict[str, float | None]] = []
    if target is not None:
        background = scene.background_at(1.0)
        if background is None:
            background = torch.ones((3, 1, 1), device=target.color.device)
        picture, wanted = over_background(scene.layer(renderer=fit.renderer), background), target.over(background)
        pairs = [(picture, wanted)] if fit.batch is None else zip(picture, wanted, strict=True)
        quality = [{"psnr": _finite(psnr(ours, theirs)), "ssim": ssim(ours, theirs)} for ours, theirs in pairs]
    taken = fit.next_step - fit.first_step
    return {
        "psnr": _mean([one["psnr"] for one in quality]),
        "ssim": _mean([one["ssim"] for one in quality]),
        **({} if fit.batch is None else {"canvases": [_canvas(fit, index, quality) for index in range(fit.batch)]}),
        "loss": fit.losses[-1] if fit.losses else None,
        "losses": fit.losses,
        "psnrs": [_finite(value) for value in fit.psnrs],
        "step_seconds": fit.step_seconds,
        "seconds": seconds,
        "seconds_per_step": seconds / taken if taken else None,
        "steps": fit.next_step,
        "finished": fit.next_step >= fit.settings.steps,
        "stamps": scene.count,
        "primitives": [
            {"kind": primitive.name, "count": len(primitive), "learning_rates": fit.learning.rates(index)}
            for index, primitive in enumerate(scene.primitives)
        ],
        "width": scene.width,
        "height": scene.height,
        "renderer": renderer_label(fit.renderer),
        "device": _device_name(scene.atlas.texels.device),
        "threads": torch.get_num_threads(),
        "peak_memory": peak_memory(),
        "seed": fit.settings.seed,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{plugin.package: plugin.version for plugin in registry().plugins if plugin.hooks},
        },
        "settings": fit.settings.dumped(),
    }


def write_report(report: dict[str, Any], path: Path) -> None:
    """Write a report as JSON."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(report, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def peak_memory() -> int:
    """Return the largest memory that this process has held so far, in bytes.

    Linux hands the peak of ``getrusage`` on from the process that started this one, so it is read elsewhere there.
    """
    if sys.platform == "linux":
        found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), flags=re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # Unix only

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def _canvas(fit: Fit, index: int, quality: list[dict[str, float | None]]) -> dict[str, Any]:
    """Return the figures of one canvas of a batch."""
    losses = [values[index] for values in fit.canvas_losses]
    return {
        **(quality[index] if quality else {"psnr": None, "ssim": None}),
        "loss": losses[-1] if losses else None,
        "losses": losses,
        "psnrs": [_finite(values[index]) if values else None for values in fit.canvas_psnrs],
    }


def _mean(values: list[float | None]) -> float | None:
    """Return the mean over canvases; None where there is none, or one has none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known and len(known) == len(values) else None


def _finite(value: float | None) -> float | None:
    """Return a figure as JSON has it: the PSNR of two equal pictures is left out."""
    return None if value is None or math.isinf(value) else value


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
