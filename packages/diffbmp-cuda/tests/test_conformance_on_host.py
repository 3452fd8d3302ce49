"""Core's conformance suite, drawn by the CUDA kernels on the host: every access checked, every timing by lot."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import pytest
from cuda_host.launcher import HostLauncher

from diffbmp.testing import RendererConformance


class OnHost(RendererConformance):
    renderer = "cuda"
    seed: ClassVar[int] = 0
    resident: ClassVar[int] = 3

    @pytest.fixture(autouse=True)
    def _skip_where_unavailable(self, on_host: Callable[[HostLauncher], None], host: HostLauncher) -> None:
        """Skip nothing: the kernels run here, whatever card there is."""
        on_host(HostLauncher(host.folder, seed=self.seed, resident=self.resident))


class TestDeterministic(OnHost):
    pass


@pytest.mark.slow
class TestFloatSums(OnHost):
    """Sums in floats: in any order on a card, in that of the lot here."""

    settings: ClassVar = {"deterministic": False}
    same_bits = False


@pytest.mark.slow
class TestOtherTimings(OnHost):
    """Another order of blocks and threads, and one block for all tiles."""

    seed = 7
    resident = 1
