"""Stamps: parameters become sprites."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from diffbmp import Atlas, DiffbmpError, Sprites, Stamps


@pytest.fixture
def atlas() -> Atlas:
    return Atlas.from_pixels([torch.ones(4, 8), torch.ones(6, 3), torch.ones(5, 5)])


def values(*shape: int) -> dict[str, Tensor]:
    random = torch.Generator().manual_seed(0)

    def some(*tail: int) -> Tensor:
        return torch.rand(*shape, *tail, generator=random)

    return {
        "position": 20 * some(2),
        "scale": 1 + 5 * some(),
        "rotation": 6 * some(),
        "opacity_logit": some() - 0.5,
        "color_logit": some(3) - 0.5,
        "texture": torch.arange(shape[-1]) % 3,
    }


class TestFrame:
    def test_by_hand(self, atlas: Atlas) -> None:
        """Half a turn to the right of a stamp twice as wide as high: its right edge points down, its bottom left."""
        one = torch.tensor([3.0])
        stamps = Stamps(
            torch.tensor([[10.0, 20.0]]), one, torch.tensor([math.pi / 2]), torch.zeros(1), torch.zeros(1, 3),
            torch.tensor([0]),
        )  # fmt: skip
        sprites = stamps(atlas)
        torch.testing.assert_close(sprites.frame, torch.tensor([[[0.0, -1.5, 10.0], [3.0, 0.0, 20.0]]]))
        assert sprites.opacity.tolist() == [0.5]
        assert sprites.color.tolist() == [[0.5, 0.5, 0.5]]
        assert sprites.color_blend.tolist() == [0.0]
        assert len(stamps) == len(sprites) == 1

    def test_is_a_rotation_of_the_aspect(self, atlas: Atlas) -> None:
        given = values(7)
        sprites = Stamps(**given)(atlas)
        for index in range(7):
            angle, scale = float(given["rotation"][index]), float(given["scale"][index])
            width, height = [(8, 4), (3, 6), (5, 5)][index % 3]
            half = torch.diag(torch.tensor([width, height]) / max(width, height) * scale)
            turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
            torch.testing.assert_close(sprites.frame[index, :, :2], turn @ half)
            assert torch.equal(sprites.frame[index, :, 2], given["position"][index])

    def test_batches(self, atlas: Atlas) -> None:
        given = values(2, 3, 4)
        sprites = Stamps(**given)(atlas)
        assert sprites.frame.shape == (2, 3, 4, 2, 3)
        single = Stamps(**{name: value[1, 2] if name != "texture" else value for name, value in given.items()})(atlas)
        torch.testing.assert_close(sprites.frame[1, 2], single.frame)
        given["texture"] = torch.randint(3, (2, 3, 4))
        assert Stamps(**given)(atlas).frame.shape == (2, 3, 4, 2, 3)

    def test_none_at_all(self, atlas: Atlas) -> None:
        assert Stamps(**values(0))(atlas).frame.shape == (0, 2, 3)

    def test_gradients_reach_every_parameter(self, atlas: Atlas) -> None:
        stamps = Stamps(**values(5)).double()

        def outputs(*parameters: Tensor) -> tuple[Tensor, ...]:
            names = dict(
                zip(("position", "scale", "rotation", "opacity_logit", "color_logit"), parameters, strict=True)
            )
            sprites = torch.func.functional_call(stamps, names, (atlas.to(dtype=torch.float64),))
            return sprites.frame, sprites.opacity, sprites.color

        parameters = (
            stamps.position, stamps.scale, stamps.rotation, stamps.opacity_logit, stamps.color_logit,
        )  # fmt: skip
        assert torch.autograd.gradcheck(outputs, parameters)


class TestModule:
    def test_start_values_are_copied(self) -> None:
        given = values(3)
        stamps = Stamps(**given)
        given["scale"].zero_()
        given["texture"].zero_()
        assert bool((stamps.scale > 0).all())
        assert stamps.texture.tolist() == [0, 1, 2]

    def test_learnables_name_every_parameter(self) -> None:
        stamps = Stamps(**values(3))
        learnables = stamps.learnables()
        assert list(learnables) == ["position", "scale", "rotation", "opacity", "color"]
        assert {id(one.parameter) for one in learnables.values()} == {id(value) for value in stamps.parameters()}

    def test_constrain_keeps_a_stamp_a_pixel_across(self) -> None:
        given = values(3)
        given["scale"] = torch.tensor([-2.0, 0.1, 7.0])
        stamps = Stamps(**given)
        stamps.constrain(None, 0.0)
        assert stamps.scale.tolist() == [0.5, 0.5, 7.0]
        assert stamps.scale.requires_grad

    def test_saved_and_back(self, atlas: Atlas) -> None:
        stamps = Stamps(**values(2, 4), color_blend=0.25)
        again = Stamps.from_saved(stamps.state_dict(), stamps.metadata(), atlas)
        for name, value in stamps.state_dict().items():
            assert torch.equal(value, again.state_dict()[name])


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"scale": torch.tensor(1.0)}, "scale must have shape"),
            ({"position": torch.zeros(3, 3)}, r"position must have shape \(3, 2\) like scale, got \(3, 3\)"),
            ({"rotation": torch.zeros(4)}, "rotation must have shape"),
            ({"color_logit": torch.zeros(3)}, "color_logit must have shape"),
            ({"color_blend": torch.zeros(2)}, "color_blend must have shape"),
            ({"texture": torch.zeros(4, dtype=torch.long)}, r"texture must .* shape \(3,\)"),
            ({"texture": torch.zeros(3)}, "texture must hold integers"),
            ({"texture": torch.zeros(3, dtype=torch.bool)}, "texture must hold integers"),
            ({"opacity_logit": torch.full((3,), torch.nan)}, "opacity_logit holds NaN or infinity"),
            ({"position": torch.full((3, 2), torch.inf)}, "position holds NaN or infinity"),
            ({"rotation": torch.zeros(3).double()}, "rotation must hold floats of one type like scale"),
            ({"scale": torch.ones(3, dtype=torch.long)}, "must hold floats"),
        ],
    )
    def test_values(self, changes: dict[str, Any], sentence: str) -> None:
        with pytest.raises(DiffbmpError, match=sentence):
            Stamps(**{**values(3), **changes})

    @pytest.mark.parametrize(
        ("name", "value", "sentence"),
        [
            ("scale", None, r"lack \['scale'\]"),
            ("extra", torch.zeros(3), r"have \['extra'\] too many"),
            ("texture", torch.full((3,), 3), "outside the atlas of 3"),
            ("texture", torch.full((3,), -1), "outside the atlas"),
            ("texture", torch.full((3,), torch.nan), "must hold integers"),
            ("rotation", torch.zeros(3, dtype=torch.float16), "must hold float32 or float64"),
            ("rotation", torch.zeros(3, dtype=torch.float8_e5m2), "must hold float32 or float64"),
            ("rotation", torch.zeros(3, dtype=torch.complex64), "must hold float32 or float64"),
            ("scale", torch.tensor(1.0), "must have shape"),
        ],
    )
    def test_what_a_strangers_file_holds(self, atlas: Atlas, name: str, value: Tensor | None, sentence: str) -> None:
        saved: dict[str, Any] = {**Stamps(**values(3)).state_dict(), name: value}
        if value is None:
            del saved[name]
        with pytest.raises(DiffbmpError, match=sentence):
            Stamps.from_saved(saved, {}, atlas)

    def test_unknown_metadata(self, atlas: Atlas) -> None:
        with pytest.raises(DiffbmpError, match="unknown metadata"):
            Stamps.from_saved(Stamps(**values(3)).state_dict(), {"colour": 1}, atlas)


class TestSprites:
    def test_primitives_follow_each_other(self, atlas: Atlas) -> None:
        first, second = Stamps(**values(3))(atlas), Stamps(**values(2, 4))(atlas)
        both = Sprites.concatenate([first, second])
        assert both.frame.shape == (2, 7, 2, 3)
        assert both.texture.shape == (2, 7)
        assert both.color.shape == (2, 7, 3)
        assert torch.equal(both.frame[1, :3], first.frame)
        assert torch.equal(both.frame[:, 3:], second.frame)
        assert torch.equal(both.color_blend[0, 3:], second.color_blend[0])

    def test_scaled_moves_and_grows(self, atlas: Atlas) -> None:
        sprites = Stamps(**values(3))(atlas)
        assert torch.equal(sprites.scaled(2.0).frame, 2 * sprites.frame)
        assert sprites.scaled(2.0).opacity is sprites.opacity
