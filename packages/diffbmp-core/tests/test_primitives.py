"""Core's own primitives, and the suite for those of others: it passes what is right and finds what is wrong."""

from __future__ import annotations

import inspect
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch

import diffbmp
from diffbmp.primitives.palette import nearest_color
from diffbmp.testing import PrimitiveConformance, registered


class TestStamps(PrimitiveConformance):
    primitive = "stamps"
    settings = {"stamps": ["shape:disc", "shape:star"], "color_blend": 0.3}  # noqa: RUF012
    values = {"rotation": 1.5, "scale": 3.0, "opacity": 0.25}  # noqa: RUF012

    def make(self, count: int, seed: int, atlas: diffbmp.Atlas) -> diffbmp.Stamps:
        random = torch.Generator().manual_seed(seed)
        inputs = self.start_inputs(count, seed, atlas)
        return diffbmp.Stamps(
            position=torch.rand(count, 2, generator=random) * 20,
            scale=2 + 4 * torch.rand(count, generator=random),
            rotation=6 * torch.rand(count, generator=random),
            opacity_logit=torch.randn(count, generator=random),
            color_logit=torch.randn(count, 3, generator=random),
            texture=inputs.usable[torch.arange(count) % len(inputs.usable)],
            color_blend=torch.rand(count, generator=random),
        )


def example() -> dict[str, Any]:
    """Return what the example in the suite's docstring defines."""
    text = inspect.cleandoc(PrimitiveConformance.__doc__ or "").partition("::\n")[2]
    code = textwrap.dedent(text[: text.index("\n\nIt tries")])
    names: dict[str, Any] = {"__name__": __name__}
    exec(compile(code, "example", "exec"), names)
    return names


Dots, TestDots = example()["Dots"], example()["TestDots"]


def without_names(self: Any, atlas: Any) -> list[diffbmp.InstanceName]:
    return [diffbmp.InstanceName("dot")]


def scripted(self: Any, index: int, atlas: Any) -> str:
    return '<circle r="1" onclick="alert(1)"/>'


def forgetting(self: Any) -> dict[str, diffbmp.Learnable]:
    return {"position": diffbmp.Learnable(self.position, 0.1)}


def turned_round(self: Any, atlas: Any) -> diffbmp.Sprites:
    sprites = Dots.forward(self, atlas)
    reverse = torch.arange(len(self)).flip(0)
    return diffbmp.Sprites(
        sprites.frame[..., reverse, :, :], sprites.opacity, sprites.color, sprites.texture, sprites.color_blend
    )


def through_a_sigmoid(self: Any, atlas: Any) -> diffbmp.Sprites:
    sprites = Dots.forward(self, atlas)
    color = torch.sigmoid(sprites.color)
    return diffbmp.Sprites(sprites.frame, sprites.opacity, color, sprites.texture, sprites.color_blend)


def rounded(self: Any, atlas: Any) -> diffbmp.Sprites:
    sprites = Dots.forward(self, atlas)
    frame = sprites.frame + (sprites.frame * 1.5).detach()
    return diffbmp.Sprites(frame, sprites.opacity, sprites.color, sprites.texture, sprites.color_blend)


def too_opaque(self: Any, atlas: Any) -> diffbmp.Sprites:
    sprites = Dots.forward(self, atlas)
    return diffbmp.Sprites(sprites.frame, sprites.opacity * 1.1, sprites.color, sprites.texture, sprites.color_blend)


def set_the_first(self: Any, name: str, value: float) -> None:
    if name not in self.learnables():
        raise diffbmp.DiffbmpError(f"There is no {name}.")
    self.color.data[0] = value


def takes_anything(self: Any, name: str, value: float) -> None:
    if name in self.learnables():
        self.position.data.fill_(value)


def darker(self: Any, palette: Any, progress: float) -> None:
    self.color.data.mul_(0.9)


def by_number_of_calls(self: Any, palette: Any, progress: float) -> None:
    self.calls = getattr(self, "calls", 0) + 1
    self.color.data.clamp_(0, 1 / self.calls)


