"""Texture sets: the textures of one source, and how many instances are made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError, unknown_name

__all__ = ["TextureSet", "set_values", "shares", "texture_sets"]


@dataclass(frozen=True)
class TextureSet:
    """Textures that share a number of stamps.

    Attributes:
        textures: ``(K,)`` int64, indices into the atlas.
        count: number of stamps that there will be of them.
    """

    textures: Tensor
    count: int

    def members(self, texture: Tensor) -> Tensor:
        """Return which stamps, by their ``texture`` ``(N,)``, are of this set: ``(M,)`` indices."""
        return torch.isin(texture, self.textures.to(texture.device)).nonzero()[:, 0]


def texture_sets(atlas: Atlas, counts: Mapping[str, int], n: int, textures: Tensor | None = None) -> list[TextureSet]:
    """Return the sets whose number is given, then all other textures together, which share what is left of ``n``.

    Args:
        atlas: all textures.
        counts: numbers of instances by set.
        n: number of instances in all.
        textures: ``(K,)`` indices of the textures to share out; all where it is left out.

    Raises:
        DiffbmpError: for an unknown set, or numbers that do not add up to ``n``.
    """
    usable = list(range(len(atlas))) if textures is None else textures.tolist()
    if not counts:
        return [TextureSet(torch.tensor(usable, dtype=torch.int64), n)]
    # By name, for settings that come back from a checkpoint are in that order.
    sets = [TextureSet(_textures(atlas, name, usable), counts[name]) for name in sorted(counts)]
    rest = torch.tensor([k for k in usable if atlas.textures[k].set not in counts], dtype=torch.int64)
    left = n - sum(counts.values())
    if len(rest) and left > 0:
        return [*sets, TextureSet(rest, left)]
    if left:
        asked = " + ".join(f"{count} of '{name}'" for name, count in counts.items())
        raise DiffbmpError(f"{asked} are not the {n} stamps that there are to be; leave n out, or change a number.")
    if len(rest):
        raise DiffbmpError(f"The {n} stamps are all given away by number, and other stamps get none; raise n.")
    return sets


def shares(sets: Sequence[TextureSet], count: int) -> list[int]:
    """Return how many of ``count`` stamps are of each set, in proportion to their numbers, by largest remainders."""
    total = sum(one.count for one in sets)
    exact = [one.count * count / total for one in sets]
    whole = [int(value) for value in exact]
    by_remainder = sorted(range(len(sets)), key=lambda k: (whole[k] - exact[k], k))
    for k in by_remainder[: count - sum(whole)]:
        whole[k] += 1
    return whole


def set_values(atlas: Atlas, values: Mapping[str, float], default: float) -> Tensor:
    """Return a value for each texture, ``(T,)``: that of its set where one is given, else the default.

    Raises:
        DiffbmpError: for an unknown set.
    """
    result = torch.full((len(atlas),), default)
    for name, value in values.items():
        result[_textures(atlas, name)] = value
    return result


def _textures(atlas: Atlas, name: str, usable: Sequence[int] | None = None) -> Tensor:
    among = range(len(atlas)) if usable is None else usable
    found = [k for k in among if atlas.textures[k].set == name]
    if not found:
        raise unknown_name("set of stamps", name, {atlas.textures[k].set for k in among})
    return torch.tensor(found, dtype=torch.int64)
