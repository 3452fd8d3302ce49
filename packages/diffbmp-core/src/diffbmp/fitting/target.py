"""The target of a fit: a picture, or one for each canvas of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.settings import FitSettings
from diffbmp.images import picture_tensor, read_image, read_mask

__all__ = ["Target", "files_of", "find_target", "read_target"]


@dataclass(frozen=True)
class Target:
    """The picture to compose: straight colour ``(..., 3, H, W)`` and alpha ``(..., 1, H, W)``, or None where opaque.

    "..." is nothing, or B for a batch of canvases.
    """

    color: Tensor
    alpha: Tensor | None

    @classmethod
    def from_image(cls, image: Tensor) -> Target:
        """Take an image ``(..., 3, H, W)`` or straight ``(..., 4, H, W)`` in [0, 1], of one canvas or B.

        An alpha of 1 throughout is that of an opaque target, which has none.

        Raises:
            DiffbmpError: for another shape, an integer dtype, NaN or infinity, or values outside [0, 1].
        """
        if image.dim() not in (3, 4) or image.shape[-3] not in (3, 4) or 0 in image.shape:
            raise DiffbmpError(f"A target must have shape (3, H, W) or (4, H, W), got {tuple(image.shape)}.")
        if not image.is_floating_point():
            raise DiffbmpError(f"A target must hold floats in [0, 1], got {image.dtype}; divide 8-bit values by 255.")
        image = image.detach()
        if not bool(torch.isfinite(image).all()):
            raise DiffbmpError("The target holds NaN or infinity.")
        if float(image.min()) < 0 or float(image.max()) > 1:
            low, high = float(image.min()), float(image.max())
            raise DiffbmpError(f"The target holds values from {low:g} to {high:g}; they must be in [0, 1].")
        # Contiguous, for a saved one will be, and a resumed fit must go on with the same bits.
        color = image[..., :3, :, :].contiguous()
        return cls(color, _visible(image[..., 3:, :, :].contiguous() if image.shape[-3] == 4 else None))

    @classmethod
    def stacked(cls, targets: Sequence[Target]) -> Target:
        """Return the targets of a batch of canvases, which must be of one size; an opaque one among others has alpha 1.

        Raises:
            DiffbmpError: where there are none, sizes differ, or one is a batch itself.
        """
        if not targets:
            raise DiffbmpError("A batch needs at least one target.")
        if any(target.batch is not None for target in targets):
            raise DiffbmpError("Each target of a batch is one picture, but one of those given is a batch itself.")
        sizes = list(dict.fromkeys(target.size for target in targets))
        if len(sizes) > 1:
            listing = ", ".join(f"{width} x {height}" for height, width in sizes)
            raise DiffbmpError(f"The targets of a batch must be of one size, got {listing}; resize them first.")
        color = torch.stack([target.color for target in targets])
        if all(target.alpha is None for target in targets):
            return cls(color, None)
        one = torch.ones_like(color[0, :1])
        return cls(color, torch.stack([one if target.alpha is None else target.alpha for target in targets]))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.color.shape[-2], self.color.shape[-1]

    @property
    def batch(self) -> int | None:
        """Number B of canvases, or None for one picture."""
        return self.color.shape[0] if self.color.dim() == 4 else None

    def canvas(self, index: int) -> Target:
        """Return the target of one canvas of a batch, as if it had been given alone."""
        if self.batch is None:
            return self
        return Target(self.color[index], None if self.alpha is None else _visible(self.alpha[index]))

    def image(self) -> Tensor:
        """Return ``(..., 3, H, W)`` or straight ``(..., 4, H, W)``: what ``from_image`` takes."""
        return self.color if self.alpha is None else torch.cat([self.color, self.alpha], dim=-3)

    def over(self, background: Tensor) -> Tensor:
        """Return the target over an opaque background, ``(..., 3, H, W)``."""
        if self.alpha is None:
            return self.color
        return self.color * self.alpha + (1 - self.alpha) * background

    def at(self, size: tuple[int, int]) -> Target:
        """Return the target at another size (height, width), shrunk by area."""
        if self.size == size:
            return self
        if self.batch is not None:  # one by one, so that each has the bits that it would have alone
            return Target.stacked([self.canvas(index).at(size) for index in range(self.batch)])

        def shrunk(image: Tensor) -> Tensor:
            return torch.nn.functional.interpolate(image[None], size=size, mode="area")[0]

        if self.alpha is None:
            return Target(shrunk(self.color), None)
        alpha = shrunk(self.alpha)
        return Target(shrunk(self.color * self.alpha) / alpha.clamp(min=1e-6), alpha)

    def masked(self, alpha: Tensor) -> Target:
        """Return the target with ``alpha`` ``(1, H, W)`` in [0, 1] as a further factor of its own."""
        alpha = alpha.to(self.color)
        if self.batch is not None:
            alpha = alpha.expand(self.batch, -1, -1, -1)
        return Target(self.color, _visible(alpha if self.alpha is None else self.alpha * alpha))

    def to(self, device: torch.device, dtype: torch.dtype) -> Target:
        """Return the target on another device or in another dtype."""
        return Target(self.color.to(device, dtype), None if self.alpha is None else self.alpha.to(device, dtype))


def read_target(given: Any, *, width: int | None = None) -> Target:
    """Return the target that a person means.

    Args:
        given: a path; a tensor ``(3, H, W)`` or straight ``(4, H, W)`` in [0, 1]; a NumPy array ``(H, W)``,
            ``(H, W, 3)`` or ``(H, W, 4)``, 8 bits or floats in [0, 1]; a PIL picture; a ``Target``; or a list of any of
            these, a tensor ``(B, C, H, W)`` or an array ``(B, H, W, C)``, for a batch of canvases.
        width: width in pixels that files are resized to.

    Raises:
        DiffbmpError: where it is none of these, cannot be read, or the sizes of a batch differ.
    """
    if isinstance(given, (list, tuple)):
        return Target.stacked([read_target(one, width=width) for one in given])
    if isinstance(given, (str, Path)):
        return Target.from_image(read_image(given, width=width, what="target"))
    if width is not None:
        raise DiffbmpError("width resizes a target that is read from a file; resize a tensor before giving it.")
    if isinstance(given, Target):
        return given
    if isinstance(given, Image.Image):
        return Target.from_image(picture_tensor(given, what="target"))
    if isinstance(given, np.ndarray) and given.ndim == 4:
        return Target.stacked([Target.from_image(_from_array(one)) for one in given])
    if isinstance(given, np.ndarray):
        return Target.from_image(_from_array(given))
    if isinstance(given, Tensor):
        return Target.from_image(given)
    raise DiffbmpError(
        f"A target is a path, a tensor (3, H, W), a NumPy array (H, W, 3) or a PIL picture, not {type(given).__name__}."
    )


def find_target(settings: FitSettings, given: Any, *, required: bool = True) -> Target | None:
    """Return the target of a fit, with its mask, or None where there is none.

    Args:
        settings: of the fit, which name its file, mask and width.
        given: the target as ``read_target`` takes it, in place of the file.
        required: whether a fit without a target must say how large it is.

    Raises:
        DiffbmpError: where it cannot be read, both or neither a target and a size are given, or something is asked of
            a target that there is not.
    """
    source = given if given is not None else settings.target or None
    if source is None:
        if required and not settings.size:
            raise DiffbmpError(
                "A fit needs a target: give it the path of a picture, or a size (--size 512x512) and a loss that needs "
                "none."
            )
        for name in ("width", "target_mask"):
            if getattr(settings, name):
                raise DiffbmpError(f"{name} is for a fit with a target, and there is none; leave it out.")
        return None
    if settings.size:
        raise DiffbmpError("size is for a fit without a target, whose canvas is as large as the target; leave one out.")
    target = read_target(source, width=settings.width)
    return target.masked(read_mask(settings.target_mask, target.size)) if settings.target_mask else target


def files_of(given: Any) -> str | list[str]:
    """Return the path or the paths that a target is given by, as settings hold them; "" where it is in memory."""
    if isinstance(given, (str, Path)):
        return str(given)
    if isinstance(given, (list, tuple)) and given and all(isinstance(one, (str, Path)) for one in given):
        return [str(one) for one in given]
    return ""


def _visible(alpha: Tensor | None) -> Tensor | None:
    """Return an alpha, or None where it is 1 throughout."""
    return None if alpha is None or bool((alpha == 1).all()) else alpha


def _from_array(array: np.ndarray[Any, Any]) -> Tensor:
    grey = array[..., None].repeat(3, axis=-1) if array.ndim == 2 else array
    if grey.ndim != 3 or grey.shape[-1] not in (3, 4):
        raise DiffbmpError(f"A target array must have shape (H, W), (H, W, 3) or (H, W, 4), got {array.shape}.")
    if grey.dtype != np.uint8 and grey.dtype.kind != "f":
        raise DiffbmpError(f"A target array must hold 8-bit values or floats in [0, 1], got {array.dtype}.")
    values = torch.from_numpy(np.array(grey, dtype=np.float32)).movedim(-1, 0)
    return values.div(255) if grey.dtype == np.uint8 else values
