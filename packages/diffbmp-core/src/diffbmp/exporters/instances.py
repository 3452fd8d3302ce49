"""The instances of a scene, which exported files count, name and place, and the sprites that each is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.rendering.layers import instance_boxes, sprite_boxes
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.scene import Scene

__all__ = ["Instances", "picked", "scene_instances"]


class Instances:
    """Instances of one canvas in painting order, each with its sprites, of which there may be none.

    Attributes:
        sprites: those of all instances in painting order; ``sprites.instance`` is None where each has one.
        counts: ``(N,)`` int64 on the CPU, the number of sprites of each instance.
    """

    def __init__(self, sprites: Sprites, counts: Tensor) -> None:
        self.counts = counts
        single = bool((counts == 1).all())
        self.sprites = replace(sprites, instance=None if single else self.owners.to(sprites.frame.device))

    def __len__(self) -> int:
        return len(self.counts)

    @property
    def owners(self) -> Tensor:
        """``(S,)`` int64 on the CPU, the instance of each sprite."""
        return torch.arange(len(self)).repeat_interleave(self.counts)

    def __getitem__(self, run: slice) -> Instances:
        """Return neighbouring instances, counted from 0."""
        return self.ordered(range(len(self))[run])

    def ordered(self, order: Sequence[int]) -> Instances:
        """Return some instances in another order, counted from 0."""
        chosen = torch.tensor(order, dtype=torch.int64)
        counts = self.counts[chosen]
        # A sprite stays as far behind the end of its instance as it was.
        moved = self.counts.cumsum(0)[chosen] - counts.cumsum(0)
        index = torch.arange(int(counts.sum())) + moved.repeat_interleave(counts)
        return Instances(picked(self.sprites, index), counts)

    def boxes(self, scene: Scene, scale: float) -> npt.NDArray[np.int64]:
        """Return the box of pixels that each instance can touch on a scene's canvas at ``scale``.

        Returns:
            ``(N, 4)``: left, top, width, height; all 0 where nothing shows. What is really drawn may be a little
            smaller.
        """
        boxes = sprite_boxes(self.sprites, scene.drawing(scale=scale))
        return instance_boxes(boxes, self.owners, len(self)).numpy()


@torch.no_grad()
def scene_instances(scene: Scene) -> Instances:
    """Return the instances of all primitives of one canvas.

    Raises:
        DiffbmpError: for a batch of canvases, or where a primitive draws a layer of its own.
    """
    if scene.batch is not None:
        raise DiffbmpError("The scene is a batch of canvases; export one canvas at a time.")
    groups, counts = [], []
    for primitive, sprites in zip(scene.primitives, scene.sprites_by_primitive(), strict=True):
        if sprites is None:
            raise DiffbmpError(
                f"The primitive '{primitive.name}' draws a layer of its own and has no sprites; take scene.flattened()."
            )
        groups.append(sprites)
        counts.append(sprites.instances.cpu().bincount(minlength=len(primitive)))
    return Instances(Sprites.concatenate(groups), torch.cat(counts))


def picked(sprites: Sprites, index: Tensor) -> Sprites:
    """Return some sprites of one canvas, each an instance of its own."""
    at = index.to(sprites.frame.device)
    return Sprites(
        sprites.frame[at], sprites.opacity[at], sprites.color[at], sprites.texture[at], sprites.color_blend[at]
    )
