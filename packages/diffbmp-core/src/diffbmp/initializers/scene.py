"""Start from a saved scene."""

from __future__ import annotations

import math
from collections import defaultdict
from pathlib import Path

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.initializers.initializer import Initializer, Start
from diffbmp.initializers.placement import check_start
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

    class Settings(SettingsModel):
        """Settings of the start from a scene."""

        path: str = ""
        """The saved scene, a ``.diffbmp`` file."""

    settings: Settings

    def prescribed_count(self) -> int | None:
        """Return the number of the scene's stamps."""
        return len(load_scene(Path(self.settings.path)).sprites()) if self.settings.path else None

    def __call__(self, start: Start) -> Stamps:
        """Return the scene's stamps.

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
        for part in scene.parts:
            if not isinstance(part, Stamps) or part.scale.dim() != 1:
                kind = f"a batch of {part.name}" if isinstance(part, Stamps) else f"'{getattr(part, 'name', part)}'"
                raise DiffbmpError(
                    f"The scene '{path}' holds {kind}; one can start only from a scene of single stamps."
                )
            saved.append(part)
        count = sum(len(part) for part in saved)
        if count != start.count:
            raise DiffbmpError(
                f"The scene '{path}' holds {count} stamps, but {start.count} are to be placed; use -n {count}."
            )

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(part, name).detach() for part in saved])

        across, down = start.width / scene.width, start.height / scene.height
        texels = start.atlas.texels
        texture = _matching_textures(joined("texture"), scene.atlas, start.atlas, path)
        position = joined("position")
        stamps = Stamps(
            position=(position * position.new_tensor([across, down])).to(texels),
            scale=(joined("scale") * math.sqrt(across * down)).to(texels),
            rotation=joined("rotation").to(texels),
            opacity_logit=joined("opacity_logit").to(texels),
            color_logit=joined("color_logit").to(texels),
            texture=texture.to(texels.device),
        )
        stamps.project()
        return stamps


def _matching_textures(texture: Tensor, saved: Atlas, atlas: Atlas, path: str) -> Tensor:
    """Return, for each index into ``saved``, the index into ``atlas`` of the texture of the same name."""
    known = {key: index for index, key in enumerate(_numbered_names(atlas))}
    keys = _numbered_names(saved)
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
    return table[texture]


def _numbered_names(atlas: Atlas) -> list[tuple[str, int]]:
    """Return each texture's name with how many of the same name come before it."""
    seen: defaultdict[str, int] = defaultdict(int)
    keys = []
    for texture in atlas.textures:
        keys.append((texture.name, seen[texture.name]))
        seen[texture.name] += 1
    return keys
