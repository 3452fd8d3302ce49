"""What the groups of tests share: which of them a renderer is asked for, and how it is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar

import pytest
import torch
from torch import Tensor

from diffbmp.plugins.registry import registry
from diffbmp.rendering.keys import renderer_key, resolve_renderer
from diffbmp.rendering.renderer import CompositeInputs, Gradients, Renderer
from diffbmp.testing.inputs import TENSORS, gradients_of, leaves_of, moved
from diffbmp.testing.scenes import SCENES, ConformanceScene, random_inputs

__all__ = ["RendererSuite", "where"]

F = TypeVar("F", bound=Callable[..., None])


def where(asked: Callable[[type[RendererSuite]], bool]) -> Callable[[F], F]:
    """Mark a test that only some renderers are asked for; for the others it does not exist."""

    def mark(test: F) -> F:
        test.asked = asked  # type: ignore[attr-defined]
        return test

    return mark


class RendererSuite:
    """A renderer under test; see ``RendererConformance`` for what a subclass may set."""

    renderer: ClassVar[str | Renderer]
    """Registered name, or a renderer made on the spot."""

    device: ClassVar[str] = "cpu"
    """PyTorch device to draw on."""

    settings: ClassVar[Mapping[str, Any]] = {}
    """Values for the settings model of a renderer that is named."""

    same_bits: ClassVar[bool] = True
    """Whether the same inputs give the same bits. A setting may give that up; tests of bits are then left out."""

    seeds: ClassVar[int] = 200
    """How many seeds the mean gradient of a stochastic renderer is taken over."""

    _left_out: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not hasattr(cls, "renderer"):
            return
        left_out = set()
        for name in dir(cls):
            given = (base.__dict__.get(name) for base in cls.__mro__)
            test = next((test for test in given if hasattr(test, "asked")), None)
            current = getattr(cls, name)
            if test is None or not (current is test or (current is None and name in cls._left_out)):
                continue  # no test of the suite, or a subclass has another in its place
            if test.asked(cls):
                setattr(cls, name, test)
            else:
                setattr(cls, name, None)
                left_out.add(name)
        cls._left_out = frozenset(left_out)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test for everything of its kind that the renderer claims."""
        claims = self.claims()
        own = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
        marked = {name.strip() for names in own for name in (names.split(",") if isinstance(names, str) else names)}
        choices: dict[str, Iterable[Any]] = {
            "scene": self.scenes(),
            "layer_scene": [scene for scene in self.scenes() if has_layers(scene)],
            "some_scene": [scene for scene in self.scenes() if scene.name in SOME],
            "dtype": claims.dtypes,
            "blend": claims.blends,
            "filter": claims.filters,
        }
        for argument, values in choices.items():
            if argument in metafunc.fixturenames and argument not in marked:
                metafunc.parametrize(argument, list(values), ids=lambda value: str(value).removeprefix("torch."))

    @classmethod
    def claims(cls) -> Renderer | type[Renderer]:
        """Return what says what the renderer can do."""
        return registry().get("renderers", cls.renderer) if isinstance(cls.renderer, str) else cls.renderer

    @classmethod
    def scenes(cls) -> list[ConformanceScene]:
        """Return the scenes that the renderer can draw."""
        claims = cls.claims()
        drawn = (scene.drawn_with(claims.blends, claims.filters) for scene in SCENES)
        return [scene for scene in drawn if scene is not None]

    @pytest.fixture(autouse=True)
    def _skip_where_unavailable(self) -> None:
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, AssertionError) as error:
            pytest.skip(f"no device {self.device}: {str(error).partition(chr(10))[0]}")
        reason = self.claims().unavailable(torch.device(self.device))
        if reason is not None:
            pytest.skip(f"{self.key} cannot draw on {self.device}: {reason}")

    @property
    def key(self) -> str:
        """The operator's name for the renderer with its settings."""
        return renderer_key(self.renderer, self.settings)

    @property
    def drawing(self) -> Renderer:
        """The renderer itself."""
        return resolve_renderer(self.key)

    @property
    def dtype(self) -> torch.dtype:
        """Single precision, or double where the renderer draws nothing else."""
        dtypes = self.claims().dtypes
        return torch.float32 if torch.float32 in dtypes else dtypes[0]

    def build(self, scene: ConformanceScene, dtype: torch.dtype | None = None) -> CompositeInputs:
        """Return the scene on ``device``, with a seed where the renderer needs one."""
        return self._given(scene.build(), dtype)

    def random(self, seed: int, **options: Any) -> CompositeInputs:
        """Return random inputs that the renderer can draw, on ``device``."""
        claims = self.claims()
        options.setdefault("blend", "over" if "over" in claims.blends else claims.blends[0])
        options.setdefault("filter", "mipmap" if "mipmap" in claims.filters else claims.filters[0])
        return self._given(random_inputs(seed, **options))

    def _given(self, inputs: CompositeInputs, dtype: torch.dtype | None = None) -> CompositeInputs:
        seed = torch.tensor(1) if self.claims().stochastic else None
        return dataclasses.replace(moved(inputs, self.device, dtype or self.dtype), seed=seed)

    def gradient_like(self, inputs: CompositeInputs, seed: int = 0) -> Tensor:
        """Return a random gradient of the image of ``inputs``."""
        shape = (inputs.batch, 4, inputs.height, inputs.width)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(inputs.frame)

    def draw(self, inputs: CompositeInputs) -> Tensor:
        """Draw through the operator, differentiably."""
        tensors = (getattr(inputs, name) for name in TENSORS)
        constants = (inputs.height, inputs.width, inputs.blend, inputs.filter)
        image: Tensor = torch.ops.diffbmp.composite(*tensors, *constants, self.key, inputs.seed)[0]
        return image

    def leaves(self, inputs: CompositeInputs) -> CompositeInputs:
        """Return the inputs with all that the renderer has gradients of as leaves."""
        return leaves_of(inputs, texels=self.claims().texel_gradients)

    def draw_and_differentiate(self, inputs: CompositeInputs, grad_image: Tensor) -> tuple[Tensor, Gradients]:
        """Return image and gradients by autograd, each of them that the renderer has."""
        leaves = self.leaves(inputs)
        image = self.draw(leaves)
        image.backward(grad_image.to(image))  # type: ignore[no-untyped-call]
        return image.detach(), gradients_of(leaves)


SOME = ("over-mipmap", "over-bilinear", "add-trilinear", "deep-hidden", "batch", "wide")
"""Scenes that differ in what a renderer may do in parallel."""


def has_layers(scene: ConformanceScene) -> bool:
    """Return whether layers of a scene are compared: one canvas, not too deep, and no jumps from texel to texel."""
    return not scene.name.startswith(("batch", "no-sprites-batch", "deep")) and scene.filter != "nearest_texel"
