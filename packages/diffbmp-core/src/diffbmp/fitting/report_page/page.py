"""The report of a fit as one self-contained page: picture against target, error map, curves, timings, settings."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from diffbmp.exporters.markup import as_text, data_address, png_bytes, script_data, self_contained_page
from diffbmp.exporters.naming import counted
from diffbmp.files import atomic_path
from diffbmp.fitting.fit import Fit
from diffbmp.fitting.report_page.pictures import error_map, page_picture
from diffbmp.fitting.settings import FitSettings
from diffbmp.rendering.composite import over_background

__all__ = ["write_report_page"]

Row = tuple[str, str]


@torch.no_grad()
def write_report_page(fit: Fit, report: dict[str, Any], path: Path) -> None:
    """Write the report of a fit as an HTML page.

    Target and picture are compared over the scene's background, or over white where that is transparent. Of a batch the
    page has all canvases, one of which is shown at a time.

    Args:
        fit: gives the pictures.
        report: what ``fit_report`` returned.
        path: the file to write.

    Raises:
        DiffbmpError: where the file cannot be written.
    """
    data = {
        "width": fit.scene.width,
        "height": fit.scene.height,
        "canvases": list(_canvases(fit, report)),
        "resumed": fit.first_step,
        "curves": {name: report[name] for name in ("losses", "psnrs", "step_seconds")},
    }
    page = self_contained_page(
        __package__, "report.html", "report.css", ["report.js"],
        title=as_text(_title(fit, report)),
        figures=_figures(report),
        timings=_table(_timings(fit, report)),
        program=_table(_program(report)),
        settings=_settings_table(fit.settings),
        data=script_data(data),
    )  # fmt: skip
    with atomic_path(path) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def _canvases(fit: Fit, report: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the pictures of each canvas, the error that the map's last colour stands for, and the canvas's figures."""
    scene, target = fit.scene, fit.target
    background = scene.background_at(1.0)
    if background is None:
        background = scene.atlas.texels.new_ones((3, 1, 1))
    batch = scene.batch
    for index in range(batch or 1):
        one = scene if batch is None else scene.canvas(index)
        picture = over_background(one.layer(renderer=fit.renderer), background)
        addresses, peak = {"picture": _address(page_picture(picture))}, None
        if target is not None:
            wanted = target.canvas(index).over(background)
            errors, peak = error_map(picture, wanted)
            addresses.update(target=_address(page_picture(wanted)), error=_address(errors))
        yield {"pictures": addresses, "peak": peak, **({} if batch is None else report["canvases"][index])}


def _address(pixels: NDArray[np.uint8]) -> str:
    return data_address("image/png", png_bytes(pixels))


def _title(fit: Fit, report: dict[str, Any]) -> str:
    """Return what was composed of what: ``photo.jpg in 500 stamps``, ``3 canvases in 60 strokes each``."""
    made = counted(fit.scene)
    if fit.batch is not None:
        return f"{fit.batch} {'canvas' if fit.batch == 1 else 'canvases'} in {made} each"
    source = Path(fit.settings.target).name if isinstance(fit.settings.target, str) else ""
    return f"{source or 'Picture'} in {made}"


def _figures(report: dict[str, Any]) -> str:
    """Return the few numbers at the top of the page."""
    figures: list[Row] = []
    mean = ", mean" if len(report.get("canvases", [])) > 1 else ""
    if report["psnr"] is not None:
        figures.append((f"PSNR{mean}", f"{report['psnr']:.2f} dB"))
    if report["ssim"] is not None:
        figures.append((f"SSIM{mean}", f"{report['ssim']:.3f}"))
    kinds = {entry["kind"] for entry in report["primitives"]}
    size = f"{report['width']} \u00d7 {report['height']}"
    figures += [
        (kinds.pop().capitalize() if len(kinds) == 1 else "Instances", f"{report['stamps']:,}"),
        ("Canvases", f"{len(report['canvases'])} of {size}") if "canvases" in report else ("Canvas", size),
        ("Steps", f"{report['steps']}" if report["finished"] else f"{report['steps']}, stopped"),
        ("Fitted in", _duration(sum(report["step_seconds"]))),
    ]
    return "".join(f"<div><dt>{as_text(term)}</dt><dd>{as_text(value)}</dd></div>" for term, value in figures)


def _timings(fit: Fit, report: dict[str, Any]) -> Iterator[Row]:
    seconds = report["step_seconds"]
    yield "All steps", _duration(sum(seconds))
    if seconds:
        yield "A step, median", _duration(statistics.median(seconds))
        yield "A step, slowest", _duration(max(seconds))
        yield "Steps a second", f"{len(seconds) / max(sum(seconds), 1e-9):.3g}"
    if fit.first_step:
        yield "Resumed after step", str(fit.first_step)
    yield "This run, with checkpoints", _duration(report["seconds"])
    yield "Peak memory", f"{report['peak_memory'] / 2**20:,.0f} MiB"


def _program(report: dict[str, Any]) -> Iterator[Row]:
    yield "Renderer", report["renderer"]
    yield "Device", report["device"]
    yield "Threads", str(report["threads"])
    yield "Seed", str(report["seed"])
    yield from report["versions"].items()


def _table(rows: Iterator[Row]) -> str:
    return "".join(f"<tr><th scope=row>{as_text(term)}</th><td>{as_text(value)}</td></tr>" for term, value in rows)


def _settings_table(settings: FitSettings) -> str:
    """Return a row for each setting by its dotted name, those that are not as they are by default marked."""
    defaults = dict(_flat(FitSettings().model_dump(mode="json"), ""))
    rows = sorted(_flat(settings.model_dump(mode="json"), ""), key=lambda row: defaults.get(row[0]) == row[1])
    return "".join(
        f"<tr{'' if defaults.get(name) == value else ' class=changed'}><th scope=row>{as_text(name)}</th>"
        f"<td>{as_text(value)}</td><td>{as_text(defaults.get(name, ''))}</td></tr>"
        for name, value in rows
    )


def _flat(values: dict[str, Any], prefix: str) -> Iterator[Row]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield f"{prefix}{key}", ", ".join(str(item) for item in value)
        else:
            yield f"{prefix}{key}", "" if value is None else str(value)


def _duration(seconds: float) -> str:
    """Return a time as people read it: ``12 ms``, ``3.4 s``, ``2 min 5 s``, ``1 h 3 min``."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
