"""From a renderer's floats to what files of layers hold: straight alpha, 8 bits."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["split_opacity", "straight_bytes"]


def split_opacity(opacity: Tensor) -> tuple[Tensor, Tensor]:
    """Split each layer's opacity into a byte for the whole layer and a factor that goes into its pixels' alpha.

    Editors multiply both. With the least byte that is enough, the alpha of the pixels spans nearly the whole range, so
    that rounding it is a small part of a faint stamp's alpha and not a large one: at 2 % a pixel's step is 1/217 of the
    stamp and no more 1/5, and what a thousand such layers add up to stays right.

    Args:
        opacity: ``(N,)``, in [0, 1].

    Returns:
        The bytes ``(N,)``, int64, 1 to 255, and the factors ``(N,)`` in [0, 1]: opacity = byte / 255 * factor.
    """
    byte = torch.ceil(opacity.double() * 255 - 1e-3).clamp(1, 255)
    factor = (opacity.double() * 255 / byte).clamp(max=1)
    return byte.long(), factor.to(opacity)


def straight_bytes(layers: Tensor, boxes: Tensor, tints: Tensor) -> tuple[Tensor, Tensor]:
    """Round layers to straight alpha in 8 bits; see ``Renderer.layer_bytes``.

    Args:
        layers: premultiplied RGBA, flat, as ``Renderer.layers`` returns it.
        boxes: ``(N, 4)`` int64, (left, top, width, height).
        tints: ``(N, 3)``, the one colour of a layer that has no other, in [0, 1]; NaN for a layer of many colours.
    """
    quantized = torch.empty(layers.shape, dtype=torch.uint8, device=layers.device)
    shown = torch.zeros_like(boxes)
    tinted = ~tints.isnan().any(dim=1)
    start = 0
    for index, (width, height) in enumerate(boxes[:, 2:].tolist()):
        if not width * height:
            continue
        part = slice(start, start + 4 * width * height)
        start = part.stop
        layer = layers[part].view(4, height, width)
        alpha = _nearest_byte(layer[3])
        visible = alpha > 0
        if tinted[index]:
            color = tints[index, :, None, None].expand(3, height, width)
        else:
            color = torch.where(visible, layer[:3] / torch.where(visible, layer[3], 1.0), 0.0)
        quantized[part].view(4, height, width).copy_(torch.cat([_nearest_byte(color), alpha[None]]))
        rows, columns = visible.any(dim=1).nonzero().flatten(), visible.any(dim=0).nonzero().flatten()
        if len(rows):
            left, top = int(columns[0]), int(rows[0])
            shown[index] = torch.tensor([left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top])
    return quantized, shown


def _nearest_byte(value: Tensor) -> Tensor:
    return (value.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
