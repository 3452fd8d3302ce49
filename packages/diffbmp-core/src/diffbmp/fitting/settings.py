"""Every setting of a fit, in one model: flags, the TOML file, the Python call and the report use its names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from diffbmp.exporters.options import ExportOptions
from diffbmp.fitting.presets import Preset, under_preset
from diffbmp.rendering.renderer import Blend, Filter
from diffbmp.settings import Settings
from diffbmp.stamps.constraints import parse_frozen
from diffbmp.stamps.palette import parse_palette

__all__ = ["BlurSettings", "CanvasSettings", "FitSettings", "OptimizerSettings"]

PluginTables = dict[str, dict[str, Any]]


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_as_list)]


class OptimizerSettings(Settings):
    """Adam, with a rate for each parameter in the parameter's own units (paper, section 4)."""

    unit: Literal["stamp", "pixel"] = "stamp"
    """Unit of the rates of position and scale: a stamp's own half-extent, which means the same on every canvas, or
    a canvas pixel, as in the paper."""
    position: float = Field(0.1, ge=0)
    """Rate of the position a step."""
    scale: float = Field(0.1, ge=0)
    """Rate of the scale a step."""
    rotation: float = Field(0.1, ge=0)
    """Rate of the rotation, in radians a step."""
    opacity: float | None = Field(0.1, ge=0)
    """Rate of the opacity logit a step; None: 150 / n, at most 1, as in the paper."""
    color: float = Field(0.1, ge=0)
    """Rate of the colour logits a step."""
    other: dict[str, float] = Field(default_factory=dict)
    """Rates of parameters that only other primitive kinds have, by name."""
    schedule: Literal["constant", "exponential", "cosine"] = "cosine"
    """How all rates change over the steps."""
    decay: float = Field(0.99, gt=0, le=1)
    """Factor on all rates after each step, of the exponential schedule."""
    final: float = Field(0.05, ge=0, le=1)
    """Factor on all rates at the last step, of the cosine schedule."""
    betas: tuple[float, float] = (0.9, 0.99)
    """Adam's decay rates of the first and second moment, each in [0, 1).

    With 0.9 and 0.99, a stamp whose moments have been forgotten takes a first step of just its rate.
    """

    def rate(self, name: str, n: int) -> float | None:
        """Return the rate of a parameter by name for ``n`` stamps, or None where none is known."""
        if name == "opacity":
            return min(1.0, 150.0 / n) if self.opacity is None else self.opacity
        if name in ("position", "scale", "rotation", "color"):
            value: float = getattr(self, name)
            return value
        return self.other.get(name)


class BlurSettings(Settings):
    """Soft rasterization: textures are blurred while fitting, so that gradients reach further (paper, section 3)."""

    sigma: float = Field(0.0, ge=0, le=64)
    """Standard deviation at the start, in texels of a texture whose longer side is 128; 0 switches it off. The paper
    takes 1; where stamps are placed by candidates it brings nothing."""
    schedule: Literal["constant", "linear"] = "linear"
    """"constant" blurs alike until the end of the blur, "linear" ever less."""
    until: float = Field(0.75, ge=0, le=1)
    """Fraction of the steps after which textures are sharp."""
    stages: int = Field(6, ge=1)
    """Number of different blurs that the linear schedule goes through; each packs the textures once."""


class CanvasSettings(Settings):
    """Coarse to fine: the first steps are taken on a smaller canvas, where they cost less and see further."""

    shortest: int = Field(256, ge=16)
    """Shorter side of the smallest canvas, in pixels; smaller ones are fitted at full size throughout."""
    until: float = Field(0.75, ge=0, le=1)
    """Fraction of the steps after which the canvas has its full size; 0 switches it off."""


