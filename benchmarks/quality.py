"""Measure everything that docs/quality.md says, and write its tables and pictures.

python benchmarks/quality.py              about half an hour on two cores
python benchmarks/quality.py --only aims  one table only: aims, steps, textures, stamps, sizes, tried, shapes
python benchmarks/quality.py --draw       only write the tables again, from the figures of the last run
python benchmarks/quality.py --primitive PATH    also run fogleman's primitive, which is at PATH

A binary of primitive comes with the npm package sqip-plugin-primitive.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from page import write_tables
from PIL import Image
from quality_tried import TRIED, fit_with
from skimage import data, draw, filters
from sklearn.datasets import load_sample_images
from torch import Tensor

from diffbmp import __version__, start_fit
from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.images import write_png
from diffbmp.loaders.sources import load_textures
from diffbmp.losses.laplacian import normalized_distance
from diffbmp.metrics import psnr, ssim

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "quality.md"
FIGURES = ROOT / "docs" / "quality"
RESULTS = FIGURES / "quality.json"

WIDTH, COUNT = 256, 500

NEITHER = {"preset": "paper", "initializer": "random", "blur": {"sigma": 0.0}}
AIMS: dict[str, dict[str, Any]] = {
    "neither (random start, sharp)": NEITHER,
    "blur only": {"preset": "paper", "initializer": "random"},
    "structure-aware start only": {"preset": "paper", "blur": {"sigma": 0.0}},
    "`paper`: both": {"preset": "paper"},
    "`fast`": {"preset": "fast"},
    "`balanced`": {"preset": "balanced"},
    "`best`": {"preset": "best"},
}
SHOWN = ("`paper`: both", "`balanced`", "`best`")
PAPER, PRIMITIVE = "`paper`: both", "primitive, 500 circles"

GREEDY_ONLY = {"refine": [], "initializers": {"greedy": {"stages": 10}}}
DEALT = {
    "initializers": {"greedy": {"textures": False}},
    "refiners": {"grow": {"textures": False}, "relocate": {"textures": False}},
}
STEPS: dict[str, dict[str, Any]] = {
    "`paper`, 300 steps": {"preset": "paper", "steps": 300},
    "+ stamps no larger than their spacing": {
        "preset": "paper",
        "steps": 300,
        "initializers": {"structure": {"scale_rule": "spacing"}},
    },
    "`balanced`": {},
    "without growth: all stamps placed by candidates before the first step": {**GREEDY_ONLY, "refine": ["relocate"]},
    "without candidates: random start": {"refine": ["relocate"], "initializer": "random"},
    "without relocation": {"refine": ["grow"]},
    "textures dealt in turn instead of chosen": DEALT,
    "rates of the paper, in pixels": {"optimizer": {"unit": "pixel", "position": 1.0, "scale": 1.0}},
    "rates falling as the paper's": {"optimizer": {"schedule": "exponential", "betas": (0.9, 0.999)}},
    "with the paper's blur, falling to none": {"blur": {"sigma": 1.0}},
    "white canvas instead of noise": {"noisy_canvas": False},
}

TEXTURES = {
    "glyphs": ("glyphs", 0.0),
    "brush": ("brush", 0.0),
    "cut-outs, half in their own colours": ("cut-outs", 0.5),
    "cut-outs, in their own colours": ("cut-outs", 1.0),
}
KINDS = ("disc", "square", "glyphs", "coins", "cut-outs", "brush")
COUNTS = (200, 1000, 4000)
TWO = ("astronaut", "flower")
SIZES = (256, 512, 1024, 2048)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="measure nothing")
    parser.add_argument("--only", choices=MEASURES, action="append", help="measure this table; may be repeated")
    parser.add_argument("--primitive", type=Path, metavar="PATH", help="the program to compare with")
    arguments = parser.parse_args()
    if "OMP_WAIT_POLICY" not in os.environ:  # threads that wait must not spin where others want the cores
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "OMP_WAIT_POLICY": "passive"})
    FIGURES.mkdir(exist_ok=True)
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    if not arguments.draw:
        for name in arguments.only or MEASURES:
            print(f"== {name}", flush=True)
            results[name] = {"machine": machine(), **MEASURES[name]()}
        if arguments.primitive:
            results["primitive"] = {"machine": machine(), **run_primitive(arguments.primitive)}
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    tables = {
        "aims": aims,
        "compared": compared,
        "steps": steps,
        "textures": textures,
        "stamps": stamps,
        "sizes": sizes,
        "tried": tried,
        "shapes": shapes,
    }
    measured = {n: table(results) for n, table in tables.items() if ("aims" if n == "compared" else n) in results}
    write_tables(PAGE, "quality.py", measured)


def machine() -> dict[str, Any]:
    return {
        "date": date.today().isoformat(),
        "threads": torch.get_num_threads(),
        "load": [round(load, 1) for load in os.getloadavg()],
        "platform": platform.platform(),
        "versions": {"diffbmp": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }


def photographs(width: int = WIDTH) -> dict[str, Tensor]:
    """Return photographs that come with scikit-image and scikit-learn, ``(3, H, width)`` each."""
    china, flower = load_sample_images().images
    pictures = {
        "astronaut": data.astronaut(),
        "chelsea": data.chelsea(),
        "coffee": data.coffee(),
        "rocket": data.rocket(),
        "china": china,
        "flower": flower,
    }
    return {name: _resized(pixels, width) for name, pixels in pictures.items()}


def _resized(pixels: np.ndarray[Any, Any], width: int) -> Tensor:
    image = Image.fromarray(pixels).convert("RGB")
    image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.asarray(image).astype(np.float32) / 255).permute(2, 0, 1).contiguous()


def stamps_of(kind: str) -> Atlas:
    """Return the stamps of one kind; cut-outs and the brush are made here, from scikit-image's data and noise."""
    if kind in ("disc", "square"):
        return Atlas(load_textures([f"shape:{kind}"], {}))
    if kind == "glyphs":
        return Atlas(load_textures(["text:ABCDEFGHIJKLMNOPQRSTUVWXYZ"], {}))
    if kind == "coins":
        with tempfile.TemporaryDirectory() as folder:
            material = ROOT / "scripts" / "demo_material.py"
            subprocess.run([sys.executable, material, folder], check=True, stdout=subprocess.DEVNULL)
            return Atlas(load_textures([f"{folder}/coins"], {}))
    return Atlas(list(cut_outs() if kind == "cut-outs" else brush_strokes()))


