"""The differentiable compositor as a function of tensors, and the background that is put behind its result."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import diffbmp.rendering.operator  # noqa: F401 - registers torch.ops.diffbmp
from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.rendering.keys import renderer_key
from diffbmp.rendering.renderer import BLENDS, FILTERS, Renderer

__all__ = ["composite", "over_background", "put_upon"]


def composite(
    frame: Tensor,
    opacity: Tensor,
    color: Tensor,
    texture: Tensor,
    atlas: Atlas,
    *,
    size: tuple[int, int],
    color_blend: Tensor | float = 0.0,
    alpha_max: float = 1.0,
    blend: str = "over",
    filter: str = "mipmap",
    renderer: str | Renderer = "auto",
    seed: Tensor | int | None = None,
) -> Tensor:
    """Composite textured sprites onto a transparent canvas, differentiably (docs/rendering.md; paper, Eqs. 1 to 6).

    Leading dimensions ``...`` are a batch of canvases and broadcast against each other. Sprite 0 is painted
    first (the back), sprite N-1 last (the front).

    Args:
        frame: ``(..., N, 2, 3)``, maps sprite coordinates (u, v, 1), u and v in [-1, 1], to canvas pixels. A
            frame that spans no area draws nothing and has a zero gradient.
        opacity: ``(..., N)``, in [0, 1].
        color: ``(..., N, 3)``, tint in [0, 1].
        texture: ``(N,)`` or ``(..., N)`` integers, index into ``atlas``.
        atlas: the textures, on the device and of the dtype of ``frame``.
        size: canvas height and width in pixels.
        color_blend: mu in [0, 1], for all sprites or ``(..., N)``: 0 paints with ``color``, 1 with the texture's own
            colour. An alpha-only texture has no colour of its own, so for it mu counts as 0.
        alpha_max: factor on every opacity, in [0, 1].
        blend: "over" (order matters) or "add".
        filter: "mipmap" (bilinear in the mip level nearest to the footprint), "trilinear", "bilinear" (no mips)
            or "nearest_texel".
        renderer: a registered name, "auto", a renderer made on the spot, or a key made by ``renderer_key``.
        seed: of a renderer whose gradients are random: a whole number, or int64 ``()`` on the CPU, such as the number
            of the step. Every other renderer ignores it.

    Returns:
        Premultiplied RGBA ``(..., 4, H, W)`` in the dtype of ``frame``.

    Raises:
        DiffbmpError: where shapes, dtypes, devices or names do not fit together, or the renderer cannot draw what is
            asked for; on the CPU also for a NaN or
            an infinity in an input or a texture index out of range (on an accelerator that would cost a
            synchronisation, so NaN goes through to the pixels there).
    """
    if blend not in BLENDS:
        raise unknown_name("blend mode", blend, BLENDS)
    if filter not in FILTERS:
        raise unknown_name("filter", filter, FILTERS)
    if not 0 <= alpha_max <= 1:
        raise DiffbmpError(f"alpha_max must lie in [0, 1], got {alpha_max}.")
    if not isinstance(color_blend, Tensor):
        if not 0 <= color_blend <= 1:
            raise DiffbmpError(f"color_blend must lie in [0, 1], got {color_blend}.")
        color_blend = torch.full_like(opacity, color_blend)
    elif color_blend.dim() == 0:
        color_blend = color_blend.expand(opacity.shape)
    _check(frame, opacity, color, color_blend, texture, atlas, size)
    batch = _common_batch(
        frame=frame.shape[:-3],
        opacity=opacity.shape[:-1],
        color=color.shape[:-2],
        color_blend=color_blend.shape[:-1],
        texture=texture.shape[:-1],
    )
    canvases, count = math.prod(batch), frame.shape[-3]

    def flat(value: Tensor, *tail: int) -> Tensor:
        return value.expand(*batch, count, *tail).reshape(canvases, count, *tail)

    texture = flat(texture.long())
    frame = flat(frame, 2, 3)
    if atlas.padded:
        # (B, N, 2): a blurred texture is larger than the stamp. The operator refuses an index that is none.
        extent = atlas.extent[texture.clamp(0, len(atlas) - 1)]
        frame = torch.cat([frame[..., :2] * extent[..., None, :], frame[..., 2:]], dim=-1)
    image, _ = torch.ops.diffbmp.composite(
        frame, flat(opacity) * alpha_max, flat(color, 3), flat(color_blend), texture,
        atlas.texels, atlas.levels, atlas.table, *size, blend, filter, renderer_key(renderer), _seed(seed),
    )  # fmt: skip
    result: Tensor = image.view(*batch, 4, *size)
    return result


def _seed(seed: Tensor | int | None) -> Tensor | None:
    """Return a seed as the operator takes it."""
    if isinstance(seed, Tensor):
        if seed.shape or seed.dtype != torch.int64 or seed.device.type != "cpu":
            raise DiffbmpError(
                f"seed must be a whole number, or int64 of shape () on the CPU, got {seed.dtype} of shape "
                f"{tuple(seed.shape)} on {seed.device}."
            )
        return seed
    if seed is None:
        return None
    if not isinstance(seed, int | torch.SymInt) or not -(2**63) <= seed < 2**63:
        raise DiffbmpError(f"seed must be a whole number of 64 bits, got {seed!r}.")
    return torch.tensor(seed, dtype=torch.int64, device="cpu")


def over_background(image: Tensor, background: Tensor) -> Tensor:
    """Put an opaque background behind a premultiplied image: rgb + (1 - alpha) background (paper, Eq. 8).

    Args:
        image: premultiplied RGBA ``(..., 4, H, W)``.
        background: RGB ``(..., 3, H, W)`` or anything that broadcasts to it, such as ``(3, 1, 1)``.

    Returns:
        RGB ``(..., 3, H, W)``.
    """
    color, alpha = torch.split(image, [3, 1], dim=-3)
    return torch.addcmul(color, 1 - alpha, background)


def put_upon(layer: Tensor, below: Tensor, blend: str) -> Tensor:
    """Put a layer upon another: over is C + (1 - A) C_below, add is C + C_below; A = 1 - (1 - A)(1 - A_below) in both.

    Args:
        layer: premultiplied RGBA ``(..., 4, H, W)``.
        below: likewise.
        blend: "over" or "add".
    """
    color, alpha = torch.split(layer, [3, 1], dim=-3)
    color_below, alpha_below = torch.split(below, [3, 1], dim=-3)
    transmittance = 1 - alpha
    both = color + transmittance * color_below if blend == "over" else color + color_below
    return torch.cat([both, 1 - transmittance * (1 - alpha_below)], dim=-3)


def _common_batch(**shapes: torch.Size) -> tuple[int, ...]:
    """Return the leading dimensions that all inputs broadcast to."""
    try:
        return tuple(torch.broadcast_shapes(*shapes.values()))  # type: ignore[no-untyped-call]
    except RuntimeError:
        listing = ", ".join(f"{label} {tuple(shape)}" for label, shape in shapes.items())
        raise DiffbmpError(f"The leading dimensions do not broadcast against each other: {listing}.") from None


def _check(
    frame: Tensor,
    opacity: Tensor,
    color: Tensor,
    color_blend: Tensor,
    texture: Tensor,
    atlas: Atlas,
    size: tuple[int, int],
) -> None:
    """Raise a DiffbmpError where something does not fit together."""
    if frame.dim() < 3 or frame.shape[-2:] != (2, 3):
        raise DiffbmpError(f"frame must have shape (..., N, 2, 3), got {tuple(frame.shape)}.")
    if not frame.is_floating_point():
        raise DiffbmpError(f"frame must hold floats, got {frame.dtype}.")
    count = frame.shape[-3]
    rows = (
        ("opacity", opacity, ()),
        ("color_blend", color_blend, ()),
        ("texture", texture, ()),
        ("color", color, (3,)),
    )
    for label, value, tail in rows:
        if value.shape[-1 - len(tail) :] != (count, *tail):
            expected = ", ".join(["...", str(count), *map(str, tail)])
            raise DiffbmpError(
                f"{label} must have shape ({expected}) as frame has {count} sprites, got {tuple(value.shape)}."
            )
    if texture.is_floating_point() or texture.is_complex() or texture.dtype == torch.bool:
        raise DiffbmpError(f"texture must hold integers, got {texture.dtype}.")
    if texture.device != frame.device:
        raise DiffbmpError(f"texture is on {texture.device} but frame is on {frame.device}; move them to one device.")
    floats = (("opacity", opacity), ("color", color), ("color_blend", color_blend), ("the atlas", atlas.texels))
    for label, value in floats:
        if value.dtype != frame.dtype or value.device != frame.device:
            raise DiffbmpError(
                f"{label} is {value.dtype} on {value.device} but frame is {frame.dtype} on {frame.device}; "
                "move them to one dtype and device."
            )
    if len(size) != 2 or not all(isinstance(side, int | torch.SymInt) and side >= 1 for side in size):
        raise DiffbmpError(f"size must be (height, width), whole numbers of at least 1, got {tuple(size)}.")
