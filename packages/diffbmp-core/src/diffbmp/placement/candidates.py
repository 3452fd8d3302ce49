"""Candidates: where one more stamp, painted in front of all others, brings the picture closest to the target.

Very many places, sizes, turns and textures are compared at once. For each the best colour has a closed form, as in
greedy search with shapes (fogleman's *primitive*): what a stamp in front of all others does to a pixel is linear in
its colour, so the squared error is a quadratic whose coefficients are five sums over the stamp's pixels.

The sums are taken by quadrature: at a few points of the stamp, from the level of an image pyramid of the picture
whose pixels are as large as the points lie apart. So a candidate costs the same at any size and on any canvas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from diffbmp.atlas.atlas import Atlas
from diffbmp.primitives.constraints import Constraints
from diffbmp.primitives.palette import nearest_color
from diffbmp.rendering.composite import over_background
from diffbmp.settings import Settings
from diffbmp.stamps.stamps import COLOR_MARGIN, LOGIT_MARGIN, MINIMUM_SCALE, Stamps

__all__ = ["CandidateSettings", "Comparison", "Found", "find_stamps", "scale_limits"]

CHUNK = 4096
"""Candidates compared at once, which bounds the memory."""
POOL = 8
"""Candidates that go on to the next round, for each stamp that is wanted."""
VARIANTS = 4
"""Variants made of each of these in a round."""
ROOM = 0.6
"""Stamps placed together stay apart: the boxes around them, this much of their size, do not meet."""


class CandidateSettings(Settings):
    """How many candidates are compared, and which."""

    per_stamp: int = Field(40, ge=1, le=10_000)
    """Candidates drawn for each stamp that is to be placed."""
    rounds: int = Field(1, ge=0, le=100)
    """Times that the best candidates are varied at random, keeping what is better."""
    samples: int = Field(8, ge=2, le=64)
    """A candidate is compared with the target at this many points a side."""
    opacities: tuple[float, ...] = Field((0.3, 0.5, 0.7, 0.9), min_length=1)
    """Opacities that are tried for each candidate, each in (0, 1)."""
    smallest: float = Field(0.2, gt=0)
    """Smallest half-extent of a candidate, in units of the spacing sqrt(H W / n) that n stamps have."""
    largest: float = Field(2.0, gt=0)
    """Largest half-extent, in units of the spacing that the stamps so far and those to be placed have."""
    textures: bool = True
    """Whether each stamp takes the texture that fits best; else textures are dealt in turn."""


@dataclass(frozen=True)
class Comparison:
    """A picture and what it should be, at one resolution.

    Attributes:
        current: ``(3, h, w)`` colour, or ``(4, h, w)`` with alpha where the shape matters too.
        target: like ``current``.
        width: width of the canvas in pixels, whose positions and scales are meant; the pictures may be smaller.
        height: height of the canvas in pixels.
    """

    current: Tensor
    target: Tensor
    width: int
    height: int

    @classmethod
    def of(
        cls, layer: Tensor, background: Tensor, target: Tensor, alpha: Tensor | None, *, width: int, height: int
    ) -> Comparison:
        """Compare a premultiplied layer ``(4, h, w)`` over an opaque background with a target, straight colour.

        With ``alpha`` ``(1, h, w)``, the target's, the shapes are compared too.
        """
        layer = layer.detach()
        current = over_background(layer, background)
        if alpha is None:
            return cls(current, target, width, height)
        wanted = target * alpha + (1 - alpha) * background
        return cls(torch.cat([current, layer[3:]]), torch.cat([wanted, alpha]), width, height)


@dataclass(frozen=True)
class Found:
    """Stamps to be painted in front of everything else.

    Attributes:
        position: ``(K, 2)`` canvas pixels.
        scale: ``(K,)`` canvas pixels.
        rotation: ``(K,)`` radians.
        texture: ``(K,)`` int64.
        opacity: ``(K,)`` in (0, 1).
        color: ``(K, 3)`` in [0, 1].
        gain: ``(K,)``, by how much each alone lowers the squared error, summed over channels and pixels of the
            comparison; below 0 where it raises it.
    """

    position: Tensor
    scale: Tensor
    rotation: Tensor
    texture: Tensor
    opacity: Tensor
    color: Tensor
    gain: Tensor

    def __len__(self) -> int:
        return len(self.scale)

    def __getitem__(self, index: Tensor | slice) -> Found:
        return Found(**{name: value[index] for name, value in vars(self).items()})

    def joined(self, other: Found) -> Found:
        """Return both, ``other`` after."""
        return Found(**{name: torch.cat([value, getattr(other, name)]) for name, value in vars(self).items()})

    def stamps(self, color_blend: Tensor) -> Stamps:
        """Return them as stamps; ``color_blend`` ``(T,)`` is that of each texture."""
        return Stamps(
            position=self.position,
            scale=self.scale,
            rotation=self.rotation,
            opacity_logit=torch.logit(self.opacity, eps=LOGIT_MARGIN),
            color_logit=torch.logit(self.color, eps=COLOR_MARGIN),
            texture=self.texture,
            color_blend=color_blend[self.texture].to(self.scale),
        )


def scale_limits(settings: CandidateSettings, area: float, count: int, n: int) -> tuple[float, float]:
    """Return the smallest and the largest half-extent, pixels, when ``count`` of ``n`` stamps share ``area`` pixels."""
    smallest = max(MINIMUM_SCALE, settings.smallest * math.sqrt(area / n))
    return smallest, max(smallest, settings.largest * math.sqrt(area / count))


@torch.no_grad()
def find_stamps(
    comparison: Comparison,
    atlas: Atlas,
    count: int,
    limits: tuple[float, float],
    settings: CandidateSettings,
    generator: torch.Generator,
    *,
    color_blend: Tensor,
    alpha_max: float = 1.0,
    blend: str = "over",
    textures: Tensor | None = None,
    constraints: Constraints | None = None,
) -> Found:
    """Return at most ``count`` stamps that keep clear of each other, the most helpful first; at least one.

    Args:
        comparison: what there is and what there should be.
        atlas: textures to choose from.
        count: how many are wanted; fewer come where no more find room, so ask again with the new picture.
        limits: smallest and largest half-extent, canvas pixels.
        settings: how many candidates.
        generator: on the CPU; the only source of randomness.
        color_blend: ``(T,)``, that of stamps of each texture.
        alpha_max: factor on opacities.
        blend: "over" or "add".
        textures: ``(K,)`` indices of those to choose from; all where it is left out.
        constraints: parameters that are locked, and the palette.
    """
    held = constraints or Constraints()
    if (scale := held.fixed("scale")) is not None:
        limits = (scale, scale)
    if (opacity := held.fixed("opacity")) is not None:
        settings = settings.model_copy(update={"opacities": (opacity,)})
    allowed = torch.arange(len(atlas)) if textures is None else textures.cpu()
    judge = _Judge(comparison, atlas, settings, color_blend, alpha_max, blend, held)
    drawn = judge(*_draw(comparison, allowed, max(count, 8) * settings.per_stamp, limits, settings, generator))
    for _ in range(settings.rounds):
        best = drawn[_descending(drawn.gain)[: max(count, 8) * POOL]]
        drawn = best.joined(judge(*_vary(best, limits, allowed, settings, generator)))
    drawn = drawn[_descending(drawn.gain)]
    return drawn[_apart(drawn, comparison, count)]


def _descending(gain: Tensor) -> Tensor:
    return torch.argsort(gain, descending=True, stable=True)


def _draw(
    comparison: Comparison,
    textures: Tensor,
    number: int,
    limits: tuple[float, float],
    settings: CandidateSettings,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return positions, drawn where the error is, scales (log-uniform), rotations (uniform) and textures."""
    like = comparison.current
    error = (comparison.target - comparison.current).square().sum(dim=0)
    error = functional.avg_pool2d(error[None], 5, 1, 2)[0]
    height, width = error.shape
    sums = error.flatten().double().cpu().add_(1e-9).cumsum(0)
    chance = torch.rand(number, generator=generator, dtype=torch.float64)
    pixel = torch.searchsorted(sums, chance * sums[-1], right=True).clamp(max=len(sums) - 1)
    corner = torch.stack([pixel % width, pixel.div(width, rounding_mode="floor")], dim=-1)
    inside = torch.rand((number, 2), generator=generator, dtype=torch.float64)
    size = torch.tensor([comparison.width / width, comparison.height / height], dtype=torch.float64)
    smallest, largest = limits
    ratio = torch.rand(number, generator=generator, dtype=torch.float64)
    rotation = 2 * math.pi * torch.rand(number, generator=generator, dtype=torch.float64)
    if settings.textures:
        texture = textures[torch.randint(len(textures), (number,), generator=generator)]
    else:
        texture = textures[torch.arange(number) % len(textures)]
    return (
        ((corner + inside) * size).to(like),
        (smallest * (largest / smallest) ** ratio).to(like),
        rotation.to(like),
        texture.to(like.device),
    )


