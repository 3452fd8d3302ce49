"""The loss interface: what a fit minimises, and all that it may look at."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from diffbmp.plugins.plugin import Plugin

if TYPE_CHECKING:
    from diffbmp.rendering.sprites import Sprites
    from diffbmp.scene.scene import Scene

__all__ = ["Loss", "View"]


@dataclass(frozen=True)
class View:
    """One step of a fit as a loss sees it.

    H and W are those of the working canvas, which is smaller than the scene's while a fit is coarse; ``sprites`` are in
    its pixels.

    Attributes:
        image: ``(3, H, W)`` RGB over this step's background, with gradient.
        layer: ``(4, H, W)`` premultiplied RGBA, no background, with gradient.
        target: ``(3, H, W)`` RGB over the same background, or None in a fit without a target.
        target_alpha: ``(1, H, W)`` alpha of the target, or None where it is opaque or absent.
        target_color: ``(3, H, W)`` straight colour of the target, or None.
        background: ``(3, H, W)`` or ``(3, 1, 1)``, this step's background.
        sprites: what was drawn, with gradient.
        scene: the scene, for losses that render at sizes of their own.
        step: number of the step, from 0.
        steps: steps in all.
        generator: seeded for this step; the only source of randomness that a loss may use.
        renderer: the fit's, for losses that render.
    """

    image: Tensor
    layer: Tensor
    target: Tensor | None
    target_alpha: Tensor | None
    target_color: Tensor | None
    background: Tensor
    sprites: Sprites
    scene: Scene
    step: int
    steps: int
    generator: torch.Generator
    renderer: str = "auto"


class Loss(Plugin, ABC):
    """Base of every loss: called with a ``View``, returns a scalar tensor to be minimised."""

    family: ClassVar[str] = "losses"

    needs_target: ClassVar[bool] = True
    """Whether the loss compares with a target; such a loss is refused in a fit that has none."""

    @abstractmethod
    def __call__(self, view: View) -> Tensor:
        """Return the loss, a scalar."""

    def check(self, size: tuple[int, int], target_alpha: bool) -> None:
        """Raise ``DiffbmpError`` where this loss cannot work on a canvas of ``size`` (height, width).

        Called once, before the first step. ``target_alpha`` says whether the target has transparency.
        """
