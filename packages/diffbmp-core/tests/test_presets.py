"""Presets, and the automatic number of stamps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.fitting.build import begin_fit
from diffbmp.fitting.presets import PRESETS, automatic_count
from diffbmp.fitting.settings import FitSettings
from diffbmp.primitives.settings import BitmapSettings
from diffbmp.settings import parse_settings


def test_balanced_is_the_default() -> None:
    assert FitSettings() == FitSettings(preset="balanced")
    assert FitSettings().refine == ["grow", "relocate"]


def test_the_papers_recipe() -> None:
    """The figures of the paper, sections 3 and 4."""
    settings = FitSettings(preset="paper")
    optimizer = settings.optimizer
    assert (optimizer.unit, optimizer.position, optimizer.scale) == ("pixel", 1.0, 1.0)
    assert optimizer.rate("opacity", 1000) == 0.15
    assert (optimizer.schedule, optimizer.decay, optimizer.betas) == ("exponential", 0.99, (0.9, 0.999))
    assert (settings.steps, settings.initializer, settings.refine) == (100, "structure", [])
    assert settings.noisy_canvas
    assert (settings.blur.sigma, settings.blur.schedule, settings.blur.until) == (1.0, "constant", 1.0)
    # With its rule, flat areas get stamps of a quarter of the canvas.
    target = torch.full((3, 80, 100), 0.5)
    fit = begin_fit(settings, target=target, atlas=Atlas.from_pixels([torch.ones(4, 4)]))
    rates = {group["name"]: group["initial_lr"] for group in fit.optimizer.param_groups}
    assert (rates["0/position"], rates["0/scale"], rates["0/opacity"]) == (1.0, 1.0, 0.3)
    assert (rates["0/rotation"], rates["0/color"]) == (0.1, 0.1)
    assert len(fit.front) == 500
    scale = fit.front.scale.detach()
    assert float(scale.max()) == pytest.approx(20)
    assert float(scale.mean()) > 17


def test_what_is_given_goes_before_the_preset() -> None:
    settings = FitSettings.model_validate(
        {"preset": "best", "steps": 7, "refiners": {"grow": {"until": 0.9}, "mine": {}}, "refine": []}
    )
    assert (settings.steps, settings.refine) == (7, [])
    assert settings.refiners["grow"] == {**PRESETS["best"]["refiners"]["grow"], "until": 0.9}
    assert settings.refiners["mine"] == {}
    assert settings.refiners["relocate"] == PRESETS["best"]["refiners"]["relocate"]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_runs_and_survives_a_report(name: str) -> None:
    settings = FitSettings.model_validate({"preset": name, "n": 12, "steps": 4})
    begin_fit(settings, target=torch.rand(3, 20, 20), atlas=Atlas.from_pixels([torch.ones(4, 4)])).run()
    assert FitSettings.model_validate(settings.model_dump(mode="json")) == settings


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(DiffbmpError, match="did you mean 'balanced'"):
        parse_settings(FitSettings, {"preset": "balance"}, "")


def test_the_number_follows_from_the_target_and_the_stamps() -> None:
    assert automatic_count(None, 170, 256) == 500
    assert automatic_count(None, 512, 512) == 1200
    assert automatic_count(None, 2048, 2048) == 4900
    many = Atlas.from_pixels([torch.ones(1, 1)] * 700)
    assert BitmapSettings().least_count(many, torch.arange(700), automatic_count(None, 170, 256)) == 700
    assert BitmapSettings().least_count(many, torch.arange(4), automatic_count(None, 170, 256)) == 500
    assert automatic_count(torch.zeros(1, 64, 64), 64, 64) >= 1
    half = torch.zeros(1, 256, 256)
    half[:, :128, :128] = 1
    assert automatic_count(half, 256, 256) == automatic_count(None, 128, 128)


def test_a_photograph_and_a_folder_are_enough(photo: Path, stamps: Path) -> None:
    fit = begin_fit(FitSettings(target=str(photo), stamps=[str(stamps)], steps=8)).run()
    assert len(fit.front) == fit.settings.n == automatic_count(None, 16, 24)
