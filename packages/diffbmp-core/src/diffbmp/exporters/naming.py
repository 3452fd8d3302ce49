"""What an instance is called in every format: one place, so that a layer can be traced back to its stamp or stroke."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from diffbmp.errors import DiffbmpError
from diffbmp.scene.scene import Scene

__all__ = ["BACKGROUND_NAME", "StampName", "clean_name", "counted", "depth_name", "flattened_name", "stamp_names"]

BACKGROUND_NAME = "background"

LONGEST = 80
"""Characters that are kept of the name of a texture or a set; Photoshop shows about 60."""


@dataclass(frozen=True)
class StampName:
    """What one instance is called: a stamp, a stroke, whatever its kind is.

    Attributes:
        number: place in painting order over all primitives, 1 at the back.
        primitive: which primitive of the scene, from 0.
        index: which instance of that primitive, from 0.
        label: name of its texture, or whatever its kind calls it.
        set: name of the source that the texture is from, or "".
        kind: name of the kind of primitive.
    """

    number: int
    primitive: int
    index: int
    label: str
    set: str
    kind: str = "stamps"

    @property
    def text(self) -> str:
        """``petals/leaf-2 37``: set, label and number. No two instances share it, since numbers differ."""
        prefix = f"{self.set}/" if self.set and self.set != self.label else ""
        return f"{prefix}{self.label} {self.number}"

    @property
    def group(self) -> str:
        """What it is grouped under: its set, or its kind where it is of none."""
        return self.set or self.kind


def stamp_names(scene: Scene) -> list[StampName]:
    """Return the name of every instance in painting order, the back first.

    Raises:
        DiffbmpError: where the scene is a batch of canvases.
    """
    if scene.batch is not None:
        raise DiffbmpError("The scene is a batch of canvases; export one canvas at a time.")
    names: list[StampName] = []
    for place, primitive in enumerate(scene.primitives):
        for index, name in enumerate(primitive.names(scene.atlas)):
            label, of_set = clean_name(name.label), clean_name(name.set)
            names.append(StampName(len(names) + 1, place, index, label, of_set, primitive.name))
    return names


def counted(scene: Scene) -> str:
    """Return what a canvas is made of: ``500 stamps``, ``60 strokes and 40 stamps``."""
    counts: Counter[str] = Counter()
    for primitive in scene.primitives:
        counts[primitive.name] += len(primitive)
    return " and ".join(f"{count} {kind}" for kind, count in counts.items())


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
