"""What a renderer's author tests with: the conformance suite, its scenes and its tolerances. Needs pytest."""

from diffbmp.testing.conformance import RendererConformance
from diffbmp.testing.kinks import kink_mask, level_margin
from diffbmp.testing.scenes import SCENES, TEXTURE_SETS, ConformanceScene, random_atlas, random_inputs

__all__ = [
    "SCENES",
    "TEXTURE_SETS",
    "ConformanceScene",
    "RendererConformance",
    "kink_mask",
    "level_margin",
    "random_atlas",
    "random_inputs",
]
