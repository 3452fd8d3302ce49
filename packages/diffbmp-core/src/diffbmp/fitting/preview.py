"""Pictures of a fit under way."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from diffbmp.exporters.write import write_scene
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.step import Step
from diffbmp.settings import Settings as SettingsModel

__all__ = ["Preview"]


class Preview(Observer):
    """Writes the picture as it stands into the output folder every few steps, for an image viewer that reloads."""

    name = "preview"

    class Settings(SettingsModel):
        """Settings of the preview."""

        every: int = Field(10, ge=1)
        """Steps between two pictures."""
        keep: bool = False
        """Whether each picture is kept under its step's number, to be made into a film."""

    settings: Settings

    def stepped(self, fit: Fit, step: Step) -> None:
        """Write the picture where it is due."""
        if (step.index + 1) % self.settings.every == 0:
            name = f"preview-{step.index + 1:06d}.png" if self.settings.keep else "preview.png"
            write_scene(fit.scene, Path(fit.settings.output) / name, exporter="core/png", renderer=fit.renderer)
