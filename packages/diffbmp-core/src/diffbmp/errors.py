"""The one error that a person sees, and the sentence about the nearest known name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DiffbmpError", "article", "nearest", "unknown_name"]


class DiffbmpError(Exception):
    """A mistake that a person can correct, said in one sentence that tells what to do.

    The command line prints the sentence and exits with code 2; only ``--debug`` shows a traceback.
    """


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that looks most like ``name``, upper and lower case alike, or None."""
    by_folded = {candidate.casefold(): candidate for candidate in sorted(known, reverse=True)}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.5)
    return by_folded[near[0]] if near else None


def article(noun: str) -> str:
    """Return a noun with its article: ``a loss``, ``an Initializer``."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def unknown_name(what: str, name: str, known: Iterable[str]) -> DiffbmpError:
    """Return the error for an unknown name, with the nearest known one where there is one.

    ``unknown_name("loss", "sim", ["mse", "ssim"])`` says
    ``Unknown loss 'sim'; did you mean 'ssim'? Known: mse, ssim.``
    """
    names = sorted(known)
    near = nearest(name, names)
    hint = f"; did you mean '{near}'?" if near is not None else "."
    listing = f" Known: {', '.join(names)}." if names else " There is none to choose from."
    return DiffbmpError(f"Unknown {what} '{name}'{hint}{listing}")
