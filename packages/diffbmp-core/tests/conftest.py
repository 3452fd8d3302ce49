"""Fixtures shared by core's tests: a small photograph and a few stamps as real files, and a registry of core alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import diffbmp
from diffbmp.plugins import registry as registry_module
from diffbmp.plugins.hookspecs import hookimpl
from diffbmp.plugins.record import CORE, PluginRecord
from diffbmp.plugins.registry import Registry
from diffbmp.testing.kinds import Ribbons, SoftRectangles

# For tensors of the tests' sizes more threads only wait for each other; tests of threading set their own number.
torch.set_num_threads(1)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a smooth, structured 24 x 16 picture."""
    y, x = np.mgrid[0:16, 0:24] / 16
    pixels = np.stack([0.5 + 0.5 * np.sin(5 * x), y, 0.5 + 0.5 * np.cos(4 * x * y)], axis=-1)
    path = tmp_path / "photo.png"
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def stamps(tmp_path: Path) -> Path:
    """Return a folder of three stamps of different shape and size."""
    folder = tmp_path / "stamps"
    folder.mkdir()
    for number, (height, width) in enumerate([(9, 9), (6, 12), (14, 7)]):
        y, x = np.mgrid[0:height, 0:width]
        inside = ((x + 0.5) / width * 2 - 1) ** 2 + ((y + 0.5) / height * 2 - 1) ** 2 <= 1
        pixels = np.full((height, width, 4), 255, dtype=np.uint8)
        pixels[..., 3] = inside * 255
        Image.fromarray(pixels).save(folder / f"stamp-{number}.png")
    return folder


@pytest.fixture
def core_registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return the process's registry for the time of a test: core alone, with nothing warned about yet."""
    monkeypatch.setenv("DIFFBMP_PLUGINS", "")
    fresh = Registry()
    fresh.load()
    fresh.plugins[:] = [record for record in fresh.plugins if record.name == CORE]
    monkeypatch.setattr(registry_module, "_registry", fresh)
    return fresh


@pytest.fixture
def register(core_registry: Registry) -> Callable[..., PluginRecord]:
    """Return a function that registers classes as a plugin of the given name would, of the package ``diffbmp-NAME``."""

    def add(name: str, *classes: Any) -> PluginRecord:
        def hook(family: str) -> Any:
            @hookimpl(specname=f"register_{family}")
            def register_family(register: Callable[[Any], None]) -> None:
                for cls in classes:
                    if cls.family == family:
                        register(cls)

            return register_family

        plugin = SimpleNamespace(**{f"of_{family}": hook(family) for family in {cls.family for cls in classes}})
        return core_registry.add(plugin, name, package=f"diffbmp-{name}", version="1.0")

    return add


class OtherKinds:
    """A plugin of kinds of primitives besides stamps."""

    @diffbmp.hookimpl
    def register_primitives(self, register: Callable[[type[diffbmp.Primitive]], None]) -> None:
        register(Ribbons)
        register(SoftRectangles)


@pytest.fixture
def other_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let scene files with ribbons and soft rectangles be loaded for the time of a test."""
    fresh = registry_module.Registry()
    fresh.load()
    assert fresh.add(OtherKinds(), "other-kinds").problems == []
    monkeypatch.setattr(registry_module, "_registry", fresh)