def cut_outs() -> Iterator[Texture]:
    """Yield 24 soft-edged pieces of photographs other than the targets, RGBA."""
    random = np.random.default_rng(0)
    sources = [data.immunohistochemistry(), data.retina(), data.hubble_deep_field(), data.stereo_motorcycle()[0]]
    for number in range(24):
        source = sources[number % len(sources)]
        top, left = (random.integers(0, length - 128) for length in source.shape[:2])
        piece = source[top : top + 128, left : left + 128, :3].astype(np.float32) / 255
        angles = np.linspace(0, 2 * math.pi, 13)[:-1]
        radius = random.uniform(35, 58, 12)
        shape = draw.polygon2mask((128, 128), 64 + radius[:, None] * np.stack([np.sin(angles), np.cos(angles)], 1))
        alpha = filters.gaussian(shape.astype(np.float32), 1.5)
        pixels = np.concatenate([piece, alpha[..., None]], axis=-1).transpose(2, 0, 1)
        yield Texture(f"piece {number}", torch.from_numpy(pixels.astype(np.float32)).clamp(0, 1))


def brush_strokes() -> Iterator[Texture]:
    """Yield six dry brush strokes, alpha-only: bristles of noise along a bar with ragged ends."""
    random = np.random.default_rng(1)
    for number in range(6):
        bristles = filters.gaussian(random.uniform(0, 1, (40, 160)), (0.8, 14))
        bristles = (bristles - bristles.min()) / np.ptp(bristles)
        along = np.linspace(-1, 1, 160)[None] + 0.08 * random.standard_normal((40, 1))
        across = np.linspace(-1, 1, 40)[:, None]
        body = 1 / (1 + np.exp(14 * (np.abs(along) - 0.85))) / (1 + np.exp(14 * (np.abs(across) - 0.8)))
        alpha = np.clip(body * (0.25 + 1.1 * bristles), 0, 1)
        yield Texture(f"stroke {number}", torch.from_numpy(alpha.astype(np.float32))[None])


