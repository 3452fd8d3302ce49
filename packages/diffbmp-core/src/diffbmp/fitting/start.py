"""``diffbmp.start_fit``: a fit before its first step, from whatever a person has at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError, article
from diffbmp.fitting.build import begin_fit
from diffbmp.fitting.continuing import continue_fit
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.members import DEFAULT
from diffbmp.fitting.objects import FitObjects, named_losses, named_members, named_observers
from diffbmp.fitting.presets import GOING_ON, WARMUP, WITHOUT_TARGET, merged
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.settings import FitSettings
from diffbmp.fitting.target import files_of
from diffbmp.initializers.initializer import Initializer
from diffbmp.primitives.primitive import Primitive
from diffbmp.rendering.renderer import Renderer
from diffbmp.scene.scene import Scene
from diffbmp.settings import parse_settings

__all__ = ["gather_objects", "start_fit"]


def start_fit(
    target: Any = None,
    *,
    stamps: str | Path | Sequence[str | Path] | Atlas | None = None,
    scene: Scene | Fit | None = None,
    size: tuple[int, int] | str | None = None,
    linked: bool = False,
    tensors: Mapping[str, Tensor] | None = None,
    **options: Any,
) -> Fit:
    """Set up a fit and return it before its first step: ``for step in diffbmp.start_fit(...):`` takes the steps.

    Args:
        target: what to compose: the path of a picture, a tensor ``(3, H, W)`` or straight ``(4, H, W)`` in [0, 1], a
            NumPy array ``(H, W, 3)``, or a PIL picture; several in a list, or a tensor ``(B, C, H, W)``, for a batch of
            canvases. Left out, there is no target, and ``size`` or ``scene`` says how large the canvas is.
        stamps: sources as on the command line (files, folders, globs, ``text:HELLO``, ``shape:disc``), or an atlas.
        scene: a scene in memory to go on from, or another fit, whose moments then go on too. Everything that it holds
            is kept unless it is named again; it is not changed itself. Learning rates start at half of theirs, to which
            they rise over the first steps where moments begin anew, and neither the coarse resolution nor the growth is
            gone through again, unless they are asked for.
        size: canvas of a fit without a target: (height, width), or ``"WIDTHxHEIGHT"``.
        linked: whether the canvases of a batch are frames, so that instance k is one thing on all of them.
        tensors: named tensors that losses see and checkpoints keep; they are moved to the fit's device.
        **options: any other field of ``FitSettings``: ``n=2000``, ``steps=300``, ``loss={"mse": 1}``,
            ``optimizer={"position": 0.5}``. ``loss``, ``refine``, ``observe``, ``initializer``, ``renderer`` and
            ``primitives`` take objects and classes in place of names; a loss may be a function of ``LossInputs``.

    Raises:
        DiffbmpError: for an unknown option (with the nearest known one) and everything else a person got wrong.

    Example:
        >>> fit = diffbmp.start_fit(size=(256, 256), stamps="shape:disc", loss=lambda inputs: inputs.image.mean())
        >>> scene = fit.run().scene
    """
    values, objects = gather_objects(options)
    given = frozenset(values)
    atlas = stamps if isinstance(stamps, Atlas) else None
    if stamps is not None and atlas is None:
        values["stamps"] = _sources(stamps)
    if files := files_of(target):
        values["target"] = files
    if size is not None:
        values["size"] = size if isinstance(size, str) else _size_text(size)
    if scene is None:
        if linked:
            values.setdefault("refine", [])  # those that a preset names act on one canvas at a time
        settings = parse_settings(FitSettings, values, "")
        return begin_fit(settings, target=target, atlas=atlas, linked=linked, tensors=tensors, objects=objects)
    if not isinstance(scene, (Scene, Fit)):
        raise DiffbmpError(f"scene takes a diffbmp.Scene or a diffbmp.Fit, not {type(scene).__name__}.")
    for name in ("size", "stamps", "n", "initializer", "counts", "primitives"):
        if name in values or (name == "stamps" and stamps is not None):
            raise DiffbmpError(f"A fit that goes on from a scene has the scene's {name}; leave {name} out.")
    if target is None:
        values = merged(WITHOUT_TARGET, values)
    settings = parse_settings(FitSettings, merged(_going_on(scene, linked), values), "")
    return continue_fit(settings, scene, target=target, named=given, linked=linked, tensors=tensors, objects=objects)


def gather_objects(options: Mapping[str, Any]) -> tuple[dict[str, Any], FitObjects]:
    """Return the options with names in place of objects, and the objects.

    Raises:
        DiffbmpError: where something is given as what it is not.
    """
    values, objects = dict(options), FitObjects()
    if "loss" in values:
        values["loss"], objects.losses = named_losses(values["loss"])
    if "refine" in values:
        values["refine"], objects.refiners = named_members(values["refine"], Refiner)
    if "observe" in values:
        values["observe"], objects.observers = named_observers(values["observe"])
    if initializer := _taken(values, "initializer", Initializer):
        objects.initializers[0] = initializer
    objects.renderer = _taken(values, "renderer", Renderer)
    if "output" in values:
        values["output"] = str(values["output"])
    if values.get("primitives") is not None:
        given = values["primitives"]
        listed = list(given) if isinstance(given, (list, tuple)) else [given]
        for index, one in enumerate(listed):
            if kind := _kind(one):
                objects.primitives[index] = kind
                listed[index] = {"kind": kind.name}
            elif isinstance(one, Mapping):
                listed[index] = table = dict(one)
                if kind := _kind(table.get("kind")):
                    objects.primitives[index] = kind
                    table["kind"] = kind.name
                if initializer := _taken(table, "initializer", Initializer):
                    objects.initializers[index] = initializer
        values["primitives"] = listed
    return values, objects


def _taken(values: dict[str, Any], name: str, base: type[Any]) -> Any:
    """Return an object or an instance of a class that was given in place of a name, and put its name there."""
    given = values.get(name)
    if given is None or isinstance(given, str):
        return None
    made = given() if isinstance(given, type) else given
    if not isinstance(made, base):
        raise DiffbmpError(f"{name} takes a name, {article(base.__name__)} or its class, not {type(given).__name__}.")
    values[name] = made.name
    return made


def _kind(given: Any) -> Primitive | type[Primitive] | None:
    """Return a primitive, or the class of one, that was given as a kind in place of its name."""
    is_class = isinstance(given, type) and issubclass(given, Primitive)
    return given if is_class or isinstance(given, Primitive) else None


def _sources(stamps: object) -> list[str]:
    listed = [stamps] if isinstance(stamps, (str, Path)) else stamps
    if not (isinstance(listed, (list, tuple)) and all(isinstance(source, (str, Path)) for source in listed)):
        got = type(stamps).__name__
        raise DiffbmpError(f"stamps are sources (files, folders, text:WORDS, ...) or a diffbmp.Atlas, not {got}.")
    return [str(source) for source in listed]


def _size_text(size: object) -> str:
    if not (isinstance(size, (tuple, list)) and len(size) == 2 and all(type(side) is int for side in size)):
        raise DiffbmpError(f"size must be (height, width) in pixels, got {size!r}.")
    return f"{size[1]}x{size[0]}"


def _going_on(scene: Scene | Fit, linked: bool) -> dict[str, Any]:
    """Return the defaults of a fit that goes on: gentle rates, and refiners that serve its front."""
    values = GOING_ON
    if isinstance(scene, Scene):
        values = merged(values, {"optimizer": {**values["optimizer"], "warmup": WARMUP}})
    held = scene.scene if isinstance(scene, Fit) else scene
    if held.primitives[-1].name != DEFAULT or held.linked or linked:
        return {**values, "refine": []}
    return values
