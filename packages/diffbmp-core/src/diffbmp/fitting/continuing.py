"""Going on from a scene in memory, or from another fit: all that is not named again is kept."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.fitting.background import parse_background
from diffbmp.fitting.build import build_fit, check_tables
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.members import DEFAULT
from diffbmp.fitting.objects import FitObjects
from diffbmp.fitting.settings import FitSettings
from diffbmp.fitting.target import find_target
from diffbmp.plugins.registry import registry
from diffbmp.primitives.constraints import locked_mask
from diffbmp.primitives.instances import keeping
from diffbmp.primitives.primitive import Primitive
from diffbmp.primitives.settings import BitmapSettings, PrimitiveSettings
from diffbmp.rendering.selection import choose_device
from diffbmp.scene.scene import Scene
from diffbmp.settings import parse_settings

__all__ = ["continue_fit"]


@torch.no_grad()
def continue_fit(
    settings: FitSettings,
    source: Scene | Fit,
    *,
    target: Any = None,
    named: frozenset[str] = frozenset(),
    linked: bool = False,
    tensors: Mapping[str, Tensor] | None = None,
    objects: FitObjects | None = None,
) -> Fit:
    """Return a fit that goes on from a scene in memory, or from another fit with its moments.

    The source stays as it is. A scene of one canvas and several targets make a batch of copies.

    Args:
        settings: all settings.
        source: what to begin with; every value of it is kept that ``named`` does not name, and what its primitives
            were asked for in their own fit (palette, frozen parameters, numbers of sets).
        target: as ``read_target`` takes it.
        named: settings that the person gave.
        linked: whether the canvases of the batch are linked, besides a scene whose canvases are.
        tensors: named tensors for losses; those of another fit go on.
        objects: what was given as objects.

    Raises:
        DiffbmpError: for whatever a person got wrong.
    """
    objects = objects or FitObjects()
    check_tables(settings)
    goal = find_target(settings, target, required=False)
    scene = _renewed(source.scene if isinstance(source, Fit) else source, settings, named, objects)
    if goal is not None and goal.batch is not None and scene.batch is None:
        scene = Scene.stacked([scene] * goal.batch)
    if linked and scene.batch is None:
        raise DiffbmpError("linked says that the canvases of a batch are frames; give several targets.")
    scene.linked = scene.linked or linked
    _ask_again(scene, settings, named)
    if isinstance(source, Fit):
        tensors = {**source.tensors, **(tensors or {})}
    fit = build_fit(_with_kept(settings, scene), scene, goal, tensors=tensors, objects=objects)
    if isinstance(source, Fit):
        _carry_moments(source, fit)
    return fit


def _renewed(scene: Scene, settings: FitSettings, named: frozenset[str], objects: FitObjects) -> Scene:
    """Return a copy of a scene with the values that the person named again."""
    background = scene.background
    if "background" in named:
        background = parse_background(settings.background, (scene.height, scene.width))
    device = scene.atlas.texels.device
    if "device" in named:
        device = choose_device(objects.renderer or settings.renderer, settings.device)
    renewed = Scene(
        scene.width,
        scene.height,
        scene.atlas,
        [copy.deepcopy(primitive) for primitive in scene.primitives],
        background=None if background is None else background.clone(),
        alpha_max=settings.alpha_max if "alpha_max" in named else scene.alpha_max,
        blend=settings.blend if "blend" in named else scene.blend,
        filter=settings.filter if "filter" in named else scene.filter,
        linked=scene.linked,
    )
    return renewed.to(device)


def _ask_again(scene: Scene, settings: FitSettings, named: frozenset[str]) -> None:
    """Give each primitive the settings that it had, with those that are named again; hold it to these.

    Raises:
        DiffbmpError: where settings of a primitive are named and there are several.
    """
    asked = sorted(named & set(BitmapSettings.model_fields))
    if asked and len(scene.primitives) > 1:
        raise DiffbmpError(
            f"The scene has {len(scene.primitives)} primitives, so nobody knows whose '{asked[0]}' is meant; leave it "
            "out."
        )
    for primitive in scene.primitives:
        kept = primitive.settings.model_dump()
        kept.update(_blends_of(primitive, scene.atlas))
        if "color_blend" in asked:
            kept.update(color_blends={})
        for name in asked:
            given = getattr(settings, name)
            kept[name] = {**kept.get(name, {}), **given} if isinstance(given, Mapping) else given
        kept.update(_numbers_of(primitive, scene.atlas))
        again: PrimitiveSettings = parse_settings(type(primitive).Settings, kept, "")
        primitive.settings = again
        if "lock" in asked:
            primitive.locked = locked_mask(again.lock, len(primitive)).to(scene.atlas.texels.device)
        with keeping(primitive, primitive.locked):
            if {"freeze", "palette"} & set(asked):
                again.constraints().hold(primitive)
            if {"color_blend", "color_blends"} & set(asked):
                own: Any = primitive
                own.color_blend.copy_(again.blends(scene.atlas).to(own.color_blend)[own.texture])


def _numbers_of(primitive: Primitive, atlas: Atlas) -> dict[str, Any]:
    """Return how many instances there are, and how many of each set whose number was given."""
    found: dict[str, Any] = {"n": len(primitive)}
    counts = getattr(primitive.settings, "counts", None)
    if counts:
        texture = primitive(atlas).texture
        rows = texture if texture.dim() == 2 else texture[None]
        numbers = [{name: _number_of_set(row, atlas, name) for name in counts} for row in rows]
        left = len(primitive) - sum(numbers[0].values())
        others = {one.set for one in atlas.textures} - set(counts)
        whole = all(one == numbers[0] for one in numbers) and all(numbers[0].values())
        found["counts"] = numbers[0] if whole and (left > 0 or not others) else {}
    return found


def _number_of_set(texture: Tensor, atlas: Atlas, name: str) -> int:
    return int(torch.isin(texture, _members(atlas, name).to(texture.device)).sum())


def _members(atlas: Atlas, name: str) -> Tensor:
    return torch.tensor([k for k, one in enumerate(atlas.textures) if one.set == name], dtype=torch.int64)


def _blends_of(primitive: Primitive, atlas: Atlas) -> dict[str, Any]:
    """Return the colour blend of each set as its instances have it, for those that a refiner puts in their place."""
    if not isinstance(primitive.settings, BitmapSettings) or not hasattr(primitive, "color_blend"):
        return {}
    sprites = primitive(atlas)
    texture = sprites.texture.expand(sprites.color_blend.shape).flatten()
    common, blends = primitive.settings.color_blend, dict(primitive.settings.color_blends)
    names = dict.fromkeys(one.set for one in atlas.textures)
    for name in names:
        own = sprites.color_blend.flatten()[torch.isin(texture, _members(atlas, name).to(texture.device))]
        if len(own):
            blends[name] = float(own.mode().values.clamp(0, 1))
    values = {blends.get(name, common) for name in names}
    if len(values) == 1:
        return {"color_blend": values.pop(), "color_blends": {}}
    return {"color_blends": {name: value for name, value in blends.items() if value != common}}


def _with_kept(settings: FitSettings, scene: Scene) -> FitSettings:
    """Return the settings of the fit with all that is kept, so that a report says it and a resumed fit has it."""
    values: dict[str, Any] = {"alpha_max": scene.alpha_max, "blend": scene.blend, "filter": scene.filter}
    named = _named_background(scene.background)
    if named is not None:
        values["background"] = named
    if [primitive.name for primitive in scene.primitives] == [DEFAULT]:
        own = scene.primitives[0].settings
        values.update({name: getattr(own, name) for name in BitmapSettings.model_fields})
    else:
        values["primitives"] = [
            {"kind": _kind(primitive), **primitive.settings.model_dump(mode="json")} for primitive in scene.primitives
        ]
    return settings.model_copy(update=values)


def _kind(primitive: Primitive) -> str:
    """Return the name that a primitive is registered under, or its own where it is not."""
    entry = registry().entry_of(type(primitive))
    return primitive.name if entry is None else entry.name


def _named_background(background: Tensor | None) -> str | None:
    """Return a background as a person names it, or None for a picture or a colour between those of 8 bits."""
    if background is None:
        return "transparent"
    if background.dim() != 1:
        return None
    levels = (background.double().cpu() * 255).round().long()
    same = torch.equal(levels.to(background.dtype) / 255, background.cpu())
    return "#{:02x}{:02x}{:02x}".format(*levels.tolist()) if same else None


def _carry_moments(source: Fit, fit: Fit) -> None:
    """Give a fit the optimiser's moments of another, group by group; to each canvas of a batch of copies.

    Raises:
        DiffbmpError: where their parameters differ in shape.
    """
    states: dict[str, dict[str, Tensor]] = {}
    for group, moment, value in source.learning.moments():
        if fit.batch is not None and source.batch is None and moment != "step":
            value = value.expand(fit.batch, *value.shape)
        states.setdefault(group, {})[moment] = value.clone(memory_format=torch.contiguous_format)
    for group, values in states.items():
        try:
            fit.learning.restore(group, values)
        except DiffbmpError as error:
            raise DiffbmpError(f"The moments of the fit given cannot go on: {error}.") from error
