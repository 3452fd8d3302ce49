"""What a renderer claims, what it is refused, and whom ``auto`` chooses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from made_renderers import Narrow, Noisy, Sketch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import diffbmp
from diffbmp import Atlas, CompositeInputs, DiffbmpError, Renderer, composite
from diffbmp.plugins import registry as registry_module
from diffbmp.plugins.record import CORE
from diffbmp.plugins.registry import Registry
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.keys import renderer_key
from diffbmp.rendering.layers import draw_layers, straight_layers
from diffbmp.rendering.reference import Reference
from diffbmp.rendering.selection import choose_device, choose_renderer, renderer_choices, renderer_for
from diffbmp.rendering.sprites import Sprites
from diffbmp.testing import random_inputs
from diffbmp.testing.inputs import TENSORS

CPU = torch.device("cpu")
SIZE = (8, 9)
NARROW = {"blend": "over", "filter": "bilinear"}


class Extras:
    """A plugin of renderers."""

    def __init__(self, *renderers: type[Renderer]) -> None:
        self.renderers = renderers

    @diffbmp.hookimpl
    def register_renderers(self, register: Callable[[type[Renderer]], None]) -> None:
        for renderer in self.renderers:
            register(renderer)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Return the process's registry for the time of a test: core alone."""
    monkeypatch.setenv("DIFFBMP_PLUGINS", "")
    fresh = Registry()
    fresh.load()
    fresh.plugins[:] = [record for record in fresh.plugins if record.name == CORE]
    monkeypatch.setattr(registry_module, "_registry", fresh)
    return fresh


def arguments(**changes: Any) -> dict[str, Any]:
    """Return keyword arguments of ``composite``."""
    inputs = random_inputs(3, count=5, size=SIZE, radius=(2, 4), textures="alpha")
    names = ("frame", "opacity", "color", "color_blend", "texture")
    atlas = Atlas.from_pixels([torch.rand(6, 5, generator=torch.Generator().manual_seed(0))])
    given = {name: getattr(inputs, name)[0] for name in names}
    return {**given, "atlas": atlas, "size": SIZE, **changes}


def learned_atlas() -> Atlas:
    atlas = Atlas.from_pixels([torch.rand(6, 5)])
    atlas.texels.requires_grad_()
    return atlas


class TestAbstract:
    def test_forward_and_backward_are_to_be_written(self) -> None:
        class Half(Renderer):
            """Lacks a half."""

            name = "half"

            def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
                raise AssertionError

        with pytest.raises(TypeError, match=r"abstract method '?backward"):
            Half()  # type: ignore[abstract]

    @pytest.mark.parametrize(
        ("variable", "value"), [("blends", ("multiply",)), ("filters", "mipmap"), ("exact", "yes"), ("dtypes", ("f",))]
    )
    def test_a_claim_of_what_there_is_not_is_a_problem_of_the_plugin(
        self, found: Registry, variable: str, value: object
    ) -> None:
        claiming = type("Claiming", (Reference,), {"name": "claiming", "__doc__": "Claims.", variable: value})
        (problem,) = found.add(Extras(claiming), "extras").problems
        assert f"has a `{variable}` that is not of type" in problem


REFUSED = [
    ({**NARROW, "blend": "add"}, "Renderer 'narrow' cannot draw this: it has no blend mode 'add', only over"),
    ({**NARROW, "filter": "mipmap"}, "Renderer 'narrow' cannot draw this: it has no filter 'mipmap', only bilinear"),
]


