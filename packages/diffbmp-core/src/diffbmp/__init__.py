"""Differentiable rendering with bitmap primitives."""

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.cli.command import Command
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.exporter import Exporter, FormatLimitExceeded, Progress
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.stack import LayerStack, StackLayer
from diffbmp.fitting.fit import Fit, Step
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.run import FitResult, fit
from diffbmp.initializers.initializer import Initializer, Start
from diffbmp.loaders.loader import Loader
from diffbmp.losses.loss import Loss, View
from diffbmp.plugins.hookspecs import hookimpl
from diffbmp.plugins.plugin import Plugin
from diffbmp.rendering.composite import composite, over_background
from diffbmp.rendering.include import get_include
from diffbmp.rendering.renderer import CompositeInputs, Gradients, Renderer
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.file import load_scene, save_scene
from diffbmp.scene.scene import Scene
from diffbmp.settings import Settings
from diffbmp.stamps.part import Part
from diffbmp.stamps.stamps import Stamps
from diffbmp.version import __version__

__all__ = [
    "Atlas",
    "Command",
    "CompositeInputs",
    "DiffbmpError",
    "ExportOptions",
    "Exporter",
    "Fit",
    "FitResult",
    "FormatLimitExceeded",
    "Gradients",
    "Initializer",
    "LayerStack",
    "Loader",
    "Loss",
    "Observer",
    "Part",
    "Plugin",
    "Progress",
    "Refiner",
    "Renderer",
    "Scene",
    "Settings",
    "Sprites",
    "StackLayer",
    "Stamps",
    "Start",
    "Step",
    "Texture",
    "View",
    "__version__",
    "composite",
    "fit",
    "get_include",
    "hookimpl",
    "load_scene",
    "over_background",
    "save_scene",
]
