"""Checkpoints: a scene file that also holds what the optimiser knows, so that a fit goes on exactly alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.fitting.build import build_fit, check_tables
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.members import members_of
from diffbmp.fitting.objects import FitObjects
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.settings import FitSettings
from diffbmp.fitting.start import gather_objects
from diffbmp.fitting.target import Target
from diffbmp.losses.setup import check_tensors
from diffbmp.plugins.guard import guarded, member_title
from diffbmp.rendering.selection import choose_device
from diffbmp.scene.file import FitState, load_fit_state, load_scene, save_scene
from diffbmp.scene.scene import Scene
from diffbmp.settings import parse_settings

__all__ = ["load_checkpoint", "save_checkpoint"]

SERIES = ("losses", "psnrs", "step_seconds")
"""What a checkpoint has a figure of for each step."""


def save_checkpoint(fit: Fit, path: Path) -> None:
    """Write the fit's scene, target, settings and optimiser state to ``path`` (``*.diffbmp``)."""
    check_tensors(fit.tensors)
    tensors: dict[str, Tensor] = {}
    if fit.target is not None:
        tensors["target"] = fit.target.image()
    for group, moment, value in fit.learning.moments():
        tensors[f"optimizer/{group}/{moment}"] = value
    for place, refiner in fit.refining.places():
        state = _state_of(refiner)
        tensors.update({f"refiners/{place}/{key}": value for key, value in state.items()})
    tensors.update({f"tensors/{name}": value for name, value in fit.tensors.items()})
    own = [primitive.own_textures for primitive in fit.scene.primitives]
    metadata = {
        "next_step": fit.next_step,
        "losses": fit.losses,
        "psnrs": [_finite(value) for value in fit.psnrs],
        "step_seconds": fit.step_seconds,
        "settings": fit.settings.dumped(),
        "objects": list(fit.objects),
        "learned": sorted({group for group, _, _ in fit.learning.moments()}),
        "textures": [None if indices is None else indices.tolist() for indices in own],
    }
    if fit.batch is not None:
        metadata["canvas_losses"] = fit.canvas_losses
        metadata["canvas_psnrs"] = [[_finite(value) for value in values] for values in fit.canvas_psnrs]
    save_scene(fit.scene, path, fit=FitState(metadata, tensors))


def load_checkpoint(
    path: str | Path, *, changes: Mapping[str, Any] | None = None, device: str | None = None, **objects: Any
) -> Fit:
    """Return the fit that ``save_checkpoint`` wrote, ready to take its next step.

    Args:
        path: the checkpoint.
        changes: settings to change, as ``Fit.change`` takes them.
        device: PyTorch device, or None for the one of the settings.
        **objects: what the fit was given as objects: ``loss``, ``refine``, ``renderer``, ``primitives`` (of kinds that
            nobody registers, a class for each), and observers to watch it (``observe``). Weights and order are those of
            the checkpoint.

    Raises:
        DiffbmpError: where the file cannot be read, holds no fit, its fit does not belong to its scene, or it was made
            with objects that are not given again.
    """
    values, made = _given_again(objects)
    state = load_fit_state(path)
    if state is None:
        raise DiffbmpError(f"'{path}' is a scene without the state of a fit, so it cannot be resumed.")
    try:
        saved, next_step = state.metadata["settings"], state.metadata["next_step"]
        series = [state.metadata[key] for key in SERIES]
    except KeyError as missing:
        raise DiffbmpError(f"'{path}' is damaged: its fit has no {missing}.") from missing
    if not (isinstance(saved, dict) and isinstance(next_step, int) and next_step >= 0 and _are_series(series)):
        raise DiffbmpError(f"'{path}' is damaged: its fit cannot be read.")
    missing_objects = [name for name in _texts(state, path) if name not in made.names()]
    if missing_objects:
        raise DiffbmpError(
            f"The fit in '{path}' was made with {' and '.join(missing_objects)}, given as an object; resume it from "
            "Python and give the same again."
        )
    settings = parse_settings(FitSettings, saved, "")
    check_tables(settings)
    kinds = made.kinds
    made.primitives = {
        index: kinds[table["kind"]] for index, table in enumerate(settings.primitives or ()) if table["kind"] in kinds
    }
    _check_used(values, settings, path)
    target = Target.from_image(state.tensors["target"]) if "target" in state.tensors else None
    chosen = choose_device(made.renderer or settings.renderer, device or settings.device)
    scene = load_scene(path, device=str(chosen), primitives=list(kinds.values()))
    _give_settings(scene, settings, state, made, path)
    given = {name.removeprefix("tensors/"): v for name, v in state.tensors.items() if name.startswith("tensors/")}
    fit = build_fit(settings, scene, target, tensors=given, objects=made)
    fit.next_step = fit.first_step = next_step
    fit.losses, fit.psnrs, fit.step_seconds = series
    fit.canvas_losses, fit.canvas_psnrs = _series_of_canvases(fit, state, path)
    _restore_optimizer(fit, state, path)
    for place, refiner in fit.refining.places():
        prefix = f"refiners/{place}/"
        kept = {k.removeprefix(prefix): v for k, v in state.tensors.items() if k.startswith(prefix)}
        refiner.held = kept.pop(HELD, None)
        with guarded(refiner, "to take back its state"):
            refiner.restore(kept)
    if changes:
        fit.change(**changes)
    return fit


OBJECTS = ("loss", "refine", "observe", "renderer", "primitives")
"""What a fit may be given as it is resumed."""

HELD = "held"
"""The name under which a checkpoint keeps what a refiner holds; its own state must not use it."""


