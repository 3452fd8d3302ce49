"""The start of a fit: each primitive is placed, from the back to the front, and held to what was asked for."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.fitting.members import Member
from diffbmp.fitting.presets import PRESETS, automatic_count
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.schedules import Stream, generator
from diffbmp.fitting.settings import FitSettings
from diffbmp.fitting.target import Target
from diffbmp.plugins.guard import guarded
from diffbmp.primitives.constraints import locked_mask
from diffbmp.primitives.instances import check_axes
from diffbmp.primitives.primitive import Primitive
from diffbmp.primitives.sets import TextureSet, shares
from diffbmp.primitives.start import StartInputs
from diffbmp.scene.painting import sprites_of
from diffbmp.scene.scene import Scene

__all__ = ["place_members"]


def place_members(
    members: Sequence[Member],
    settings: FitSettings,
    refiners: Sequence[Refiner],
    target: Target | None,
    atlas: Atlas,
    size: tuple[int, int],
    background: Tensor | None,
) -> Scene:
    """Return a scene of one canvas with every primitive at its start; their numbers are noted in the members' settings.

    Args:
        members: what to place, the first at the back.
        settings: of the fit.
        refiners: of the fit; those that place say how many instances the primitive in front starts with.
        target: of this canvas, or None.
        atlas: textures of all primitives.
        size: canvas height and width in pixels.
        background: RGB behind everything, or None.

    Raises:
        DiffbmpError: where a primitive cannot start, or its start is not what was asked for.
    """
    height, width = size
    device = atlas.texels.device
    automatic = automatic_count(None if target is None else target.alpha, height, width)
    placed: list[Primitive] = []

    def scene_of(primitives: Sequence[Primitive]) -> Scene:
        return Scene(
            width, height, atlas, primitives,
            background=None if background is None else background.to(device),
            alpha_max=settings.alpha_max, blend=settings.blend, filter=settings.filter,
        )  # fmt: skip

    for index, member in enumerate(members):
        if member.made is not None:
            primitive = copy.deepcopy(member.made).to(device, atlas.texels.dtype)  # the person's own stays as it is
            if primitive.batch:
                raise DiffbmpError(
                    f"The primitive '{primitive.name}' that was given is a batch {primitive.batch}; give one canvas of "
                    "it."
                )
        else:
            count = _final_count(member, settings, atlas, automatic)
            member.settings = member.settings.model_copy(update={"n": count})
            first = _first_count(member, count, settings, refiners if index == len(members) - 1 else ())
            inputs = StartInputs(
                count=first,
                total=count,
                height=height,
                width=width,
                target=None if target is None else target.color,
                target_alpha=None if target is None else target.alpha,
                atlas=atlas,
                generator=_generator(settings.seed, index),
                textures=member.textures,
                background=background,
                layer=scene_of(placed).layer().detach() if placed else None,
                color_blend=member.settings.blends(atlas),
                alpha_max=settings.alpha_max,
                blend=settings.blend,
                sets=member.settings.sets(atlas, _usable(member, atlas), count),
                constraints=member.settings.constraints(),
            )
            primitive = _started(member, inputs)
        placed.append(_held(primitive, member, atlas))
    return scene_of(placed)


def _usable(member: Member, atlas: Atlas) -> Tensor:
    return torch.arange(len(atlas)) if member.textures is None else member.textures


def _generator(seed: int, index: int) -> torch.Generator:
    """Return the start's generator: primitives behind the front have streams of their own."""
    return generator(seed, Stream.START) if index == 0 else generator(seed, f"start/{index}")


def _final_count(member: Member, settings: FitSettings, atlas: Atlas, automatic: int) -> int:
    """Return how many instances there will be in the end: what was asked for, or what suits canvas and textures."""
    own = member.settings
    prescribed = None if member.initializer is None else member.initializer.prescribed_count()
    counted = getattr(own, "counts", {})
    n: int | None = own.n
    if settings.primitives is None and n == PRESETS[settings.preset].get("n") and (prescribed or counted):
        n = None  # a preset's number gives way to what was asked for
    if n is not None:
        return n
    return prescribed or own.least_count(atlas, _usable(member, atlas), automatic)