def fit_one(
    target: Tensor, atlas: Atlas, *, picture: Path | None = None, small: Tensor | None = None, **settings: Any
) -> dict[str, float]:
    """Fit, and return PSNR (dB), SSIM, the start-to-end seconds and the number of stamps.

    With ``small``, the target at another size, ``psnr_small`` is that of the picture rendered at this size.
    """
    started = time.perf_counter()
    fit = start_fit(target, stamps=atlas, **{"n": COUNT, **settings}).run()
    seconds = time.perf_counter() - started
    with torch.no_grad():
        image = fit.scene.render().clamp(0, 1)
        if picture is not None:
            write_png(picture, fit.scene.render(scale=2))
        measured = {**compare(image, target), "seconds": seconds, "n": len(fit.front)}
        if small is not None:
            measured["psnr_small"] = psnr(fit.scene.render(scale=small.shape[2] / target.shape[2]).clamp(0, 1), small)
    return measured


def compare(image: Tensor, target: Tensor) -> dict[str, float]:
    """Return PSNR (dB), SSIM, and the perceptual distance of the loss ``nlpd``: the less the better."""
    return {
        "psnr": psnr(image, target),
        "ssim": ssim(image, target),
        "nlpd": float(normalized_distance(image, target)),
    }


def measure_rows(rows: dict[str, dict[str, Any]], atlas: Atlas, pictures: bool = False) -> dict[str, Any]:
    """Fit every photograph with the settings of every row, the rows in turns, so that they meet the same machine."""
    measured: dict[str, dict[str, Any]] = {name: {} for name in rows}
    for photograph, target in photographs().items():
        for name, settings in rows.items():
            preset = settings.get("preset")
            shown = pictures and photograph in TWO and name in SHOWN
            path = FIGURES / f"{photograph}-{preset}.png" if shown else None
            measured[name][photograph] = fit_one(target, atlas, picture=path, **settings)
            print(f"{photograph} {name}: {measured[name][photograph]}", flush=True)
    return {"rows": measured}


def measure_aims() -> dict[str, Any]:
    return measure_rows(AIMS, stamps_of("disc"), pictures=True)


def measure_steps() -> dict[str, Any]:
    return measure_rows(STEPS, stamps_of("coins"))


def measure_stamps() -> dict[str, Any]:
    """Every kind of stamp and number, the paper's recipe and ours."""
    measured: dict[str, Any] = {}
    targets = {name: target for name, target in photographs().items() if name in TWO}
    for kind in KINDS:
        atlas = stamps_of(kind)
        blend = 0.5 if kind == "cut-outs" else 0.0
        for n in COUNTS:
            for preset in ("paper", "balanced"):
                rows = measured[f"{kind}/{n}/{preset}"] = {}
                for photograph, target in targets.items():
                    path = (
                        FIGURES / f"{kind}.png" if (n, preset, photograph) == (1000, "balanced", "astronaut") else None
                    )
                    rows[photograph] = fit_one(target, atlas, picture=path, preset=preset, n=n, color_blend=blend)
                    print(f"{kind} {n} {preset} {photograph}: {rows[photograph]}", flush=True)
    return {"rows": measured}


def measure_textures() -> dict[str, Any]:
    """Textures chosen against textures dealt in turn, for stamps that differ in shape or in colour."""
    measured: dict[str, Any] = {}
    for name, (kind, blend) in TEXTURES.items():
        rows = {way: {**settings, "color_blend": blend} for way, settings in (("chosen", {}), ("dealt", DEALT))}
        for way, row in measure_rows(rows, stamps_of(kind))["rows"].items():
            measured[f"{name}/{way}"] = row
    return {"rows": measured}


def measure_sizes() -> dict[str, Any]:
    """The same settings at every size of the target, and the same without the coarse canvas."""
    atlas, measured = stamps_of("disc"), {}
    small = photographs(SIZES[0])["astronaut"]
    for size in SIZES:
        for name, resolution in (("coarse to fine", {}), ("whole canvas throughout", {"until": 0.0})):
            if size == SIZES[0] and resolution:
                continue
            target = photographs(size)["astronaut"]
            measured[f"{size}/{name}"] = fit_one(target, atlas, small=small, resolution=resolution)
            print(f"{size} {name}: {measured[f'{size}/{name}']}", flush=True)
    return {"rows": measured}


