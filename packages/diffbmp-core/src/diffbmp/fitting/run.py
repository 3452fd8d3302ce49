"""Running a fit to its results: the picture, the scene, the report and whatever else was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas
from diffbmp.errors import DiffbmpError
from diffbmp.exporters.exporter import Progress
from diffbmp.exporters.write import check_options, exporter_for, write_scene
from diffbmp.files import output_directory
from diffbmp.fitting.build import start_fit
from diffbmp.fitting.checkpoint import save_checkpoint
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.report import fit_report, write_report
from diffbmp.fitting.report_page.page import write_report_page
from diffbmp.fitting.settings import FitSettings
from diffbmp.scene.file import save_scene
from diffbmp.scene.scene import Scene
from diffbmp.settings import parse_settings

__all__ = ["FitResult", "check_output", "drive", "fit", "write_results"]

PICTURE = "picture.png"
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
    """

    scene: Scene
    report: dict[str, Any]

    @property
    def image(self) -> Tensor:
        """The picture: RGB ``(3, H, W)``, or premultiplied RGBA ``(4, H, W)`` on a transparent canvas."""
        with torch.no_grad():
            return self.scene.render(renderer=self.report["renderer"])


def fit(
    target: str | Path | Tensor,
    *,
    stamps: str | Path | list[str] | Atlas,
    output: str | Path | None = None,
    **options: Any,
) -> FitResult:
    """Compose ``target`` out of ``stamps``.

    Args:
        target: path of a picture, or a tensor ``(3, H, W)`` or straight ``(4, H, W)`` in [0, 1].
        stamps: sources as on the command line (files, folders, globs, ``text:HELLO``, ``shape:disc``), or an atlas.
        output: folder for picture, scene and report; nothing is written where it is left out.
        **options: any other field of ``FitSettings``: ``n=2000``, ``steps=300``, ``loss={"mse": 1}``,
            ``optimizer={"position": 0.5}``.

    Raises:
        DiffbmpError: for an unknown option (with the nearest known one) and everything else a person got wrong.

    Example:
        >>> scene = diffbmp.fit("photo.jpg", stamps="petals/", n=2000).scene
    """
    values = dict(options)
    if not isinstance(target, Tensor):
        values["target"] = str(target)
    if not isinstance(stamps, Atlas):
        values["stamps"] = [str(stamps)] if isinstance(stamps, (str, Path)) else [str(source) for source in stamps]
    if output is not None:
        values["output"] = str(output)
    settings = parse_settings(FitSettings, values, "")
    if output is not None:
        check_output(settings)
    running = start_fit(
        settings,
        target=target if isinstance(target, Tensor) else None,
        atlas=stamps if isinstance(stamps, Atlas) else None,
    )
    started = time.perf_counter()
    if output is None:
        running.run()
        report = fit_report(running, time.perf_counter() - started)
    else:
        drive(running)
        report = write_results(running, time.perf_counter() - started)
    return FitResult(running.scene, report)


def check_output(settings: FitSettings) -> Path:
    """Make the output folder and check everything about the results that can be checked before the work.

    Raises:
        DiffbmpError: where the folder cannot be written, or nobody exports a suffix of ``settings.export``.
    """
    exporters = [exporter_for(f"scene.{suffix.lstrip('.')}", settings.exporters) for suffix in settings.export]
    check_options(exporters or [exporter_for(PICTURE, settings.exporters)], settings.export_options)
    return output_directory(Path(settings.output))


def drive(fit: Fit) -> None:
    """Take all remaining steps, writing a checkpoint into ``settings.output`` every ``settings.checkpoint`` steps."""
    every = fit.settings.checkpoint
    for step in fit:
        if every and (step.index + 1) % every == 0:
            save_checkpoint(fit, Path(fit.settings.output) / CHECKPOINT)


@contextmanager
def _silent(path: Path) -> Iterator[Progress]:
    yield lambda fraction: None


def write_results(
    fit: Fit, seconds: float, *, showing: Callable[[Path], AbstractContextManager[Progress]] = _silent
) -> dict[str, Any]:
    """Write picture, scene, checkpoint, exports and report of a fit into ``settings.output``; return the report.

    The scene is written first: a later failure (a full disk, an exporter) never costs the composition.

    Args:
        fit: what has run.
        seconds: that it took.
        showing: gives for each exported file what is told the fraction written.
    """
    directory = output_directory(Path(fit.settings.output))
    save_scene(fit.scene, directory / SCENE)
    save_checkpoint(fit, directory / CHECKPOINT)
    report = fit_report(fit, seconds)
    write_report(report, directory / REPORT)
    failures: list[str] = []
    for suffix in ["png", *(suffix.lstrip(".") for suffix in fit.settings.export)]:
        name = PICTURE if suffix == "png" else f"scene.{suffix}"
        try:
            options = None if name == PICTURE else fit.settings.export_options
            with showing(directory / name) as progress:
                write_scene(
                    fit.scene,
                    directory / name,
                    options,
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
