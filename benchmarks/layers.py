"""Measure layered files: ``python benchmarks/layers.py [--draw] [--quick]``; writes the tables of docs/export.md.

Time and memory are those of a fresh process that loads a scene file and exports it: 1,000 and 5,000 stamps of 64 to 300
pixels on 2048 x 2048, on two threads, the best of three. Fidelity is what the programs of ``diffbmp.testing.editors``
make of the layers of ``diffbmp.testing.exports``, with a blank preview, against our own render.

    --draw     measure nothing, only write the tables again
    --quick    leave out Krita and GIMP
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import torch
from page import write_tables

import diffbmp
from diffbmp.cli.doctor import cpu_name
from diffbmp.exporters.write import write_scene
from diffbmp.metrics import psnr
from diffbmp.testing.editors import ORA_EDITORS, PSD_EDITORS, blank_preview
from diffbmp.testing.exports import EXPORT_SCENES, ExportScene, over_flat
from diffbmp.testing.readers import missing

ROOT = Path(__file__).parents[1]
PAGE, FIGURES = ROOT / "docs" / "export.md", ROOT / "docs" / "export" / "layers.json"

THREADS = 2
RUNS = 3
COUNTS = (1_000, 5_000)
AIMS = {1_000: 5.0, 5_000: 25.0}
"""Seconds for a PSD."""

CHOSEN = ("alpha-only", "both, opaque", "both, 2 % opacity", "rgba, half tint, transparent", "one-pixel stamps")
"""Recipes for the desktop programs, which take seconds to start: every kind of stamp that the others are given."""

EXPORT = """
import json, resource, sys, time
import torch
torch.set_num_threads(int(sys.argv[3]))
from pathlib import Path
from diffbmp import load_scene
from diffbmp.exporters.write import write_scene
begun = time.perf_counter()
scene = load_scene(sys.argv[1])
loaded = time.perf_counter()
write_scene(scene, Path(sys.argv[2]))
seconds = time.perf_counter() - loaded
kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"load": loaded - begun, "seconds": seconds, "megabytes": kilobytes / 1024}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    if not arguments.draw:
        with tempfile.TemporaryDirectory() as folder:
            figures = {
                "machine": {
                    "date": date.today().isoformat(), "processor": cpu_name(), "threads": THREADS,
                    "cpus": os.cpu_count(), "load": os.getloadavg()[0], "torch": torch.__version__,
                },
                "writing": list(written(Path(folder))),
                "fidelity": list(fidelity(Path(folder), arguments.quick)),
            }  # fmt: skip
        FIGURES.parent.mkdir(exist_ok=True)
        FIGURES.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    write_tables(PAGE, "layers.py", {"writing": writing_table(figures), "fidelity": fidelity_table(figures)})


def written(folder: Path) -> Iterator[dict[str, Any]]:
    """Yield seconds and memory of each export, and the size of the file."""
    for count in COUNTS:
        recipe = ExportScene(
            f"{count}", "both", 0.5, background="picture", count=count, radius=(32.0, 150.0), size=(2048, 2048)
        )
        diffbmp.save_scene(recipe.scene(), folder / "scene.diffbmp")
        for suffix in ("psd", "psb", "ora"):
            path = folder / f"layers.{suffix}"
            command = [sys.executable, "-c", EXPORT, str(folder / "scene.diffbmp"), str(path), str(THREADS)]
            runs = [json.loads(subprocess.run(command, check=True, capture_output=True).stdout) for _ in range(RUNS)]
            best = min(runs, key=lambda run: run["seconds"])
            memory = max(run["megabytes"] for run in runs)
            row = {"stamps": count, "format": suffix, **best, "megabytes": memory, "file": path.stat().st_size / 1e6}
            print(row, flush=True)
            yield row


@torch.no_grad()
def fidelity(folder: Path, quick: bool) -> Iterator[dict[str, Any]]:
    """Yield for each program, format and scale how far it is from our own render at worst."""
    programs = {"psd": PSD_EDITORS, "psb": {k: v for k, v in PSD_EDITORS.items() if k != "gimp"}, "ora": ORA_EDITORS}
    for suffix, readers in programs.items():
        for name, read in readers.items():
            slow = name in ("krita", "gimp")
            if (quick and slow) or missing(name):
                continue
            for scale in (1.0, 4.0):
                worst, lowest, recipes = 0.0, 200.0, [r for r in EXPORT_SCENES if not slow or r.name in CHOSEN]
                for recipe in recipes:
                    scene = recipe.scene()
                    options = diffbmp.ExportOptions(scale=scale, groups="depth")
                    (path,) = write_scene(scene, folder / f"scene.{suffix}", options)
                    drawn = read(blank_preview(path, path.with_stem("blank")))
                    ours = scene.render(scale=scale).double()
                    pairs = [(over_flat(drawn, v)[:3], over_flat(ours, v)) for v in (0.0, 1.0)]
                    if len(ours) == 4:
                        pairs.append((drawn, ours))
                    worst = max(worst, *(float((a - b).abs().max()) * 255 for a, b in pairs))
                    lowest = min(lowest, *(psnr(a, b) for a, b in pairs))
                row = {
                    "format": suffix, "program": name, "scale": scale, "scenes": len(recipes),
                    "largest": worst, "psnr": lowest,
                }  # fmt: skip
                print(row, flush=True)
                yield row


def writing_table(figures: dict[str, Any]) -> Iterator[str]:
    machine = figures["machine"]
    yield (
        f"{machine['date']}, {machine['processor']}, {machine['threads']} threads, PyTorch {machine['torch']}; a "
        f"shared machine of {machine['cpus']} processors with a load of {machine['load']:.1f} when it began."
    )
    yield ""
    yield "| stamps | format | rendered and written in | aim | memory of the whole process | file |"
    yield "|---|---|---|---|---|---|"
    for row in figures["writing"]:
        aim = f"{AIMS[row['stamps']]:g} s" if row["format"] == "psd" else ""
        yield (
            f"| {row['stamps']:,} | {row['format'].upper()} | {row['seconds']:.1f} s | {aim} | "
            f"{row['megabytes']:.0f} MB | {row['file']:.0f} MB |"
        )


def fidelity_table(figures: dict[str, Any]) -> Iterator[str]:
    yield "| format | program | scale | scenes | largest difference, in 255ths | PSNR at least |"
    yield "|---|---|---|---|---|---|"
    for row in figures["fidelity"]:
        yield (
            f"| {row['format'].upper()} | {row['program']} | {row['scale']:g} | {row['scenes']} | "
            f"{row['largest']:.2f} | {row['psnr']:.1f} dB |"
        )


if __name__ == "__main__":
    main()
