"""The differentiable compositor as a function of tensors, and the background that is put behind its result."""

from __future__ import annotations

import torch
from torch import Tensor

import diffbmp.rendering.operator  # noqa: F401 - registers torch.ops.diffbmp
from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.rendering.renderer import BLENDS, FILTERS
from diffbmp.rendering.selection import choose_renderer

__all__ = ["composite", "over_background"]


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
    renderer: str = "auto",
) -> Tensor:
    """Composite textured sprites onto a transparent canvas, differentiably (DESIGN, section 3; paper, Eqs. 1 to 6).

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
        color_blend: mu in [0, 1], a number or ``(..., N)``: 0 paints with ``color``, 1 with the texture's own
            colour. An alpha-only texture has no colour of its own, so for it mu counts as 0.
        alpha_max: factor on every opacity, in [0, 1].
        blend: "over" (order matters) or "add".
        filter: "mipmap" (bilinear in the mip level nearest to the footprint), "trilinear", "bilinear" (no mips)
            or "nearest_texel".
        renderer: a registered name, "auto", or a key made by ``renderer_key``.

    Returns:
        Premultiplied RGBA ``(..., 4, H, W)`` in the dtype of ``frame``.

    Raises:
        DiffbmpError: where shapes, dtypes, devices or names do not fit together; on the CPU also for a NaN or
            an infinity in an input or a texture index out of range (on an accelerator that would cost a
            synchronisation, so NaN goes through to the pixels there).
    """
    if blend not in BLENDS:
        raise unknown_name("blend mode", blend, BLENDS)
    if filter not in FILTERS:
        raise unknown_name("filter", filter, FILTERS)
    _check_shapes(frame, opacity, color, texture, atlas, size)
    if not isinstance(color_blend, Tensor):
        color_blend = torch.full_like(opacity, color_blend)
    batch = torch.broadcast_shapes(
        frame.shape[:-3], opacity.shape[:-1], color.shape[:-2], texture.shape[:-1], color_blend.shape[:-1]
    )
    count = frame.shape[-3]

    def flat(value: Tensor, trailing: int) -> Tensor:
        tail = (count, *value.shape[value.dim() - trailing :]) if trailing else (count,)
        return value.expand(*batch, *tail).reshape(-1, *tail)

    texture = flat(texture.long(), 0)
    color_blend = flat(color_blend, 0)
    frame = flat(frame, 2)
    if atlas.padded:
        extent = atlas.extent[texture]  # (B, N, 2): a blurred texture is larger than the stamp
        frame = torch.cat([frame[..., :2] * extent[..., None, :], frame[..., 2:]], dim=-1)
    name, brace, rest = renderer.partition("{")
    key = choose_renderer(name, frame.device, frame.dtype) + brace + rest
    image, _ = torch.ops.diffbmp.composite(
        frame, flat(opacity, 0) * alpha_max, flat(color, 1), color_blend, texture,
        atlas.texels, atlas.levels, atlas.table, *size, blend, filter, key,
    )  # fmt: skip
    result: Tensor = image.reshape(*batch, 4, *size)
    return result


def over_background(image: Tensor, background: Tensor) -> Tensor:
    """Put an opaque background behind a premultiplied image: rgb + (1 - alpha) background (paper, Eq. 8).

    Args:
        image: premultiplied RGBA ``(..., 4, H, W)``.
        background: RGB ``(..., 3, H, W)`` or anything that broadcasts to it, such as ``(3, 1, 1)``.

    Returns:
        RGB ``(..., 3, H, W)``.
    """
    return image[..., :3, :, :] + (1 - image[..., 3:, :, :]) * background


def _check_shapes(
    frame: Tensor, opacity: Tensor, color: Tensor, texture: Tensor, atlas: Atlas, size: tuple[int, int]
) -> None:
    if frame.dim() < 3 or frame.shape[-2:] != (2, 3):
        raise DiffbmpError(f"frame must have shape (..., N, 2, 3), got {tuple(frame.shape)}.")
    count = frame.shape[-3]
    for label, value, tail in (("opacity", opacity, ()), ("color", color, (3,)), ("texture", texture, ())):
        if value.shape[-1 - len(tail) :] != (count, *tail):
            expected = ", ".join(["...", str(count), *map(str, tail)])
            raise DiffbmpError(f"{label} must have shape ({expected}), got {tuple(value.shape)}.")
    if texture.is_floating_point() or texture.dtype == torch.bool:
        raise DiffbmpError(f"texture must hold integers, got {texture.dtype}.")
    for label, value in (("opacity", opacity), ("color", color), ("the atlas", atlas.texels)):
        if value.dtype != frame.dtype or value.device != frame.device:
            raise DiffbmpError(
                f"{label} is {value.dtype} on {value.device} but frame is {frame.dtype} on {frame.device}; "
                "move them to one dtype and device."
            )
    if len(size) != 2 or size[0] < 1 or size[1] < 1:
        raise DiffbmpError(f"size must be (height, width), each at least 1, got {tuple(size)}.")
    if torch.compiler.is_compiling() or frame.device.type != "cpu":
        return
    for label, value in (("frame", frame), ("opacity", opacity), ("color", color)):
        if not bool(torch.isfinite(value).all()):
            raise DiffbmpError(f"{label} holds NaN or infinity.")
    if count and not (0 <= int(texture.min()) and int(texture.max()) < len(atlas)):
        raise DiffbmpError(
            f"texture holds indices from {int(texture.min())} to {int(texture.max())}, "
            f"but the atlas has {len(atlas)} textures (0 to {len(atlas) - 1})."
        )