def over_all_canvases(self: Any, palette: Any, progress: float) -> None:
    self.color.data.clamp_(0, 1).lerp_(self.color.data.mean(), 0.1)


def elsewhere(cls: Any, tensors: Any, metadata: Any, atlas: Any) -> Any:
    return cls(**{**tensors, "position": tensors["position"] + 1}, **metadata)


def with_other_metadata(cls: Any, tensors: Any, metadata: Any, atlas: Any) -> Any:
    return cls(**tensors, radius=metadata["radius"] + 1)


def from_anything(cls: Any, tensors: Any, metadata: Any, atlas: Any) -> Any:
    return cls(*(tensors.get(name, torch.zeros(5, 3)) for name in cls.axes), radius=metadata["radius"])


def one_too_many(cls: Any, inputs: Any, settings: Any) -> Any:
    whole = Dots.start.__func__(cls, inputs, settings)
    return cls(*(torch.cat([t.detach(), t[:1].detach()]) for t in (whole.position, whole.color, whole.texture)), 3.0)


def of_no_seed(cls: Any, inputs: Any, settings: Any) -> Any:
    whole = Dots.start.__func__(cls, inputs, settings)
    return cls(torch.rand(inputs.count, 2), whole.color.detach(), whole.texture, 3.0)


def of_any_texture(cls: Any, inputs: Any, settings: Any) -> Any:
    whole = Dots.start.__func__(cls, inputs, settings)
    return cls(whole.position.detach(), whole.color.detach(), 0 * whole.texture, 3.0)


def alike(self: Any, canvas: diffbmp.Canvas) -> torch.Tensor:
    color = self.color.mean() + 0 * self.position.sum()
    return (color * canvas.alpha_max).expand(*self.batch, 4, *canvas.size)


def unaware_of_the_window(self: Any, canvas: diffbmp.Canvas) -> torch.Tensor:
    ramp = torch.linspace(0, 1, canvas.size[1]).to(self.color)
    alpha = 1 - torch.prod(1 - ramp * self.color.mean(dim=-1)[..., None], dim=-2) * canvas.alpha_max
    return alpha[..., None, None, :].expand(*self.batch, 4, *canvas.size) + 0 * self.position.sum()


START = {"given": "a target"}
RESUME = {"batched": False, "tmp_path": None}
WRONG: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("test_every_tensor_has_its_instance_axis", {"axes": {"position": -2, "color": -2}}, {}),
    ("test_every_tensor_has_its_instance_axis", {"axes": {"position": 0, "color": -2, "texture": -1}}, {}),
    ("test_every_tensor_has_its_instance_axis", {"axes": {**Dots.axes, "weight": -1}}, {}),
    ("test_learnables_can_be_learned", {"learnables": forgetting}, {}),
    ("test_learnables_can_be_learned", {"draw": alike}, {}),
    ("test_names_and_outlines", {"names": without_names}, {}),
    ("test_names_and_outlines", {"outline": scripted}, {}),
    ("test_instances_are_numbered_as_they_are_selected", {"forward": turned_round}, {}),
    ("test_a_batch_has_the_bits_of_its_canvases", {"forward": through_a_sigmoid}, {}),
    ("test_a_batch_has_the_bits_of_its_canvases", {"constrain": over_all_canvases}, {}),
    ("test_gradients_in_double_precision", {"forward": rounded}, {"batched": False}),
    ("test_sprites_can_be_drawn", {"forward": too_opaque}, {}),
    ("test_sprites_can_be_drawn", {"constrain": lambda self, palette, progress: None}, {}),
    ("test_a_layer_of_its_own_is_drawn_in_any_window", {"draw": unaware_of_the_window}, {}),
    ("test_set_sets_all_instances_or_refuses", {"set": set_the_first}, {}),
    ("test_set_sets_all_instances_or_refuses", {"set": takes_anything}, {}),
    ("test_constrain_changes_nothing_the_second_time", {"constrain": darker}, {"batched": False}),
    ("test_saved_and_loaded_it_is_the_same", {"from_saved": classmethod(elsewhere)}, {"tmp_path": None}),
    ("test_saved_and_loaded_it_is_the_same", {"from_saved": classmethod(with_other_metadata)}, {"tmp_path": None}),
    ("test_damaged_files_are_refused", {"from_saved": classmethod(from_anything)}, {}),
    ("test_a_resumed_fit_goes_on_with_the_same_bits", {"constrain": by_number_of_calls}, RESUME),
    ("test_a_batch_of_fits_has_the_bits_of_each", {"constrain": over_all_canvases}, {}),
    ("test_start_gives_what_is_asked_for", {"start": classmethod(one_too_many)}, START),
    ("test_start_gives_what_is_asked_for", {"start": classmethod(of_no_seed)}, START),
    ("test_start_gives_what_is_asked_for", {"start": classmethod(of_any_texture)}, START),
]  # fmt: skip


