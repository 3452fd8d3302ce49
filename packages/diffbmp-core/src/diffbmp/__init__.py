"""Differentiable rendering with bitmap primitives."""

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.cli.command import Command
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.exporter import Exporter, FormatLimitExceeded, Progress
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.stack import LayerStack, StackLayer
from diffbmp.exporters.write import export_scene
from diffbmp.fitting.checkpoint import load_checkpoint as resume_fit
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.refiner import Refiner
from diffbmp.fitting.run import FitResult, fit, write_results
from diffbmp.fitting.schedules import Stream
from diffbmp.fitting.settings import BlurSettings, FitSettings, OptimizerSettings, ResolutionSettings
from diffbmp.fitting.start import start_fit
from diffbmp.fitting.step import Step
from diffbmp.fitting.target import Target
from diffbmp.initializers.initializer import Initializer
from diffbmp.loaders.loader import Loader
from diffbmp.loaders.sources import load_textures
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.loss import Loss
from diffbmp.losses.setup import LossSetup
from diffbmp.losses.total import TotalLoss
from diffbmp.plugins.hookspecs import hookimpl
from diffbmp.plugins.plugin import Plugin
from diffbmp.primitives.constraints import Constraints
from diffbmp.primitives.primitive import InstanceName, Learnable, Primitive
from diffbmp.primitives.sets import TextureSet
from diffbmp.primitives.settings import BitmapSettings, PrimitiveSettings
from diffbmp.primitives.start import StartInputs
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.composite import composite, over_background
from diffbmp.rendering.include import get_include
from diffbmp.rendering.renderer import CompositeInputs, Gradients, Renderer
from diffbmp.rendering.selection import renderer_key, renderer_label
from diffbmp.rendering.sprites import Sprites
from diffbmp.scene.file import FitState, load_scene, save_scene
from diffbmp.scene.scene import Scene
from diffbmp.settings import Settings
from diffbmp.stamps.stamps import Stamps
from diffbmp.version import __version__

__all__ = [
    "Atlas",
    "BitmapSettings",
    "BlurSettings",
    "Canvas",
    "Command",
    "CompositeInputs",
    "Constraints",
    "DiffbmpError",
    "ExportOptions",
    "Exporter",
    "Fit",
    "FitResult",
    "FitSettings",
    "FitState",
    "FormatLimitExceeded",
    "Gradients",
    "Initializer",
    "InstanceName",
    "LayerStack",
    "Learnable",
    "Loader",
    "Loss",
    "LossInputs",
    "LossSetup",
    "Observer",
    "OptimizerSettings",
    "Plugin",
    "Primitive",
    "PrimitiveSettings",
    "Progress",
    "Refiner",
    "Renderer",
    "ResolutionSettings",
    "Scene",
    "Settings",
    "Sprites",
    "StackLayer",
    "Stamps",
    "StartInputs",
    "Step",
    "Stream",
    "Target",
    "Texture",
    "TextureSet",
    "TotalLoss",
    "__version__",
    "composite",
    "export_scene",
    "fit",
    "get_include",
    "hookimpl",
    "load_scene",
    "load_textures",
    "over_background",
    "renderer_key",
    "renderer_label",
    "resume_fit",
    "save_scene",
    "start_fit",
    "write_results",
]
