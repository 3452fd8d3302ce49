"""What a caller of ``composite`` sees: shapes, batches, refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from diffbmp import Atlas, DiffbmpError, composite, over_background
from diffbmp.testing import TEXTURE_SETS, random_atlas, random_inputs


def arguments(count: int = 5, size: tuple[int, int] = (8, 9), seed: int = 0) -> dict[str, Any]:
    """Return keyword arguments of one unbatched call, in float64."""
    inputs = random_inputs(seed, count=count, size=size, radius=(1.5, 5))
    return {
        "frame": inputs.frame[0].double(),
        "opacity": inputs.opacity[0].double(),
        "color": inputs.color[0].double(),
        "texture": inputs.texture[0],
        "atlas": random_atlas(TEXTURE_SETS["mixed"], seed, torch.float64),
        "color_blend": inputs.color_blend[0].double(),
        "size": size,
        "renderer": "reference",
    }


class TestShapes:
    def test_a_canvas(self) -> None:
        image = composite(**arguments(size=(8, 9)))
        assert image.shape == (4, 8, 9)
        assert image.dtype == torch.float64
        assert bool(image.any())

    @pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
    @pytest.mark.parametrize("batched", ["frame", "opacity", "color", "texture", "color_blend"])
    def test_one_batched_input_makes_a_batch(self, batch: tuple[int, ...], batched: str) -> None:
        given = arguments()
        single = composite(**given)
        given[batched] = given[batched].expand(*batch, *given[batched].shape)
        image = composite(**given)
        assert image.shape == (*batch, 4, 8, 9)
        torch.testing.assert_close(image, single.expand_as(image))

    def test_batches_broadcast_against_each_other(self) -> None:
        given, other = arguments(), arguments(seed=1)
        frames = torch.stack([given["frame"], other["frame"]])[:, None]  # (2, 1, N, 2, 3)
        opacities = torch.stack([given["opacity"], other["opacity"], 0.5 * other["opacity"]])  # (3, N)
        image = composite(**{**given, "frame": frames, "opacity": opacities})
        assert image.shape == (2, 3, 4, 8, 9)
        for i in range(2):
            for j in range(3):
                expected = composite(**{**given, "frame": frames[i, 0], "opacity": opacities[j]})
                torch.testing.assert_close(image[i, j], expected)

    def test_a_gradient_is_summed_over_what_was_broadcast(self) -> None:
        given = arguments()
        opacity = given["opacity"].requires_grad_()
        composite(**{**given, "frame": given["frame"].expand(3, -1, -1, -1)}).sum().backward()
        summed = opacity.grad
        opacity.grad = None
        composite(**given).sum().backward()
        assert summed is not None
        torch.testing.assert_close(summed, 3 * opacity.grad)

    @pytest.mark.parametrize("batch", [(), (2,), (0,), (2, 0)])
    def test_no_sprites_or_no_canvases(self, batch: tuple[int, ...]) -> None:
        given = arguments()
        for name in ("frame", "opacity", "color", "texture", "color_blend"):
            given[name] = given[name][:0]
        given["frame"] = given["frame"].expand(*batch, 0, 2, 3).clone().requires_grad_()
        image = composite(**given)
        assert image.shape == (*batch, 4, 8, 9)
        assert not bool(image.any())
        image.sum().backward()
        assert given["frame"].grad.shape == (*batch, 0, 2, 3)

    def test_an_empty_batch_of_sprites(self) -> None:
        given = arguments()
        image = composite(**{**given, "frame": given["frame"].expand(0, -1, -1, -1)})
        assert image.shape == (0, 4, 8, 9)

    @pytest.mark.parametrize("kind", [torch.int32, torch.uint8, torch.int64])
    def test_any_integer_names_a_texture(self, kind: torch.dtype) -> None:
        given = arguments()
        expected = composite(**given)
        assert torch.equal(composite(**{**given, "texture": given["texture"].to(kind)}), expected)


class TestMeaning:
    def test_later_sprites_are_in_front(self) -> None:
        atlas = Atlas.from_pixels([torch.ones(2, 2)])
        frame = torch.tensor([[4.0, 0.0, 2.0], [0.0, 4.0, 2.0]]).expand(2, 2, 3)
        color = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        image = composite(frame, torch.tensor([1.0, 0.25]), color, torch.zeros(2, dtype=torch.long), atlas, size=(4, 4))
        expected = torch.tensor([0.75, 0.0, 0.25, 1.0])[:, None, None].expand(4, 4, 4)
        torch.testing.assert_close(image, expected)

    def test_add_sums_colour_and_multiplies_transmittance(self) -> None:
        atlas = Atlas.from_pixels([torch.ones(2, 2)])
        frame = torch.tensor([[4.0, 0.0, 2.0], [0.0, 4.0, 2.0]]).expand(2, 2, 3)
        color = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 1.0]])
        given = (frame, torch.tensor([1.0, 0.25]), color, torch.zeros(2, dtype=torch.long), atlas)
        image = composite(*given, size=(4, 4), blend="add")
        torch.testing.assert_close(image[:, 1, 2], torch.tensor([1.0, 0.0, 0.75, 1.0]))

    def test_alpha_max_scales_opacity(self) -> None:
        given = arguments()
        scaled = composite(**given, alpha_max=0.5)
        torch.testing.assert_close(scaled, composite(**{**given, "opacity": 0.5 * given["opacity"]}))

    @pytest.mark.parametrize("mu", [0.0, 0.4, 1.0])
    def test_colour_blend_of_all_sprites(self, mu: float) -> None:
        given = arguments()
        expected = composite(**{**given, "color_blend": torch.full((5,), mu, dtype=torch.float64)})
        assert torch.equal(composite(**{**given, "color_blend": mu}), expected)
        learned = torch.tensor(mu, dtype=torch.float64, requires_grad=True)
        image = composite(**{**given, "color_blend": learned})
        torch.testing.assert_close(image, expected)
        image.sum().backward()
        assert learned.grad is not None
        assert learned.grad.shape == ()

    def test_an_alpha_only_texture_has_no_colour_to_blend(self) -> None:
        given = {**arguments(), "texture": torch.zeros(5, dtype=torch.long)}
        assert torch.equal(composite(**{**given, "color_blend": 1.0}), composite(**{**given, "color_blend": 0.0}))

    def test_texture_colour_is_not_darkened_where_it_is_translucent(self) -> None:
        """Premultiplied filtering: transparent texels do not bleed their colour, and none is multiplied twice."""
        pixels = torch.zeros(4, 4, 4)
        pixels[0], pixels[3, :, 2:] = 1.0, 0.5
        pixels[1, :, :2] = 1.0  # green where transparent: must not show
        frame = torch.tensor([[[8.0, 0.0, 8.0], [0.0, 8.0, 8.0]]])
        image = composite(
            frame, torch.ones(1), torch.zeros(1, 3), torch.zeros(1, dtype=torch.long), Atlas.from_pixels([pixels]),
            size=(16, 16), color_blend=1.0,
        )  # fmt: skip
        torch.testing.assert_close(image[0], image[3])
        assert not bool(image[1].any())
        assert float(image[3, 8, 13]) == pytest.approx(0.5)

    def test_a_texture_covers_its_square_edge_to_edge(self) -> None:
        frame = torch.tensor([[[3.0, 0.0, 5.0], [0.0, 2.0, 4.0]]])
        given = (frame, torch.ones(1), torch.ones(1, 3), torch.zeros(1, dtype=torch.long))
        image = composite(*given, Atlas.from_pixels([torch.ones(1, 1)]), size=(8, 10), filter="nearest_texel")
        expected = torch.zeros(8, 10)
        expected[2:6, 2:8] = 1.0
        assert torch.equal(image[3], expected)

    def test_a_background_goes_behind(self) -> None:
        image = torch.tensor([0.2, 0.0, 0.1, 0.25])[:, None, None].expand(4, 2, 3)
        behind = over_background(image, torch.tensor([1.0, 0.5, 0.0])[:, None, None])
        expected = torch.tensor([0.95, 0.375, 0.1])[:, None, None].expand(3, 2, 3)
        torch.testing.assert_close(behind, expected)


def with_nan(value: Tensor) -> Tensor:
    changed = value.clone()
    changed.view(-1)[1] = torch.nan
    return changed


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"frame": torch.zeros(5, 3, 3).double()}, r"frame must have shape \(\.\.\., N, 2, 3\), got \(5, 3, 3\)"),
            ({"frame": torch.zeros(2, 3).double()}, "frame must have shape"),
            ({"frame": torch.zeros(5, 2, 3, dtype=torch.long)}, "frame must hold floats"),
            ({"opacity": torch.zeros(4).double()}, r"opacity must have shape \(\.\.\., 5\) .* got \(4,\)"),
            ({"opacity": torch.tensor(0.5).double()}, "opacity must have shape"),
            ({"color": torch.zeros(5, 4).double()}, r"color must have shape \(\.\.\., 5, 3\) .* got \(5, 4\)"),
            ({"color": torch.zeros(3).double()}, "color must have shape"),
            ({"color_blend": torch.zeros(4).double()}, r"color_blend must have shape"),
            ({"texture": torch.zeros(6, dtype=torch.long)}, "texture must have shape"),
            ({"texture": torch.zeros(5)}, "texture must hold integers, got torch.float32"),
            ({"texture": torch.zeros(5, dtype=torch.bool)}, "texture must hold integers, got torch.bool"),
            ({"texture": torch.full((5,), 7)}, r"indices from 7 to 7, but the atlas has 7 textures \(0 to 6\)"),
            ({"texture": torch.full((5,), -1)}, "indices from -1 to -1"),
            ({"opacity": torch.zeros(5)}, "opacity is torch.float32 .* but frame is torch.float64"),
            ({"color_blend": torch.zeros(5)}, "color_blend is torch.float32"),
            ({"atlas": Atlas.from_pixels([torch.ones(2, 2)])}, "the atlas is torch.float32"),
            ({"opacity": torch.zeros(5, device="meta").double()}, "opacity is torch.float64 on meta"),
            ({"texture": torch.zeros(5, dtype=torch.long, device="meta")}, "texture is on meta"),
            ({"size": (0, 4)}, r"size must be \(height, width\), whole numbers of at least 1, got \(0, 4\)"),
            ({"size": (4.0, 4)}, "size must be"),
            ({"size": (4, 4, 4)}, "size must be"),
            ({"alpha_max": 1.5}, r"alpha_max must lie in \[0, 1\], got 1.5"),
            ({"alpha_max": float("nan")}, "alpha_max must lie in"),
            ({"color_blend": -0.5}, r"color_blend must lie in \[0, 1\], got -0.5"),
            ({"blend": "ovr"}, "Unknown blend mode 'ovr'; did you mean 'over'"),
            ({"filter": "mipmapp"}, "Unknown filter 'mipmapp'; did you mean 'mipmap'"),
            ({"renderer": "referense"}, "Unknown renderer 'referense'; did you mean 'reference'"),
            ({"renderer": 'reference{"pears": 3}'}, "'pears'; did you mean 'pairs'"),
        ],
    )
    def test_one_sentence_says_what_is_wrong(self, changes: dict[str, Any], sentence: str) -> None:
        with pytest.raises(DiffbmpError, match=sentence):
            composite(**{**arguments(), **changes})

    def test_batches_that_do_not_fit_are_listed(self) -> None:
        given = arguments()
        given["frame"] = given["frame"].expand(2, -1, -1, -1)
        given["color"] = given["color"].expand(3, -1, -1)
        with pytest.raises(DiffbmpError, match=r"frame \(2,\), opacity \(\), color \(3,\)"):
            composite(**given)

    @pytest.mark.parametrize("name", ["frame", "opacity", "color", "color_blend"])
    @pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
    def test_nan_and_infinity_are_named(self, name: str, bad: float) -> None:
        given = arguments()
        given[name] = given[name].clone()
        given[name].view(-1)[1] = bad
        with pytest.raises(DiffbmpError, match=f"{name} holds NaN or infinity"):
            composite(**given)

    def test_a_bad_index_is_refused_for_a_blurred_atlas_too(self) -> None:
        given = arguments()
        given["atlas"] = given["atlas"].blurred(1.0)
        with pytest.raises(DiffbmpError, match="indices from 9 to 9"):
            composite(**{**given, "texture": torch.full((5,), 9)})
