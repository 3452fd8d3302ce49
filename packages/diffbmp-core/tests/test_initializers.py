"""Where stamps start: the formulas, their statistics, every awkward canvas, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffbmp import DiffbmpError
from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.initializers.grid import grid_cells
from diffbmp.initializers.structure import draw_positions, normalized_variance
from diffbmp.placement.starting import deal_textures
from diffbmp.plugins.registry import registry
from diffbmp.primitives.start import StartInputs
from diffbmp.scene.file import save_scene
from diffbmp.scene.scene import Scene
from diffbmp.stamps.stamps import MINIMUM_SCALE, Stamps

NAMES = ["grid", "random", "structure"]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def atlas_of(names: str, dtype: torch.dtype = torch.float32) -> Atlas:
    """Return an atlas with a texture for each letter."""
    return Atlas([Texture(name, torch.ones((1, 2, 3), dtype=dtype)) for name in names])


def start_of(
    count: int,
    target: Tensor | None,
    alpha: Tensor | None = None,
    *,
    size: tuple[int, int] | None = None,
    textures: str = "abc",
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> StartInputs:
    height, width = size or (target.shape[1:] if target is not None else (0, 0))
    return StartInputs(count, height, width, target, alpha, atlas_of(textures, dtype), seeded(seed))


def place(name: str, start: StartInputs, **table: Any) -> Stamps:
    stamps: Stamps = registry().create("initializers", name, table)(start)
    return stamps


def noise(height: int, width: int, channels: int = 3) -> Tensor:
    return torch.rand((channels, height, width), generator=seeded(7))


def half_busy(height: int = 64, width: int = 64) -> Tensor:
    """Return a picture that is flat blue on the left and noise on the right."""
    picture = noise(height, width)
    picture[:, :, : width // 2] = torch.tensor([0.1, 0.2, 0.9])[:, None, None]
    return picture


def disc(size: int = 64, hole: float = 0.0) -> Tensor:
    """Return an alpha ``(1, size, size)``, 1 on a disc that touches the edges, with a hole of a relative radius."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    radius = torch.hypot(axis[:, None], axis)
    return ((radius <= 1) & (radius >= hole)).float()[None]


def pixels_of(stamps: Stamps) -> tuple[Tensor, Tensor]:
    """Return row and column of the pixel that each stamp's centre is in."""
    position = stamps.position.detach()
    return position[:, 1].floor().long(), position[:, 0].floor().long()


def parameters(stamps: Stamps) -> dict[str, Tensor]:
    return {name: value.detach() for name, value in stamps.state_dict().items()}


class TestNormalizedVariance:
    def test_by_brute_force(self) -> None:
        picture = noise(12, 9).double()
        expected = torch.zeros(12, 9, dtype=torch.float64)
        for row in range(12):
            for column in range(9):
                window = picture[:, max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
                expected[row, column] = window.flatten(1).var(dim=1, correction=0).sum()
        torch.testing.assert_close(normalized_variance(picture), expected / expected.max(), rtol=1e-12, atol=1e-14)

    @pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1.0])
    @pytest.mark.parametrize("size", [(1, 1), (1, 9), (5, 3), (40, 40)])
    def test_flat_is_exactly_zero(self, value: float, size: tuple[int, int]) -> None:
        assert torch.equal(normalized_variance(torch.full((3, *size), value)), torch.zeros(size).double())

    def test_faint_structure_on_a_bright_ground(self) -> None:
        """Where E[x^2] - E[x]^2 in single precision would be noise of the size of the signal."""
        faint = noise(20, 20).double()
        torch.testing.assert_close(
            normalized_variance(0.9 + 1e-5 * faint), normalized_variance(faint), rtol=1e-6, atol=1e-9
        )

    @given(height=st.integers(1, 20), width=st.integers(1, 20))
    @settings(deadline=None, max_examples=30)
    def test_range(self, height: int, width: int) -> None:
        variance = normalized_variance(noise(height, width))
        assert variance.shape == (height, width)
        assert float(variance.min()) >= 0
        assert float(variance.max()) == (1.0 if height * width > 1 else 0.0)

    def test_alpha_of_one_changes_nothing_and_hidden_color_does_not_count(self) -> None:
        picture, alpha = noise(32, 32), disc(32)
        assert torch.equal(normalized_variance(picture, torch.ones(1, 32, 32)), normalized_variance(picture))
        hidden = torch.where(alpha > 0, picture, torch.zeros(3, 1, 1))
        assert torch.equal(normalized_variance(picture, alpha), normalized_variance(hidden, alpha))

    def test_outline_of_a_black_shape_counts(self) -> None:
        variance = normalized_variance(torch.zeros(3, 64, 64), disc(64))
        assert variance[32, 32] == 0
        assert variance[8:12, 8:12].max() > 0.5  # the outline crosses here