class FitSettings(Settings):
    """All settings of a fit."""

    target: str = Field("", description="Picture to compose.")
    stamps: Names = Field(
        default_factory=list,
        description="What to compose it of: files, folders, globs, text:WORDS, shape:NAME or a plugin's scheme; a "
        "number after a colon says how many stamps are made of it (petals/:800).",
    )
    counts: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="Number of stamps of single sets, by the set's name (petals)."
    )
    output: str = Field("out", description="Folder for the picture, the scene and the report.")
    preset: Preset = Field("balanced", description="Set of defaults: paper, fast, balanced or best.")
    n: int | None = Field(
        None, ge=1, le=10_000_000, description="Number of stamps; left out, it follows from the target and the stamps."
    )
    steps: int = Field(300, ge=1, description="Number of optimisation steps.")
    seed: int = Field(0, ge=0, lt=2**63, description="Seed of every random choice.")
    target_mask: str = Field(
        "", description="Picture whose brightness is the target's alpha: white is to be painted, black to stay free."
    )
    width: int | None = Field(None, ge=1, description="Resize the target to this width in pixels, keeping its aspect.")
    background: str = Field("white", description="What is behind the stamps: white, #rrggbb, a picture or transparent.")
    noisy_canvas: bool = Field(
        True, description="Fit over random noise, new at each step, so that no hole is left (paper, Eq. 8)."
    )
    color_blend: float = Field(
        0.0, ge=0, le=1, description="0 paints coloured stamps in any tint, 1 keeps their colours."
    )
    color_blends: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(
        default_factory=dict, description="Colour blend of single sets of stamps, by the set's name (petals)."
    )
    palette: Names = Field(
        default_factory=list,
        description="Colours that stamps may have: colours by name or #rrggbb, or a file of them; left out, any.",
    )
    freeze: Names = Field(
        default_factory=list,
        description="Parameters that stay as the start sets them (position, scale, rotation, opacity, color), or at a "
        "value (rotation=0).",
    )
    alpha_max: float = Field(1.0, gt=0, le=1, description="Highest opacity of a stamp.")
    blend: Blend = Field("over", description="How stamps are put on each other.")
    filter: Filter = Field("mipmap", description="How textures are sampled.")
    initializer: str = Field("greedy", description="Where stamps start.")
    loss: dict[str, float] = Field(
        default_factory=lambda: {"mse": 1.0}, min_length=1, description="Losses by name, with their weights."
    )
    refine: Names = Field(
        default_factory=lambda: ["grow", "relocate"],
        description="Refiners that act between steps, by name, in order.",
    )
    observe: Names = Field(default_factory=list, description="Observers that watch the fit, by name.")
    export: Names = Field(default_factory=list, description="Further files to write, by suffix (png, psd, ...).")
    export_options: ExportOptions = Field(
        default_factory=lambda: ExportOptions(), description="What is asked of these files."
    )
    report: bool = Field(
        False, description="Also write report.html: target and picture side by side, error map, curves and settings."
    )
    checkpoint: int = Field(100, ge=0, description="Steps between checkpoints; 0 writes one only at the end.")
    renderer: str = Field("auto", description="Renderer by name, or auto for the fastest that runs on the device.")
    device: str = Field("auto", description="PyTorch device, or auto for the one that the fastest renderer needs.")
    optimizer: OptimizerSettings = Field(default_factory=lambda: OptimizerSettings(), description="Adam's rates.")
    blur: BlurSettings = Field(default_factory=lambda: BlurSettings(), description="Soft rasterization.")
    canvas: CanvasSettings = Field(default_factory=lambda: CanvasSettings(), description="Coarse to fine.")

    loaders: PluginTables = Field(default_factory=dict, description="Settings of loaders, by name.")
    initializers: PluginTables = Field(default_factory=dict, description="Settings of initializers, by name.")
    losses: PluginTables = Field(default_factory=dict, description="Settings of losses, by name.")
    refiners: PluginTables = Field(default_factory=dict, description="Settings of refiners, by name.")
    observers: PluginTables = Field(default_factory=dict, description="Settings of observers, by name.")
    exporters: PluginTables = Field(default_factory=dict, description="Settings of exporters, by name.")
    renderers: PluginTables = Field(default_factory=dict, description="Settings of renderers, by name.")

    @field_validator("palette")
    @classmethod
    def _read_palette(cls, value: list[str]) -> list[str]:
        """Put colours in the place of files and names, so that a fit that is resumed needs no file."""
        return parse_palette(value)

    @field_validator("freeze")
    @classmethod
    def _check_frozen(cls, value: list[str]) -> list[str]:
        parse_frozen(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _take_preset(cls, values: Any) -> Any:
        """Put the preset's values where none are given."""
        return under_preset(values) if isinstance(values, Mapping) else values
