"""Which renderer draws: by name, or the best of those that can run on a device."""

from __future__ import annotations

import functools
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from diffbmp.errors import DiffbmpError
from diffbmp.plugins.registry import registry
from diffbmp.plugins.validation import describe
from diffbmp.rendering.renderer import Renderer

__all__ = [
    "RendererChoice",
    "choose_device",
    "choose_renderer",
    "renderer_choices",
    "renderer_for",
    "renderer_key",
    "resolve_renderer",
]


@dataclass(frozen=True)
class RendererChoice:
    """A renderer and whether it can run: ``unavailable`` is the reason why not, or None."""

    name: str
    owner: str
    priority: int
    unavailable: str | None


def renderer_choices(device: torch.device, dtype: torch.dtype = torch.float32) -> list[RendererChoice]:
    """Return every registered renderer, the most preferred first, with why it cannot draw ``dtype`` on ``device``."""
    choices = [
        RendererChoice(entry.name, entry.owner, entry.cls.priority, _unavailable(entry.cls, device, dtype))
        for entry in registry().entries("renderers")
    ]
    return sorted(choices, key=lambda choice: (-choice.priority, choice.name))


def _unavailable(renderer: type[Renderer], device: torch.device, dtype: torch.dtype) -> str | None:
    try:
        reason = renderer.unavailable(device)
    except Exception as error:  # a plugin's check must not stop a fit that draws with another renderer
        return f"its check fails: {describe(error)}"
    if reason is None and dtype not in renderer.dtypes:
        known = ", ".join(str(known).removeprefix("torch.") for known in renderer.dtypes)
        reason = f"it draws {known}, not {str(dtype).removeprefix('torch.')}"
    return reason


def choose_renderer(name: str, device: torch.device, dtype: torch.dtype = torch.float32) -> str:
    """Return the name of the renderer to use on ``device``.

    Args:
        name: a registered name, or "auto" for the available renderer of the highest priority.
        device: where the tensors are.
        dtype: what they hold.

    Raises:
        DiffbmpError: where ``name`` is unknown or cannot draw ``dtype`` on ``device``, or where nothing can.
    """
    if name != "auto":
        reason = _unavailable(registry().get("renderers", name), device, dtype)
        if reason is not None:
            raise DiffbmpError(f"Renderer '{name}' cannot draw on {device}: {reason}.")
        return name
    choices = renderer_choices(device, dtype)
    for choice in choices:
        if choice.unavailable is None:
            _say_fallback(choice, choices, device)
            return choice.name
    raise DiffbmpError(f"No renderer can draw {dtype} on {device}.")


_said: set[str] = set()


def _say_fallback(chosen: RendererChoice, choices: Sequence[RendererChoice], device: torch.device) -> None:
    """Say once where a faster renderer of this device is installed but broken, and a slower one draws instead."""
    if chosen.name != "reference" or device.type != "cpu" or chosen.name in _said:
        return
    reasons = [f"'{c.name}' cannot: {c.unavailable}" for c in choices if c.name == "cpu" and c.unavailable]
    if reasons and "draws float32" not in reasons[0]:
        _said.add(chosen.name)
        warnings.warn(f"The slow renderer 'reference' draws, since {reasons[0]}.", RuntimeWarning, stacklevel=3)


def renderer_key(name: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return the string by which the operator knows a renderer with its settings: ``name`` or ``name{json}``."""
    return name + (json.dumps(dict(settings), sort_keys=True) if settings else "")


@functools.lru_cache(maxsize=64)
def resolve_renderer(key: str) -> Renderer:
    """Return the renderer instance of a key made by ``renderer_key``."""
    name, brace, rest = key.partition("{")
    renderer: Renderer = registry().create("renderers", name, json.loads(brace + rest) if brace else {})
    return renderer


def renderer_for(key: str, device: torch.device, dtype: torch.dtype) -> Renderer:
    """Return the renderer instance for ``auto``, a name or a key made by ``renderer_key``.

    Raises:
        DiffbmpError: where the name is unknown or cannot draw ``dtype`` on ``device``.
    """
    name, brace, rest = key.partition("{")
    return resolve_renderer(choose_renderer(name, device, dtype) + brace + rest)


def choose_device(renderer: str, device: str) -> torch.device:
    """Return the device to fit on.

    Args:
        renderer: a registered name, or "auto".
        device: a PyTorch device, or "auto" for the one on which the preferred renderer runs.

    Raises:
        DiffbmpError: where the device is unknown or absent, or ``renderer`` runs on none.
    """
    if device != "auto":
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise DiffbmpError(f"Device '{device}' cannot be used: {reason}.") from error
        choose_renderer(renderer, chosen)
        return chosen
    candidates = [torch.device("cuda")] * torch.cuda.is_available() + [torch.device("cpu")]

    def best(candidate: torch.device) -> int:
        if renderer != "auto":
            chosen = registry().get("renderers", renderer)
            return chosen.priority if _unavailable(chosen, candidate, torch.float32) is None else NEVER
        return max((c.priority for c in renderer_choices(candidate) if c.unavailable is None), default=NEVER)

    chosen = max(reversed(candidates), key=best)
    choose_renderer(renderer, chosen)
    return chosen


NEVER = -(10**9)