def measure_shapes() -> dict[str, Any]:
    """Targets with a wavy outline: how much is left outside of it, and left open inside."""
    measured: dict[str, Any] = {}
    for kind in ("disc", "coins"):
        atlas = stamps_of(kind)
        for photograph, target in photographs().items():
            height, width = target.shape[1:]
            y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
            radius = (x * x + y * y).sqrt() + 0.12 * torch.sin(5 * torch.atan2(y, x))
            shape = ((0.75 - radius) * 40).clamp(0, 1)
            shaped = torch.cat([target, shape[None]])
            fit = start_fit(shaped, stamps=atlas, n=COUNT, background="transparent").run()
            with torch.no_grad():
                alpha = fit.scene.render()[3]
            row = {"outside": float(alpha[shape == 0].mean()), "inside": float(alpha[shape == 1].mean())}
            measured.setdefault(kind, {})[photograph] = row
            print(f"shape {kind} {photograph}: {row}", flush=True)
    return {"rows": measured}


def measure_tried() -> dict[str, Any]:
    """What was tried and left out."""
    atlas, measured = stamps_of("disc"), {}
    for photograph, target in photographs().items():
        for name, (act, when) in {"`balanced`": (None, 1.0), **TRIED}.items():
            found = fit_with(act, when, target, atlas, COUNT)
            measured.setdefault(name, {})[photograph] = {"psnr": found}
            print(f"{photograph} {name}: {found}", flush=True)
    return {"rows": measured}


MEASURES = {
    "aims": measure_aims,
    "steps": measure_steps,
    "textures": measure_textures,
    "stamps": measure_stamps,
    "sizes": measure_sizes,
    "tried": measure_tried,
    "shapes": measure_shapes,
}


def run_primitive(program: Path) -> dict[str, Any]:
    """Compose every photograph of 500 circles with primitive, at its defaults."""
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, target in photographs().items():
            source, result = Path(folder) / f"{name}.png", Path(folder) / f"{name}-out.png"
            write_png(source, target)
            side = str(max(target.shape[1:]))
            started = time.perf_counter()
            command = [
                program.resolve(),
                "-i",
                source,
                "-o",
                result,
                "-n",
                str(COUNT),
                "-m",
                "4",
                "-s",
                side,
                "-r",
                side,
            ]
            subprocess.run([str(word) for word in command], check=True)
            seconds = time.perf_counter() - started
            pixels = np.asarray(Image.open(result).convert("RGB")).astype(np.float32) / 255
            image = torch.from_numpy(pixels).permute(2, 0, 1)
            rows[name] = {**compare(image, target), "seconds": seconds, "n": COUNT}
            print(f"primitive {name}: {rows[name]}", flush=True)
    return {"rows": {PRIMITIVE: rows}}


def mean(rows: dict[str, Any], key: str) -> float:
    return fmean(row[key] for row in rows.values())


def aims(results: dict[str, Any]) -> Iterator[str]:
    """Yield what was aimed at, and what came of it."""
    rows = {**results["aims"]["rows"], **results.get("primitive", {}).get("rows", {})}
    quality = {name: mean(row, "psnr") for name, row in rows.items()}
    seconds = {name: mean(row, "seconds") for name, row in rows.items()}
    base, base_seconds = quality[PAPER], seconds[PAPER]
    yield "| aim | measured | reached |"
    yield "|---|---|---|"

    def line(aim: str, measured: str, reached: bool) -> str:
        return f"| {aim} | {measured} | {'yes' if reached else 'no'} |"

    gain = base - quality["neither (random start, sharp)"]
    yield line("blur and structure-aware start at least 1 dB above neither", f"{gain:+.2f} dB", gain >= 1)
    for name, least, most in (("`fast`", 1.0, 1.0), ("`balanced`", 3.0, 3.0), ("`best`", 4.5, math.inf)):
        gain, ratio = quality[name] - base, seconds[name] / base_seconds
        limit = "" if math.isinf(most) else f", in at most {most:g} times its seconds"
        yield line(
            f"{name} at least {least:g} dB above `paper`{limit}",
            f"{gain:+.2f} dB, {ratio:.2f} times",
            gain >= least and ratio <= most,
        )
    if PRIMITIVE in rows:
        rival, rival_seconds = quality[PRIMITIVE], seconds[PRIMITIVE]
        for name, least, most in (("`balanced`", 0.0, 0.1), ("`best`", 1.5, 1.0)):
            gain, ratio = quality[name] - rival, seconds[name] / rival_seconds
            yield line(
                f"{name} at least {least:g} dB above primitive, in at most {most:g} times its seconds",
                f"{gain:+.2f} dB, {ratio:.3f} times",
                gain >= least and ratio <= most,
            )