class TestRefusals:
    @pytest.mark.parametrize(("asked", "sentence"), REFUSED)
    def test_what_is_not_claimed_is_refused_by_name(self, asked: dict[str, str], sentence: str) -> None:
        with pytest.raises(DiffbmpError, match=sentence):
            composite(**arguments(**asked, renderer=Narrow()))

    @pytest.mark.parametrize(("asked", "sentence"), REFUSED)
    def test_before_anything_is_drawn(self, asked: dict[str, str], sentence: str) -> None:
        """Shapes alone, as a compiler sees them, are enough."""
        inputs = random_inputs(4, count=3, size=SIZE, **asked)
        narrow = Narrow()
        with FakeTensorMode() as mode:
            tensors = [mode.from_tensor(getattr(inputs, name)) for name in TENSORS]
            with pytest.raises(DiffbmpError, match=sentence):
                torch.ops.diffbmp.composite(*tensors, *SIZE, inputs.blend, inputs.filter, renderer_key(narrow))

    def test_compiled_code_says_it_too(self) -> None:
        narrow = Narrow()
        draw = torch.compile(lambda given: composite(**given), fullgraph=True, backend="eager")
        assert draw(arguments(**NARROW, renderer=narrow)).shape == (4, *SIZE)
        with pytest.raises(Exception, match="Renderer 'narrow' cannot draw this: it has no blend mode 'add'"):
            draw(arguments(blend="add", filter="bilinear", renderer=narrow))

    def test_a_dtype_is_refused(self) -> None:
        given = {
            key: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for key, v in arguments().items()
        }
        given["atlas"] = given["atlas"].to(CPU, torch.float64)
        with pytest.raises(DiffbmpError, match="Renderer 'narrow' cannot draw on cpu: it draws float32, not float64"):
            composite(**given, **NARROW, renderer=Narrow())

    def test_texels_that_require_a_gradient_are_refused_in_forward(self) -> None:
        given = arguments(atlas=learned_atlas(), renderer=Narrow(), **NARROW)
        with pytest.raises(DiffbmpError, match="Renderer 'narrow' cannot draw this: it has no gradient of texels"):
            composite(**given)
        with torch.no_grad():
            assert not composite(**given).requires_grad

    def test_compiled_texels_that_require_a_gradient_are_refused(self) -> None:
        given = arguments(atlas=learned_atlas(), renderer=Narrow(), **NARROW)
        frame = given.pop("frame")
        draw = torch.compile(lambda frame: composite(frame, **given), fullgraph=True, backend="aot_eager")
        with pytest.raises(Exception, match="Renderer 'narrow' cannot draw this: it has no gradient of texels"):
            draw(frame)

    def test_other_gradients_are_given(self) -> None:
        frame = arguments()["frame"].requires_grad_()
        composite(**arguments(frame=frame, renderer=Narrow(), **NARROW)).sum().backward()
        assert frame.grad is not None
        assert bool(frame.grad.any())

    def test_unknown_names_are_unknown_to_the_operator_too(self) -> None:
        for asked, sentence in (
            ({"blend": "ovr"}, "Unknown blend mode 'ovr'; did you mean 'over'"),
            ({"filter": "mipmapp"}, "Unknown filter 'mipmapp'; did you mean 'mipmap'"),
        ):
            with pytest.raises(DiffbmpError, match=sentence):
                renderer_for("reference", CPU, torch.float32, **asked)


class Fast(Reference):
    """Preferred to every other one."""

    name = "fast"
    priority = 1000


class FastNarrow(Narrow):
    """Preferred still more, where it can draw."""

    name = "fast-narrow"
    priority = 2000


class FastNoisy(Noisy):
    """Preferred, and random."""

    name = "fast-noisy"
    priority = 3000


class FastSketch(Sketch):
    """Preferred, and not the rendering equation."""

    name = "fast-sketch"
    priority = 4000


