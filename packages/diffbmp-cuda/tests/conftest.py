"""Kernels on the host: compiled once, and run behind the shim wherever a test asks for ``on_host``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cuda_host.launcher import HostLauncher, why_not

from diffbmp_cuda import Cuda


@pytest.fixture(scope="session")
def host_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where what is compiled for the host is kept, from one run to the next where pytest has a cache."""
    reason = why_not()
    if reason is not None:
        pytest.skip(f"kernels cannot be run on this host: {reason}")
    cache = getattr(request.config, "cache", None)
    return tmp_path_factory.mktemp("host") if cache is None else Path(cache.mkdir("diffbmp-cuda-host"))


@pytest.fixture(scope="session")
def host(host_folder: Path) -> HostLauncher:
    """The one launcher that most tests share."""
    return HostLauncher(host_folder)


@pytest.fixture
def on_host(host: HostLauncher, monkeypatch: pytest.MonkeyPatch) -> Callable[[HostLauncher], None]:
    """Let ``cuda`` draw tensors of the CPU, by ``host`` or by the launcher that the function is given."""

    def use(launcher: HostLauncher) -> None:
        def chosen(_self: Cuda, _device: torch.device) -> HostLauncher:
            return launcher

        monkeypatch.setattr(Cuda, "launcher", chosen)

    monkeypatch.setattr(Cuda, "unavailable", classmethod(lambda _cls, _device: None))
    use(host)
    return use
