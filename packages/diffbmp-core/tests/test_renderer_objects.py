"""Renderers made on the spot: their keys, how long these find them, and what comes back from a renderer."""

from __future__ import annotations

import copy
import dataclasses
import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
from made_renderers import Narrow, Noisy
from torch import Tensor

import diffbmp
from diffbmp import Atlas, CompositeInputs, DiffbmpError, Gradients, composite
from diffbmp.plugins import registry as registry_module
from diffbmp.plugins.registry import Registry
from diffbmp.rendering.canvas import Canvas
from diffbmp.rendering.keys import renderer_key, renderer_label, resolve_renderer
from diffbmp.rendering.layers import draw_layers, straight_layers
from diffbmp.rendering.reference import Reference
from diffbmp.rendering.sprites import Sprites
from diffbmp.testing import random_inputs

SIZE = (8, 9)


class Twice(Reference):
    """Draws twice as bright."""

    name = "twice"

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        image, state = super().forward(inputs)
        return 2 * image, state


def arguments(**changes: Any) -> dict[str, Any]:
    inputs = random_inputs(3, count=4, size=SIZE, radius=(2, 4), textures="alpha")
    given = {name: getattr(inputs, name)[0] for name in ("frame", "opacity", "color", "texture")}
    atlas = Atlas.from_pixels([torch.rand(6, 5, generator=torch.Generator().manual_seed(0))])
    return {**given, "atlas": atlas, "size": SIZE, **changes}


class TestKeys:
    def test_names_and_settings(self) -> None:
        assert renderer_key("cpu") == renderer_key("cpu", {}) == "cpu"
        key = renderer_key("cpu", {"threads": 1, "simd": "a#b"})
        assert key == 'cpu{"simd": "a#b", "threads": 1}'
        assert renderer_key(key) == key
        assert renderer_label(key) == renderer_label("cpu") == "cpu"
        assert resolve_renderer('reference{"pairs": 7}').settings.pairs == 7
        assert resolve_renderer("reference") is resolve_renderer("reference")

    def test_an_object_has_one_key_and_every_object_its_own(self) -> None:
        first, second = Twice(), Twice()
        key = renderer_key(first)
        assert key.startswith("twice#")
        assert renderer_key(first) == renderer_key(key) == key != renderer_key(second)
        assert renderer_label(key) == renderer_label(first) == "twice"
        assert resolve_renderer(key) is first
        assert resolve_renderer(renderer_key(second)) is second

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
    def test_a_copy_is_another_object(self, copied: Callable[[Twice], Twice]) -> None:
        first = Twice()
        key = renderer_key(first)
        second = copied(first)
        assert resolve_renderer(renderer_key(second)) is second
        assert resolve_renderer(key) is first

    def test_a_key_does_not_keep_its_object(self) -> None:
        key = renderer_key(Twice())
        gc.collect()
        with pytest.raises(DiffbmpError, match=f"The renderer object '{key}' is gone; hold it as long as"):
            composite(**arguments(renderer=key))

    @pytest.mark.parametrize("key", ["twice#", "twice#x", "twice#99999999"])
    def test_a_key_of_nothing(self, key: str) -> None:
        with pytest.raises(DiffbmpError, match="is gone"):
            resolve_renderer(key)

    def test_a_graph_keeps_the_object_that_drew(self) -> None:
        frame = arguments()["frame"].requires_grad_()
        image = composite(**arguments(frame=frame, renderer=Twice()))
        gc.collect()
        image.sum().backward()
        assert frame.grad is not None

    @pytest.mark.parametrize(
        ("made", "sentence"),
        [
            (Twice, "renderer must be a name or an instance of diffbmp.Renderer, got Twice"),
            (3, "renderer must be a name or an instance of diffbmp.Renderer, got int"),
            (type("NoName", (Twice,), {"name": ""})(), "NoName has no `name`"),
            (type("Odd", (Twice,), {"name": "a#1"})(), "Odd has no `name` of letters"),
            (
                type("Text", (Twice,), {"blends": "over"})(),
                r"Text \('twice'\) has `blends` that are not a tuple of over",
            ),
            (type("Other", (Twice,), {"filters": ("cubic",)})(), r"Other \('twice'\) has `filters` that are not"),
            (
                type("Half", (Twice,), {"dtypes": (torch.float16,)})(),
                r"`dtypes` that are not a tuple of float32, float64",
            ),
            (type("None_", (Twice,), {"blends": ()})(), "has `blends` that are not"),
        ],
    )
    def test_what_is_no_renderer_is_refused(self, made: Any, sentence: str) -> None:
        with pytest.raises(DiffbmpError, match=sentence):
            composite(**arguments(renderer=made))

    def test_an_object_has_settings_of_its_own(self) -> None:
        with pytest.raises(DiffbmpError, match="The renderer 'twice' is an object; give its settings where it is made"):
            renderer_key(Twice(), {"pairs": 3})


