"""Core's own plugin: everything that core brings, registered through the same hooks as anyone's."""

from __future__ import annotations

from diffbmp.exporters.ora import OraExporter
from diffbmp.exporters.page.exporter import HtmlExporter
from diffbmp.exporters.pdf import PdfExporter
from diffbmp.exporters.png import PngExporter
from diffbmp.exporters.svg import SvgExporter
from diffbmp.fitting.preview import Preview
from diffbmp.initializers.greedy import Greedy
from diffbmp.initializers.grid import Grid
from diffbmp.initializers.positions import Positions
from diffbmp.initializers.random import Random
from diffbmp.initializers.scene import FromScene
from diffbmp.initializers.structure import Structure
from diffbmp.loaders.image import ImageLoader
from diffbmp.loaders.shape import ShapeLoader
from diffbmp.loaders.svg import SvgLoader
from diffbmp.loaders.text import TextLoader
from diffbmp.losses.arrangement import Boundary, OpacitySparsity, Overlap, Size
from diffbmp.losses.grayscale import (
    GrayHuber,
    GrayMeanAbsoluteError,
    GrayMeanSquaredError,
    GrayMultiScaleStructuralSimilarity,
    GrayStructuralSimilarity,
)
from diffbmp.losses.laplacian import NormalizedLaplacianPyramid
from diffbmp.losses.lpips import LearnedPerceptualSimilarity
from diffbmp.losses.ms_ssim import MultiScaleStructuralSimilarity
from diffbmp.losses.pixelwise import Huber, MeanAbsoluteError, MeanSquaredError
from diffbmp.losses.rotation import RotationAlignment, RotationSmoothness
from diffbmp.losses.spatial import Spatial
from diffbmp.losses.ssim import StructuralSimilarity
from diffbmp.plugins.hookspecs import Register, hookimpl
from diffbmp.refiners.grow import Grow
from diffbmp.refiners.reinitialize import Reinitialize
from diffbmp.refiners.relocate import Relocate
from diffbmp.rendering.cpu import Cpu
from diffbmp.rendering.reference import Reference
from diffbmp.stamps.stamps import Stamps
from diffbmp.version import __version__

__all__ = ["__version__"]


@hookimpl
def register_renderers(register: Register) -> None:
    """Register the native CPU renderer and the reference."""
    register(Cpu)
    register(Reference)


@hookimpl
def register_loaders(register: Register) -> None:
    """Register pictures, SVG drawings, text and built-in shapes."""
    for loader in (ImageLoader, SvgLoader, TextLoader, ShapeLoader):
        register(loader)


@hookimpl
def register_primitives(register: Register) -> None:
    """Register stamps."""
    register(Stamps)


@hookimpl
def register_losses(register: Register) -> None:
    """Register the losses: by pixel, by structure, as eyes see it, in grey, within a shape, and of how stamps lie."""
    for loss in (
        MeanSquaredError,
        MeanAbsoluteError,
        Huber,
        StructuralSimilarity,
        MultiScaleStructuralSimilarity,
        NormalizedLaplacianPyramid,
        LearnedPerceptualSimilarity,
        GrayMeanSquaredError,
        GrayMeanAbsoluteError,
        GrayHuber,
        GrayStructuralSimilarity,
        GrayMultiScaleStructuralSimilarity,
        Spatial,
        Overlap,
        Boundary,
        Size,
        OpacitySparsity,
        RotationSmoothness,
        RotationAlignment,
    ):
        register(loss)


@hookimpl
def register_initializers(register: Register) -> None:
    """Register the greedy, the structure-aware, the random and the regular start, and those from files."""
    for initializer in (Greedy, Structure, Random, Grid, Positions, FromScene):
        register(initializer)


@hookimpl
def register_refiners(register: Register) -> None:
    """Register grow, relocate and reinitialize."""
    for refiner in (Grow, Relocate, Reinitialize):
        register(refiner)


@hookimpl
def register_exporters(register: Register) -> None:
    """Register PNG, OpenRaster, SVG, HTML and PDF."""
    for exporter in (PngExporter, OraExporter, SvgExporter, HtmlExporter, PdfExporter):
        register(exporter)


@hookimpl
def register_observers(register: Register) -> None:
    """Register the preview."""
    register(Preview)
