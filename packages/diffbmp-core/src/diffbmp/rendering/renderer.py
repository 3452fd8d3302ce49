"""The renderer interface: what a renderer is given, what it returns, and how it says what it can do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from diffbmp.plugins.plugin import Plugin
from diffbmp.rendering.quantize import straight_bytes

__all__ = ["BLENDS", "FILTERS", "Blend", "CompositeInputs", "Filter", "Gradients", "Renderer"]

Blend = Literal["over", "add"]
Filter = Literal["mipmap", "trilinear", "bilinear", "nearest_texel"]
BLENDS: tuple[str, ...] = get_args(Blend)
FILTERS: tuple[str, ...] = get_args(Filter)
BLEND_CODES: dict[str, int] = {name: code for code, name in enumerate(BLENDS)}
FILTER_CODES: dict[str, int] = {name: code for code, name in enumerate(FILTERS)}


@dataclass(frozen=True)
class CompositeInputs:
    """One call of the operator: B canvases, N sprites each, T textures with R mip levels in all.

    The arithmetic is in docs/rendering.md; ``reference.py`` is its readable form.

    Attributes:
        frame: ``(B, N, 2, 3)``, maps sprite coordinates (u, v, 1) to canvas pixels.
        opacity: ``(B, N)``, in [0, 1], with alpha_max already multiplied in.
        color: ``(B, N, 3)``, tint in [0, 1].
        color_blend: ``(B, N)``, mu in [0, 1]; counts as 0 where the texture is alpha-only.
        texture: ``(B, N)`` int64, index into ``textures``.
        texels: ``(L,)``, every mip level of every texture, row-major, each surrounded by a border one texel
            wide. A level of width w and height h takes (h + 2) (w + 2) texels; a texel is one float (alpha) or
            four (premultiplied RGBA). The border must be zero.
        levels: ``(R, 3)`` int64 rows (offset into ``texels`` of the level's border corner, width, height).
        textures: ``(T, 3)`` int64 rows (index of level 0 in ``levels``, number of levels, channels 1 or 4).
        height: canvas height H in pixels.
        width: canvas width W in pixels.
        blend: "over" or "add".
        filter: "mipmap" (bilinear in the nearest level), "trilinear", "bilinear" (level 0 only) or
            "nearest_texel" (level 0 only).
        seed: int64 ``()`` on the CPU, whatever the device of the others, or None where the caller gave none: what the
            gradients of a stochastic renderer follow from. Every other renderer ignores it.
    """

    frame: Tensor
    opacity: Tensor
    color: Tensor
    color_blend: Tensor
    texture: Tensor
    texels: Tensor
    levels: Tensor
    textures: Tensor
    height: int
    width: int
    blend: str
    filter: str
    seed: Tensor | None = None

    @property
    def batch(self) -> int:
        """Number of canvases B."""
        return self.frame.shape[0]

    @property
    def count(self) -> int:
        """Number of sprites N on each canvas."""
        return self.frame.shape[1]

    @property
    def blend_code(self) -> int:
        """Number by which kernels know the blend mode: ``Blend`` of ``diffbmp/codes.h`` (``diffbmp.get_include()``)."""
        return BLEND_CODES[self.blend]

    @property
    def filter_code(self) -> int:
        """Number by which kernels know the filter: ``Filter`` of ``diffbmp/codes.h``."""
        return FILTER_CODES[self.filter]


@dataclass(frozen=True)
class Gradients:
    """Gradients of the loss, each of the shape and dtype of its input; ``texels`` None where it was not asked for."""

    frame: Tensor
    opacity: Tensor
    color: Tensor
    color_blend: Tensor
    texels: Tensor | None


class Renderer(Plugin, ABC):
    """Base of every renderer: forward and backward of the operator on flat tensors.

    A renderer never sees autograd, batches of odd shape or a background; the operator takes care of them. Its class
    variables say what it can do, and it is asked for nothing else: whoever asks for more gets a ``DiffbmpError``.
    Register a subclass through the hook ``register_renderers``, or pass an instance wherever a renderer is named;
    ``diffbmp.testing`` holds the conformance suite that it must pass.
    """

    family: ClassVar[str] = "renderers"

    priority: ClassVar[int] = 0
    """The available renderer of the highest priority is chosen where the user names none."""

    dtypes: ClassVar[tuple[torch.dtype, ...]] = (torch.float32,)
    """What it draws: float32, float64 or both."""

    blends: ClassVar[tuple[Blend, ...]] = get_args(Blend)
    """The blend modes that it draws."""

    filters: ClassVar[tuple[Filter, ...]] = get_args(Filter)
    """The filters that it reads textures with."""

    texel_gradients: ClassVar[bool] = True
    """Whether it has gradients of the textures' pixels; where not, ``backward`` is never asked for them."""

    draws_layers: ClassVar[bool] = False
    """Whether it has ``layers``; where not, the layers of exported files are drawn on the CPU."""

    exact: ClassVar[bool] = True
    """Whether it draws the rendering equation (docs/rendering.md). False for a look of its own: such a renderer draws
    only where it is named, and nobody draws in its place."""

    stochastic: ClassVar[bool] = False
    """Whether its gradients are random estimates, a function of ``CompositeInputs.seed``; its pictures are not random.
    Such a renderer draws only where it is named, and is given a seed wherever a gradient is wanted."""

    state_planes: ClassVar[int] = 0
    """Number S of float32 planes per canvas that ``forward`` saves for ``backward``."""

    @classmethod
    def unavailable(cls, device: torch.device) -> str | None:
        """Return why this renderer cannot draw on ``device``, in one clause, or None where it can."""
        return None

    @abstractmethod
    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        """Draw. A canvas has the same bits alone and in a batch.

        Returns:
            The image ``(B, 4, H, W)``, premultiplied RGBA in the dtype of ``inputs.frame``, contiguous; and the
            state ``(B, S, H, W)`` float32, contiguous, kept as it is for ``backward``. Both newly allocated.
        """

    @abstractmethod
    def backward(
        self, inputs: CompositeInputs, state: Tensor, grad_image: Tensor, *, texel_gradient: bool
    ) -> Gradients:
        """Return the gradients of sum(image * grad_image).

        Args:
            inputs: the same as were given to ``forward``.
            state: what ``forward`` returned.
            grad_image: ``(B, 4, H, W)``, contiguous.
            texel_gradient: whether the gradient of ``texels`` is wanted.
        """

    def layers(self, inputs: CompositeInputs, boxes: Tensor) -> Tensor:
        """Draw each sprite alone, into a box of its own; optional, see ``draws_layers``.

        Args:
            inputs: one canvas (B = 1) in float32. What is wanted of it are its sprites: neither its blend nor its
                size matters.
            boxes: ``(N, 4)`` int64 on the CPU, (left, top, width, height) in canvas pixels for each sprite; 0 x 0 where
                nothing is to be drawn.

        Returns:
            Premultiplied RGBA, float32, on the device of ``inputs``: ``(4, height, width)`` of each box, flattened, one
            after the other.
        """
        raise NotImplementedError(f"{type(self).__name__}.layers")

    def layer_bytes(self, inputs: CompositeInputs, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Draw layers as files hold them; made of ``layers`` where a renderer has no quicker way.

        Returns:
            Straight RGBA, uint8, laid out like the result of ``layers``, the nearest value; and ``(N, 4)`` int64 on the
            CPU, the box (within its box) outside of which alpha is 0. Where alpha is 0, colours are the tint for an
            alpha-only texture, which so has one colour throughout and compresses well, and 0 for the others.
        """
        tints = torch.where((inputs.textures[inputs.texture[0], 2] == 1)[:, None], inputs.color[0], torch.nan)
        return straight_bytes(self.layers(inputs, boxes), boxes, tints)
