"""``diffbmp fit``."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from diffbmp.cli.configuration import gather_settings, parse_blends, parse_primitives
from diffbmp.cli.interrupt import stop_on_interrupt
from diffbmp.cli.progress import ProgressBar, writing_bar
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.write import canvas_path
from diffbmp.fitting.build import begin_fit
from diffbmp.fitting.changing import CHANGEABLE
from diffbmp.fitting.checkpoint import load_checkpoint
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.members import members_of
from diffbmp.fitting.objects import FitObjects
from diffbmp.fitting.run import CHECKPOINT, PICTURE, check_output, drive, write_results
from diffbmp.fitting.settings import FitSettings

__all__ = ["fit_command"]


def _option(name: str, *flags: str, **extra: Any) -> Any:
    """Describe a flag by the field of ``FitSettings`` that it sets."""
    field = FitSettings.model_fields[name]
    default = field.get_default(call_default_factory=True)
    shown = f" [dim]\\[default: {default}][/]" if default not in (None, "", [], {}) and name != "loss" else ""
    return typer.Option(*flags, help=f"{field.description}{shown}", show_default=False, **extra)


def fit_command(
    target: Annotated[str | None, typer.Argument(help="Picture to compose.", show_default=False)] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--target", metavar="FILE", help="Picture to compose; given several times, a batch of canvases of one size."
        ),
    ] = None,
    size: Annotated[str | None, _option("size", "--size", metavar="WIDTHxHEIGHT")] = None,
    primitive: Annotated[
        list[str] | None,
        typer.Option(
            "--primitive",
            metavar="KIND",
            help="What is learned and paints, the first at the back; may be given several times. With one, -n, "
            "--palette and --freeze and their like are its; any setting is --set primitives.0.KEY=VALUE. "
            "[dim]\\[default: stamps][/]",
        ),
    ] = None,
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
    lock: Annotated[list[str] | None, _option("lock", "--lock", metavar="NUMBERS")] = None,
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
    given = parse_primitives(_with_targets(given, targets or []), primitive or [])
    shorthands = {"loaders.image.mask": mask, "loaders.text.font": font, "loaders.text.split": split}
    assignments = {key: value for key, value in shorthands.items() if value is not None}
    settings, asked = gather_settings(config, given, loss or [], assignments, set_ or [])
    check_output(settings)

    console = Console(highlight=False, soft_wrap=True)
    running = _resumed(settings, asked) if resume else begin_fit(settings)
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
    written, mean = str(picture), ""
    if running.batch is not None:
        first, last = (canvas_path(picture, index, running.batch) for index in (0, running.batch - 1))
        written, mean = f"{first} to {last.name}", "mean "
    stopped = "" if results["finished"] else f" of {running.settings.steps} (stopped; --resume goes on)"
    quality = "" if results["psnr"] is None else f"PSNR {results['psnr']:.2f} dB, SSIM {results['ssim']:.3f}, "
    console.print(
        f"{written}: {mean if quality else ''}{quality}{_counted(results)}, {results['steps']} steps{stopped}, "
        f"{results['seconds']:.1f} s with renderer {results['renderer']}"
    )


def _with_targets(given: dict[str, Any], targets: list[str]) -> dict[str, Any]:
    """Return the flags with the targets of ``--target``.

    Raises:
        DiffbmpError: where a target is given as an argument too.
    """
    if not targets:
        return given
    if "target" in given:
        raise DiffbmpError(f"The target is given twice, as '{given['target']}' and with --target; give it once.")
    return {**given, "target": targets[0] if len(targets) == 1 else targets}


def _resumed(settings: FitSettings, asked: Mapping[str, Any]) -> Fit:
    """Return the fit in the output folder, after checking that nothing else is asked of it than was before."""
    path = Path(settings.output) / CHECKPOINT
    if not path.exists():
        raise DiffbmpError(f"There is nothing to resume in '{settings.output}': it has no {CHECKPOINT}.")
    changes = {name: asked[name] for name in CHANGEABLE if name in asked}
    running = load_checkpoint(path, changes={**changes, "output": settings.output})
    for name in sorted(set(asked) - set(CHANGEABLE)):
        before, now = getattr(running.settings, name), getattr(settings, name)
        if name == "primitives":
            before, now = _asked_of_primitives(running.settings, settings)
        if before != now:
            raise DiffbmpError(
                f"The fit in '{settings.output}' was begun with {name} = {before!r}, not {now!r}; "
                "leave the option out to resume it, or begin anew without --resume."
            )
    return running


def _asked_of_primitives(before: FitSettings, now: FitSettings) -> tuple[Any, Any]:
    """Return the kinds of both and, as their models read them, the settings that ``now`` gives."""
    asked = now.primitives or []
    read = [[member.cls.name for member in members_of(one, FitObjects(), placing=False)] for one in (before, now)]
    if read[0] != read[1]:
        return read[0], read[1]
    pairs = zip(*(members_of(one, FitObjects(), placing=False) for one in (before, now)), asked, strict=True)
    values = [
        [{name: getattr(member.settings, name) for name in table if name != "kind"} for member in both]
        for *both, table in pairs
    ]
    return [old for old, _ in values], [new for _, new in values]


def _counted(report: dict[str, Any]) -> str:
    """Return what the picture is made of: ``500 stamps``, ``60 strokes and 40 stamps``."""
    return " and ".join(f"{entry['count']} {entry['kind']}" for entry in report["primitives"])
