"""Candidates: that what they promise is what drawing them does, and that the best is found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.placement.candidates import CandidateSettings, Comparison, Found, find_stamps, scale_limits
from diffbmp.rendering.composite import composite, over_background

SIZE = (48, 64)


def disc(side: int = 33) -> Tensor:
    axis = torch.linspace(-1, 1, side, dtype=torch.float64)
    return (1.1 - (axis[:, None] ** 2 + axis**2).sqrt()).mul(8).clamp(0, 1)


def cut_out() -> Tensor:
    generator = torch.Generator().manual_seed(4)
    color = torch.nn.functional.interpolate(torch.rand((1, 3, 3, 3), generator=generator).double(), size=(24, 32))[0]
    return torch.cat([color, torch.nn.functional.interpolate(disc()[None, None], size=(24, 32))[0]])


def smooth(seed: int) -> Tensor:
    noise = torch.rand((1, 3, 6, 8), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.interpolate(noise, size=SIZE, mode="bicubic", align_corners=True)[0].clamp(0, 1)


def draw(found: Found, atlas: Atlas, blends: Tensor, blend: str, alpha_max: float = 1.0) -> Tensor:
    """Return the layer that the stamps make by themselves."""
    sprites = found.stamps(blends)(atlas)
    return composite(
        sprites.frame, sprites.opacity, sprites.color, sprites.texture, atlas,
        size=SIZE, color_blend=sprites.color_blend, blend=blend, alpha_max=alpha_max, renderer="reference",
    ).detach()  # fmt: skip


@pytest.mark.parametrize("blend", ["over", "add"])
@pytest.mark.parametrize("mixed", [0.0, 0.4])
@pytest.mark.parametrize("shaped", [False, True])
def test_the_gain_is_what_drawing_brings(blend: str, mixed: float, shaped: bool) -> None:
    atlas = Atlas.from_pixels([disc(), cut_out()])
    blends = torch.full((2,), mixed, dtype=torch.float64)
    current, target = 0.5 * smooth(1), smooth(2)
    opaque = torch.ones((1, *SIZE), dtype=torch.float64)
    behind, wanted = 0.3 * opaque, torch.linspace(0, 1, SIZE[1], dtype=torch.float64).expand(1, *SIZE)
    if shaped:
        comparison = Comparison(torch.cat([current, behind]), torch.cat([target, wanted]), SIZE[1], SIZE[0])
    else:
        comparison = Comparison(current, target, SIZE[1], SIZE[0])
    found = find_stamps(
        comparison, atlas, 6, (6.0, 16.0), CandidateSettings(samples=24, per_stamp=8, rounds=0),
        torch.Generator().manual_seed(0), color_blend=blends, alpha_max=0.9, blend=blend,
    )  # fmt: skip
    assert set(found.texture.tolist()) == {0, 1}
    for index in range(len(found)):
        one = found[index : index + 1]
        layer = draw(one, atlas, blends, blend, 0.9)
        hides = 1 - layer[3:] if blend == "over" else torch.ones_like(layer[3:])
        before = (comparison.current - comparison.target).square().sum()
        after = (hides * current + layer[:3] - target).square().sum()
        if shaped:
            after = after + (hides * behind + layer[3:] - wanted).square().sum()
        assert float(before - after) == pytest.approx(float(one.gain[0]), rel=0.06)


def test_finds_what_is_missing() -> None:
    atlas = Atlas.from_pixels([torch.ones(8, 8, dtype=torch.float64), disc()])
    planted = Found(
        position=torch.tensor([[40.0, 20.0]]).double(), scale=torch.tensor([9.0]).double(),
        rotation=torch.zeros(1).double(), texture=torch.tensor([1]), opacity=torch.tensor([0.9]).double(),
        color=torch.tensor([[0.9, 0.2, 0.1]]).double(), gain=torch.zeros(1).double(),
    )  # fmt: skip
    blends = torch.zeros(2, dtype=torch.float64)
    white = torch.ones((3, 1, 1), dtype=torch.float64)
    target = over_background(draw(planted, atlas, blends, "over"), white)
    comparison = Comparison(white.expand_as(target), target, SIZE[1], SIZE[0])
    found = find_stamps(
        comparison, atlas, 1, (2.0, 20.0), CandidateSettings(per_stamp=200, rounds=4),
        torch.Generator().manual_seed(0), color_blend=blends,
    )  # fmt: skip
    assert len(found) == 1
    assert int(found.texture[0]) == 1
    assert torch.dist(found.position, planted.position) < 1
    assert float(found.scale[0]) == pytest.approx(9, rel=0.1)
    assert (found.color - planted.color).abs().max() < 0.1
    assert float(found.gain[0]) > 0.85 * float((target - 1).square().sum())


def test_a_smaller_picture_finds_the_same_places() -> None:
    """A comparison may be made at any resolution; places and sizes are the canvas's."""
    atlas = Atlas.from_pixels([disc()])
    target = torch.ones((3, *SIZE), dtype=torch.float64)
    target[:, 10:26, 30:46] = 0
    centres = []
    for size in (SIZE, (SIZE[0] // 2, SIZE[1] // 2)):
        small = torch.nn.functional.interpolate(target[None], size=size, mode="area")[0]
        comparison = Comparison(torch.ones_like(small), small, SIZE[1], SIZE[0])
        found = find_stamps(
            comparison, atlas, 1, (4.0, 20.0), CandidateSettings(per_stamp=100, rounds=3),
            torch.Generator().manual_seed(0), color_blend=torch.zeros(1, dtype=torch.float64),
        )  # fmt: skip
        centres.append(found.position[0])
        assert 7 < float(found.scale[0]) < 12
    assert torch.dist(centres[0], torch.tensor([38.0, 18.0]).double()) < 1
    assert torch.dist(centres[0], centres[1]) < 1.5


def test_those_placed_together_keep_apart() -> None:
    atlas = Atlas.from_pixels([disc()])
    comparison = Comparison(smooth(1), smooth(2), SIZE[1], SIZE[0])

    def find(seed: int) -> Found:
        return find_stamps(
            comparison, atlas, 12, (2.0, 10.0), CandidateSettings(), torch.Generator().manual_seed(seed),
            color_blend=torch.zeros(1, dtype=torch.float64),
        )  # fmt: skip

    found = find(0)
    assert 1 < len(found) <= 12
    assert bool((found.gain[:-1] >= found.gain[1:]).all())
    distance = (found.position[:, None] - found.position[None]).abs().amax(-1)
    reach = 0.6 * (found.scale[:, None] + found.scale[None])
    assert bool((distance + torch.eye(len(found)) * 1e3 > reach - 1e-6).all())
    again, other = find(0), find(1)
    assert all(torch.equal(value, getattr(again, name)) for name, value in vars(found).items())
    assert not torch.equal(found.position[0], other.position[0])


def test_dealt_textures_come_in_turn() -> None:
    atlas = Atlas.from_pixels([disc(), disc(9), disc(17)])
    comparison = Comparison(smooth(1), smooth(2), SIZE[1], SIZE[0])
    settings = CandidateSettings(textures=False, rounds=2)
    found = find_stamps(
        comparison, atlas, 9, (2.0, 5.0), settings, torch.Generator().manual_seed(0),
        color_blend=torch.zeros(3, dtype=torch.float64),
    )  # fmt: skip
    assert set(found.texture.tolist()) <= {0, 1, 2}


def test_a_perfect_picture_still_gives_a_place() -> None:
    """n stamps are n stamps: where nothing helps, one that hardly hurts is found."""
    atlas = Atlas.from_pixels([disc()])
    picture = smooth(1)
    found = find_stamps(
        Comparison(picture, picture, SIZE[1], SIZE[0]), atlas, 5, (1.0, 4.0), CandidateSettings(),
        torch.Generator().manual_seed(0), color_blend=torch.zeros(1, dtype=torch.float64),
    )  # fmt: skip
    assert 1 <= len(found) <= 5
    assert bool((found.gain <= 1e-9).all())
    assert bool(torch.isfinite(found.position).all())


def test_sizes_follow_the_spacing() -> None:
    settings = CandidateSettings(smallest=0.5, largest=2.0)
    assert scale_limits(settings, 400.0, 4, 100) == (1.0, 20.0)
    assert scale_limits(settings, 16 * 400.0, 4, 100) == (4.0, 80.0)
    smallest, largest = scale_limits(settings, 1.0, 100, 100)
    assert smallest == largest == 0.5
