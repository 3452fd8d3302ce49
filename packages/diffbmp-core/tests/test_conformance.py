"""Core's own renderers against the truth."""

from __future__ import annotations

from diffbmp.testing import RendererConformance


class TestReference(RendererConformance):
    """In float32, against itself in float64."""

    renderer = "reference"


class TestCpu(RendererConformance):
    renderer = "cpu"
