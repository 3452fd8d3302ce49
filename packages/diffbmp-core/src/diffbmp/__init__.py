"""Differentiable rendering with bitmap primitives."""

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.exporter import Exporter
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.refiner import Refiner
from diffbmp.initializers.initializer import Initializer, Start
from diffbmp.loaders.loader import Loader
from diffbmp.losses.loss import Loss, View
from diffbmp.plugins.hookspecs import hookimpl
from diffbmp.plugins.plugin import Plugin
from diffbmp.rendering.composite import composite, over_background
from diffbmp.rendering.renderer import CompositeInputs, Gradients, Renderer
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.scene import Scene
from diffbmp.settings import Settings
from diffbmp.stamps.part import Part
from diffbmp.stamps.stamps import Stamps
from diffbmp.version import __version__

__all__ = [
    "Atlas",
    "CompositeInputs",
    "DiffbmpError",
    "Exporter",
    "Gradients",
    "Initializer",
    "Loader",
    "Loss",
    "Observer",
    "Part",
    "Plugin",
    "Refiner",
    "Renderer",
    "Scene",
    "Settings",
    "Sprites",
    "Stamps",
    "Start",
    "Texture",
    "View",
    "__version__",
    "composite",
    "hookimpl",
    "over_background",
]
