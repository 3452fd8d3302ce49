"""Putting a fit together: from settings to primitives, scene, losses, refiners and observers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError
from diffbmp.fitting.background import parse_background
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.members import Member, members_of
from diffbmp.fitting.objects import FitObjects, primitive_name
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.refining import check_refiners
from diffbmp.fitting.settings import FitSettings, parse_size
from diffbmp.fitting.starting import place_members
from diffbmp.fitting.target import Target, find_target
from diffbmp.losses.total import TotalLoss
from diffbmp.plugins.guard import guarded
from diffbmp.plugins.registry import registry
from diffbmp.rendering.selection import choose_device
from diffbmp.scene.scene import Scene
from diffbmp.settings import parse_settings

__all__ = ["begin_fit", "build_fit", "check_tables", "create_refiners"]


def begin_fit(
    settings: FitSettings,
    *,
    target: Any = None,
    atlas: Atlas | None = None,
    linked: bool = False,
    tensors: Mapping[str, Tensor] | None = None,
    objects: FitObjects | None = None,
) -> Fit:
    """Read the target and the stamps, place the primitives, and return the fit before its first step.

    Args:
        settings: all settings.
        target: as ``read_target`` takes it, instead of the file ``settings.target``.
        atlas: textures, instead of the sources ``settings.stamps``.
        linked: whether the canvases of a batch are linked.
        tensors: named tensors for losses.
        objects: what was given as objects.

    Raises:
        DiffbmpError: for whatever a person got wrong, before any work is done where that is possible.
    """
    objects = objects or FitObjects()
    check_tables(settings)
    members = members_of(settings, objects)
    device = choose_device(
        objects.renderer or settings.renderer, settings.device, blend=settings.blend, filter=settings.filter
    )
    goal = find_target(settings, target)
    if goal is None and "loss" not in settings.model_fields_set:
        raise DiffbmpError("A fit without a target needs a loss that needs none; name it with --loss (loss=...).")
    height, width = parse_size(settings.size) if goal is None else goal.size
    if goal is not None:
        goal = goal.to(device, torch.float32)
    refiners = create_refiners(settings, objects)
    check_refiners(
        refiners,
        [member.cls.name for member in members],
        has_target=goal is not None,
        batched=goal is not None and goal.batch is not None,
        linked=linked,
    )
    atlas = _joint_atlas(members, settings, atlas).to(device, torch.float32)
    background = parse_background(settings.background, (height, width))
    scenes = [
        place_members(
            members,
            settings,
            refiners,
            None if goal is None else goal.canvas(index),
            atlas,
            (height, width),
            background,
        )
        for index in range(1 if linked or goal is None else goal.batch or 1)
    ]
    settings = _with_counts(settings, members, scenes[0])
    if goal is None or goal.batch is None:
        (scene,) = scenes
        if linked:
            raise DiffbmpError("linked says that the canvases of a batch are frames; give several targets.")
    else:
        scene = Scene.stacked([scenes[0]] * goal.batch if linked else scenes, linked=linked)
    return build_fit(settings, scene, goal, tensors=tensors, objects=objects, refiners=refiners)


def build_fit(
    settings: FitSettings,
    scene: Scene,
    target: Target | None,
    *,
    tensors: Mapping[str, Tensor] | None = None,
    objects: FitObjects | None = None,
    refiners: Sequence[Refiner] | None = None,
) -> Fit:
    """Return a fit of ``scene`` with the losses, refiners and observers that the settings name.

    The tables of settings that nothing uses are not looked at; ``check_tables`` does that.
    """
    objects = objects or FitObjects()
    observers = [registry().create("observers", name, settings.observers.get(name)) for name in settings.observe]
    return Fit(
        scene,
        target,
        settings,
        loss=TotalLoss(settings.loss, settings.losses, made=objects.losses),
        refiners=create_refiners(settings, objects) if refiners is None else refiners,
        observers=[*observers, *objects.observers],
        renderer=objects.renderer,
        tensors=tensors,
        objects=list(dict.fromkeys([*objects.names(), *_unregistered(scene)])),
    )


def _unregistered(scene: Scene) -> list[str]:
    kinds = [type(primitive) for primitive in scene.primitives]
    return [primitive_name(cls) for cls in kinds if registry().entry_of(cls) is None]


def create_refiners(settings: FitSettings, objects: FitObjects) -> list[Refiner]:
    """Return the refiners that the settings name, those that were given as objects as they are."""
    return [
        objects.refiners[name]
        if name in objects.refiners
        else registry().create("refiners", name, settings.refiners.get(name))
        for name in settings.refine
    ]


def check_tables(settings: FitSettings) -> None:
    """Raise ``DiffbmpError`` for a table of settings whose plugin nobody registers, or that is out of range."""
    for family in ("loaders", "initializers", "losses", "refiners", "observers", "exporters", "renderers"):
        for name, table in getattr(settings, family).items():
            parse_settings(registry().get(family, name).Settings, table, f"{family}.{name}")


def _joint_atlas(members: Sequence[Member], settings: FitSettings, given: Atlas | None) -> Atlas:
    """Return one atlas of the textures of all primitives, and note which are whose."""
    textures: list[Texture] = []
    used = False
    for member in members:
        if member.made is not None and member.made.draws and given is None:
            member.textures = torch.arange(0)
            continue
        if member.made is not None or (given is not None and member.takes_bitmaps):
            if given is None:
                raise DiffbmpError(
                    f"A primitive that is made already ('{member.cls.name}') needs the atlas that it was made for; "
                    "give it as stamps."
                )
            if not used:
                textures = [*given.textures, *textures]
                for other in members:
                    if other.textures is not None:
                        other.textures = other.textures + len(given)
            used = True
            member.textures = torch.arange(len(given))
            continue
        with guarded(member.cls, "to bring its textures"):
            own = list(member.cls.textures(member.settings, settings.loaders))
        for texture in own:
            if not isinstance(texture, Texture):
                raise DiffbmpError(
                    f"The primitive '{member.cls.name}' must bring textures, got {type(texture).__name__}."
                )
        member.textures = torch.arange(len(textures), len(textures) + len(own))
        textures += own
    if not textures:
        if given is None:
            textures = [Texture("blank", torch.ones(1, 1, 1))]  # an atlas is never empty; nobody draws this one
        else:
            return given
    return given if given is not None and len(textures) == len(given) else Atlas(textures)


def _with_counts(settings: FitSettings, members: Sequence[Member], scene: Scene) -> FitSettings:
    """Return the settings with the numbers that were chosen, so that a report and a checkpoint know them."""
    if settings.primitives is None:
        (member,) = members
        return settings.model_copy(update={"n": member.settings.n, "counts": getattr(member.settings, "counts", {})})
    tables = [
        {**table, "n": member.settings.n, **({"counts": member.settings.counts} if member.takes_bitmaps else {})}
        for table, member in zip(settings.primitives, members, strict=True)
    ]
    return settings.model_copy(update={"primitives": tables})
