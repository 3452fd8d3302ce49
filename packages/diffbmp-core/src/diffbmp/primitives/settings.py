"""The settings that every primitive has, and those of primitives that paint the bitmaps a person brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from pydantic import BeforeValidator, Field, field_validator
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.primitives.constraints import Constraints, parse_frozen, parse_locked
from diffbmp.primitives.palette import palette_tensor, parse_palette
from diffbmp.primitives.sets import TextureSet, set_values, texture_sets
from diffbmp.settings import Settings

__all__ = ["BitmapSettings", "Names", "PrimitiveSettings"]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, (str, int)) and not isinstance(value, bool) else value


def _as_texts(value: Any) -> Any:
    listed = _as_list(value)
    return [str(v) if isinstance(v, int) and not isinstance(v, bool) else v for v in listed] if isinstance(
        listed, (list, tuple)
    ) else listed  # fmt: skip


Names = Annotated[list[str], BeforeValidator(_as_list)]
Texts = Annotated[list[str], BeforeValidator(_as_texts)]


class PrimitiveSettings(Settings):
    """What can be asked of any primitive in a fit; a kind's own settings model adds to it."""

    n: int | None = Field(
        None, ge=1, le=10_000_000, description="Number of stamps; left out, it follows from the target and the stamps."
    )
    initializer: str = Field("", description="Where they start; left out, the primitive's own start.")
    palette: Names = Field(
        default_factory=list,
        description="Colours that stamps may have: colours by name or #rrggbb, or a file of them; left out, any.",
    )
    freeze: Names = Field(
        default_factory=list,
        description="Parameters that stay as the start sets them (position, scale, rotation, opacity, color), or at a "
        "value (rotation=0).",
    )
    lock: Texts = Field(
        default_factory=list,
        description="Single stamps that stay as the start sets them, by number, 1 being the back: 5, 10-20.",
    )
    learning_rates: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict, description="Learning rates by name, in place of the primitive's own."
    )

    @field_validator("palette")
    @classmethod
    def _read_palette(cls, value: list[str]) -> list[str]:
        """Put colours in the place of files and names, so that a fit that is resumed needs no file."""
        return parse_palette(value)

    @field_validator("freeze")
    @classmethod
    def _check_frozen(cls, value: list[str]) -> list[str]:
        parse_frozen(value)
        return value

    @field_validator("lock")
    @classmethod
    def _check_locked(cls, value: list[str]) -> list[str]:
        parse_locked(value)
        return value

    def constraints(self) -> Constraints:
        """Return what a fit holds fast."""
        palette = palette_tensor(self.palette) if self.palette else None
        return Constraints(parse_frozen(self.freeze), palette)

    def sets(self, atlas: Atlas, textures: Tensor, n: int) -> Sequence[TextureSet]:
        """Return how ``n`` instances are shared out among sets of textures; empty where any of them will do."""
        return ()

    def blends(self, atlas: Atlas) -> Tensor:
        """Return ``(T,)``: the colour blend of instances of each texture."""
        return torch.zeros(len(atlas))

    def least_count(self, atlas: Atlas, textures: Tensor, automatic: int) -> int:
        """Return the number of instances where nobody gives one; ``automatic`` is what suits the canvas."""
        return automatic


class BitmapSettings(PrimitiveSettings):
    """Settings of a primitive that paints bitmaps which a person brings, in sets that may have numbers of their own."""

    stamps: Names = Field(
        default_factory=list,
        description="What to compose it of: files, folders, globs, text:WORDS, shape:NAME or a plugin's scheme; a "
        "number after a colon says how many stamps are made of it (petals/:800).",
    )
    counts: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="Number of stamps of single sets, by the set's name (petals)."
    )
    color_blend: float = Field(
        0.0, ge=0, le=1, description="0 paints coloured stamps in any tint, 1 keeps their colours."
    )
    color_blends: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, description="Colour blend of single sets of stamps, by the set's name (petals)."
    )

    def sets(self, atlas: Atlas, textures: Tensor, n: int) -> Sequence[TextureSet]:
        """Return the sets whose number is given, and the rest; one set of all where none is."""
        return texture_sets(atlas, self.counts, n, textures)

    def blends(self, atlas: Atlas) -> Tensor:
        """Return ``(T,)``: the colour blend of stamps of each texture."""
        return set_values(atlas, self.color_blends, self.color_blend)

    def least_count(self, atlas: Atlas, textures: Tensor, automatic: int) -> int:
        """Return the sum of the given numbers, and for what has none the usual one, at least one for each texture."""
        automatic = max(automatic, len(textures))
        counted = sum(self.counts.values())
        uncounted = {atlas.textures[k].set for k in textures.tolist()} - set(self.counts)
        return max(counted + len(uncounted), automatic) if uncounted else counted
