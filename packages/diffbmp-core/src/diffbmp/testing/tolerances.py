"""How far a renderer may be from ``reference`` in float64: the one place for it."""

from __future__ import annotations

__all__ = [
    "DOUBLE",
    "KINK_MARGIN",
    "LAYER",
    "MEAN_ERRORS",
    "MEAN_NOISE",
    "SPRITE_GRADIENT",
    "SPRITE_GRADIENT_FLOOR",
    "TOTAL_GRADIENT",
    "VALUE",
]

VALUE = 1e-5
"""Largest difference of a pixel, where pixels lie in [0, 1]; times the brightest pixel where "add" goes beyond."""

TOTAL_GRADIENT = 1e-4
"""Norm of the difference of an input's gradient over the norm of that gradient."""

SPRITE_GRADIENT = 1e-3
"""Norm of the difference of one sprite's gradient over the norm of that sprite's gradient; see the next."""

SPRITE_GRADIENT_FLOOR = 3e-4
"""What is allowed beside it, over the root mean square of the sprites' norms: a sprite that is nearly hidden, or
whose pixels cancel, has a gradient smaller than the rounding of what it is the sum of."""

DOUBLE = 1e-6
"""What of each of these is allowed in float64."""

LAYER = 2e-4
"""Largest difference of a pixel of one sprite's layer: its frame is moved into a box of its own, and rounded there."""

MEAN_ERRORS = 4.0
"""Standard errors by which the mean of random gradients may be off that of ``reference``, beside TOTAL_GRADIENT."""

MEAN_NOISE = 0.25
"""Largest standard error of that mean, over the gradient: noisier, and the test would see nothing."""

KINK_MARGIN = 1e-4
"""Distance from a texel border, in texels, within which the gradient of a pixel is not compared: the gradient of the
frame jumps there, and on which side a float32 renderer falls is no error. A deep scene would lose all its pixels to
a wider margin."""
