"""The atlas: textures of differing sizes packed into one tensor, each with its mip chain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from diffbmp.atlas.filters import gaussian_blur, halve
from diffbmp.errors import DiffbmpError

__all__ = ["Atlas", "Texture"]

BLUR_UNIT = 128
"""A blur is given in texels of a texture whose longest side is this long."""

ROUNDING = 1e-3
"""How far outside [0, 1] a pixel may lie, as after a filter or a step of ``gradcheck``."""


@dataclass(frozen=True)
class Texture:
    """One bitmap: a name and its pixels, alpha-only ``(1, h, w)`` or straight RGBA ``(4, h, w)``, in [0, 1].

    Attributes:
        name: what people call it.
        pixels: the bitmap.
        set: the source that it was loaded from together with others, as people call it (``petals`` for the folder
            ``petals/``); empty where it comes from nowhere.
        outline: the drawing that it was made of, where that was an SVG of plain shapes; see ``diffbmp.outline``.
    """

    name: str
    pixels: Tensor
    set: str = ""
    outline: str | None = None

    def __post_init__(self) -> None:
        if self.pixels.dim() != 3 or self.pixels.shape[0] not in (1, 4) or 0 in self.pixels.shape:
            raise DiffbmpError(
                f"Texture '{self.name}' must have shape (1, h, w) or (4, h, w), got {tuple(self.pixels.shape)}."
            )
        if not self.pixels.is_floating_point():
            raise DiffbmpError(f"Texture '{self.name}' must hold floats in [0, 1], got {self.pixels.dtype}.")
        low, high = torch.stack(torch.aminmax(self.pixels.detach())).tolist()
        if not (math.isfinite(low) and math.isfinite(high)):
            raise DiffbmpError(f"Texture '{self.name}' holds NaN or infinity.")
        if low < -ROUNDING or high > 1 + ROUNDING:
            raise DiffbmpError(f"Texture '{self.name}' must hold values in [0, 1], got {low:g} to {high:g}.")


class Atlas:
    """Textures packed for a renderer; differentiable in the textures' pixels.

    Building an atlas from pixels that require a gradient gives packed texels that carry it, so learning
    textures means building the atlas anew at each step.

    Attributes:
        textures: the originals, straight alpha.
        texels: ``(L,)``, all mip levels of all textures (layout: ``CompositeInputs.texels``), premultiplied.
        levels: ``(R, 3)`` int64 rows (offset, width, height).
        table: ``(T, 3)`` int64 rows (index of level 0 in ``levels``, number of levels, channels).
        extent: ``(T, 2)``, the half width and half height that the packed texture covers in units of the
            original's; 1 unless blurred.
        aspect: ``(T, 2)``, half width and half height of each original, the longer one being 1.
    """

    textures: tuple[Texture, ...]
    texels: Tensor
    levels: Tensor
    table: Tensor
    extent: Tensor
    aspect: Tensor

    def __init__(self, textures: Sequence[Texture], *, blur: float = 0.0) -> None:
        """Pack ``textures``, blurred by ``blur`` texels of a 128-texel texture (see ``blurred``)."""
        if not textures:
            raise DiffbmpError("An atlas needs at least one texture.")
        if not (math.isfinite(blur) and blur >= 0):
            raise DiffbmpError(f"blur must be a number of at least 0, got {blur}.")
        self.textures = tuple(textures)
        self.blur = blur
        kind = textures[0].pixels
        for texture in textures:
            if texture.pixels.dtype != kind.dtype or texture.pixels.device != kind.device:
                raise DiffbmpError("All textures of an atlas must have one dtype and be on one device.")
        parts: list[Tensor] = []
        levels: list[tuple[int, int, int]] = []
        table: list[tuple[int, int, int]] = []
        extent: list[tuple[float, float]] = []
        offset = 0
        for texture, chain in zip(textures, _packed_chains(textures, blur), strict=True):
            height, width = texture.pixels.shape[-2:]
            extent.append((chain[0].width / width, chain[0].height / height))
            table.append((len(levels), len(chain), texture.pixels.shape[0]))
            for level in chain:
                levels.append((offset, level.width, level.height))
                parts.append(level.texels)
                offset += level.texels.numel()
        device = kind.device
        self.texels = torch.cat(parts)
        self.levels = torch.tensor(levels, dtype=torch.int64, device=device)
        self.table = torch.tensor(table, dtype=torch.int64, device=device)
        self.extent = torch.tensor(extent, dtype=kind.dtype, device=device)
        sizes = [(texture.pixels.shape[-1], texture.pixels.shape[-2]) for texture in textures]
        self.aspect = torch.tensor(
            [(width / max(width, height), height / max(width, height)) for width, height in sizes],
            dtype=kind.dtype,
            device=device,
        )

    @classmethod
    def from_pixels(cls, pixels: Sequence[Tensor]) -> Atlas:
        """Pack bare tensors, ``(h, w)`` or ``(1, h, w)`` alpha or ``(4, h, w)`` straight RGBA, named by number."""
        textures = [Texture(str(i), p[None] if p.dim() == 2 else p) for i, p in enumerate(pixels)]
        return cls(textures)

    def __len__(self) -> int:
        return len(self.textures)

    def __repr__(self) -> str:
        return f"Atlas({len(self)} textures, {self.texels.numel()} texels, {self.texels.dtype}, {self.texels.device})"

    @property
    def padded(self) -> bool:
        """Whether packed textures are larger than the originals (blurred)."""
        return self.blur > 0

    @property
    def colored(self) -> Tensor:
        """``(T,)`` bool: which textures have a colour of their own."""
        return self.table[:, 2] == 4

    def blurred(self, sigma: float) -> Atlas:
        """Return the atlas with every texture blurred by a Gaussian, for soft rasterization.

        Args:
            sigma: standard deviation in texels of a 128-texel texture (1 / 128 of the longest side). Textures
                are enlarged by the whole kernel, so that no skirt is cut; ``extent`` says by how much, and
                ``composite`` enlarges the frames to match.
        """
        return Atlas(self.textures, blur=sigma) if sigma != self.blur else self

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Atlas:
        """Return the atlas on another device or in another floating dtype."""
        moved = [replace(t, pixels=t.pixels.to(device=device, dtype=dtype)) for t in self.textures]
        same = all(m.pixels is t.pixels for m, t in zip(moved, self.textures, strict=True))
        return self if same else Atlas(moved, blur=self.blur)


class _Level(NamedTuple):
    """One mip level as packed: its size without the border, and ``(height + 2) (width + 2) C`` texels."""

    width: int
    height: int
    texels: Tensor


def _packed_chains(textures: Sequence[Texture], blur: float) -> list[list[_Level]]:
    """Return the levels of each texture, premultiplied; textures of one size are filtered together."""
    alike: dict[torch.Size, list[int]] = {}
    for index, texture in enumerate(textures):
        alike.setdefault(texture.pixels.shape, []).append(index)
    chains: list[list[_Level]] = [[] for _ in textures]
    for shape, members in alike.items():
        images = _premultiplied(torch.stack([textures[index].pixels for index in members]))
        if blur > 0:
            images = gaussian_blur(images, blur * max(shape[-2:]) / BLUR_UNIT)
        for level in _mip_chain(images):
            bordered = torch.nn.functional.pad(level, (1, 1, 1, 1)).movedim(1, -1).flatten(1)
            for index, texels in zip(members, bordered, strict=True):
                chains[index].append(_Level(level.shape[-1], level.shape[-2], texels))
    return chains


def _premultiplied(pixels: Tensor) -> Tensor:
    if pixels.shape[-3] == 1:
        return pixels
    color, alpha = torch.split(pixels, [3, 1], dim=-3)
    return torch.cat([color * alpha, alpha], dim=-3)


def _mip_chain(images: Tensor) -> list[Tensor]:
    """Return the levels ``(..., h, w)``, each half of the one before (rounded up), down to one texel."""
    chain = [images]
    while max(chain[-1].shape[-2:]) > 1:
        chain.append(halve(chain[-1]))
    return chain
