"""A peer: the pure-PyTorch renderer of ``pydiffbmp`` (the paper's own program), drawing the same scene.

Its ``VectorRenderer`` is the one that runs without its CUDA extension. The package as a whole is imported and used
as it is; what it imports besides, for video, windows and GPUs, need not be installed.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import io
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from diffbmp.bench.passes import BenchRenderer, Passes
from diffbmp.bench.scenes import BenchScene
from diffbmp.errors import DiffbmpError
from diffbmp.rendering.renderer import CompositeInputs

__all__ = ["Peer", "PeerRenderer", "peer_available", "peer_version"]

UNUSED = frozenset({
    "cairosvg", "cv2", "matplotlib", "pkg_resources", "psd_tools", "pynvml", "scour", "svgpathtools", "svgwrite",
    "torchvision", "tqdm",
})  # fmt: skip
"""What ``pydiffbmp`` imports and the renderer does not call: may be missing, or unfit to be imported."""

PEER_PAIRS = 1e7
"""Pairs up to which the peer is measured: it keeps some hundred bytes of each for its backward pass."""


class Peer(BenchRenderer):
    """The peer, as it is measured beside renderers; on the CPU."""

    name = "pydiffbmp"
    device = torch.device("cpu")

    def left_out(self, scene: BenchScene, pairs: int) -> str | None:
        """Leave out scenes with several textures, and those whose pairs would take gigabytes."""
        if scene.textures > 1:
            return "its textures must all be of one size"
        if pairs > PEER_PAIRS:
            return f"{pairs / 1e6:.0f} million pairs, above {PEER_PAIRS / 1e6:.0f}: it would take gigabytes"
        return None

    def passes(self, scene: BenchScene) -> Passes:
        """Return the peer's two passes on a scene of one texture."""
        renderer, grad_image = PeerRenderer(scene.inputs()), scene.grad_image()[0, :3]
        return Passes(renderer.forward, lambda: renderer.backward(grad_image))


def peer_available() -> bool:
    """Return whether ``pydiffbmp`` is installed."""
    return importlib.util.find_spec("pydiffbmp") is not None


def peer_version() -> str | None:
    """Return the installed version of ``pydiffbmp``, or None."""
    try:
        return importlib.metadata.version("pydiffbmp")
    except importlib.metadata.PackageNotFoundError:
        return None


class PeerRenderer:
    """The peer's renderer on one scene of ours.

    Its conventions differ in ways that leave the amount of work alone and are translated here: the first stamp is in
    front, pixels are sampled at whole coordinates, texture coordinates of 1 mean the centre of the outermost texel,
    opacity and colour come as logits. It has no mip levels, so small stamps alias.

    Args:
        inputs: one canvas; stamps that are turned and evenly scaled, of one square, alpha-only texture.

    Raises:
        DiffbmpError: where ``pydiffbmp`` is missing or cannot be imported.
    """

    def __init__(self, inputs: CompositeInputs) -> None:
        first_level = int(inputs.textures[0, 0])
        offset, width, height = (int(value) for value in inputs.levels[first_level])
        bordered = inputs.texels[offset : offset + (width + 2) * (height + 2)].view(height + 2, width + 2)
        mask = bordered[1:-1, 1:-1].clone()
        frame = inputs.frame[0].flip(0)
        values = {
            "x": frame[:, 0, 2] - 0.5,
            "y": frame[:, 1, 2] - 0.5,
            "r": frame[:, :, 0].norm(dim=-1) * (width - 1) / width,
            "theta": torch.atan2(frame[:, 1, 0], frame[:, 0, 0]),
            "v": torch.logit(inputs.opacity[0].flip(0)),
            "c": torch.logit(inputs.color[0].flip(0), eps=1e-6),
        }
        self.parameters = {name: value.clone().requires_grad_() for name, value in values.items()}
        self._image: Tensor | None = None
        with redirect_stdout(io.StringIO()), _environment(WANDB_MODE="disabled"):
            self._renderer: Any = _import_renderer()(
                canvas_size=(inputs.height, inputs.width),
                S=mask,
                alpha_upper_bound=1.0,
                device="cpu",
                c_blend=0.0,
                primitive_colors=torch.zeros(1, height, width, 3),
            )

    def forward(self) -> Tensor:
        """Return the picture without background, premultiplied RGB ``(H, W, 3)``, keeping what backward needs."""
        self._image = None
        with warnings.catch_warnings(action="ignore"):  # it asks for autocast on CUDA, which is not there
            image: Tensor = self._renderer.render_from_params(**self.parameters, no_background=True)
        self._image = image
        return image.detach()

    def backward(self, grad_image: Tensor) -> tuple[Tensor, ...]:
        """Return the gradients of all parameters for the gradient ``(3, H, W)`` of the picture drawn last."""
        assert self._image is not None, "forward comes first"
        return torch.autograd.grad(
            self._image, list(self.parameters.values()), grad_image.permute(1, 2, 0), retain_graph=True
        )


def _import_renderer() -> type:
    try:
        with _unused_may_fail():
            module = importlib.import_module("pydiffbmp.core.renderer.vector_renderer")
    except ImportError as error:
        raise DiffbmpError(
            f"pydiffbmp cannot be imported ({error}); install it by 'pip install --no-deps pydiffbmp==0.1.3', "
            "or uninstall it to measure without it."
        ) from error
    renderer: type = module.VectorRenderer
    return renderer


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _unused_may_fail() -> Iterator[None]:
    """Put an empty module in place of each of ``UNUSED`` that cannot be imported, while the peer is imported."""
    finder, path = _EmptyModules(frozenset(name for name in UNUSED if not _can_be_imported(name))), list(sys.path)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        sys.path[:] = path  # the peer puts its own folders there
        for name in finder.made:
            sys.modules.pop(name, None)


def _can_be_imported(name: str) -> bool:
    try:
        importlib.import_module(name)
    except (ImportError, RuntimeError):  # RuntimeError: torchvision's build for CUDA beside a PyTorch for CPUs
        return False
    return True


class _EmptyModules(MetaPathFinder, Loader):
    def __init__(self, names: frozenset[str]) -> None:
        self.names = names
        self.made: list[str] = []

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.partition(".")[0] not in self.names:
            return None
        self.made.append(name)
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _EmptyModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class _EmptyModule(ModuleType):
    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})
