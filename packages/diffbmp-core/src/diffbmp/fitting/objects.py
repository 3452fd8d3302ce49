"""Objects in place of names: losses, refiners, observers and so on that were made on the spot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from torch import Tensor

from diffbmp.errors import DiffbmpError, article
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.refiner import Refiner
from diffbmp.initializers.initializer import Initializer
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.loss import Loss
from diffbmp.plugins.hookspecs import FAMILIES
from diffbmp.plugins.plugin import Plugin
from diffbmp.plugins.registry import registry
from diffbmp.primitives.primitive import Primitive
from diffbmp.rendering.renderer import Renderer

__all__ = [
    "FitObjects",
    "FunctionLoss",
    "function_loss",
    "named_losses",
    "named_members",
    "named_observers",
    "primitive_name",
]

P = TypeVar("P", bound=Plugin)


class FunctionLoss(Loss):
    """A loss made of a function of ``LossInputs``; ``function_loss`` makes a class of each function."""

    needs_target = False
    function: ClassVar[Callable[[LossInputs], Tensor]]

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return what the function returns."""
        return type(self).function(inputs)


def function_loss(function: Callable[[LossInputs], Tensor]) -> Loss:
    """Return a loss of a function's name, which belongs to the module that the function is from."""
    name = getattr(function, "__name__", type(function).__name__).strip("<>").replace("_", "-").lower()
    module = getattr(function, "__module__", None) or "__main__"
    members = {"name": name, "function": staticmethod(function), "__module__": module, "__doc__": function.__doc__}
    made: type[FunctionLoss] = type("FunctionLoss", (FunctionLoss,), members)
    return made()


@dataclass
class FitObjects:
    """What a fit was given as objects; a checkpoint records their names, and a resumed fit must be given them again.

    Attributes:
        losses: by name.
        refiners: by name.
        observers: those that watch, besides the ones that settings name.
        initializers: where instances start, by the number of the primitive in ``settings.primitives``.
        renderer: what draws.
        primitives: a primitive, or the class of one, for each table of ``settings.primitives`` that was given as such.
    """

    losses: dict[str, Loss] = field(default_factory=dict)
    refiners: dict[str, Refiner] = field(default_factory=dict)
    observers: list[Observer] = field(default_factory=list)
    initializers: dict[int, Initializer] = field(default_factory=dict)
    renderer: Renderer | None = None
    primitives: dict[int, Primitive | type[Primitive]] = field(default_factory=dict)

    @property
    def kinds(self) -> dict[str, type[Primitive]]:
        """Classes of the primitives that were given, by name."""
        classes = [one if isinstance(one, type) else type(one) for one in self.primitives.values()]
        return {cls.name: cls for cls in classes}

    def names(self) -> list[str]:
        """Return what a resumed fit needs again, as a sentence names it: ``the loss 'darkness'``.

        Of primitives these are the kinds that nobody registers: what is theirs is in the checkpoint.
        """
        found = [f"the loss '{name}'" for name in self.losses]
        found += [f"the refiner '{name}'" for name in self.refiners]
        found += [primitive_name(cls) for cls in self.kinds.values() if registry().entry_of(cls) is None]
        if self.renderer is not None:
            found.append(f"the renderer '{self.renderer.name}'")
        return found


def primitive_name(cls: type[Primitive]) -> str:
    """Return what a sentence calls a kind of primitive that was given as an object."""
    return f"the primitive '{cls.name}'"


def named_losses(given: Any) -> tuple[dict[str, float], dict[str, Loss]]:
    """Return weights by name, and the losses that were given as objects.

    Args:
        given: a name, a loss, a class of losses or a function of ``LossInputs``; a sequence of these, each of weight 1
            or with its weight in a pair; or a mapping from these to weights.

    Raises:
        DiffbmpError: where something else is given, or a name twice.
    """
    if isinstance(given, Mapping):
        pairs = list(given.items())
    elif isinstance(given, (list, tuple)):
        pairs = [one if isinstance(one, tuple) and len(one) == 2 else (one, 1.0) for one in given]
    else:
        pairs = [(given, 1.0)]
    weights: dict[str, float] = {}
    made: dict[str, Loss] = {}
    for one, weight in pairs:
        if isinstance(one, str):
            name = one
        else:
            loss = _member(one, Loss, "loss")
            name = loss.name
            made[name] = loss
        if name in weights:
            raise DiffbmpError(f"The loss '{name}' is given twice; give each once, with its whole weight.")
        weights[name] = weight
    return weights, made


def named_members(given: Any, base: Callable[..., P]) -> tuple[list[str], dict[str, P]]:
    """Return the names of refiners or observers in order, and those that were given as objects, by name.

    Args:
        given: a name, an object or a class, or a sequence of these.
        base: ``Refiner`` or ``Observer``.

    Raises:
        DiffbmpError: where something else is given, or two objects of one name.
    """
    members = list(given) if isinstance(given, (list, tuple)) else [given]
    names: list[str] = []
    made: dict[str, P] = {}
    for one in members:
        if isinstance(one, str):
            names.append(one)
            continue
        member = _member(one, base, FAMILIES[getattr(base, "family", "")])
        if member.name in made:
            raise DiffbmpError(f"Two objects are called '{member.name}'; give one of them another name.")
        names.append(member.name)
        made[member.name] = member
    return names, made


def named_observers(given: Any) -> tuple[list[str], list[Observer]]:
    """Return the names of observers, and those that were given as objects; see ``named_members``."""
    listed = list(given) if isinstance(given, (list, tuple)) else [given]
    _, made = named_members(listed, Observer)
    return [one for one in listed if isinstance(one, str)], list(made.values())


def _member(given: Any, base: Any, what: str) -> Any:
    member = given() if isinstance(given, type) and issubclass(given, base) else given
    if isinstance(member, base):
        if not isinstance(getattr(member, "name", None), str):
            raise DiffbmpError(f"The {what} {type(member).__name__} has no `name`.")
        return member
    if base is Loss and callable(member) and not isinstance(member, type):
        return function_loss(member)
    raise DiffbmpError(
        f"{article(what).capitalize()} is given by name, as an object or as a class, not as {type(given).__name__}."
    )
