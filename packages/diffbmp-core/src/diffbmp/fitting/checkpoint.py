"""Checkpoints: a scene file that also holds what the optimiser knows, so that a fit goes on exactly alike."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.build import build_fit
from diffbmp.fitting.fit import Fit, Target
from diffbmp.fitting.settings import FitSettings
from diffbmp.scene.file import FitState, load_fit_state, load_scene, save_scene
from diffbmp.settings import parse_settings

__all__ = ["load_checkpoint", "save_checkpoint"]

MOMENTS = ("step", "exp_avg", "exp_avg_sq")


def save_checkpoint(fit: Fit, path: Path) -> None:
    """Write the fit's scene, target, settings and optimiser state to ``path`` (``*.diffbmp``)."""
    tensors: dict[str, Tensor] = {}
    if fit.target is not None:
        tensors["target"] = fit.target.image()
    for group in fit.optimizer.param_groups:
        for moment, value in fit.optimizer.state[group["params"][0]].items():
            tensors[f"optimizer/{group['name']}/{moment}"] = value
    for refiner in fit.refiners:
        for key, value in refiner.state().items():
            tensors[f"refiners/{refiner.name}/{key}"] = value
    metadata = {
        "next_step": fit.next_step,
        "losses": fit.losses,
        "psnrs": [None if value is None or math.isinf(value) else value for value in fit.psnrs],
        "step_seconds": fit.step_seconds,
        "settings": fit.settings.model_dump(mode="json"),
    }
    save_scene(fit.scene, path, fit=FitState(metadata, tensors))


def load_checkpoint(path: Path, *, changes: dict[str, Any] | None = None, device: str | None = None) -> Fit:
    """Return the fit that ``save_checkpoint`` wrote, ready to take its next step.

    Args:
        path: the checkpoint.
        changes: settings to replace; only those that do not touch what has been done: ``steps``, ``output``,
            ``export``, ``observe``, ``report``.
        device: PyTorch device, or None for the one of the settings.

    Raises:
        DiffbmpError: where the file cannot be read, holds no fit, or its fit does not belong to its scene.
    """
    state = load_fit_state(path)
    if state is None:
        raise DiffbmpError(f"'{path}' is a scene without the state of a fit, so it cannot be resumed.")
    try:
        saved, next_step = state.metadata["settings"], state.metadata["next_step"]
        series = [state.metadata[key] for key in ("losses", "psnrs", "step_seconds")]
    except KeyError as missing:
        raise DiffbmpError(f"'{path}' is damaged: its fit has no {missing}.") from missing
    if not (isinstance(saved, dict) and isinstance(next_step, int) and next_step >= 0 and _are_series(series)):
        raise DiffbmpError(f"'{path}' is damaged: its fit cannot be read.")
    settings = parse_settings(FitSettings, {**saved, **(changes or {})}, "")
    target = Target.from_image(state.tensors["target"]) if "target" in state.tensors else None
    fit = build_fit(settings, load_scene(path, device=device or "cpu"), target)
    fit.next_step = fit.first_step = next_step
    fit.losses, fit.psnrs, fit.step_seconds = series
    if next_step:
        _restore_optimizer(fit, state, path)
    for refiner in fit.refiners:
        prefix = f"refiners/{refiner.name}/"
        refiner.restore({k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)})
    return fit


def _are_series(series: list[Any]) -> bool:
    """Return whether a file gives losses, PSNR and seconds as a fit keeps them: numbers, of which PSNR may lack."""
    return all(
        isinstance(values, list)
        and len(values) == len(series[0])
        and all(type(value) in (int, float) or (name == "psnrs" and value is None) for value in values)
        for name, values in zip(("losses", "psnrs", "step_seconds"), series, strict=True)
    )


def _restore_optimizer(fit: Fit, state: FitState, path: Path) -> None:
    for group in fit.optimizer.param_groups:
        parameter = group["params"][0]
        for moment in MOMENTS:
            value = state.tensors.get(f"optimizer/{group['name']}/{moment}")
            expected = () if moment == "step" else tuple(parameter.shape)
            if value is None or tuple(value.shape) != expected:
                raise DiffbmpError(f"'{path}' is damaged: the optimiser's state of '{group['name']}' does not fit.")
            where = torch.device("cpu") if moment == "step" else parameter.device
            fit.optimizer.state[parameter][moment] = value.to(where)
