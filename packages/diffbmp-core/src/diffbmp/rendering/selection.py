"""Which renderer draws: the one that is named, or the best of those that can run on a device and do what is asked."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.plugins.registry import registry
from diffbmp.plugins.validation import describe
from diffbmp.rendering.claims import missing, only_by_name
from diffbmp.rendering.keys import renderer_key, renderer_label, resolve_renderer, split_key
from diffbmp.rendering.renderer import BLENDS, FILTERS, Renderer

__all__ = [
    "RendererChoice",
    "choose_device",
    "choose_renderer",
    "renderer_choices",
    "renderer_for",
    "renderer_key",
    "renderer_label",
    "resolve_renderer",
]


@dataclass(frozen=True)
class RendererChoice:
    """A registered renderer, and whether it can be chosen.

    Attributes:
        name: its name.
        owner: the plugin that registered it.
        priority: its priority.
        unavailable: why it cannot draw what is asked for, or None.
        only_by_name: why ``auto`` never chooses it, or None.
        cls: its class.
    """

    name: str
    owner: str
    priority: int
    unavailable: str | None
    only_by_name: str | None
    cls: type[Renderer]

    @property
    def automatic(self) -> bool:
        """Whether ``auto`` may choose it."""
        return self.unavailable is None and self.only_by_name is None


def renderer_choices(
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    blend: str | None = None,
    filter: str | None = None,
    texel_gradient: bool = False,
) -> list[RendererChoice]:
    """Return every registered renderer, the most preferred first, with why it cannot draw what is asked for.

    Args:
        device: where the tensors are.
        dtype: what they hold.
        blend: the blend mode, or None for whichever a renderer has.
        filter: the filter, or None for whichever a renderer has.
        texel_gradient: whether gradients of texels are wanted.
    """
    choices = []
    for entry in registry().entries("renderers"):
        reason = _unavailable(entry.cls, device) or missing(
            entry.cls, dtype=dtype, blend=blend, filter=filter, texel_gradient=texel_gradient
        )
        cls: type[Renderer] = entry.cls
        choices.append(RendererChoice(entry.name, entry.owner, cls.priority, reason, only_by_name(cls), cls))
    return sorted(choices, key=lambda choice: (-choice.priority, choice.name))


def _unavailable(renderer: Renderer | type[Renderer], device: torch.device) -> str | None:
    try:
        return renderer.unavailable(device)
    except Exception as error:  # a plugin's check must not stop a fit that draws with another renderer
        return f"its check fails: {describe(error)}"


def choose_renderer(
    renderer: str | Renderer,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    *,
    blend: str | None = None,
    filter: str | None = None,
    texel_gradient: bool = False,
) -> str:
    """Return the name of the renderer to use on ``device``, or its key.

    ``auto`` is the available renderer of the highest priority that draws the rendering equation with exact gradients
    and has everything that is asked for.

    Args:
        renderer: a registered name, "auto", a renderer made on the spot, or a key of ``renderer_key``.
        device: where the tensors are.
        dtype: what they hold.
        blend: the blend mode. Where it is not known yet, None: ``auto`` is then one that has them all, and a renderer
            that is named is not asked.
        filter: the filter, or None likewise.
        texel_gradient: whether gradients of texels are wanted.

    Returns:
        What was given, as a key, with "auto" replaced by a name.

    Raises:
        DiffbmpError: for an unknown name; where the renderer cannot draw what is asked for on ``device``, or none can.
    """
    if blend is not None and blend not in BLENDS:
        raise unknown_name("blend mode", blend, BLENDS)
    if filter is not None and filter not in FILTERS:
        raise unknown_name("filter", filter, FILTERS)
    key = renderer_key(renderer)
    name, rest = split_key(key)
    if name != "auto":
        given = resolve_renderer(key) if rest.startswith("#") else registry().get("renderers", name)
        _refuse(name, given, device, dtype, blend, filter, texel_gradient)
        return key
    choices = renderer_choices(device, dtype, blend=blend, filter=filter, texel_gradient=texel_gradient)
    for choice in choices:
        if choice.automatic and _has_all(choice.cls, blend, filter):
            _say_fallback(choice, choices, device)
            return choice.name + rest
    wanted = [str(dtype).removeprefix("torch."), *([blend] if blend else []), *([filter] if filter else [])]
    wanted += ["gradients of texels"] * texel_gradient
    raise DiffbmpError(f"No renderer can draw on {device} what is asked for: {', '.join(wanted)}.")


def _has_all(cls: type[Renderer], blend: str | None, filter: str | None) -> bool:
    """Return whether a renderer has everything that may yet be asked for."""
    return (blend is not None or not set(BLENDS) - set(cls.blends)) and (
        filter is not None or not set(FILTERS) - set(cls.filters)
    )


def _refuse(
    name: str,
    renderer: Renderer | type[Renderer],
    device: torch.device,
    dtype: torch.dtype,
    blend: str | None,
    filter: str | None,
    texel_gradient: bool,
) -> None:
    """Raise where a renderer cannot do what is asked of it."""
    reason = _unavailable(renderer, device) or missing(renderer, dtype=dtype)
    if reason is not None:
        raise DiffbmpError(f"Renderer '{name}' cannot draw on {device}: {reason}.")
    reason = missing(renderer, blend=blend, filter=filter, texel_gradient=texel_gradient)
    if reason is not None:
        raise DiffbmpError(f"Renderer '{name}' cannot draw this: {reason}; choose another renderer.")


_said: set[str] = set()


def _say_fallback(chosen: RendererChoice, choices: Sequence[RendererChoice], device: torch.device) -> None:
    """Say once where a faster renderer of this device is installed but broken, and a slower one draws instead."""
    if chosen.name != "reference" or device.type != "cpu" or chosen.name in _said:
        return
    reasons = [f"'{c.name}' cannot: {c.unavailable}" for c in choices if c.name == "cpu" and c.unavailable]
    if reasons and "draws float32" not in reasons[0]:
        _said.add(chosen.name)
        warnings.warn(f"The slow renderer 'reference' draws, since {reasons[0]}.", RuntimeWarning, stacklevel=3)


def renderer_for(
    key: str | Renderer,
    device: torch.device,
    dtype: torch.dtype,
    *,
    blend: str | None = None,
    filter: str | None = None,
    texel_gradient: bool = False,
) -> Renderer:
    """Return the renderer instance for "auto", a name, an object or a key made by ``renderer_key``.

    Arguments are those of ``choose_renderer``.

    Raises:
        DiffbmpError: where the renderer is unknown or cannot draw what is asked for on ``device``, or where none can.
    """
    return resolve_renderer(
        choose_renderer(key, device, dtype, blend=blend, filter=filter, texel_gradient=texel_gradient)
    )


def choose_device(
    renderer: str | Renderer, device: str, *, blend: str | None = None, filter: str | None = None
) -> torch.device:
    """Return the device to fit on.

    Args:
        renderer: a registered name, "auto", a renderer made on the spot, or a key of ``renderer_key``.
        device: a PyTorch device, or "auto" for the one on which the preferred renderer runs.
        blend: the blend mode, or None where it is not known yet (see ``choose_renderer``).
        filter: the filter, or None likewise.

    Raises:
        DiffbmpError: where the device is unknown or absent, or ``renderer`` runs on none.
    """
    key = renderer_key(renderer)
    if device != "auto":
        try:
            chosen = torch.device(device)
            torch.empty(0, device=chosen)
        except (RuntimeError, AssertionError) as error:
            reason = str(error).partition("\n")[0].rstrip(".")
            raise DiffbmpError(f"Device '{device}' cannot be used: {reason}.") from error
        choose_renderer(key, chosen, blend=blend, filter=filter)
        return chosen
    candidates = [torch.device("cuda")] * torch.cuda.is_available() + [torch.device("cpu")]
    name, rest = split_key(key)

    def best(candidate: torch.device) -> int:
        if rest.startswith("#"):
            return NEVER if _unavailable(resolve_renderer(key), candidate) else 0
        if name != "auto":
            named = registry().get("renderers", name)
            return named.priority if _unavailable(named, candidate) is None else NEVER
        choices = renderer_choices(candidate, blend=blend, filter=filter)
        usable = [c.priority for c in choices if c.automatic and _has_all(c.cls, blend, filter)]
        return max(usable, default=NEVER)

    chosen = max(reversed(candidates), key=best)
    choose_renderer(key, chosen, blend=blend, filter=filter)
    return chosen


NEVER = -(10**9)
