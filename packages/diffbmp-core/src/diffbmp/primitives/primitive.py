"""The primitive interface: what is learned and paints."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch import Tensor, nn

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.plugins.plugin import Plugin
from diffbmp.primitives.settings import PrimitiveSettings
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.sprites import Sprites

if TYPE_CHECKING:
    from diffbmp.primitives.start import StartInputs

__all__ = ["InstanceName", "Learnable", "Primitive"]


@dataclass(frozen=True)
class Learnable:
    """One thing that a fit learns.

    Attributes:
        parameter: what the optimiser changes.
        rate: learning rate, a step; settings override it by name.
        extent: what a step is measured by: None for the parameter's own unit, or lengths in pixels that broadcast to
            the parameter, in which case ``rate`` is a fraction of them (where ``optimizer.unit`` is "stamp").
    """

    parameter: Tensor
    rate: float
    extent: Tensor | None = None


@dataclass(frozen=True)
class InstanceName:
    """What an instance is called by people, without its number.

    Attributes:
        label: such as the name of its texture (``leaf-2``), or of its kind (``strokes``).
        set: the group that it belongs to (``petals``), or "".
    """

    label: str
    set: str = ""


class Primitive(nn.Module, Plugin, ABC):
    """Base of every kind of primitive: N instances with learnable parameters that paint.

    A primitive owns all that is its own, so that fits, refiners, exporters and the command line need not know its kind.
    It either turns its parameters into sprites (``forward``), which core's renderers draw, or draws a layer of its own
    (``draw``). Its tensors may have any leading dimensions, a batch of canvases. Registered through the hook
    ``register_primitives``.

    A subclass gives ``axes``, ``learnables`` and one of ``forward`` and ``draw``; ``start`` where it can be fitted from
    the command line, and ``from_saved`` where its constructor takes anything but its tensors by name.
    """

    family: ClassVar[str] = "primitives"

    axes: ClassVar[Mapping[str, int | None]]
    """Instance axis of each tensor of the ``state_dict``, counted from the end (-1 is the last), or None for a tensor
    that all instances share. Selecting, adding, reordering, moments, locks, and batches of canvases follow from it."""

    blends: ClassVar[tuple[str, ...]] = ("over", "add")
    """Blend modes that a primitive with a layer of its own draws with; any for one that is made of sprites."""

    Settings: ClassVar[type[PrimitiveSettings]] = PrimitiveSettings  # type: ignore[assignment]

    settings: PrimitiveSettings

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.settings = type(self).Settings()
        self._locked: Tensor | None = None
        self.own_textures: Tensor | None = None

    @classmethod
    def registration_problem(cls) -> str | None:
        """Return what a kind lacks that every primitive needs."""
        if cls.forward is Primitive.forward and cls.draw is Primitive.draw:
            return "defines neither forward nor draw"
        return "defines no learnables" if cls.learnables is Primitive.learnables else None

    # What it is.

    def __len__(self) -> int:
        """Return the number N of instances: what a person counts, names, locks and exports."""
        from diffbmp.primitives.instances import tensor_called

        for name, axis in self.axes.items():
            if axis is not None:
                return int(tensor_called(self, name).shape[axis])
        raise DiffbmpError(f"The primitive '{self.name}' declares no tensor with an instance axis; define __len__.")

    @property
    def batch(self) -> tuple[int, ...]:
        """Leading dimensions of the batch of canvases; empty for one canvas."""
        from diffbmp.primitives.instances import leading_dimensions

        return leading_dimensions(self)

    @property
    def locked(self) -> Tensor | None:
        """``(N,)`` or ``(B, N)`` bool: instances that no fit changes, or None where there are none. Saved."""
        return self._locked

    @locked.setter
    def locked(self, mask: Tensor | None) -> None:
        if mask is None:
            self._locked = None
            return
        expected = (*self.batch, len(self))
        if mask.dtype != torch.bool or tuple(mask.shape) not in {expected, expected[-1:]}:
            raise DiffbmpError(
                f"locked must be bool of shape {expected}, one for each instance, got {mask.dtype} of "
                f"{tuple(mask.shape)}."
            )
        mask = mask.detach().expand(expected).clone()
        self._locked = mask if bool(mask.any()) else None

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Take the locks along in ``to``, ``cuda`` and their like."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self._locked is not None:
            device = fn(torch.zeros((), device=self._locked.device)).device
            self._locked = self._locked.to(device)
        if self.own_textures is not None:
            self.own_textures = self.own_textures.to(fn(torch.zeros((), device=self.own_textures.device)).device)
        return self

    # What it paints: one of these two.

    @property
    def draws(self) -> bool:
        """Whether it draws a layer of its own instead of giving sprites."""
        return type(self).draw is not Primitive.draw

    def forward(self, atlas: Atlas) -> Sprites:
        """Return the sprites that the parameters stand for now, those of an instance next to each other."""
        raise DiffbmpError(f"The primitive '{self.name}' defines neither forward nor draw, so it cannot be painted.")

    def draw(self, canvas: Canvas) -> Tensor:
        """Return a layer of its own over nothing, premultiplied RGBA ``(..., 4, h, w)``, ``canvas.size`` being (h, w).

        Canvas pixel (x, y) lies at ((x - offset_x) scale_x, (y - offset_y) scale_y) of the result, so that crops and
        bands are drawn like whole pictures. ``canvas.alpha_max`` and ``canvas.blend`` apply to its own instances.
        """
        raise DiffbmpError(f"The primitive '{self.name}' is made of sprites and draws no layer of its own.")

    # What is learned.

    def learnables(self) -> Mapping[str, Learnable]:
        """Return what a fit learns, by name; a parameter that is in none of them must not require a gradient."""
        raise DiffbmpError(f"The primitive '{self.name}' defines no learnables, so it cannot be fitted.")

    def set(self, name: str, value: float) -> None:
        """Set a learnable to one value for all instances, in its own unit, in place (``--freeze rotation=0``).

        Raises:
            DiffbmpError: where it has no such learnable, or this one cannot have the value.
        """
        if name not in self.learnables():
            raise unknown_name(f"parameter of the primitive '{self.name}'", name, self.learnables())
        raise DiffbmpError(
            f"The parameter '{name}' of the primitive '{self.name}' cannot be locked at a value, only where it starts "
            f"(freeze {name})."
        )

    def constrain(self, palette: Tensor | None, progress: float) -> None:
        """Bring parameters back into their range and, ever more strongly, to a palette, in place, after each step.

        Args:
            palette: ``(P, 3)`` colours in [0, 1] that instances may have, or None for any.
            progress: part of the steps that are taken, in [0, 1]; at 1 colours are the palette's.
        """
        if palette is not None:
            raise DiffbmpError(f"The primitive '{self.name}' has no colours that a palette could hold; leave it out.")

    # Where it comes from.

    @classmethod
    def textures(cls, settings: Any, loaders: Mapping[str, Mapping[str, Any]]) -> Sequence[Texture]:
        """Return the textures that a fit brings for this primitive; it uses these and no other primitive's.

        Args:
            settings: of the class's ``Settings``.
            loaders: settings of loaders by name, for ``load_textures``.
        """
        return ()

    @classmethod
    def start(cls, inputs: StartInputs, settings: Any) -> Self:
        """Return ``inputs.count`` instances as a fit begins with them; where ``settings.initializer`` names none.

        Raises:
            DiffbmpError: where it cannot start from what it is given.
        """
        raise DiffbmpError(
            f"The primitive '{cls.name}' has no start of its own; name an initializer that serves it, or start from a "
            "scene."
        )

    # What is saved.

    def metadata(self) -> dict[str, Any]:
        """Return what ``from_saved`` needs besides the tensors of the ``state_dict``; JSON values only."""
        return {}

    @classmethod
    def from_saved(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], atlas: Atlas) -> Self:
        """Build the primitive from what was saved; left as it is, the constructor is given the tensors by name.

        Raises:
            DiffbmpError: where a tensor is missing or of the wrong shape or type (the file is a stranger's).
        """
        if set(tensors) != set(cls.axes):
            missing, extra = sorted(set(cls.axes) - set(tensors)), sorted(set(tensors) - set(cls.axes))
            raise DiffbmpError(f"Saved {cls.name} lack {missing or 'nothing'} and have {extra or 'nothing'} too many.")
        if metadata:
            raise DiffbmpError(f"Saved {cls.name} have unknown metadata: {sorted(metadata)}.")
        return cls(**tensors)

    # What people see of it.

    def names(self, atlas: Atlas) -> Sequence[InstanceName]:
        """Return what each instance of one canvas is called; the kind's name for all, where it is left as it is."""
        return [InstanceName(self.name)] * len(self)

    def outline(self, index: int, atlas: Atlas) -> str | None:
        """Return an instance of one canvas as SVG, in canvas pixels, or None where sprites say all there is.

        It is one element of plain shapes in the instance's own colour and opacity, without links or scripts.
        """
        return None
