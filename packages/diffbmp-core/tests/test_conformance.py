"""Core's own renderers against the truth."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from diffbmp.testing import RendererConformance


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Draw with one thread: for tensors of this size, more only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
class TestReference(RendererConformance):
    """In float32, against itself in float64."""

    renderer = "reference"


class TestCpu(RendererConformance):
    renderer = "cpu"
