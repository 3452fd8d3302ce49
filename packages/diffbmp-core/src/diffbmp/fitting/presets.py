"""Presets: sets of defaults under one name, from the paper's own recipe to the best picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

__all__ = ["GOING_ON", "PRESETS", "WARMUP", "Preset", "automatic_count", "merged", "under_preset"]

Preset = Literal["paper", "fast", "balanced", "best"]

PRESETS: dict[str, dict[str, Any]] = {
    # The paper's optimiser (sections 3 and 4), for comparison.
    "paper": {
        "n": 500,
        "steps": 100,
        "initializer": "structure",
        "initializers": {
            "structure": {"scale_rule": "canvas"},
            "random": {"scale_rule": "canvas", "order": "random", "colors": "random"},
        },
        "refine": [],
        "blur": {"sigma": 1.0, "schedule": "constant", "until": 1.0},
        "resolution": {"until": 0.0},
        "optimizer": {
            "unit": "pixel",
            "position": 1.0,
            "scale": 1.0,
            "opacity": "by_count",
            "schedule": "exponential",
            "betas": (0.9, 0.999),
        },
    },
    "fast": {
        "steps": 100,
        "initializers": {"greedy": {"rounds": 0}},
        "refine": ["grow"],
        "refiners": {"grow": {"stages": 5, "rounds": 0}},
    },
    # What all other defaults are made for.
    "balanced": {},
    "best": {
        "steps": 1500,
        "initializers": {"greedy": {"per_stamp": 80, "rounds": 2}},
        "refiners": {
            "grow": {"per_stamp": 80, "rounds": 2, "until": 0.3},
            "relocate": {"per_stamp": 80, "rounds": 2},
        },
    },
}
"""What each preset sets; ``balanced`` is what all other defaults are made for."""

PER_DIAGONAL = 2.4
"""Stamps for each pixel of the target's square root of area: 500 at 256 x 170 pixels, 1200 at 512 x 512."""


WITHOUT_TARGET: dict[str, Any] = {"initializer": "random", "refine": [], "noisy_canvas": False}
"""What every preset sets in a fit without a target: nothing can be compared, and holes harm nobody."""

GOING_ON: dict[str, Any] = {
    "optimizer": {"initial": 0.5},
    "resolution": {"until": 0.0},
    "blur": {"sigma": 0.0},
    "refine": ["relocate"],
}
"""What a fit that goes on from a scene sets: it starts gently and sharp, at full resolution, with all that is there."""

WARMUP = 8
"""Steps over which its rates rise where its moments begin anew.

Ten frames of a still clip (128 x 128 pixels, 300 stamps, 20 to 30 steps each) then never fall more than 0.15 dB below
the PSNR of the first. Without, they fall by 3.8 dB in the first steps of each at this rate, and not at a tenth of it,
with which stamps hardly follow a clip that moves."""


def under_preset(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` with those of their preset put where they give none, table by table."""
    name = values.get("preset", "balanced")
    preset = PRESETS.get(name, {}) if isinstance(name, str) else {}
    if values.get("size"):
        preset = {**preset, **WITHOUT_TARGET}
    return merged(preset, values)


def merged(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` over ``defaults``, table by table."""
    result = {**defaults, **values}
    for key, default in defaults.items():
        given = result[key]
        if isinstance(default, dict) and isinstance(given, Mapping):
            result[key] = merged(default, given)
    return result


def automatic_count(alpha: Tensor | None, height: int, width: int) -> int:
    """Return how many stamps suit a canvas.

    The number grows as the square root of the area to be painted (``alpha`` ``(1, H, W)``, or all of it), as
    detail does: twice as many at twice the width, so that stamps on a larger picture are larger too.
    """
    area = height * width if alpha is None else float(alpha.sum())
    count = PER_DIAGONAL * math.sqrt(max(area, 1))
    digits = int(10 ** max(0, math.floor(math.log10(count)) - 1))
    return max(round(count / digits) * digits, 1)
