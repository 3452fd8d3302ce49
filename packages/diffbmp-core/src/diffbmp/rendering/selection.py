"""Which renderer draws: by name, or the best of those that can run on a device."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from diffbmp.errors import DiffbmpError
from diffbmp.plugins.registry import registry
from diffbmp.rendering.renderer import Renderer

__all__ = ["RendererChoice", "choose_renderer", "renderer_choices", "renderer_key", "resolve_renderer"]


@dataclass(frozen=True)
class RendererChoice:
    """A renderer and whether it can run: ``unavailable`` is the reason why not, or None."""

    name: str
    owner: str
    priority: int
    unavailable: str | None


def renderer_choices(device: torch.device) -> list[RendererChoice]:
    """Return every registered renderer, the most preferred first, with why it cannot run on ``device``."""
    choices = [
        RendererChoice(entry.name, entry.owner, entry.cls.priority, entry.cls.unavailable(device))
        for entry in registry().entries("renderers")
    ]
    return sorted(choices, key=lambda choice: (-choice.priority, choice.name))


def choose_renderer(name: str, device: torch.device) -> str:
    """Return the name of the renderer to use on ``device``.

    Args:
        name: a registered name, or "auto" for the available renderer of the highest priority.
        device: where the tensors are.

    Raises:
        DiffbmpError: where ``name`` is unknown, or cannot run on ``device``.
    """
    if name == "auto":
        return next(choice.name for choice in renderer_choices(device) if choice.unavailable is None)
    reason = registry().get("renderers", name).unavailable(device)
    if reason is not None:
        raise DiffbmpError(f"Renderer '{name}' cannot run on {device}: {reason}.")
    return name


def renderer_key(name: str, settings: Mapping[str, Any] | None = None) -> str:
    """Return the string by which the operator knows a renderer with its settings: ``name`` or ``name{json}``."""
    return name + (json.dumps(dict(settings), sort_keys=True) if settings else "")


@functools.lru_cache(maxsize=64)
def resolve_renderer(key: str) -> Renderer:
    """Return the renderer instance of a key made by ``renderer_key``."""
    name, brace, rest = key.partition("{")
    renderer: Renderer = registry().create("renderers", name, json.loads(brace + rest) if brace else {})
    return renderer