def _state_of(refiner: Refiner) -> dict[str, Tensor]:
    """Return what a refiner wants saved, and what it holds.

    Raises:
        DiffbmpError: where that is no tensors by name.
    """
    with guarded(refiner, "to give its state"):
        state = dict(refiner.state())
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()) or HELD in state:
        raise DiffbmpError(
            f"{member_title(refiner)} must give its state as tensors by name, none of them called '{HELD}'."
        )
    return state if refiner.held is None else {**state, HELD: refiner.held}


def _given_again(objects: Mapping[str, Any]) -> tuple[dict[str, Any], FitObjects]:
    """Return names and objects that a fit is given as it is resumed.

    Raises:
        DiffbmpError: for what is neither, or a setting.
    """
    for name in objects:
        if name in FitSettings.model_fields and name not in OBJECTS:
            raise DiffbmpError(
                f"Setting '{name}' is part of the checkpoint; to change it, give changes={{'{name}': ...}}."
            )
        if name not in OBJECTS:
            raise unknown_name("argument of resume_fit", name, OBJECTS)
    return gather_objects(objects)


def _check_used(values: Mapping[str, Any], settings: FitSettings, path: str | Path) -> None:
    """Refuse what is given as a fit is resumed and is none of its."""
    kinds = [table["kind"] for table in settings.primitives or ()]
    known = {"loss": settings.loss, "refine": settings.refine, "renderer": [settings.renderer], "primitives": kinds}
    for family, names in known.items():
        asked = values.get(family) or []
        listed = (
            [asked] if isinstance(asked, str) else [one["kind"] if family == "primitives" else one for one in asked]
        )
        for name in listed:
            if name not in names:
                raise DiffbmpError(f"The fit in '{path}' was made without '{name}' ({family}); leave it out.")


def _texts(state: FitState, path: str | Path) -> list[str]:
    names = state.metadata.get("objects", [])
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise DiffbmpError(f"'{path}' is damaged: its fit cannot be read.")
    return names


def _give_settings(scene: Scene, settings: FitSettings, state: FitState, made: FitObjects, path: str | Path) -> None:
    """Give the primitives of a scene the settings and the textures that they had in the fit."""
    textures = state.metadata.get("textures", [None] * len(scene.primitives))
    members = members_of(settings, made, placing=False)
    if not isinstance(textures, list) or not len(members) == len(scene.primitives) == len(textures):
        raise DiffbmpError(f"'{path}' is damaged: its fit does not have the primitives of its scene.")
    for primitive, member, indices in zip(scene.primitives, members, textures, strict=True):
        if primitive.name == member.cls.name:
            primitive.settings = member.settings
        if indices is None:
            continue
        if not (isinstance(indices, list) and all(type(k) is int and 0 <= k < len(scene.atlas) for k in indices)):
            raise DiffbmpError(f"'{path}' is damaged: its fit uses textures that its scene does not have.")
        primitive.own_textures = torch.tensor(indices, dtype=torch.int64, device=scene.atlas.texels.device)


def _are_series(series: list[Any]) -> bool:
    """Return whether a file gives losses, PSNR and seconds as a fit keeps them: numbers, of which PSNR may lack."""
    return all(
        isinstance(values, list) and len(values) == len(series[0]) and _are_numbers(values, lacking=name == "psnrs")
        for name, values in zip(SERIES, series, strict=True)
    )


def _are_numbers(values: list[Any], *, lacking: bool) -> bool:
    return all(type(value) in (int, float) or (lacking and value is None) for value in values)


def _series_of_canvases(
    fit: Fit, state: FitState, path: str | Path
) -> tuple[list[tuple[float, ...]], list[tuple[float, ...]]]:
    """Return losses and PSNR of each canvas in each step; a PSNR that JSON cannot hold is infinite."""
    if fit.batch is None:
        return [(loss,) for loss in fit.losses], [() if psnr is None else (psnr,) for psnr in fit.psnrs]
    found = []
    for name, sizes in (("canvas_losses", (fit.batch,)), ("canvas_psnrs", (fit.batch, 0))):
        rows, lacking = state.metadata.get(name), name == "canvas_psnrs"
        if not (
            isinstance(rows, list)
            and len(rows) == len(fit.losses)
            and all(isinstance(r, list) and len(r) in sizes and _are_numbers(r, lacking=lacking) for r in rows)
        ):
            raise DiffbmpError(f"'{path}' is damaged: its fit cannot be read.")
        found.append([tuple(math.inf if value is None else value for value in row) for row in rows])
    return found[0], found[1]


def _finite(value: float | None) -> float | None:
    """Return a figure as JSON has it."""
    return None if value is None or math.isinf(value) else value


def _restore_optimizer(fit: Fit, state: FitState, path: str | Path) -> None:
    groups: dict[str, dict[str, Tensor]] = {}
    for name, value in state.tensors.items():
        if name.startswith("optimizer/"):
            group, _, moment = name.removeprefix("optimizer/").rpartition("/")
            groups.setdefault(group, {})[moment] = value
    if sorted(groups) != state.metadata.get("learned"):
        raise DiffbmpError(f"'{path}' is damaged: the optimiser's state is not that of its fit.")
    known = {group["name"] for group in fit.optimizer.param_groups}
    for group, values in groups.items():  # what no gradient has reached has no state
        try:
            if group not in known:
                raise DiffbmpError(f"the optimiser's state of '{group}' does not fit")
            fit.learning.restore(group, values)
        except DiffbmpError as error:
            raise DiffbmpError(f"'{path}' is damaged: {error}.") from error
