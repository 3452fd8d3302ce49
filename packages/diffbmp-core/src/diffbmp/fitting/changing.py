"""Changes to a running fit: other settings, another target. One that is refused leaves the fit as it was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.fitting.build import check_tables
from diffbmp.fitting.objects import FitObjects, named_losses, named_observers
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.presets import GOING_ON, WARMUP, merged
from diffbmp.fitting.refining import check_refiners
from diffbmp.fitting.settings import FitSettings
from diffbmp.fitting.target import files_of, find_target
from diffbmp.losses.loss import Loss
from diffbmp.losses.total import TotalLoss
from diffbmp.plugins.registry import registry
from diffbmp.settings import parse_settings

if TYPE_CHECKING:
    from diffbmp.fitting.fit import Fit

__all__ = ["CHANGEABLE", "WRITTEN", "change", "retarget"]

WRITTEN = ("output", "export", "export_options", "observe", "observers", "exporters", "report", "checkpoint")
"""Settings of what a fit writes, which touch nothing of what has been done."""

CHANGEABLE = ("steps", "optimizer", "loss", "losses", *WRITTEN)
"""Settings that may change while a fit runs, or as it is resumed."""


def change(fit: Fit, changes: Mapping[str, Any]) -> None:
    """Change settings of a running fit; see ``Fit.change``.

    Raises:
        DiffbmpError: for a setting that may not change, or a value out of its range.
    """
    before = fit.settings, fit.loss, fit.objects
    values, watching = _with_observers(changes)
    after = _changed(fit, values)
    fit.learning.check(after[0].optimizer)
    observers = _observers(fit, after[0], watching)
    fit.settings, fit.loss, fit.objects = after
    try:
        fit.step_inputs.prepare(min(fit.next_step, fit.settings.steps - 1))
    except Exception:
        fit.settings, fit.loss, fit.objects = before
        raise
    fit.observers = observers
    fit.learning.change(fit.settings.optimizer)


def retarget(fit: Fit, target: Any, *, steps: int | None, moments: bool) -> None:
    """Let a fit go on towards another target; see ``Fit.retarget``.

    Raises:
        DiffbmpError: where a loss or a refiner needs a target and there is none, or it does not fit the canvas.
    """
    settings, files = fit.settings, files_of(target)
    values: dict[str, Any] = {
        "target": files,
        "size": f"{fit.scene.width}x{fit.scene.height}" if target is None else "",
        "width": settings.width if files else None,
        "target_mask": "" if target is None else settings.target_mask,
        "steps": settings.steps if steps is None else steps,
        "optimizer": {
            "initial": min(settings.optimizer.initial, GOING_ON["optimizer"]["initial"]),
            "warmup": 0 if moments else WARMUP,
        },
        "resolution": GOING_ON["resolution"],
        "blur": GOING_ON["blur"],
    }
    settings = parse_settings(FitSettings, merged(settings.dumped(), values), "")
    wanted = find_target(settings, target)
    kinds = [primitive.name for primitive in fit.scene.primitives]
    check_refiners(
        fit.refiners, kinds, has_target=wanted is not None, batched=fit.batch is not None, linked=fit.scene.linked
    )
    before = fit.settings, fit.target
    try:
        fit.settings = settings
        fit._set_target(wanted)
    except Exception:
        fit.settings = before[0]
        fit._set_target(before[1])
        raise
    fit.next_step = fit.first_step = 0
    fit.losses, fit.psnrs, fit.step_seconds, fit.canvas_losses, fit.canvas_psnrs = [], [], [], [], []
    fit.stopping = False
    if not moments:
        fit.reset_moments()


def _with_observers(changes: Mapping[str, Any]) -> tuple[dict[str, Any], list[Observer]]:
    """Return the changes with names of observers alone, and the observers that were given as objects."""
    values, objects = dict(changes), list[Observer]()
    if "observe" in values:
        values["observe"], objects = named_observers(values["observe"])
    return values, objects


def _observers(fit: Fit, settings: FitSettings, objects: Sequence[Observer]) -> list[Observer]:
    """Return the observers of a fit after a change: those that settings name now, then all that were given as objects.

    Those that settings name come first, also before the change.
    """

    def asked(of: FitSettings) -> dict[str, Any]:
        return {name: of.observers.get(name) for name in of.observe}

    before, now = asked(fit.settings), asked(settings)
    kept = list(fit.observers)
    for name, table in before.items():
        found = next((one for one in kept if one.name == name), None)  # none where it has failed
        if found is not None and (name not in now or now[name] != table):
            kept.remove(found)
    new = [name for name, table in now.items() if name not in before or before[name] != table]
    return [*(registry().create("observers", name, now[name]) for name in new), *kept, *objects]


def _changed(fit: Fit, changes: Mapping[str, Any]) -> tuple[FitSettings, TotalLoss, tuple[str, ...]]:
    """Return the settings, the losses and ``Fit.objects`` that a fit has after a change.

    Losses whose settings stay are the same objects as before, and prepared as they are.

    Raises:
        DiffbmpError: for a setting that may not change, or a value out of its range.
    """
    values = dict(changes)
    for name in values:
        if name not in FitSettings.model_fields:
            raise unknown_name("setting", name, CHANGEABLE)
        if name not in CHANGEABLE:
            raise DiffbmpError(
                f"Setting '{name}' is part of what this fit has done already; those that can change: "
                f"{', '.join(CHANGEABLE)}."
            )
    made: dict[str, Loss] = {}
    if "loss" in values:
        values["loss"], made = named_losses(values["loss"])
    before = fit.settings.dumped()
    after = merged(before, values)
    for name in ("loss", "export", "observe"):
        if name in values:
            after[name] = values[name]
    settings = parse_settings(FitSettings, after, "")
    check_tables(settings)
    if settings.loss == fit.settings.loss and settings.losses == fit.settings.losses and not made:
        return settings, fit.loss, fit.objects
    kept = {
        name: loss
        for name, loss in fit.loss.losses.items()
        if settings.losses.get(name) == fit.settings.losses.get(name)
    }
    loss = TotalLoss(settings.loss, settings.losses, made={**kept, **made})
    gone = set(FitObjects(losses=fit.loss.losses).names()) - set(FitObjects(losses=loss.losses).names())
    objects = [name for name in fit.objects if name not in gone]
    return settings, loss, tuple(dict.fromkeys([*objects, *FitObjects(losses=made).names()]))
