"""The one error that a person sees, and the sentence about the nearest known name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["DiffbmpError", "unknown_name"]


class DiffbmpError(Exception):
    """A mistake that a person can correct, said in one sentence that tells what to do.

    The command line prints the sentence and exits with code 2; only ``--debug`` shows a traceback.
    """


def unknown_name(what: str, name: str, known: Iterable[str]) -> DiffbmpError:
    """Return the error for an unknown name, with the nearest known one where there is one.

    ``unknown_name("loss", "sim", ["mse", "ssim"])`` says
    ``Unknown loss 'sim'; did you mean 'ssim'? Known: mse, ssim.``
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean '{near[0]}'?" if near else "."
    listing = f" Known: {', '.join(names)}." if names else " None is registered."
    return DiffbmpError(f"Unknown {what} '{name}'{hint}{listing}")
