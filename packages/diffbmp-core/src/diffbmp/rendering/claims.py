"""What is asked of a renderer, against what it says that it can do."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from diffbmp.rendering.renderer import BLENDS, FILTERS, Renderer

__all__ = ["claims_problem", "limits", "missing", "only_by_name"]

RendererOrClass = Renderer | type[Renderer]


def missing(
    renderer: RendererOrClass,
    *,
    dtype: torch.dtype | None = None,
    blend: str | None = None,
    filter: str | None = None,
    texel_gradient: bool = False,
) -> str | None:
    """Return the first thing asked for that a renderer cannot do, in one clause, or None; None asks for nothing."""
    if dtype is not None and dtype not in renderer.dtypes:
        return f"it draws {_listed(renderer.dtypes)}, not {_listed((dtype,))}"
    if blend is not None and blend not in renderer.blends:
        return f"it has no blend mode '{blend}', only {_listed(renderer.blends)}"
    if filter is not None and filter not in renderer.filters:
        return f"it has no filter '{filter}', only {_listed(renderer.filters)}"
    if texel_gradient and not renderer.texel_gradients:
        return "it has no gradient of texels, which this atlas requires"
    return None


def only_by_name(renderer: RendererOrClass) -> str | None:
    """Return why ``auto`` never chooses a renderer, in one clause, or None where it may."""
    if not renderer.exact:
        return "it has a look of its own"
    if renderer.stochastic:
        return "its gradients are random estimates"
    return None


def limits(renderer: RendererOrClass) -> Iterator[str]:
    """Yield what a renderer says that it cannot do, or does in a way of its own, each in a few words."""
    if torch.float64 not in renderer.dtypes:
        yield f"{_listed(renderer.dtypes)} only"
    if set(BLENDS) - set(renderer.blends):
        yield f"{_listed(renderer.blends)} only"
    if set(FILTERS) - set(renderer.filters):
        yield f"{_listed(renderer.filters)} only"
    if not renderer.texel_gradients:
        yield "no texel gradients"
    if not renderer.draws_layers:
        yield "no layers"
    if not renderer.exact:
        yield "a look of its own"
    if renderer.stochastic:
        yield "random gradients"


def claims_problem(renderer: Renderer) -> str | None:
    """Return what is wrong with what a renderer claims, in one clause, or None."""
    title = type(renderer).__name__
    name = getattr(renderer, "name", None)
    if not isinstance(name, str) or not name or set(name) & set("{#"):
        return f"{title} has no `name` of letters, digits, '_' and '-'"
    known: tuple[tuple[str, tuple[object, ...]], ...] = (
        ("dtypes", (torch.float32, torch.float64)),
        ("blends", BLENDS),
        ("filters", FILTERS),
    )
    for claim, possible in known:
        given = getattr(renderer, claim)
        if not isinstance(given, tuple) or not given or set(given) - set(possible):
            return f"{title} ('{name}') has `{claim}` that are not a tuple of {_listed(possible)}: {given!r}"
    return None


def _listed(values: tuple[object, ...]) -> str:
    return ", ".join(str(value).removeprefix("torch.") for value in values)
