"""Start from a saved scene."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError
from diffbmp.initializers.initializer import Initializer
from diffbmp.placement.starting import check_start
from diffbmp.primitives.instances import joined
from diffbmp.primitives.start import StartInputs
from diffbmp.scene.file import load_scene
from diffbmp.settings import Settings as SettingsModel
from diffbmp.stamps.stamps import Stamps

__all__ = ["FromScene"]


class FromScene(Initializer):
    """Stamps as they are in a saved scene, moved and scaled to this canvas.

    Positions are scaled along each axis by the ratio of the canvases, scales by the geometric mean of both
    ratios, which keeps a stamp's share of the canvas. Opacity, colour, rotation and painting order stay.
    Textures are matched by name, the first of a name with the first and so on; drawings of the same name may
    differ. The number of stamps must be the scene's.
    """

    name = "scene"
    whole = True
    keeps_blends = True

    class Settings(SettingsModel):
        """Settings of the start from a scene."""

        path: str = ""
        """The saved scene, a ``.diffbmp`` file."""

    settings: Settings

    def prescribed_count(self) -> int | None:
        """Return the number of the scene's stamps."""
        return load_scene(Path(self.settings.path)).count if self.settings.path else None

    def __call__(self, start: StartInputs) -> Stamps:
        """Return the scene's stamps, locks and colour blends included.

        Raises:
            DiffbmpError: where the scene cannot be read, holds anything but stamps, holds another number of them,
                or uses a texture whose name the atlas does not have.
        """
        check_start(start)
        path = self.settings.path
        if not path:
            raise DiffbmpError("The initializer 'scene' needs a saved scene: set initializers.scene.path to its file.")
        scene = load_scene(Path(path))
        saved: list[Stamps] = []
        for primitive in scene.primitives:
            if not isinstance(primitive, Stamps) or primitive.batch:
                kind = f"a batch of {primitive.name}" if isinstance(primitive, Stamps) else f"'{primitive.name}'"
                raise DiffbmpError(
                    f"The scene '{path}' holds {kind}; one can start only from a scene of single stamps."
                )
            saved.append(primitive)
        if scene.count != start.count:
            raise DiffbmpError(
                f"The scene '{path}' holds {scene.count} stamps, but {start.count} are to be placed; "
                f"use -n {scene.count}."
            )
        stamps = reduce(joined, saved).to(start.atlas.texels)
        across, down = start.width / scene.width, start.height / scene.height
        with torch.no_grad():
            stamps.position.mul_(stamps.position.new_tensor([across, down]))
            stamps.scale.mul_(math.sqrt(across * down))
            stamps.texture.copy_(_matching_textures(stamps.texture, scene.atlas, start, path))
        stamps.constrain(None, 0.0)
        return stamps


def _matching_textures(texture: Tensor, saved: Atlas, start: StartInputs, path: str) -> Tensor:
    """Return, for each index into ``saved``, the index into the usable textures of the one of the same name."""
    usable = start.usable.tolist()
    names = _numbered_names([start.atlas.textures[index] for index in usable])
    known = dict(zip(names, usable, strict=True))
    keys = _numbered_names(saved.textures)
    used = torch.unique(texture).tolist()
    missing = sorted({keys[index][0] for index in used if keys[index] not in known})
    if missing:
        shown = ", ".join(f"'{name}'" for name in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DiffbmpError(
            f"The scene '{path}' uses textures that are not among the stamps given: {shown}; "
            "give the stamps that it was made of."
        )
    table = torch.zeros(len(saved), dtype=torch.int64)
    for index in used:
        table[index] = known[keys[index]]
    return table[texture.cpu()]


def _numbered_names(textures: Sequence[Texture]) -> list[tuple[str, int]]:
    """Return each texture's name with how many of the same name come before it."""
    seen: defaultdict[str, int] = defaultdict(int)
    keys = []
    for texture in textures:
        keys.append((texture.name, seen[texture.name]))
        seen[texture.name] += 1
    return keys