@pytest.mark.usefixtures("found")
class TestAuto:
    @pytest.fixture(autouse=True)
    def _registered(self, found: Registry) -> None:
        assert found.add(Extras(Fast, FastNarrow, FastNoisy, FastSketch), "extras").problems == []

    @pytest.mark.parametrize(
        ("asked", "chosen"),
        [
            (NARROW, "fast-narrow"),
            ({}, "fast"),  # whatever may come
            ({"blend": "over"}, "fast"),
            ({"filter": "bilinear"}, "fast"),
            ({**NARROW, "blend": "add"}, "fast"),
            ({**NARROW, "filter": "mipmap"}, "fast"),
            ({**NARROW, "texel_gradient": True}, "fast"),
            ({**NARROW, "dtype": torch.float64}, "fast"),
        ],
    )
    def test_the_most_preferred_one_that_has_what_is_asked_for(self, asked: dict[str, Any], chosen: str) -> None:
        assert choose_renderer("auto", CPU, **asked) == chosen

    def test_a_random_one_or_one_with_a_look_of_its_own_must_be_named(self) -> None:
        for name in ("fast-noisy", "fast-sketch"):
            assert choose_renderer(name, CPU) == name
        reasons = {choice.name: choice.only_by_name for choice in renderer_choices(CPU)}
        assert reasons == {
            "fast-sketch": "it has a look of its own", "fast-noisy": "its gradients are random estimates",
            "fast-narrow": None, "fast": None, "cpu": None, "reference": None,
        }  # fmt: skip

    def test_one_that_is_named_is_not_asked_for_what_is_not_known_yet(self) -> None:
        assert choose_renderer("fast-narrow", CPU) == "fast-narrow"
        with pytest.raises(DiffbmpError, match="Renderer 'fast-narrow' cannot draw this: it has no blend mode 'add'"):
            choose_renderer("fast-narrow", CPU, blend="add")

    def test_the_operator_takes_one_with_gradients_of_texels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Forward cannot know what backward will be asked for."""
        drawn: list[str] = []
        forward, backward = Reference.forward, Reference.backward
        monkeypatch.setattr(Reference, "forward", lambda self, *a: (drawn.append(self.name), forward(self, *a))[1])
        monkeypatch.setattr(
            Reference, "backward", lambda self, *a, **k: (drawn.append(self.name), backward(self, *a, **k))[1]
        )
        composite(**arguments(atlas=learned_atlas(), **NARROW)).sum().backward()
        composite(**arguments(frame=arguments()["frame"].requires_grad_(), **NARROW)).sum().backward()
        assert drawn == ["fast"] * 4

    def test_devices(self) -> None:
        assert choose_device("auto", "auto", **NARROW) == CPU
        assert choose_device(Narrow(), "auto") == CPU
        with pytest.raises(DiffbmpError, match="it has no filter 'trilinear'"):
            choose_device("fast-narrow", "auto", filter="trilinear")

    def test_where_nothing_can_it_says_what_was_asked_for(
        self, found: Registry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = [key for key in found._entries if key[0] == "renderers" and key[1] != "fast-narrow"]
        for key in keys:
            monkeypatch.delitem(found._entries, key)
        sentence = "No renderer can draw on cpu what is asked for: float32, add, bilinear, gradients of texels."
        with pytest.raises(DiffbmpError, match=re.escape(sentence)):
            choose_renderer("auto", CPU, blend="add", filter="bilinear", texel_gradient=True)

    def test_another_class_of_the_same_name_is_another_renderer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        first = renderer_for("fast", CPU, torch.float32)
        assert renderer_for("fast", CPU, torch.float32) is first
        other = Registry()
        other.load()
        renamed = type("Other", (Fast,), {"__doc__": "Another.", "name": "fast"})
        other.add(Extras(renamed), "others")
        monkeypatch.setattr(registry_module, "_registry", other)
        assert type(renderer_for("fast", CPU, torch.float32)) is renamed


def sprites(**options: Any) -> tuple[Sprites, Canvas]:
    given = arguments()
    names = ("frame", "opacity", "color", "texture", "color_blend")
    return Sprites(*(given[name] for name in names)), Canvas(given["atlas"], SIZE, **options)


class TestLayers:
    def test_a_renderer_without_layers_has_them_drawn_by_another(self) -> None:
        drawn = list(draw_layers(*sprites(filter="bilinear", renderer=Narrow())))
        for layer, expected in zip(drawn, draw_layers(*sprites(filter="bilinear")), strict=True):
            assert torch.equal(layer.pixels, expected.pixels)

    def test_a_filter_that_it_lacks_is_refused(self) -> None:
        with pytest.raises(DiffbmpError, match="it has no filter 'mipmap'"):
            next(draw_layers(*sprites(renderer=Narrow())))

    def test_nobody_draws_in_place_of_a_look_of_its_own(self) -> None:
        class Silent(Sketch):
            name = "silent"
            draws_layers = False

        with pytest.raises(DiffbmpError, match="Renderer 'silent' draws no layers, and has a look of its own"):
            next(straight_layers(*sprites(renderer=Silent())))

    def test_its_own_layers_are_drawn(self) -> None:
        layer = next(draw_layers(*sprites(renderer=Sketch())))
        assert torch.equal(layer.pixels * 4, (layer.pixels * 4).round())


class TestSeeds:
    def test_a_random_gradient_needs_a_seed_in_forward_already(self) -> None:
        frame = arguments()["frame"].requires_grad_()
        with pytest.raises(DiffbmpError, match="Renderer 'noisy' estimates its gradients at random and has no seed"):
            composite(**arguments(frame=frame, renderer=Noisy()))

    def test_a_picture_needs_none(self) -> None:
        assert torch.equal(composite(**arguments(renderer=Noisy())), composite(**arguments(renderer="reference")))

    @pytest.mark.parametrize("seed", [3, torch.tensor(3)])
    def test_gradients_follow_it(self, seed: int | Tensor) -> None:
        def gradient(seed: int | Tensor | None, renderer: Renderer) -> Tensor:
            frame = arguments()["frame"].requires_grad_()
            composite(**arguments(frame=frame, renderer=renderer), seed=seed).sum().backward()
            assert frame.grad is not None
            return frame.grad

        noisy = Noisy()
        assert torch.equal(gradient(seed, noisy), gradient(3, noisy))
        assert not torch.equal(gradient(seed, noisy), gradient(4, noisy))
        assert torch.equal(gradient(seed, Reference()), gradient(None, Reference()))

    @pytest.mark.parametrize(
        ("seed", "sentence"),
        [
            (torch.tensor([1]), r"seed must be .* got torch.int64 of shape \(1,\) on cpu"),
            (torch.tensor(1.0), "seed must be .* got torch.float32"),
            (torch.tensor(1, device="meta"), "on meta"),
            (1.5, "seed must be a whole number of 64 bits, got 1.5"),
            (2**63, "seed must be a whole number of 64 bits"),
        ],
    )
    def test_anything_else_is_refused(self, seed: Any, sentence: str) -> None:
        with pytest.raises(DiffbmpError, match=sentence):
            composite(**arguments(), seed=seed)

    @pytest.mark.parametrize("kind", [int, torch.tensor])
    def test_compiled_code_takes_another_one_each_time(self, kind: Callable[[int], Any]) -> None:
        noisy = Noisy()
        given = arguments(renderer=noisy)
        frame = given.pop("frame")

        def gradient(draw: Callable[..., Tensor], seed: int) -> Tensor:
            leaf = frame.clone().requires_grad_()
            draw(leaf, kind(seed)).square().sum().backward()
            assert leaf.grad is not None
            return leaf.grad

        def draw(leaf: Tensor, seed: Any) -> Tensor:
            return composite(leaf, **given, seed=seed)

        compiled = torch.compile(draw, fullgraph=True, backend="aot_eager")
        for seed in (1, 5, 9):
            torch.testing.assert_close(gradient(compiled, seed), gradient(draw, seed))

    def test_a_seed_that_changes_before_backward_is_noticed(self) -> None:
        seed = torch.tensor(1)
        image = composite(**arguments(frame=arguments()["frame"].requires_grad_(), renderer=Noisy()), seed=seed)
        seed.add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            image.sum().backward()
