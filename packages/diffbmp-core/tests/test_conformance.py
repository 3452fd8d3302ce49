"""Core's own renderers against the truth; and the suite itself: asks for what is claimed, notices what is not so."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from made_renderers import Narrow, Noisy, Sketch
from torch import Tensor

from diffbmp import CompositeInputs, Gradients, Renderer
from diffbmp.rendering.reference import Reference
from diffbmp.testing import RendererConformance
from diffbmp.testing.inputs import mapped


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Draw with one thread: for tensors of this size, more only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
class TestReference(RendererConformance):
    """In float32 and float64, against itself in float64."""

    renderer = "reference"


class TestCpu(RendererConformance):
    renderer = "cpu"


@pytest.mark.usefixtures("one_thread")
class TestNarrow(RendererConformance):
    renderer = Narrow()


@pytest.mark.usefixtures("one_thread")
class TestNoisy(RendererConformance):
    renderer = Noisy()


@pytest.mark.usefixtures("one_thread")
class TestSketch(RendererConformance):
    renderer = Sketch()


def asked(suite: type[RendererConformance]) -> set[str]:
    """Return the tests of a suite."""
    return {name for name in dir(suite) if name.startswith("test_") and getattr(suite, name) is not None}


class TestClaims:
    def test_what_is_not_claimed_is_not_asked_for(self) -> None:
        everything = asked(TestReference)
        of_layers = {name for name in everything if "layers" in name}
        assert len(of_layers) == 3
        assert everything - asked(TestNarrow) == {"test_texel_gradient_only_where_asked"} | of_layers
        assert asked(TestCpu) == everything
        own = asked(TestSketch) - everything
        assert own == {
            "test_a_look_of_its_own_is_a_premultiplied_picture", "test_gradients_have_the_shape_of_their_inputs",
        }  # fmt: skip
        assert everything - asked(TestSketch) == {"test_values", "test_gradients", "test_layers_are_those_of_reference"}
        random = asked(TestNoisy) - everything
        assert random == {
            "test_gradients_follow_the_seed", "test_pictures_do_not_follow_the_seed",
            "test_the_mean_gradient_is_that_of_reference", "test_gradients_have_the_shape_of_their_inputs",
        }  # fmt: skip
        assert {"test_values", "test_same_bits_every_time"} < asked(TestNoisy)
        assert not {"test_gradients", "test_gradient_is_linear_in_what_comes_back"} & asked(TestNoisy)

    def test_scenes_are_those_that_can_be_drawn(self) -> None:
        assert {(scene.blend, scene.filter) for scene in TestNarrow.scenes()} == {("over", "bilinear")}
        names = {scene.name for scene in TestNarrow.scenes()}
        assert {"over-bilinear", "minified-bilinear", "opaque", "deep"} <= names
        assert not {"over-mipmap", "add-bilinear", "minified-trilinear", "deep-add"} & names
        assert len(TestReference.scenes()) > len(names) > 20

    def test_a_subclass_that_claims_more_is_asked_for_more(self) -> None:
        class More(TestNarrow):
            renderer = Reference()

        assert asked(More) == asked(TestReference)

    def test_a_setting_that_gives_bits_up_is_not_asked_for_them(self) -> None:
        class Loose(TestCpu):
            same_bits = False

        left_out = asked(TestCpu) - asked(Loose)
        assert "test_same_bits_every_time" in left_out
        assert "test_gradients" not in left_out

    def test_a_test_in_place_of_one_s_own_stays(self) -> None:
        class Own(RendererConformance):
            renderer = Sketch()

            def test_values(self) -> None:
                """Its own."""

        class Inherited(TestSketch):
            def test_values(self) -> None:
                """In place of one that is left out."""

        assert "test_values" in asked(Own)
        assert "test_values" in asked(Inherited)


def suite_of(renderer: Renderer) -> Any:
    """Return the suite on a renderer, to call tests of by hand."""
    made = type("Suite", (RendererConformance,), {"renderer": renderer})
    return made()


def scene(suite: Any, name: str) -> Any:
    return next(scene for scene in suite.scenes() if scene.name == name)


class FalseAdd(Reference):
    """Draws add as if it were over."""

    name = "false-add"

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        return super().forward(dataclasses.replace(inputs, blend="over"))


class SingleInDouble(Reference):
    """Claims float64 and computes in float32."""

    name = "single-in-double"

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        image, state = super().forward(mapped(inputs, lambda v: v.float() if v.is_floating_point() else v))
        return image.to(inputs.frame.dtype), state


class SeesOtherCanvases(Reference):
    """Draws a canvas a little differently in company."""

    name = "sees-others"

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        image, state = super().forward(inputs)
        return image * (1 + 2e-7 * (inputs.batch - 1)), state


class UnaskedTexels(Reference):
    """Gives gradients of texels always."""

    name = "unasked-texels"

    def backward(
        self, inputs: CompositeInputs, state: Tensor, grad_image: Tensor, *, texel_gradient: bool
    ) -> Gradients:
        return super().backward(inputs, state, grad_image, texel_gradient=True)


class Straight(Sketch):
    """Straight colour where it must be premultiplied."""

    name = "straight"

    def forward(self, inputs: CompositeInputs) -> tuple[Tensor, Tensor]:
        image, state = super().forward(inputs)
        return torch.cat([image[:, :3] / image[:, 3:].clamp(min=0.25), image[:, 3:]], dim=1), state


class Leaking(Sketch):
    """A gradient where nothing is drawn."""

    name = "leaking"

    def backward(
        self, inputs: CompositeInputs, state: Tensor, grad_image: Tensor, *, texel_gradient: bool
    ) -> Gradients:
        found = super().backward(inputs, state, grad_image, texel_gradient=texel_gradient)
        return dataclasses.replace(found, opacity=found.opacity + 1e-9)


class Unseeded(Noisy):
    """Noise that the seed has nothing to do with."""

    name = "unseeded"

    def number(self, inputs: CompositeInputs) -> int:
        return int(torch.randint(2**31, ()))


class AlwaysTheSame(Noisy):
    """Noise that never changes."""

    name = "always-the-same"

    def number(self, inputs: CompositeInputs) -> int:
        return 3


class Biased(Noisy):
    """Noise around the wrong gradient."""

    name = "biased"
    bias = 0.3


class Loud(Noisy):
    """Noise that drowns everything."""

    name = "loud"

    def backward(
        self, inputs: CompositeInputs, state: Tensor, grad_image: Tensor, *, texel_gradient: bool
    ) -> Gradients:
        found = super().backward(inputs, state, grad_image, texel_gradient=texel_gradient)
        quiet = Reference.backward(self, inputs, state, grad_image, texel_gradient=texel_gradient)
        return dataclasses.replace(found, frame=quiet.frame + 20 * (found.frame - quiet.frame))


class TestNotices:
    @pytest.mark.parametrize(
        ("renderer", "test", "said"),
        [
            (FalseAdd(), lambda s: s.test_values(scene(s, "add-mipmap"), torch.float32), "differs by"),
            (SingleInDouble(), lambda s: s.test_values(scene(s, "over-mipmap"), torch.float64), "differs by"),
            (
                SeesOtherCanvases(),
                lambda s: s.test_a_canvas_has_the_same_bits_alone_and_in_a_batch("mixed", "mipmap"),
                "canvas 0 differs",
            ),
            (UnaskedTexels(), lambda s: s.test_no_texel_gradient_where_none_is_asked_for(), "texels"),
            (
                Straight(),
                lambda s: s.test_a_look_of_its_own_is_a_premultiplied_picture(scene(s, "rgba"), torch.float32),
                "not premultiplied",
            ),
            (Leaking(), lambda s: s.test_sprites_far_off_the_canvas_are_nothing(), "gradient of opacity"),
            (Leaking(), lambda s: s.test_degenerate_frames_are_nothing(), "gradient of opacity"),
            (Unseeded(), lambda s: s.test_gradients_follow_the_seed(), "with the seed 7"),
            (AlwaysTheSame(), lambda s: s.test_gradients_follow_the_seed(), "give the same gradients"),
            (Biased(), lambda s: s.test_the_mean_gradient_is_that_of_reference("over", "mipmap"), "is off by"),
            (Loud(), lambda s: s.test_the_mean_gradient_is_that_of_reference("over", "mipmap"), "raise `seeds`"),
        ],
    )
    def test_a_false_claim(self, renderer: Renderer, test: Callable[[Any], None], said: str) -> None:
        with pytest.raises(AssertionError, match=said):
            test(suite_of(renderer))
