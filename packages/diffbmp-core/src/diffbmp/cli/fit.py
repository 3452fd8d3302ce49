"""``diffbmp fit``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from diffbmp.cli.configuration import gather_settings, parse_blends
from diffbmp.cli.interrupt import stop_on_interrupt
from diffbmp.cli.progress import ProgressBar, writing_bar
from diffbmp.errors import DiffbmpError
from diffbmp.fitting.build import start_fit
from diffbmp.fitting.checkpoint import load_checkpoint
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.run import CHECKPOINT, PICTURE, check_output, drive, write_results
from diffbmp.fitting.settings import FitSettings

__all__ = ["fit_command"]

RESUMABLE = ("steps", "output", "export", "export_options", "observe", "report", "checkpoint")
"""Settings that may differ from those of the fit that is resumed."""


def _option(name: str, *flags: str, **extra: Any) -> Any:
    """Describe a flag by the field of ``FitSettings`` that it sets."""
    field = FitSettings.model_fields[name]
    default = field.get_default(call_default_factory=True)
    shown = f" [dim]\\[default: {default}][/]" if default not in (None, "", [], {}) and name != "loss" else ""
    return typer.Option(*flags, help=f"{field.description}{shown}", show_default=False, **extra)


def fit_command(
    target: Annotated[str | None, typer.Argument(help="Picture to compose.", show_default=False)] = None,
    stamps: Annotated[list[str] | None, _option("stamps", "--stamps", "-s", metavar="SOURCE")] = None,
    output: Annotated[str | None, _option("output", "--output", "-o", metavar="FOLDER")] = None,
    preset: Annotated[str | None, _option("preset", "--preset", metavar="paper|fast|balanced|best")] = None,
    n: Annotated[int | None, _option("n", "-n")] = None,
    steps: Annotated[int | None, _option("steps", "--steps")] = None,
    seed: Annotated[int | None, _option("seed", "--seed")] = None,
    target_mask: Annotated[str | None, _option("target_mask", "--target-mask", metavar="FILE")] = None,
    width: Annotated[int | None, _option("width", "--width")] = None,
    background: Annotated[str | None, _option("background", "--background")] = None,
    noisy_canvas: Annotated[bool | None, _option("noisy_canvas", "--noisy-canvas/--no-noisy-canvas")] = None,
    color_blend: Annotated[
        list[str] | None,
        typer.Option(
            "--color-blend",
            metavar="[SET=]MU",
            help=f"{FitSettings.model_fields['color_blend'].description} A set's name before it (petals=1) sets that "
            r"set's alone; may be given several times. [dim]\[default: 0][/]",
        ),
    ] = None,
    palette: Annotated[list[str] | None, _option("palette", "--palette", metavar="COLOURS|FILE")] = None,
    freeze: Annotated[list[str] | None, _option("freeze", "--freeze", metavar="NAME[=VALUE]")] = None,
    alpha_max: Annotated[float | None, _option("alpha_max", "--alpha-max")] = None,
    blend: Annotated[str | None, _option("blend", "--blend", metavar="over|add")] = None,
    filter: Annotated[str | None, _option("filter", "--filter")] = None,
    initializer: Annotated[str | None, _option("initializer", "--initializer")] = None,
    loss: Annotated[
        list[str] | None,
        typer.Option(
            "--loss",
            metavar="NAME=WEIGHT",
            help="A loss and its weight; may be given several times. [dim]\\[default: mse=1][/]",
        ),
    ] = None,
    refine: Annotated[list[str] | None, _option("refine", "--refine", metavar="NAME")] = None,
    observe: Annotated[list[str] | None, _option("observe", "--observe", metavar="NAME")] = None,
    export: Annotated[list[str] | None, _option("export", "--export", metavar="SUFFIX")] = None,
    report: Annotated[bool | None, _option("report", "--report/--no-report")] = None,
    renderer: Annotated[str | None, _option("renderer", "--renderer")] = None,
    device: Annotated[str | None, _option("device", "--device")] = None,
    checkpoint: Annotated[int | None, _option("checkpoint", "--checkpoint", metavar="STEPS")] = None,
    mask: Annotated[
        str | None,
        typer.Option(metavar="alpha|luminance", help="Where image stamps have their shape: --set loaders.image.mask."),
    ] = None,
    font: Annotated[str | None, typer.Option(help="Font of text: stamps: --set loaders.text.font.")] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="glyph|word|string", help="What is one stamp of a text: --set loaders.text.split."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any setting by its dotted name: optimizer.position=0.5"),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="TOML file of settings; flags go before it.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the fit in the output folder, from its last checkpoint.")
    ] = False,
) -> None:
    """Compose a picture out of stamps.

    Writes picture.png, scene.diffbmp, report.json and checkpoint.diffbmp into the output folder, with --report also
    report.html. Ctrl-C stops at the next step and still writes everything; --resume goes on from there.
    """
    flags = dict(locals())  # by name of the parameter, most of which are fields of FitSettings
    flags = {name: value for name, value in flags.items() if name in FitSettings.model_fields and name != "loss"}
    given = {name: value for name, value in flags.items() if value not in (None, []) and name != "color_blend"}
    given.update(parse_blends(color_blend or []))
    shorthands = {"loaders.image.mask": mask, "loaders.text.font": font, "loaders.text.split": split}
    assignments = {key: value for key, value in shorthands.items() if value is not None}
    settings, explicit = gather_settings(config, given, loss or [], assignments, set_ or [])
    check_output(settings)

    console = Console(highlight=False, soft_wrap=True)
    running = _resumed(settings, explicit) if resume else start_fit(settings)
    if running.next_step >= running.settings.steps:
        raise DiffbmpError(
            f"The fit in '{running.settings.output}' has taken all its {running.next_step} steps; "
            "give more with --steps to go on."
        )
    if console.is_terminal:
        running.observers.append(ProgressBar(console))
    started = time.perf_counter()
    with stop_on_interrupt(running):
        drive(running)
        results = write_results(running, time.perf_counter() - started, showing=writing_bar)
    picture = Path(running.settings.output) / PICTURE
    stopped = "" if results["finished"] else f" of {running.settings.steps} (stopped; --resume goes on)"
    quality = "" if results["psnr"] is None else f"PSNR {results['psnr']:.2f} dB, SSIM {results['ssim']:.3f}, "
    console.print(
        f"{picture}: {quality}{results['stamps']} stamps, {results['steps']} steps{stopped}, "
        f"{results['seconds']:.1f} s with renderer {results['renderer']}"
    )


def _resumed(settings: FitSettings, explicit: set[str]) -> Fit:
    """Return the fit in the output folder, after checking that nothing else is asked of it than was before."""
    path = Path(settings.output) / CHECKPOINT
    if not path.exists():
        raise DiffbmpError(f"There is nothing to resume in '{settings.output}': it has no {CHECKPOINT}.")
    changes = {name: getattr(settings, name) for name in RESUMABLE if name in explicit}
    running = load_checkpoint(path, changes={**changes, "output": settings.output})
    for name in sorted(explicit - set(RESUMABLE)):
        before, now = getattr(running.settings, name), getattr(settings, name)
        if before != now:
            raise DiffbmpError(
                f"The fit in '{settings.output}' was begun with {name} = {before!r}, not {now!r}; "
                "leave the option out to resume it, or begin anew without --resume."
            )
    return running