def _first_count(member: Member, count: int, settings: FitSettings, refiners: Sequence[Refiner]) -> int:
    """Return how many instances the start places, where a refiner would rather add the others later."""
    if member.initializer is not None and member.initializer.whole:
        return count
    first = count
    for refiner in refiners:
        if not refiner.places:
            continue
        with guarded(refiner, "to say how many instances the start is to place"):
            wanted = refiner.start_count(count, settings.steps)
        if type(wanted) is not int or not 1 <= wanted <= count:
            raise DiffbmpError(
                f"The refiner '{refiner.name}' asks for a start of {wanted!r} instances of {count}; it must be a whole "
                f"number from 1 to {count}."
            )
        first = min(first, wanted)
    return first


def _started(member: Member, inputs: StartInputs) -> Primitive:
    """Return the primitive at its start, after comparing it with what was asked for."""
    if member.initializer is None:
        with guarded(member.cls, "to start"):
            primitive = member.cls.start(inputs, member.settings)
        who = f"The start of the primitive '{member.cls.name}'"
    else:
        with guarded(member.initializer, "to place the start"):
            primitive = member.initializer(inputs)
        who = f"The initializer '{member.initializer.name}'"
    _check_start(who, primitive, member, inputs)
    keeps = member.initializer is not None and member.initializer.keeps_blends
    named = bool(member.settings.model_fields_set & {"color_blend", "color_blends"})
    if member.takes_bitmaps and hasattr(primitive, "color_blend") and (named or not keeps):
        blends = member.settings.blends(inputs.atlas).to(primitive.color_blend)
        with torch.no_grad():
            primitive.color_blend.copy_(blends[primitive.texture])  # type: ignore[operator]
    return primitive


def _check_start(who: str, primitive: object, member: Member, inputs: StartInputs) -> None:
    if not isinstance(primitive, member.cls):
        raise DiffbmpError(f"{who} must return {member.cls.__name__}, got {type(primitive).__name__}.")
    check_axes(primitive)
    if primitive.batch:
        raise DiffbmpError(f"{who} must return instances of one canvas, got a batch {primitive.batch}.")
    if len(primitive) != inputs.count:
        raise DiffbmpError(f"{who} was asked for {inputs.count} instances and returned {len(primitive)}.")
    texels = inputs.atlas.texels
    for name, tensor in primitive.state_dict().items():
        where = f"{who} returned '{name}'"
        if tensor.is_floating_point() and tensor.dtype != texels.dtype:
            raise DiffbmpError(f"{where} of {tensor.dtype}; it must be {texels.dtype}, like the atlas.")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise DiffbmpError(f"{where} with NaN or infinity.")
        if tensor.device != texels.device:
            raise DiffbmpError(f"{where} on {tensor.device}; it must be on {texels.device}, like the atlas.")
    if primitive.draws:
        return
    with torch.no_grad():
        sprites = sprites_of(primitive, inputs.atlas)
    _check_textures(who, sprites.texture, inputs)
    if len(inputs.sets) > 1 and sprites.instance is None:
        _check_shares(who, sprites.texture, inputs.sets, inputs.count)


def _check_textures(who: str, texture: Tensor, inputs: StartInputs) -> None:
    allowed = torch.isin(texture.cpu(), inputs.usable)
    if not bool(allowed.all()):
        wrong = int(texture.cpu()[~allowed][0])
        usable = inputs.usable.tolist()
        said = f"{usable[0]} to {usable[-1]}" if usable else "none"
        raise DiffbmpError(f"{who} uses the texture {wrong}, which is not one of those that it may use ({said}).")


def _check_shares(who: str, texture: Tensor, sets: Sequence[TextureSet], count: int) -> None:
    for one, share in zip(sets, shares(sets, count), strict=True):
        found = len(one.members(texture))
        if found != share:
            raise DiffbmpError(
                f"{who} placed {found} instances of a set of textures that is to have {share} of {count}; deal "
                "textures by the sets of its inputs."
            )


@torch.no_grad()
def _held(primitive: Primitive, member: Member, atlas: Atlas) -> Primitive:
    """Return a primitive with its settings, its textures, and what is frozen and locked of it."""
    primitive.settings = member.settings
    if member.textures is not None and len(member.textures) < len(atlas):
        primitive.own_textures = member.textures.to(atlas.texels.device)
    member.settings.constraints().hold(primitive)
    if member.settings.lock:
        mask = locked_mask(member.settings.lock, len(primitive)).to(atlas.texels.device)
        primitive.locked = mask if primitive.locked is None else mask | primitive.locked
    return primitive