class TestObjects:
    def test_an_object_draws_wherever_a_renderer_is_named(self) -> None:
        twice = Twice()
        expected = 2 * composite(**arguments(renderer="reference"))
        assert torch.equal(composite(**arguments(renderer=twice)), expected)
        assert torch.equal(composite(**arguments(renderer=renderer_key(twice))), expected)

    def test_layers(self) -> None:
        given = arguments()
        sprites = Sprites(
            given["frame"], given["opacity"], given["color"], given["texture"], torch.zeros_like(given["opacity"])
        )
        for draw in (draw_layers, straight_layers):
            drawn = draw(sprites, Canvas(given["atlas"], SIZE, renderer=Reference()))
            expected = draw(sprites, Canvas(given["atlas"], SIZE, renderer="reference"))
            for layer, other in zip(drawn, expected, strict=True):
                assert torch.equal(layer.pixels, other.pixels)

    def test_compiled_code(self) -> None:
        """Objects that nobody has seen before, and another one in place of the first."""

        given = arguments()
        frame = given.pop("frame").requires_grad_()

        @torch.compile(fullgraph=True, backend="aot_eager")
        def draw(frame: Tensor, renderer: Reference) -> Tensor:
            return composite(frame, **given, renderer=renderer)

        once, twice = draw(frame, Reference()), draw(frame, Twice())
        assert torch.equal(2 * once, twice)
        (gradient,) = torch.autograd.grad(once.sum(), frame)
        assert bool(gradient.any())

    @pytest.mark.parametrize("renderer", [Narrow(), Noisy()], ids=["narrow", "noisy"])
    def test_opcheck(self, renderer: Reference) -> None:
        inputs = random_inputs(80, count=4, size=SIZE, filter="bilinear")
        floats = [inputs.frame, inputs.opacity, inputs.color, inputs.color_blend]
        tensors = [v.clone().requires_grad_() for v in floats] + [inputs.texture, inputs.texels, inputs.levels]
        constants = (*SIZE, "over", "bilinear", renderer_key(renderer))
        seed = torch.tensor(7)
        torch.library.opcheck(torch.ops.diffbmp.composite.default, (*tensors, inputs.textures, *constants, seed))
        plain = [value.detach() for value in tensors]
        image, state = torch.ops.diffbmp.composite(*plain, inputs.textures, *constants, None)
        torch.library.opcheck(
            torch.ops.diffbmp.composite_backward.default,
            (*plain, inputs.textures, state, torch.randn_like(image), *constants, False, seed),
        )


def broken(name: str, result: Callable[[Any], Any], exception: Exception | None = None) -> Reference:
    """Return a renderer whose method ``name`` returns what ``result`` makes of the right one, or raises."""

    def method(self: Reference, *given: Any, **options: Any) -> Any:
        if exception is not None:
            raise exception
        return result(getattr(Reference, name)(self, *given, **options))

    made: Reference = type("Broken", (Reference,), {"name": "broken", name: method})()
    return made


def without(name: str) -> Callable[[Gradients], Gradients]:
    return lambda gradients: dataclasses.replace(gradients, **{name: getattr(gradients, name)[:, :1]})


