"""What a stamp is called in every format: one place, so that a layer can be traced back to its stamp."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from diffbmp.errors import DiffbmpError
from diffbmp.scene.scene import Scene

__all__ = ["BACKGROUND_NAME", "StampName", "clean_name", "depth_name", "flattened_name", "stamp_names"]

BACKGROUND_NAME = "background"

LONGEST = 80
"""Characters that are kept of the name of a texture or a set; Photoshop shows about 60."""


@dataclass(frozen=True)
class StampName:
    """What one stamp is called.

    Attributes:
        number: place in painting order over all parts, 1 at the back.
        part: which part of the scene, from 0.
        index: which sprite of that part, from 0.
        texture: name of its texture.
        set: name of the source that the texture is from, or "".
    """

    number: int
    part: int
    index: int
    texture: str
    set: str

    @property
    def text(self) -> str:
        """``petals/leaf-2 37``: set, texture and number. No two stamps of a scene share it, since numbers differ."""
        prefix = f"{self.set}/" if self.set and self.set != self.texture else ""
        return f"{prefix}{self.texture} {self.number}"


def stamp_names(scene: Scene) -> list[StampName]:
    """Return the name of every stamp in painting order, the back first.

    Raises:
        DiffbmpError: where the scene is a batch of canvases.
    """
    names: list[StampName] = []
    labels = [(clean_name(texture.name), clean_name(texture.set)) for texture in scene.atlas.textures]
    for part, module in enumerate(scene.parts):
        sprites = module(scene.atlas)
        if sprites.frame.dim() != 3 or sprites.texture.dim() != 1:
            raise DiffbmpError("The scene is a batch of canvases; export one canvas at a time.")
        for index, texture in enumerate(sprites.texture.tolist()):
            label, group = labels[texture]
            names.append(StampName(len(names) + 1, part, index, label, group))
    return names


def flattened_name(count: int) -> str:
    """Return what the one layer of the ``count`` stamps at the back is called."""
    return f"stamps 1-{count}"


def depth_name(names: Sequence[StampName]) -> str:
    """Return what a group of stamps that follow each other in depth is called."""
    return f"depth {names[0].number}-{names[-1].number}"


def clean_name(name: str) -> str:
    """Return a name as every format can hold it: on one line, without control characters, not endless.

    Letters of any script, emoji and spaces stay. What cannot be shown (control characters, halves of surrogate pairs,
    code points that no character has, and U+FFFE and U+FFFF, which XML forbids) becomes U+FFFD.
    """
    shown = "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs", "Cn", "Zl", "Zp") else c for c in name).strip()
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 1] + "\u2026"
