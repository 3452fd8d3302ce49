"""What a plugin's author tests with: suites for renderers and primitives, and the inputs of a loss. Needs pytest."""

from diffbmp.testing.conformance import RendererConformance
from diffbmp.testing.kinks import kink_mask, level_margin
from diffbmp.testing.losses import loss_inputs
from diffbmp.testing.primitive_conformance import PrimitiveConformance
from diffbmp.testing.registering import registered
from diffbmp.testing.scenes import SCENES, TEXTURE_SETS, ConformanceScene, random_atlas, random_inputs

__all__ = [
    "SCENES",
    "TEXTURE_SETS",
    "ConformanceScene",
    "PrimitiveConformance",
    "RendererConformance",
    "kink_mask",
    "level_margin",
    "loss_inputs",
    "random_atlas",
    "random_inputs",
    "registered",
]