def compared(results: dict[str, Any]) -> Iterator[str]:
    rows = {**results["aims"]["rows"], **results.get("primitive", {}).get("rows", {})}
    yield from _table(rows, PAPER)


def steps(results: dict[str, Any]) -> Iterator[str]:
    yield from _table(results["steps"]["rows"], "`balanced`")


def _table(rows: dict[str, Any], base: str) -> Iterator[str]:
    photographs_ = list(next(iter(rows.values())))
    yield f"| | {' | '.join(photographs_)} | mean PSNR | | SSIM | NLPD | seconds |"
    yield f"|---|{'---|' * (len(photographs_) + 5)}"
    for name, row in rows.items():
        each = " | ".join(f"{row[photograph]['psnr']:.2f}" for photograph in photographs_)
        gain = mean(row, "psnr") - mean(rows[base], "psnr")
        difference = "" if name == base else f"{gain:+.2f}"
        yield (
            f"| {name} | {each} | **{mean(row, 'psnr'):.2f}** | {difference} | {mean(row, 'ssim'):.3f} "
            f"| {mean(row, 'nlpd'):.4f} | {mean(row, 'seconds'):.1f} |"
        )


def textures(results: dict[str, Any]) -> Iterator[str]:
    rows = results["textures"]["rows"]
    yield "| stamps | chosen, mean PSNR | dealt in turn | |"
    yield "|---|---|---|---|"
    for name in TEXTURES:
        chosen, dealt = (mean(rows[f"{name}/{way}"], "psnr") for way in ("chosen", "dealt"))
        yield f"| {name} | {chosen:.2f} | {dealt:.2f} | {chosen - dealt:+.2f} |"


def tried(results: dict[str, Any]) -> Iterator[str]:
    rows = results["tried"]["rows"]
    yield "| | mean PSNR | |"
    yield "|---|---|---|"
    base = mean(rows["`balanced`"], "psnr")
    for name, row in rows.items():
        gain = mean(row, "psnr") - base
        yield f"| {name} | {mean(row, 'psnr'):.2f} | {'' if name == '`balanced`' else f'{gain:+.2f}'} |"


def shapes(results: dict[str, Any]) -> Iterator[str]:
    rows = results["shapes"]["rows"]
    yield "| stamps | mean alpha outside (at most 0.01) | mean alpha inside (at least 0.98) |"
    yield "|---|---|---|"
    for kind, row in rows.items():
        outside, inside = max(r["outside"] for r in row.values()), min(r["inside"] for r in row.values())
        yield f"| {kind} | {outside:.4f} | {inside:.4f} |"


def stamps(results: dict[str, Any]) -> Iterator[str]:
    rows = results["stamps"]["rows"]
    yield f"| | {' | '.join(f'{n} stamps' for n in COUNTS)} |"
    yield f"|---|{'---|' * len(COUNTS)}"
    for kind in KINDS:
        cells = []
        for n in COUNTS:
            ours, paper = rows[f"{kind}/{n}/balanced"], rows[f"{kind}/{n}/paper"]
            cells.append(
                f"**{mean(ours, 'psnr'):.2f}** dB, {mean(ours, 'ssim'):.3f}, {mean(ours, 'seconds'):.1f} s "
                f"({mean(paper, 'psnr'):.2f} dB, {mean(paper, 'ssim'):.3f}, {mean(paper, 'seconds'):.1f} s)"
            )
        yield f"| {kind} | {' | '.join(cells)} |"


def sizes(results: dict[str, Any]) -> Iterator[str]:
    yield "| width | canvas | PSNR | PSNR seen 256 pixels wide | SSIM | seconds |"
    yield "|---|---|---|---|---|---|"
    for key, row in results["sizes"]["rows"].items():
        size, _, canvas = key.partition("/")
        figures = f"{row['psnr']:.2f} | {row['psnr_small']:.2f} | {row['ssim']:.3f} | {row['seconds']:.1f}"
        yield f"| {size} | {canvas} | {figures} |"


if __name__ == "__main__":
    main()
