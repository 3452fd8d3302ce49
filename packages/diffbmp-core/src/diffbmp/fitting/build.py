"""Putting a fit together: from settings to scene, losses, refiners and observers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.fitting.background import parse_background
from diffbmp.fitting.fit import Fit, Target
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.presets import PRESETS, automatic_count
from diffbmp.fitting.schedules import Stream, generator
from diffbmp.fitting.settings import FitSettings
from diffbmp.images import read_image, read_mask
from diffbmp.initializers.initializer import Start
from diffbmp.loaders.sources import counted_sources, joined_counts, load_textures
from diffbmp.losses.total import TotalLoss
from diffbmp.plugins.registry import registry
from diffbmp.rendering.selection import choose_device
from diffbmp.scene.scene import Scene
from diffbmp.stamps.constraints import Constraints, parse_frozen
from diffbmp.stamps.palette import palette_tensor
from diffbmp.stamps.sets import set_values, stamp_sets

__all__ = ["build_fit", "start_fit"]


def start_fit(
    settings: FitSettings,
    *,
    target: Tensor | None = None,
    atlas: Atlas | None = None,
    observers: Sequence[Observer] = (),
) -> Fit:
    """Read the target and the stamps, place the stamps, and return the fit before its first step.

    Args:
        settings: all settings.
        target: ``(3, H, W)`` or straight ``(4, H, W)`` in [0, 1], instead of the file ``settings.target``.
        atlas: textures, instead of the sources ``settings.stamps``.
        observers: besides those named in ``settings.observe``.

    Raises:
        DiffbmpError: for whatever a person got wrong, before any work is done where that is possible.
    """
    check_names(settings)
    device = choose_device(settings.renderer, settings.device)
    if target is None:
        if not settings.target:
            raise DiffbmpError("A fit needs a target: give it the path of a picture.")
        target = read_image(settings.target, width=settings.width, what="target")
    elif settings.width is not None:
        raise DiffbmpError("width resizes a target that is read from a file; resize a tensor before giving it.")
    goal = Target.from_image(target).to(device, torch.float32)
    if atlas is None:
        if not settings.stamps:
            raise DiffbmpError("A fit needs stamps: give a file, a folder, a glob, text:WORDS or shape:NAME.")
        sources, counts = counted_sources(settings.stamps)
        atlas = Atlas(load_textures(sources, settings.loaders))
        settings = settings.model_copy(update={"counts": joined_counts(settings.counts, counts)})
    atlas = atlas.to(device, torch.float32)
    if settings.target_mask:
        goal = goal.masked(read_mask(settings.target_mask, (goal.color.shape[1], goal.color.shape[2])))
    height, width = goal.color.shape[1:]
    background = parse_background(settings.background, (height, width))
    initializer = registry().create(
        "initializers", settings.initializer, settings.initializers.get(settings.initializer)
    )
    prescribed = initializer.prescribed_count()
    if settings.n == PRESETS[settings.preset].get("n") and (prescribed or settings.counts):
        settings = settings.model_copy(update={"n": None})  # a preset's number gives way to what was asked for
    if settings.n is None:
        n = prescribed or _count(settings, atlas, automatic_count(goal.alpha, height, width, len(atlas)))
        settings = settings.model_copy(update={"n": n})
    assert settings.n is not None
    refiners = [registry().create("refiners", name, settings.refiners.get(name)) for name in settings.refine]
    blends = set_values(atlas, settings.color_blends, settings.color_blend)
    palette = palette_tensor(settings.palette) if settings.palette else None
    constraints = Constraints(parse_frozen(settings.freeze), palette)
    first = [settings.n, *(refiner.start_count(settings.n, settings.steps) for refiner in refiners)]
    start = Start(
        count=settings.n if initializer.whole else min(first),
        total=settings.n,
        height=height,
        width=width,
        target=goal.color,
        target_alpha=goal.alpha,
        atlas=atlas,
        generator=generator(settings.seed, Stream.START),
        background=background,
        color_blend=blends,
        alpha_max=settings.alpha_max,
        blend=settings.blend,
        sets=stamp_sets(atlas, settings.counts, settings.n),
        constraints=constraints,
    )
    stamps = initializer(start)
    stamps.color_blend.copy_(blends.to(stamps.color_blend)[stamps.texture])
    constraints.hold(stamps)
    scene = Scene(
        width,
        height,
        atlas,
        [stamps],
        background=None if background is None else background.to(device),
        alpha_max=settings.alpha_max,
        blend=settings.blend,
        filter=settings.filter,
    )
    return build_fit(settings, scene, goal, observers=observers)


def build_fit(settings: FitSettings, scene: Scene, target: Target | None, *, observers: Sequence[Observer] = ()) -> Fit:
    """Return a fit of ``scene`` with the losses, refiners and observers that the settings name."""
    check_names(settings)

    def create(family: str, names: Sequence[str], tables: dict[str, dict[str, Any]]) -> list[Any]:
        return [registry().create(family, name, tables.get(name)) for name in names]

    return Fit(
        scene,
        target,
        settings,
        loss=TotalLoss(settings.loss, settings.losses),
        refiners=create("refiners", settings.refine, settings.refiners),
        observers=[*create("observers", settings.observe, settings.observers), *observers],
    )


def _count(settings: FitSettings, atlas: Atlas, automatic: int) -> int:
    """Return how many stamps there are where nobody says: the given numbers, and for what has none the usual one."""
    counted = sum(settings.counts.values())
    uncounted = {texture.set for texture in atlas.textures} - set(settings.counts)
    return max(counted + len(uncounted), automatic) if uncounted else counted


def check_names(settings: FitSettings) -> None:
    """Raise ``DiffbmpError`` for a table of settings whose plugin nobody registers, or that is out of range."""
    for family in ("loaders", "initializers", "losses", "refiners", "observers", "exporters", "renderers"):
        for name, table in getattr(settings, family).items():
            registry().create(family, name, table)
