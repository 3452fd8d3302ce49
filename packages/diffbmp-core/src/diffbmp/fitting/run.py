"""Running a fit to its results: the picture, the scene, the report and whatever else was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.exporter import Progress
from diffbmp.exporters.write import check_options, exporter_for, named_output, write_scene
from diffbmp.files import output_directory
from diffbmp.fitting.checkpoint import save_checkpoint
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.report import fit_report, write_report
from diffbmp.fitting.report_page.page import write_report_page
from diffbmp.fitting.settings import FitSettings
from diffbmp.fitting.start import start_fit
from diffbmp.scene.file import save_scene
from diffbmp.scene.scene import Scene

__all__ = ["FitResult", "check_output", "drive", "fit", "write_results"]

PICTURE = "picture.png"
PICTURES = "core/png"
"""Who writes the picture of a fit, whatever a plugin does with the suffix."""
SCENE = "scene.diffbmp"
CHECKPOINT = "checkpoint.diffbmp"
REPORT = "report.json"
REPORT_PAGE = "report.html"


@dataclass(frozen=True)
class FitResult:
    """What a fit came to.

    Attributes:
        scene: the composition.
        report: what ``report.json`` holds.
        fit: the fit as it has ended, to go on from (``scene=result.fit``) or to write (``write_results``).
    """

    scene: Scene
    report: dict[str, Any]
    fit: Fit

    @property
    def image(self) -> Tensor:
        """The picture: RGB ``(..., 3, H, W)``, or premultiplied RGBA ``(..., 4, H, W)`` on a transparent canvas."""
        with torch.no_grad():
            return self.scene.render(renderer=self.fit.renderer)


def fit(
    target: Any = None,
    *,
    stamps: str | Path | Sequence[str | Path] | Atlas | None = None,
    output: str | Path | None = None,
    **options: Any,
) -> FitResult:
    """Compose ``target`` out of ``stamps``: the short form of ``start_fit``, which takes the same arguments.

    Args:
        target: path of a picture, a tensor ``(3, H, W)`` or straight ``(4, H, W)`` in [0, 1], a NumPy array or a PIL
            picture; several for a batch; left out with ``size=`` and a loss that needs no target.
        stamps: sources as on the command line (files, folders, globs, ``text:HELLO``, ``shape:disc``), or an atlas.
        output: folder for picture, scene and report; nothing is written where it is left out.
        **options: as in ``start_fit``.

    Raises:
        DiffbmpError: for an unknown option (with the nearest known one) and everything else a person got wrong.

    Example:
        >>> scene = diffbmp.fit("photo.jpg", stamps="petals/", n=2000).scene
    """
    if output is not None:
        options["output"] = str(output)
    running = start_fit(target, stamps=stamps, **options)
    started = time.perf_counter()
    if output is None:
        running.run()
        report = fit_report(running, time.perf_counter() - started)
    else:
        check_output(running.settings)
        drive(running)
        report = write_results(running, time.perf_counter() - started)
    return FitResult(running.scene, report, running)


def check_output(settings: FitSettings) -> Path:
    """Make the output folder and check everything about the results that can be checked before the work.

    Raises:
        DiffbmpError: where the folder cannot be written, or nobody exports a suffix of ``settings.export``.
    """
    exporters = [exporter_for(name, settings.exporters, name=who) for who, name in _exported(settings)]
    check_options(exporters or [exporter_for(PICTURE, name=PICTURES)], settings.export_options)
    return output_directory(Path(settings.output))


def _exported(settings: FitSettings) -> list[tuple[str | None, str]]:
    """Return the exporter, where one is named (``NAME:png``), and the file of each entry of ``settings.export``."""
    named = [named_output(text) for text in settings.export]
    return [
        (who, PICTURE if who is None and suffix.lstrip(".") == "png" else f"scene.{suffix.lstrip('.')}")
        for who, suffix in named
    ]


def drive(fit: Fit) -> None:
    """Take all remaining steps, writing a checkpoint into ``settings.output`` every ``settings.checkpoint`` steps.

    A fit that dies in a step still writes its scene, picture and checkpoint, as they were after the step before.

    Raises:
        DiffbmpError: what a loss, a refiner or a renderer raised, with where the results are.
    """
    every = fit.settings.checkpoint
    started = time.perf_counter()
    try:
        for step in fit:
            if every and (step.index + 1) % every == 0:
                save_checkpoint(fit, Path(fit.settings.output) / CHECKPOINT)
    except Exception as error:
        if fit.next_step == fit.first_step:
            raise
        rescued = f"What {fit.next_step} steps came to is in '{fit.settings.output}'."
        try:
            write_results(fit, time.perf_counter() - started)
        except DiffbmpError as second:
            rescued = f"What was reached could not all be written: {second}"
        if isinstance(error, DiffbmpError):
            raise DiffbmpError(f"{error} {rescued}") from error
        error.add_note(rescued)
        raise


@contextmanager
def _silent(path: Path) -> Iterator[Progress]:
    yield lambda fraction: None


def write_results(
    fit: Fit,
    seconds: float | None = None,
    *,
    showing: Callable[[Path], AbstractContextManager[Progress]] = _silent,
) -> dict[str, Any]:
    """Write picture, scene, checkpoint, exports and report of a fit into ``settings.output``; return the report.

    The scene is written first: a later failure (a full disk, an exporter) never costs the composition. Of a batch the
    scene and the reports are one file each, and each canvas has a picture and exports of its own: ``picture-1.png``,
    ``picture-2.png`` and so on.

    Args:
        fit: what has run.
        seconds: that it took; left out, that of its steps in this run.
        showing: gives for each exported file what is told the fraction written.

    Raises:
        DiffbmpError: where something cannot be written; everything else is written all the same.
    """
    if seconds is None:
        seconds = sum(fit.step_seconds[fit.first_step :])
    directory = output_directory(Path(fit.settings.output))
    save_scene(fit.scene, directory / SCENE)
    save_checkpoint(fit, directory / CHECKPOINT)
    report = fit_report(fit, seconds)
    write_report(report, directory / REPORT)
    failures: list[str] = []
    for who, name in [(PICTURES, PICTURE), *_exported(fit.settings)]:
        try:
            options = None if name == PICTURE else fit.settings.export_options
            with showing(directory / name) as progress:
                write_scene(
                    fit.scene,
                    directory / name,
                    options,
                    exporter=who,
                    renderer=fit.renderer,
                    settings=fit.settings.exporters,
                    progress=progress,
                )
        except DiffbmpError as error:
            failures.append(str(error))
    if fit.settings.report:
        try:
            write_report_page(fit, report, directory / REPORT_PAGE)
        except DiffbmpError as error:
            failures.append(str(error))
    if failures:
        raise DiffbmpError(f"The scene is safe in '{directory / SCENE}', but: {' '.join(failures)}")
    return report
