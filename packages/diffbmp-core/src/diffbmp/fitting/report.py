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

__all__ = ["fit_report", "peak_memory", "write_report"]


@torch.no_grad()
def fit_report(fit: Fit, seconds: float) -> dict[str, Any]:
    """Return the report of a fit; JSON values only.

    ``losses``, ``psnrs`` and ``step_seconds`` have an entry for each step, also of runs before a resumed one; ``psnrs``
    are those of ``Step.psnr``. ``psnr`` (dB) and ``ssim`` compare the sharp picture with the target, both over the
    scene's background, or over white where that is transparent; None without a target. ``seconds`` is the time of the
    steps taken in this run, ``peak_memory`` in bytes is that of the whole process.
    """
    scene, target = fit.scene, fit.target
    quality: dict[str, float | None] = {"psnr": None, "ssim": None}
    if target is not None:
        background = scene.background_at(1.0)
        if background is None:
            background = torch.ones((3, 1, 1), device=target.color.device)
        picture, wanted = over_background(scene.layer(renderer=fit.renderer), background), target.over(background)
        quality = {"psnr": psnr(picture, wanted), "ssim": ssim(picture, wanted)}
    taken = fit.next_step - fit.first_step
    return {
        **{key: _finite(value) for key, value in quality.items()},
        "loss": fit.losses[-1] if fit.losses else None,
        "losses": fit.losses,
        "psnrs": [_finite(value) for value in fit.psnrs],
        "step_seconds": fit.step_seconds,
        "seconds": seconds,
        "seconds_per_step": seconds / taken if taken else None,
        "steps": fit.next_step,
        "finished": fit.next_step >= fit.settings.steps,
        "stamps": len(scene.sprites()),
        "width": scene.width,
        "height": scene.height,
        "renderer": fit.renderer.partition("{")[0],
        "device": _device_name(scene.atlas.texels.device),
        "threads": torch.get_num_threads(),
        "peak_memory": peak_memory(),
        "seed": fit.settings.seed,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{plugin.package: plugin.version for plugin in registry().plugins if plugin.hooks},
        },
        "settings": fit.settings.model_dump(mode="json"),
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


def _finite(value: float | None) -> float | None:
    """Return a figure as JSON has it: the PSNR of two equal pictures is left out."""
    return None if value is None or math.isinf(value) else value


def _device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return str(device)