class TestReturned:
    @pytest.mark.parametrize(
        ("result", "sentence"),
        [
            (
                lambda r: (r[0][:, :3], r[1]),
                r"an image of shape \(1, 3, 8, 9\), torch.float32 on cpu, and",
            ),
            (
                lambda r: (r[0].double(), r[1]),
                r"an image of shape \(1, 4, 8, 9\), torch.float64 on cpu, and not of shape",
            ),
            (
                lambda r: (r[0].transpose(2, 3).contiguous().transpose(2, 3), r[1]),
                "an image that is not contiguous",
            ),
            (lambda r: (None, r[1]), "an image that is a NoneType and not a tensor"),
            (lambda r: (r[0], r[0]), r"a state of shape \(1, 4, 8, 9\)"),
            (lambda r: (r[0], r[1].double()), r"a state of shape \(1, 0, 8, 9\), torch.float64"),
        ],
    )
    def test_a_wrong_image_or_state(self, result: Callable[[Any], Any], sentence: str) -> None:
        with pytest.raises(DiffbmpError, match=f"^The renderer 'broken' breaks its contract: forward gives {sentence}"):
            composite(**arguments(renderer=broken("forward", result)))

    @pytest.mark.parametrize(
        ("result", "sentence"),
        [
            (without("opacity"), r"backward gives a gradient of opacity of shape \(1, 1\)"),
            (without("frame"), r"backward gives a gradient of frame of shape \(1, 1, 2, 3\)"),
            (lambda g: g.frame, "backward gives a Tensor and not diffbmp.Gradients"),
            (lambda g: Gradients(g.frame, g.opacity, g.color, None, g.texels), "color_blend that is a NoneType"),
            (
                lambda g: Gradients(g.frame, g.opacity, g.color, g.color_blend, None),
                "backward gives no gradient of texels, though it was asked for",
            ),
        ],
    )
    def test_wrong_gradients(self, result: Callable[[Any], Any], sentence: str) -> None:
        atlas = Atlas.from_pixels([torch.rand(6, 5, requires_grad=True)])
        image = composite(**arguments(atlas=atlas, renderer=broken("backward", result)))
        with pytest.raises(DiffbmpError, match=f"^The renderer 'broken' breaks its contract: .*{sentence}"):
            image.sum().backward()

    def test_gradients_in_any_layout_are_taken(self) -> None:
        def strided(gradients: Gradients) -> Gradients:
            frame = gradients.frame.movedim(1, -1).contiguous().movedim(-1, 1)
            assert not frame.is_contiguous()
            return Gradients(frame, gradients.opacity, gradients.color, gradients.color_blend, gradients.texels)

        found = []
        for renderer in (broken("backward", strided), Reference()):
            frame = arguments()["frame"].requires_grad_()
            composite(**arguments(frame=frame, renderer=renderer)).square().sum().backward()
            found.append(frame.grad)
        assert torch.equal(*found)

    def test_texels_that_nobody_asked_for_are_dropped(self) -> None:
        always = broken("backward", lambda g: Gradients(g.frame, g.opacity, g.color, g.color_blend, torch.ones(3)))
        frame = arguments()["frame"].requires_grad_()
        composite(**arguments(frame=frame, renderer=always)).sum().backward()
        assert frame.grad is not None

    def test_wrong_layers(self) -> None:
        given = arguments()
        sprites = Sprites(
            given["frame"], given["opacity"], given["color"], given["texture"], torch.zeros_like(given["opacity"])
        )
        short = broken("layers", lambda flat: flat[:-1])
        with pytest.raises(DiffbmpError, match="contract: layers gives layers of shape"):
            next(draw_layers(sprites, Canvas(given["atlas"], SIZE, renderer=short)))
        wide = broken("layer_bytes", lambda r: (r[0], r[1].float()))
        with pytest.raises(DiffbmpError, match=r"layer_bytes gives boxes of shape .*, torch.float32"):
            next(straight_layers(sprites, Canvas(given["atlas"], SIZE, renderer=wide)))

    def test_an_error_of_its_own_is_named_and_kept(self) -> None:
        error = ValueError("no\n such pigment")
        with pytest.raises(DiffbmpError) as caught:
            composite(**arguments(renderer=broken("forward", lambda r: r, error)))
        assert str(caught.value) == "The renderer 'broken' failed in forward: ValueError: no such pigment."
        assert caught.value.__cause__ is error

    @pytest.mark.parametrize("error", [DiffbmpError("No."), MemoryError("full"), torch.OutOfMemoryError("full")])
    def test_a_sentence_and_a_want_of_memory_pass(self, error: Exception) -> None:
        with pytest.raises(type(error)) as caught:
            composite(**arguments(renderer=broken("forward", lambda r: r, error)))
        assert caught.value is error

    def test_the_plugin_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Extras:
            @diffbmp.hookimpl
            def register_renderers(self, register: Callable[[Any], None]) -> None:
                register(type("Broken", (type(broken("forward", lambda r: r[0])),), {"__doc__": "Broken."}))

        found = Registry()
        found.load()
        assert found.add(Extras(), "extras", package="diffbmp-extras", version="1.2").problems == []
        monkeypatch.setattr(registry_module, "_registry", found)
        sentence = r"^The renderer 'broken' of the plugin 'extras' \(diffbmp-extras 1.2\) failed in forward: ValueError"
        with pytest.raises(DiffbmpError, match=sentence):
            composite(**arguments(renderer="broken"))
