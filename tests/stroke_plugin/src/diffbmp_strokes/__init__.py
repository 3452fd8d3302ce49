"""Brush strokes for DiffBMP, added by an entry point only: ``diffbmp fit photo.jpg --primitive strokes``."""

import diffbmp
from diffbmp_strokes.growing import GrowStrokes
from diffbmp_strokes.strokes import Strokes

__all__ = ["GrowStrokes", "Strokes"]


@diffbmp.hookimpl
def register_primitives(register):
    register(Strokes)


@diffbmp.hookimpl
def register_refiners(register):
    register(GrowStrokes)