class TestTheSuite:
    @pytest.mark.parametrize(("test", "wrong", "arguments"), WRONG)
    def test_it_finds_what_is_wrong(
        self, test: str, wrong: dict[str, Any], arguments: dict[str, Any], tmp_path: Path
    ) -> None:
        kind = type("Wrong", (Dots,), {**wrong, "__doc__": "Dots with a mistake."})
        suite: Any = type("Suite", (PrimitiveConformance,), {"primitive": kind})()
        given = {name: tmp_path if name == "tmp_path" else value for name, value in arguments.items()}
        with pytest.raises((AssertionError, RuntimeError, diffbmp.DiffbmpError, pytest.fail.Exception)):
            getattr(suite, test)(**given)

    def test_a_class_is_registered_for_the_block_only(self) -> None:
        def find() -> diffbmp.Fit:
            return diffbmp.start_fit(torch.rand(3, 8, 8), primitives="dots", steps=1)

        with registered(Dots):
            assert type(find().front) is Dots
            with pytest.raises(AssertionError, match="dots"), registered(Dots):
                pass
        with pytest.raises(diffbmp.DiffbmpError, match="Unknown primitive 'dots'"):
            find()
        with pytest.raises(AssertionError, match="has no docstring"), registered(type("Bare", (Dots,), {})):
            pass


def test_canvases_that_share_their_textures_have_locks_of_their_own() -> None:
    random = torch.Generator().manual_seed(0)
    stamps = diffbmp.Stamps(
        10 * torch.rand(2, 4, 2, generator=random), torch.full((2, 4), 3.0), torch.zeros(2, 4), torch.zeros(2, 4),
        torch.zeros(2, 4, 3), torch.tensor([0, 1, 0, 1]),
    )  # fmt: skip
    stamps.locked = torch.tensor([[True, False, False, False], [False, True, False, False]])
    scene = diffbmp.Scene(12, 10, diffbmp.Atlas.from_pixels([torch.ones(4, 4), torch.ones(3, 3)]), [stamps])
    targets = torch.rand(2, 3, 10, 12, generator=random)
    (after,) = diffbmp.start_fit(targets, scene=scene, steps=3, refine=[]).run().scene.primitives
    assert isinstance(after, diffbmp.Stamps)
    assert after.texture.tolist() == [0, 1, 0, 1]
    assert torch.equal((after.position == stamps.position).all(dim=-1), stamps.locked)


def test_colors_of_a_batch_are_snapped_like_those_of_each_canvas() -> None:
    """Also where two colours of the palette are nearly as near, and there are many colours."""
    random = torch.Generator().manual_seed(0)
    for _ in range(20):
        palette = torch.rand(4, 3, generator=random)
        halfway = (palette[0] + palette[1]) / 2 + 1e-6 * torch.randn(2, 20, 3, generator=random)
        together = nearest_color(halfway, palette)
        assert torch.equal(together, torch.stack([nearest_color(canvas, palette) for canvas in halfway]))