def _vary(
    best: Found, limits: tuple[float, float], textures: Tensor, settings: CandidateSettings, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return variants: moved, resized and turned a little, half of them with another texture."""
    number = len(best) * VARIANTS
    like = best.position
    scale, texture = best.scale.repeat(VARIANTS), best.texture.repeat(VARIANTS)
    normal = torch.randn((number, 4), generator=generator, dtype=torch.float64).to(like)
    position = best.position.repeat(VARIANTS, 1) + 0.3 * scale[:, None] * normal[:, :2]
    rotation = best.rotation.repeat(VARIANTS) + 0.4 * normal[:, 3]
    other = textures[torch.randint(len(textures), (number,), generator=generator)].to(texture.device)
    if settings.textures:
        keeps = torch.arange(number, device=texture.device) < number // 2
        texture = torch.where(keeps, texture, other)
    return position, (scale * torch.exp(0.25 * normal[:, 2])).clamp(*limits), rotation, texture


class _Judge:
    """Gives candidates their best colour and opacity, and says what they gain."""

    def __init__(
        self,
        comparison: Comparison,
        atlas: Atlas,
        settings: CandidateSettings,
        color_blend: Tensor,
        alpha_max: float,
        blend: str,
        held: Constraints,
    ) -> None:
        self.held = held
        self.comparison, self.atlas, self.settings = comparison, atlas, settings
        self.alpha_max, self.hides = alpha_max, blend == "over"
        like = comparison.current
        self.channels = like.shape[0]
        self.pyramid = _pyramid(torch.cat([comparison.target, like]))
        mixed = torch.where(atlas.colored, color_blend.to(like), torch.zeros((), device=like.device, dtype=like.dtype))
        self.mixed = mixed
        thumbnails = []
        for texture in atlas.textures:
            pixels = texture.pixels.to(like)
            alpha = pixels[-1:]
            own = pixels[:3] * alpha if pixels.shape[0] == 4 else torch.zeros_like(alpha).expand(3, -1, -1)
            # Shrunk by area, for each point stands for a cell of the stamp.
            small = functional.adaptive_avg_pool2d(torch.cat([own, alpha]), settings.samples)
            thumbnails.append(small)
        self.thumbnails = torch.stack(thumbnails)  # (T, 4, S, S), premultiplied
        cell = torch.arange(settings.samples, device=like.device, dtype=like.dtype)
        self.cells = (cell + 0.5) * (2 / settings.samples) - 1

    def __call__(self, position: Tensor, scale: Tensor, rotation: Tensor, texture: Tensor) -> Found:
        if (turn := self.held.fixed("rotation")) is not None:
            rotation = torch.full_like(rotation, turn)
        chunks = [slice(first, first + CHUNK) for first in range(0, len(scale), CHUNK)]
        parts = [self._judge(position[c], scale[c], rotation[c], texture[c]) for c in chunks]
        opacity, color, gain = (torch.cat([part[i] for part in parts]) for i in range(3))
        return Found(position, scale, rotation, texture, opacity, color, gain)

    def _judge(self, position: Tensor, scale: Tensor, rotation: Tensor, texture: Tensor) -> tuple[Tensor, ...]:
        """Return opacity, colour and gain of each candidate.

        With weight k = (1 - mu) m of the tint x and q = m c - mu P of all else (P the texture's own premultiplied
        colour), the stamp changes the residual d = target - c into d + a q - a k x.
        """
        target, current, area = self._canvas(position, scale, rotation, texture)
        thumbnail = self.thumbnails[texture].flatten(2)  # (K, 4, S S)
        own, coverage = thumbnail[:, :3], thumbnail[:, 3:]
        mixed = self.mixed[texture][:, None, None]
        residual = target - current
        hidden = coverage * current if self.hides else torch.zeros_like(current)
        fixed = torch.cat([hidden[:, :3] - mixed * own, hidden[:, 3:]], dim=1)
        weight = (1 - mixed) * coverage
        kk = (weight * weight * area).sum(-1)  # (K, 1)
        dk = (residual[:, :3] * weight * area).sum(-1)  # (K, 3)
        qk = (fixed[:, :3] * weight * area).sum(-1)
        dq = (residual[:, :3] * fixed[:, :3] * area).sum(-1)
        qq = (fixed[:, :3].square() * area).sum(-1)
        if self.channels == 4:  # alpha: the stamp's is its coverage, and nothing is to be chosen
            change = fixed[:, 3:] - coverage
            alpha_dq = (residual[:, 3:] * change * area).sum((1, 2))
            alpha_qq = (change.square() * area).sum((1, 2))
        best: tuple[Tensor, ...] = ()
        for opacity in self.settings.opacities:
            a = opacity * self.alpha_max
            color = ((dk + a * qk) / (a * kk).clamp(min=1e-9)).clamp(0, 1)
            if self.held.palette is not None:  # the error is as steep in each channel, so the nearest is the best
                color = nearest_color(color, self.held.palette)
            change = a * (dq - color * dk) * 2 + a * a * (qq - 2 * color * qk + color * color * kk)
            gain = -change.sum(-1)
            if self.channels == 4:
                gain = gain - 2 * a * alpha_dq - a * a * alpha_qq
            found = (torch.full_like(gain, opacity), color, gain)
            if best:
                better = gain > best[2]
                found = (
                    torch.where(better, found[0], best[0]),
                    torch.where(better[:, None], color, best[1]),
                    torch.where(better, gain, best[2]),
                )
            best = found
        return best

    def _canvas(
        self, position: Tensor, scale: Tensor, rotation: Tensor, texture: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return target and picture under the points of each candidate, ``(K, C, S S)``, and the points' areas.

        An area is in pixels of the comparison, 0 for a point off the canvas: ``(K, 1, S S)``.
        """
        width, height = self.comparison.width, self.comparison.height
        half = scale[:, None] * self.atlas.aspect[texture]
        samples = self.settings.samples
        u = (half[:, 0, None] * self.cells)[:, None, :]  # (K, 1, S)
        v = (half[:, 1, None] * self.cells)[:, :, None]  # (K, S, 1)
        cosine, sine = torch.cos(rotation)[:, None, None], torch.sin(rotation)[:, None, None]
        x = (position[:, 0, None, None] + cosine * u - sine * v).flatten(1)
        y = (position[:, 1, None, None] + sine * u + cosine * v).flatten(1)
        points = torch.stack([x * (2 / width) - 1, y * (2 / height) - 1], dim=-1)  # (K, S S, 2)
        finest = self.pyramid[0].shape[-1] / width  # picture pixels a canvas pixel
        level = torch.log2((2 * finest / samples) * scale).round().clamp(0, len(self.pyramid) - 1).long()
        both = torch.empty((len(scale), 2 * self.channels, samples**2), device=scale.device, dtype=scale.dtype)
        for number in range(len(self.pyramid)):
            chosen = (level == number).nonzero()[:, 0]
            if len(chosen):
                sampled = functional.grid_sample(
                    self.pyramid[number][None], points[chosen][None], padding_mode="border", align_corners=False
                )
                both[chosen] = sampled[0].transpose(0, 1)
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        area = (4 * finest**2 / samples**2) * half.prod(-1)
        return both[:, : self.channels], both[:, self.channels :], (inside * area[:, None])[:, None]


def _pyramid(image: Tensor) -> list[Tensor]:
    """Return ``(C, h, w)`` at its size and at each half of it, down to a few pixels."""
    levels = [image]
    while min(levels[-1].shape[-2:]) > 4:
        levels.append(functional.avg_pool2d(levels[-1][None], 2, ceil_mode=True, count_include_pad=False)[0])
    return levels


def _apart(found: Found, comparison: Comparison, count: int) -> Tensor:
    """Return indices of at most ``count`` of ``found``, which is in descending order, that keep clear of each other."""
    cells = 512 / max(comparison.width, comparison.height)
    taken = np.zeros((math.ceil(comparison.height * cells) + 1, math.ceil(comparison.width * cells) + 1), dtype=bool)
    reach = ROOM * found.scale.cpu().numpy()[:, None]
    position = found.position.cpu().numpy()
    low = np.floor((position - reach) * cells).astype(int)
    high = np.ceil((position + reach) * cells).astype(int)
    limit = np.array(taken.shape)[::-1]
    low, high = np.clip(low, 0, limit - 1).tolist(), np.clip(high, 1, limit).tolist()
    chosen: list[int] = []
    for index, ((left, top), (right, bottom)) in enumerate(zip(low, high, strict=True)):
        box = taken[top:bottom, left:right]
        if not box.any():
            box[:] = True
            chosen.append(index)
            if len(chosen) == count:
                break
    return torch.tensor(chosen, dtype=torch.int64, device=found.scale.device)
