"""Every setting of a fit, in one model: flags, the TOML file, the Python call and the report use its names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.options import ExportOptions
from diffbmp.fitting.presets import Preset, under_preset
from diffbmp.primitives.settings import BitmapSettings, Names
from diffbmp.rendering.renderer import Blend, Filter
from diffbmp.settings import Settings

__all__ = ["BlurSettings", "FitSettings", "OptimizerSettings", "ResolutionSettings", "parse_size"]

LONGEST_SIDE = 65_535
"""Of a canvas, in pixels."""

PluginTables = dict[str, dict[str, Any]]


NAMED_RATES = ("position", "scale", "rotation", "opacity", "color")
"""Learning rates that have a setting of their own; those of all other names are in ``other``."""


class OptimizerSettings(Settings):
    """Adam, with a learning rate for each parameter in the parameter's own units (paper, section 4).

    A rate that is left out is the primitive's own: 0.1 for all of a stamp's.
    """

    unit: Literal["stamp", "pixel"] = "stamp"
    """Unit of the rates of position and scale: a stamp's own half-extent, which means the same on every canvas, or
    a canvas pixel, as in the paper."""
    position: float | None = Field(None, ge=0)
    """Rate of the position a step."""
    scale: float | None = Field(None, ge=0)
    """Rate of the scale a step."""
    rotation: float | None = Field(None, ge=0)
    """Rate of the rotation, in radians a step."""
    opacity: float | Literal["by_count"] | None = Field(None)
    """Rate of the opacity logit a step; "by_count" is 150 / n, at most 1, as in the paper."""
    color: float | None = Field(None, ge=0)
    """Rate of the colour logits a step."""
    other: dict[str, float] = Field(default_factory=dict)
    """Rates of parameters that only other kinds of primitives have, by name."""
    initial: float = Field(1.0, ge=0, le=1)
    """Factor on all rates at the first step; a fit that goes on from a scene starts gently, at 0.5."""
    warmup: int = Field(0, ge=0)
    """Steps over which all rates rise to those of the schedule; 8 where a fit goes on from a scene. With moments that
    begin anew, Adam's first steps are as long as the rate however small the gradient is."""
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
        """Return the learning rate that is asked for by name, of ``n`` instances, or None where none is."""
        if name == "opacity" and self.opacity == "by_count":
            return min(1.0, 150.0 / n)
        if name in NAMED_RATES:
            value: float | None = getattr(self, name)
            return value
        return self.other.get(name)

    @field_validator("opacity")
    @classmethod
    def _check_opacity(cls, value: Any) -> Any:
        if isinstance(value, float) and value < 0:
            raise ValueError("it must be greater than or equal to 0")
        return value


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


class ResolutionSettings(Settings):
    """Coarse to fine: the first steps are taken at a lower resolution, where they cost less and see further."""

    shortest: int = Field(256, ge=16)
    """Shorter side of the lowest resolution, in pixels; smaller canvases are fitted at full resolution throughout."""
    until: float = Field(0.75, ge=0, le=1)
    """Fraction of the steps after which the resolution is that of the canvas; 0 switches it off."""


class FitSettings(BitmapSettings):
    """All settings of a fit.

    The settings of a primitive (``BitmapSettings``) are those of the one primitive of stamps that a fit has where
    ``primitives`` names none.
    """

    target: str | list[str] = Field("", description="Picture to compose; several for a batch of canvases.")
    size: str = Field("", description="Canvas of a fit without a target, WIDTHxHEIGHT in pixels.")
    primitives: list[dict[str, Any]] | None = Field(
        None,
        description="What is learned and paints, the first at the back: a table for each, with its kind and settings.",
    )
    output: str = Field("out", description="Folder for the picture, the scene and the report.")
    preset: Preset = Field("balanced", description="Set of defaults: paper, fast, balanced or best.")
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
    resolution: ResolutionSettings = Field(default_factory=lambda: ResolutionSettings(), description="Coarse to fine.")

    loaders: PluginTables = Field(default_factory=dict, description="Settings of loaders, by name.")
    initializers: PluginTables = Field(default_factory=dict, description="Settings of initializers, by name.")
    losses: PluginTables = Field(default_factory=dict, description="Settings of losses, by name.")
    refiners: PluginTables = Field(default_factory=dict, description="Settings of refiners, by name.")
    observers: PluginTables = Field(default_factory=dict, description="Settings of observers, by name.")
    exporters: PluginTables = Field(default_factory=dict, description="Settings of exporters, by name.")
    renderers: PluginTables = Field(default_factory=dict, description="Settings of renderers, by name.")

    @field_validator("primitives", mode="before")
    @classmethod
    def _read_primitives(cls, value: Any) -> Any:
        """Take a name for a table with nothing but the kind."""
        listed = [value] if isinstance(value, (str, Mapping)) else value
        if not isinstance(listed, (list, tuple)):
            return listed
        tables = [{"kind": one} if isinstance(one, str) else one for one in listed]
        if not tables:
            raise ValueError("a fit needs at least one primitive")
        for table in tables:
            if isinstance(table, Mapping) and not isinstance(table.get("kind"), str):
                raise ValueError("each primitive has a kind, such as {kind = 'stamps'}")
        return tables

    @field_validator("freeze")
    @classmethod
    def _check_frozen(cls, value: list[str]) -> list[str]:
        """Leave it to the primitive, which knows the parameters and says what they can be locked at."""
        return value

    @field_validator("size")
    @classmethod
    def _check_size(cls, value: str) -> str:
        if value:
            parse_size(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _take_preset(cls, values: Any) -> Any:
        """Put the preset's values where none are given; a primitive that is named has settings of its own."""
        if not isinstance(values, Mapping):
            return values
        if values.get("primitives") is None:
            return under_preset(values)
        flat = sorted(set(values) & set(BitmapSettings.model_fields))
        if flat:
            raise DiffbmpError(
                f"Setting '{flat[0]}' belongs to a primitive, and 'primitives' names them: give it in the primitive's "
                f"own table, such as primitives.0.{flat[0]}."
            )
        preset = under_preset(values)
        if "refine" not in values and not _stamps_in_front(values["primitives"]):
            preset["refine"] = []  # those that a preset names place stamps
        return {name: value for name, value in preset.items() if name not in BitmapSettings.model_fields}

    def dumped(self) -> dict[str, Any]:
        """Return the settings as JSON values that give the same settings again."""
        flat = set(BitmapSettings.model_fields) if self.primitives is not None else set()
        return self.model_dump(mode="json", exclude=flat)


def _stamps_in_front(primitives: Any) -> bool:
    """Return whether the last of ``primitives``, as they are given, is of stamps."""
    front = primitives[-1] if isinstance(primitives, (list, tuple)) and primitives else primitives
    kind = front.get("kind") if isinstance(front, Mapping) else front
    return kind in ("stamps", "core/stamps")


def parse_size(text: str) -> tuple[int, int]:
    """Return height and width of ``WIDTHxHEIGHT`` in pixels.

    Raises:
        DiffbmpError: where it is something else, or a side is not within 1 to 65,535.
    """
    found = re.fullmatch(r"\s*(\d+)\s*[x\u00d7]\s*(\d+)\s*", text, flags=re.IGNORECASE)
    width, height = (int(found[1]), int(found[2])) if found else (0, 0)
    if not (1 <= width <= LONGEST_SIDE and 1 <= height <= LONGEST_SIDE):
        raise DiffbmpError(f"A size is given as WIDTHxHEIGHT in pixels, such as 512x384; got '{text}'.")
    return height, width
