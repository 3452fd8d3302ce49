"""The primitives that settings name, before there is anything of them but their settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.objects import FitObjects
from diffbmp.fitting.presets import WITHOUT_TARGET
from diffbmp.fitting.settings import FitSettings
from diffbmp.initializers.initializer import Initializer
from diffbmp.loaders.sources import counted_sources, joined_counts
from diffbmp.plugins.registry import registry
from diffbmp.primitives.primitive import Primitive
from diffbmp.primitives.settings import BitmapSettings
from diffbmp.settings import parse_settings

__all__ = ["DEFAULT", "Member", "members_of"]

DEFAULT = "stamps"
"""The kind of primitive that a fit has where nobody names one, and whose settings the flat ones are."""


@dataclass
class Member:
    """One primitive of a fit to be.

    Attributes:
        cls: its class.
        settings: its settings; ``n`` becomes known when it is placed.
        initializer: where it starts, or None for the primitive's own start.
        made: the primitive itself, where it was given as an object.
        textures: ``(K,)`` int64, which textures of the joint atlas are its; None before there is one.
    """

    cls: type[Primitive]
    settings: Any
    initializer: Initializer | None = None
    made: Primitive | None = None
    textures: Tensor | None = None

    @property
    def takes_bitmaps(self) -> bool:
        """Whether it paints the bitmaps that a person brings."""
        return isinstance(self.settings, BitmapSettings)


def members_of(settings: FitSettings, objects: FitObjects, *, placing: bool = True) -> list[Member]:
    """Return the primitives that the settings name, or the one of stamps that a fit has where they name none.

    Args:
        settings: of the fit.
        objects: what was given as objects.
        placing: whether they are to be placed, by their initializers.

    Raises:
        DiffbmpError: for an unknown kind or setting, a value out of its range, or an initializer of another kind.
    """
    if settings.primitives is None:
        named = settings.model_fields_set | {"initializer"}
        flat = {name: getattr(settings, name) for name in BitmapSettings.model_fields if name in named}
        tables = [(DEFAULT, flat, "")]
    else:
        tables = [
            (
                str(table["kind"]),
                {name: value for name, value in table.items() if name != "kind"},
                f"primitives.{index}",
            )
            for index, table in enumerate(settings.primitives)
        ]
    members = [_member(*named, objects.primitives.get(index)) for index, named in enumerate(tables)]
    if placing:
        for index, (_, table, _) in enumerate(tables):
            members[index].initializer = _initializer(members[index], table, settings, objects.initializers.get(index))
    return members


def _follows_target(initializer: str) -> bool:
    return bool(registry().get("initializers", initializer).needs_target)


def _member(kind: str, table: dict[str, Any], where: str, given: Primitive | type[Primitive] | None) -> Member:
    made = given if isinstance(given, Primitive) else None
    cls: type[Primitive] = type(made) if made is not None else given or registry().get("primitives", kind)  # type: ignore[assignment]
    own = parse_settings(cls.Settings, table, where)
    if isinstance(own, BitmapSettings) and own.stamps:
        sources, counts = counted_sources(own.stamps)
        own = own.model_copy(update={"stamps": sources, "counts": joined_counts(own.counts, counts)})
    if made is not None:
        own = own.model_copy(update={"n": len(made)})
    return Member(cls, own, made=made)


def _initializer(
    member: Member, table: dict[str, Any], settings: FitSettings, given: Initializer | None
) -> Initializer | None:
    """Return where a primitive starts, or None for its own start; in a fit without a target nothing that follows one.

    Raises:
        DiffbmpError: for an unknown name or setting, or an initializer of another kind.
    """
    if member.made is not None:
        return None
    name = member.settings.initializer
    if settings.size and name and "initializer" not in table and _follows_target(name):
        name = WITHOUT_TARGET["initializer"]
    if given is None and not name:
        return None
    initializer: Initializer = given or registry().create("initializers", name, settings.initializers.get(name))
    if initializer.primitive != member.cls.name:
        raise DiffbmpError(
            f"The initializer '{initializer.name}' places {initializer.primitive}, not {member.cls.name}; leave it "
            "out, or name one that does."
        )
    return initializer