class TestDrawPositions:
    def test_every_pixel_once_before_any_twice(self) -> None:
        weight = torch.rand((6, 7), generator=seeded(1)).double() * (torch.arange(7) > 2)  # 24 pixels
        position, pixel = draw_positions(weight, 60, seeded())
        times = torch.bincount(pixel, minlength=42).view(6, 7)
        assert torch.equal(times[:, :3], torch.zeros(6, 3).long())
        assert set(times[:, 3:].flatten().tolist()) == {2, 3}
        assert torch.equal(position.floor().long(), torch.stack([pixel % 7, pixel // 7], dim=-1))
        assert torch.equal(position[:24] % 1, torch.full((24, 2), 0.5).double())
        assert len({tuple(point) for point in position.tolist()}) == 60

    def test_probability_is_the_weight(self) -> None:
        """Of one draw each pixel's chance is its share; chi-squared over 5 pixels, 4 degrees of freedom."""
        weight = torch.tensor([[1.0, 2.0, 0.0, 3.0, 4.0, 10.0]]).double()
        generator, draws = seeded(5), 4000
        drawn = torch.cat([draw_positions(weight, 1, generator)[1] for _ in range(draws)])
        times = torch.bincount(drawn, minlength=6).double()
        expected = draws * weight[0] / weight.sum()
        assert times[2] == 0
        chosen = expected > 0
        statistic = ((times - expected)[chosen] ** 2 / expected[chosen]).sum()
        assert float(statistic) < 18.5  # 99.9 % point


class TestStructure:
    def test_values_follow_the_formula(self) -> None:
        picture = half_busy()
        stamps = place("structure", start_of(1500, picture), maximum_scale=16, scale_noise=0, color_noise=0)
        variance = normalized_variance(picture)
        row, column = pixels_of(stamps)
        expected = 16 - variance[row, column] * 14
        torch.testing.assert_close(stamps.scale.detach().double(), expected, rtol=0, atol=1e-5)
        torch.testing.assert_close(
            torch.sigmoid(stamps.color_logit.detach()), picture[:, row, column].T, rtol=0, atol=1 / 500
        )
        assert torch.equal(stamps.opacity_logit.detach(), torch.full((1500,), -2.0))
        assert torch.equal(stamps.color_blend, torch.zeros(1500))
        assert torch.equal(stamps.position.detach() % 1, torch.full((1500, 2), 0.5))

    @pytest.mark.parametrize(("count", "largest"), [(10, 10.0), (1000, 2 * 1.6), (100_000, 2.0)])
    def test_the_largest_scale_follows_from_canvas_and_count(self, count: int, largest: float) -> None:
        """A quarter of the shorter side, twice the spacing of even stamps, the smallest scale: whichever binds."""
        scale = place("structure", start_of(count, torch.full((3, 40, 64), 0.5)), scale_noise=0).scale.detach()
        torch.testing.assert_close(scale, torch.full((count,), largest))

    def test_denser_where_the_variance_is_high(self) -> None:
        picture = half_busy()
        weight = 0.1 + 0.9 * normalized_variance(picture)
        share = float(weight[:, 32:].sum() / weight.sum())
        count = 200  # few against 4096 pixels, so that drawing without replacement hardly shifts the share
        _, column = pixels_of(place("structure", start_of(count, picture)))
        busy = float((column >= 32).double().mean())
        assert share > 0.75
        assert busy == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / count))

    def test_no_pixel_twice(self) -> None:
        row, column = pixels_of(place("structure", start_of(4096, half_busy())))
        assert len(torch.unique(row * 64 + column)) == 4096

    def test_noise_has_the_stated_deviation(self) -> None:
        flat = torch.full((3, 80, 80), 0.5)
        stamps = place("structure", start_of(4000, flat), minimum_scale=2, maximum_scale=12)
        scale = stamps.scale.detach().double()
        assert float(scale.max()) == 12  # V is 0, so half of the scales would lie beyond the largest
        below = scale[scale < 12]
        assert len(below) / 4000 == pytest.approx(0.5, abs=0.04)
        assert float(((below - 12) ** 2).mean().sqrt()) == pytest.approx(0.1 * (12 - 2), rel=0.05)
        color = torch.sigmoid(stamps.color_logit.detach().double())
        assert float(color.mean()) == pytest.approx(0.5, abs=0.001)
        assert float(color.std()) == pytest.approx(0.02, rel=0.05)

    def test_details_in_front(self) -> None:
        scale = place("structure", start_of(300, half_busy())).scale.detach()
        assert bool((scale.diff() <= 0).all())

    def test_places_on_the_foreground_only(self) -> None:
        alpha = disc(48)
        stamps = place("structure", start_of(1000, noise(48, 48), alpha))
        row, column = pixels_of(stamps)
        assert bool((alpha[0, row, column] > 0).all())

    def test_more_stamps_than_foreground_pixels(self) -> None:
        alpha = torch.zeros(1, 8, 8)
        alpha[0, 3, 4:6] = 1
        stamps = place("structure", start_of(25, noise(8, 8), alpha))
        row, column = pixels_of(stamps)
        assert set(row.tolist()) == {3}
        assert set(column.tolist()) == {4, 5}
        assert len(torch.unique(stamps.position.detach(), dim=0)) == 25

    def test_needs_a_target(self) -> None:
        with pytest.raises(DiffbmpError, match="random or grid"):
            place("structure", start_of(3, None, size=(8, 8)))


class TestRandom:
    def test_uniform_over_the_canvas(self) -> None:
        stamps = place("random", start_of(4000, None, size=(40, 80)), maximum_scale=6)
        position, scale = stamps.position.detach().double(), stamps.scale.detach().double()
        for values, low, high in ((position[:, 0], 0, 80), (position[:, 1], 0, 40), (scale, 2, 6)):
            assert float(values.min()) >= low
            assert float(values.max()) <= high
            fractions = torch.sort((values - low) / (high - low)).values
            ideal = (torch.arange(4000) + 0.5) / 4000
            assert float((fractions - ideal).abs().max()) < 1.95 / math.sqrt(4000)  # Kolmogorov-Smirnov, 99.9 %

    def test_colors_without_a_target_are_random(self) -> None:
        color = torch.sigmoid(place("random", start_of(2000, None, size=(9, 9))).color_logit.detach())
        assert float(color.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(color.std()) == pytest.approx(math.sqrt(1 / 12), abs=0.02)

    def test_stays_on_a_ring(self) -> None:
        alpha = disc(40, hole=0.5)
        row, column = pixels_of(place("random", start_of(500, noise(40, 40), alpha)))
        assert bool((alpha[0, row, column] > 0).all())


class TestGrid:
    @pytest.mark.parametrize(
        ("size", "count", "rows", "columns"), [((60, 100), 15, 3, 5), ((8, 8), 16, 4, 4), ((5, 90), 18, 1, 18)]
    )
    def test_a_fitting_count_is_exactly_regular(
        self, size: tuple[int, int], count: int, rows: int, columns: int
    ) -> None:
        stamps = place("grid", start_of(count, None, size=size))
        x = (torch.arange(columns) + 0.5) * size[1] / columns
        y = (torch.arange(rows) + 0.5) * size[0] / rows
        expected = torch.stack([x.repeat(rows), y.repeat_interleave(columns)], dim=-1)
        torch.testing.assert_close(stamps.position.detach(), expected, rtol=0, atol=1e-4)
        side = math.sqrt(size[0] * size[1] / count)
        torch.testing.assert_close(stamps.scale.detach(), torch.full((count,), max(2.0, side / 2)))

    @given(height=st.integers(1, 40), width=st.integers(1, 40), count=st.integers(1, 300))
    @settings(deadline=None, max_examples=60)
    def test_any_count_covers_any_canvas(self, height: int, width: int, count: int) -> None:
        position, side = grid_cells(np.ones((height, width), bool), count)
        assert len(position) == count
        assert side == pytest.approx(math.sqrt(height * width / count))
        assert float(position.min()) >= 0
        assert bool((position <= torch.tensor([width, height])).all())
        torch.testing.assert_close(  # equal cells: the centres' mean is the canvas's
            position.mean(dim=0), torch.tensor([width, height]).double() / 2, rtol=0, atol=1e-6 * (height + width)
        )
        assert len(torch.unique(position, dim=0)) == count

    @pytest.mark.parametrize("count", [1, 2, 7, 100, 1000])
    def test_stays_on_a_ring(self, count: int) -> None:
        alpha = disc(60, hole=0.6)
        position, _ = grid_cells(alpha[0].numpy() > 0, count)
        column, row = position.long().unbind(-1)
        assert len(row) == count
        assert bool((alpha[0, row, column] > 0).all())
        red_on_green = torch.cat([alpha, 1 - alpha, 0 * alpha])
        color = torch.sigmoid(place("grid", start_of(count, red_on_green, alpha)).color_logit.detach())
        assert float(color[:, 0].min()) > 0.8
        assert float(color[:, 1].max()) < 0.2

    @given(seed=st.integers(0, 10_000), count=st.integers(1, 50))
    @settings(deadline=None, max_examples=60)
    def test_stays_on_any_foreground(self, seed: int, count: int) -> None:
        visible = np.random.default_rng(seed).random((9, 12)) < 0.2
        visible[seed % 9, seed % 12] = True
        position, _ = grid_cells(visible, count)
        column, row = position.numpy().astype(int).T
        assert len(column) == count
        assert visible[row, column].all()

    def test_every_cell_has_the_same_area(self) -> None:
        """Of a triangle, half of the stamps lie in the part that holds half of its area."""
        triangle = np.tri(100, dtype=bool)
        position, _ = grid_cells(triangle, 400)
        above = float((position[:, 1] < 100 / math.sqrt(2)).double().mean())
        assert above == pytest.approx(0.5, abs=0.04)

    def test_jitter_stays_within_the_cell(self) -> None:
        still = place("grid", start_of(16, None, size=(32, 32)))
        shaken = place("grid", start_of(16, None, size=(32, 32)), jitter=0.5)
        shift = (shaken.position - still.position).detach().abs()
        assert 0.5 < float(shift.max()) <= 0.5 * 8 / 2

    def test_scales_stay_within_the_bounds_given(self) -> None:
        assert place("grid", start_of(1, None, size=(64, 64))).scale.tolist() == [32]
        assert place("grid", start_of(1, None, size=(64, 64)), maximum_scale=5).scale.tolist() == [5]


class TestEveryPlacement:
    @pytest.mark.parametrize("name", NAMES)
    def test_the_seed_decides_and_the_dtype_does_not(self, name: str) -> None:
        first, again, other = (parameters(place(name, start_of(40, half_busy(), seed=seed))) for seed in (0, 0, 1))
        assert all(torch.equal(first[key], again[key]) for key in first)
        assert not torch.equal(first["rotation"], other["rotation"])
        double = parameters(place(name, start_of(40, half_busy(), dtype=torch.float64)))
        assert double["position"].dtype == torch.float64
        assert all(torch.equal(first[key], double[key].to(first[key].dtype)) for key in first)

    @pytest.mark.parametrize("name", NAMES)
    def test_global_randomness_is_left_alone(self, name: str) -> None:
        torch.manual_seed(3)
        before = torch.get_rng_state()
        place(name, start_of(20, half_busy()))
        assert torch.equal(before, torch.get_rng_state())

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("color", [(0.0, 1.0, 0.5), (1.0, 0.25, 0.75)])
    def test_starts_in_the_targets_color_and_not_in_grey(self, name: str, color: tuple[float, ...]) -> None:
        target = torch.tensor(color)[:, None, None].expand(3, 16, 16)
        stamps = place(name, start_of(30, target), color_noise=0)
        drawn = stamps(atlas_of("abc")).color.detach()
        torch.testing.assert_close(drawn, torch.tensor(color).expand(30, 3), rtol=0, atol=1 / 500)
        assert bool(torch.isfinite(stamps.color_logit).all())

    @pytest.mark.parametrize("name", NAMES)
    def test_rotations_are_uniform(self, name: str) -> None:
        rotation = place(name, start_of(2000, noise(50, 50))).rotation.detach().double()
        assert 0 <= float(rotation.min()) < 0.05
        assert 2 * math.pi - 0.05 < float(rotation.max()) <= 2 * math.pi + 1e-6
        assert abs(complex(torch.exp(1j * rotation).mean())) < 3 / math.sqrt(2000)

    @pytest.mark.parametrize("name", NAMES)
    def test_settings_reach_the_stamps(self, name: str) -> None:
        stamps = place(name, start_of(50, half_busy()), opacity_logit=1.5, minimum_scale=3, maximum_scale=4)
        assert torch.equal(stamps.opacity_logit.detach(), torch.full((50,), 1.5))
        assert float(stamps.scale.detach().min()) >= 3
        assert float(stamps.scale.detach().max()) <= 4

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("size", [(1, 1), (1, 30), (30, 1), (3, 2)])
    @pytest.mark.parametrize("count", [1, 10])
    def test_tiny_targets(self, name: str, size: tuple[int, int], count: int) -> None:
        stamps = place(name, start_of(count, noise(*size)))
        row, column = pixels_of(stamps)
        assert len(stamps) == count
        assert int(row.max()) <= size[0]
        assert int(column.max()) <= size[1]
        assert float(stamps.scale.detach().min()) >= 2

    @pytest.mark.parametrize("name", NAMES)
    @given(height=st.integers(1, 24), width=st.integers(1, 24), count=st.integers(1, 80), seed=st.integers(0, 99))
    @settings(deadline=None, max_examples=20)
    def test_any_canvas_any_count(self, name: str, height: int, width: int, count: int, seed: int) -> None:
        alpha = (torch.rand((1, height, width), generator=seeded(seed)) - 0.5).clamp(min=0)
        alpha[0, seed % height, seed % width] = 1
        stamps = place(name, start_of(count, noise(height, width), alpha, seed=seed))
        assert len(stamps) == count
        assert all(bool(torch.isfinite(value).all()) for value in parameters(stamps).values())
        assert set(stamps.texture.tolist()) <= {0, 1, 2}

    @pytest.mark.parametrize("name", NAMES)
    def test_refuses_what_cannot_be_placed(self, name: str) -> None:
        with pytest.raises(DiffbmpError, match="fully transparent"):
            place(name, start_of(5, noise(8, 8), torch.zeros(1, 8, 8)))
        with pytest.raises(DiffbmpError, match="below minimum_scale"):
            place(name, start_of(5, noise(8, 8)), minimum_scale=5, maximum_scale=4)
        with pytest.raises(DiffbmpError, match="at least 1, got 0"):
            place(name, start_of(0, noise(8, 8)))
        with pytest.raises(DiffbmpError, match="target must have shape"):
            place(name, start_of(5, noise(8, 8), size=(8, 9)))
        with pytest.raises(DiffbmpError, match="did you mean 'minimum_scale'"):
            place(name, start_of(5, noise(8, 8)), minimal_scale=5)

    def test_these_are_registered(self) -> None:
        core = {entry.name for entry in registry().entries("initializers") if entry.owner == "core"}
        assert {*NAMES, "scene"} <= core


class TestDealTextures:
    @given(count=st.integers(1, 200), textures=st.integers(1, 30), seed=st.integers(0, 1000))
    @settings(deadline=None, max_examples=50)
    def test_every_texture_as_often(self, count: int, textures: int, seed: int) -> None:
        times = torch.bincount(deal_textures(count, textures, seeded(seed)), minlength=textures)
        assert len(times) == textures
        assert int(times.sum()) == count
        assert int(times.max() - times.min()) <= 1

    def test_no_texture_is_favoured_when_there_are_too_many(self) -> None:
        times = sum(torch.bincount(deal_textures(2, 10, seeded(seed)), minlength=10) for seed in range(500))
        assert isinstance(times, Tensor)
        assert int(times.min()) > 60  # 100 expected, deviation 9

    def test_says_nothing_about_the_painting_order(self) -> None:
        dealt = deal_textures(3000, 3, seeded(2)).double()
        order = torch.arange(3000).double()
        assert abs(float(torch.corrcoef(torch.stack([dealt, order]))[0, 1])) < 0.06
        assert float((dealt[3:] == dealt[:-3]).double().mean()) == pytest.approx(1 / 3, abs=0.04)


class TestFromScene:
    def saved(self, folder: Path, count: int = 6, textures: str = "abc", size: tuple[int, int] = (20, 40)) -> Path:
        stamps = place("random", start_of(count, noise(*size), textures=textures))
        path = folder / "saved.diffbmp"
        save_scene(Scene(size[1], size[0], atlas_of(textures), [stamps]), path)
        return path

    def test_the_same_canvas_gives_the_same_stamps(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path)
        again = parameters(place("scene", start_of(6, None, size=(20, 40)), path=str(path)))
        expected = parameters(place("random", start_of(6, noise(20, 40))))
        assert all(torch.equal(again[key], expected[key]) for key in expected)

    def test_another_canvas_moves_and_scales_them(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path)
        moved = place("scene", start_of(6, None, size=(40, 160)), path=str(path))
        before = place("random", start_of(6, noise(20, 40)))
        torch.testing.assert_close(moved.position, before.position * torch.tensor([4.0, 2.0]))
        torch.testing.assert_close(moved.scale, before.scale * math.sqrt(8))
        assert torch.equal(moved.rotation, before.rotation)

    def test_a_tiny_canvas_keeps_stamps_a_pixel_across(self, tmp_path: Path) -> None:
        moved = place("scene", start_of(6, None, size=(1, 2)), path=str(self.saved(tmp_path)))
        assert float(moved.scale.detach().min()) == MINIMUM_SCALE

    def test_textures_are_found_by_name(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path, textures="abcb")
        before = place("random", start_of(6, noise(20, 40), textures="abcb"))
        start = start_of(6, None, size=(20, 40), textures="xbcab")
        after = place("scene", start, path=str(path))
        index = {0: 3, 1: 1, 2: 2, 3: 4}  # the first b is the first b, the second the second
        assert after.texture.tolist() == [index[texture] for texture in before.texture.tolist()]

    def test_unknown_textures_are_named(self, tmp_path: Path) -> None:
        path = self.saved(tmp_path)
        with pytest.raises(DiffbmpError, match="not among the stamps given: 'b';"):
            place("scene", start_of(6, None, size=(20, 40), textures="ac"), path=str(path))

    def test_the_count_must_be_the_scenes(self, tmp_path: Path) -> None:
        with pytest.raises(DiffbmpError, match="holds 6 stamps, but 7 are to be placed; use -n 6"):
            place("scene", start_of(7, None, size=(20, 40)), path=str(self.saved(tmp_path)))

    def test_a_path_is_needed_and_read(self, tmp_path: Path) -> None:
        with pytest.raises(DiffbmpError, match=r"initializers\.scene\.path"):
            place("scene", start_of(6, None, size=(20, 40)))
        with pytest.raises(DiffbmpError):
            place("scene", start_of(6, None, size=(20, 40)), path=str(tmp_path / "missing.diffbmp"))

    def test_batches_are_refused(self, tmp_path: Path) -> None:
        one = torch.ones(2, 3)
        stamps = Stamps(torch.ones(2, 3, 2), one, one, one, torch.ones(2, 3, 3), torch.zeros(3).long())
        path = tmp_path / "batch.diffbmp"
        save_scene(Scene(8, 8, atlas_of("a"), [stamps]), path)
        with pytest.raises(DiffbmpError, match="a batch of stamps"):
            place("scene", start_of(3, None, size=(8, 8), textures="a"), path=str(path))
