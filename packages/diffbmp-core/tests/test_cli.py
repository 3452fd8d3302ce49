"""The command line as a stranger meets it: results, sentences and exit codes."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from diffbmp.cli.app import main

SMALL = ["-n", "8", "--steps", "3", "--renderer", "reference"]


@dataclass(frozen=True)
class Result:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments: object, cwd: Path) -> Result:
    """Run the command line as ``diffbmp ...`` in ``cwd``; in this process, for starting PyTorch takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(cwd)
        patch.setenv("COLUMNS", "200")
        patch.setattr(sys, "argv", ["diffbmp", *map(str, arguments)])
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
                code = 0
            except SystemExit as stop:
                code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    return Result(code, out.getvalue(), err.getvalue())


def fails(*arguments: object, cwd: Path) -> str:
    """Run a command that must fail with one sentence and exit code 2; return the sentence."""
    result = run(*arguments, cwd=cwd)
    assert result.returncode == 2, result.stderr + result.stdout
    assert "Traceback" not in result.stderr
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("Error: "), result.stderr
    return lines[-1]


class TestFitCommand:
    def test_writes_picture_scene_and_report(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        result = run("fit", photo, "--stamps", stamps, *SMALL, "-o", "out", "--export", "png", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert "PSNR" in result.stdout
        assert "\x1b" not in result.stdout + result.stderr
        assert {p.name for p in (tmp_path / "out").iterdir()} == {
            "picture.png",
            "scene.diffbmp",
            "report.json",
            "checkpoint.diffbmp",
        }
        with Image.open(tmp_path / "out" / "picture.png") as picture:
            assert picture.size == (24, 16)
        assert json.loads((tmp_path / "out" / "report.json").read_text())["steps"] == 3

    def test_settings_come_from_file_then_flags_then_set(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        (tmp_path / "fit.toml").write_text(
            f'target = "{photo}"\nstamps = "{stamps}"\nn = 5\nsteps = 2\nrenderer = "reference"\n'
            "[optimizer]\nposition = 0.25\nscale = 0.5\n[loss]\nl1 = 1\n"
        )
        result = run(
            "fit", "--config", "fit.toml", "-n", 7, "--set", "optimizer.scale=0.75", "--width", 12, cwd=tmp_path
        )
        assert result.returncode == 0, result.stderr
        report = json.loads((tmp_path / "out" / "report.json").read_text())
        assert report["stamps"] == 7
        assert report["width"] == 12
        assert report["settings"]["optimizer"]["position"] == 0.25
        assert report["settings"]["optimizer"]["scale"] == 0.75
        assert report["settings"]["loss"] == {"l1": 1.0}

    def test_several_sources_losses_and_a_transparent_canvas(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        sources = ["--stamps", stamps / "stamp-0.png", "--stamps", "shape:disc", "--stamps", "text:AB"]
        losses = ["--loss", "mse=1", "--loss", "l1=0.2"]
        result = run("fit", photo, *sources, *losses, *SMALL, "--background", "transparent", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        with Image.open(tmp_path / "out" / "picture.png") as picture:
            assert picture.mode == "RGBA"

    def test_ctrl_c_writes_everything_and_resume_gives_the_same_bytes(
        self, photo: Path, stamps: Path, tmp_path: Path
    ) -> None:
        common = ["fit", photo, "--stamps", stamps, "-n", "8", "--steps", "40", "--renderer", "reference"]
        assert run(*common, "-o", "whole", cwd=tmp_path).returncode == 0
        process = subprocess.Popen(
            [sys.executable, "-m", "diffbmp", *map(str, common), "-o", "cut", "--checkpoint", "1"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 60
        while not (tmp_path / "cut" / "checkpoint.diffbmp").exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        report = json.loads((tmp_path / "cut" / "report.json").read_text())
        assert 0 < report["steps"] < 40
        assert report["finished"] is False
        assert "--resume goes on" in output
        assert (tmp_path / "cut" / "picture.png").exists()
        result = run(*common, "-o", "cut", "--resume", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        for name in ("picture.png", "scene.diffbmp"):
            assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()

    def test_interrupt_before_the_first_step_leaves_nothing(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        # Without a running fit, Ctrl-C ends the program at once; whenever that is, no file is half written.
        for delay in (0.2, 0.8, 1.6):
            process = subprocess.Popen(
                [sys.executable, "-m", "diffbmp", "fit", photo, "--stamps", stamps, *SMALL, "-o", "early"],
                cwd=tmp_path,
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            time.sleep(delay)
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=60)
            left = {p.name for p in (tmp_path / "early").iterdir()} if (tmp_path / "early").exists() else set()
            assert left <= {"picture.png", "scene.diffbmp", "report.json", "checkpoint.diffbmp"}, left


class TestResume:
    def test_needs_a_checkpoint(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        assert "nothing to resume" in fails("fit", "--resume", "-o", "none", cwd=tmp_path)

    def test_refuses_other_settings(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        assert run("fit", photo, "--stamps", stamps, *SMALL, cwd=tmp_path).returncode == 0
        sentence = fails("fit", "--resume", "--steps", 5, "-n", 9, cwd=tmp_path)
        assert "n = 8, not 9" in sentence
        assert "--steps" in fails("fit", "--resume", cwd=tmp_path)
        assert run("fit", "--resume", "--steps", 5, cwd=tmp_path).returncode == 0
        assert json.loads((tmp_path / "out" / "report.json").read_text())["steps"] == 5


class TestWrongInput:
    """One sentence that says what is wrong and what to do, exit code 2, no traceback."""

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["fit", "missing.jpg", "--stamps", "{stamps}"], "missing.jpg"),
            (["fit", "{stamps}", "--stamps", "{stamps}"], "is a folder"),
            (["fit", "{photo}"], "needs stamps"),
            (["fit", "--stamps", "{stamps}"], "needs a target"),
            (["fit", "{photo}", "--stamps", "{empty}"], "empty"),
            (["fit", "{photo}", "--stamps", "{clear}"], "transparent"),
            (["fit", "{text}", "--stamps", "{stamps}"], "text.png"),
            (["fit", "{photo}", "--stamps", "{stamps}", "-n", "0"], "'n' is 0"),
            (["fit", "{photo}", "--stamps", "{stamps}", "-n", "-3"], "'n' is -3"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--loss", "sim=1"], "did you mean 'ssim'"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--loss", "mse=nan"], "mse"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--loss", "ssim=1", "--width", "5"], "ssim"),
            (["fit", "{photo}", "--stamps", "shape:disk"], "did you mean 'disc'"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--initializer", "gird"], "did you mean 'grid'"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--renderer", "refrence"], "did you mean 'reference'"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--device", "gpu"], "gpu"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--background", "whiteish"], "whiteish"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--blend", "under"], "under"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--set", "optimizer.positon=1"], "did you mean 'position'"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--set", "optimizer.position=fast"], "optimizer.position"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--set", "losses.ssim.windo=7"], "did you mean 'window'"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--set", "nonsense"], "KEY=VALUE"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--config", "no.toml"], "no.toml"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--config", "{text}"], "TOML"),
            (["fit", "{photo}", "--stamps", "{stamps}", "-o", "{text}"], "text.png"),
            (["fit", "{photo}", "--stamps", "{stamps}", "--export", "psx"], "psx"),
            (["render", "missing.diffbmp"], "missing.diffbmp"),
            (["render", "{text}"], "text.png"),
            (["export", "{text}", "-o", "layers.xyz"], "xyz"),
            (["export", "{text}", "-o", "layers"], "suffix"),
        ],
    )
    def test_is_one_sentence(
        self, arguments: list[str], sentence: str, photo: Path, stamps: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "text.png").write_text("this = is not a picture, nor TOML")
        (tmp_path / "empty").mkdir()
        (tmp_path / "clear").mkdir()
        Image.new("RGBA", (4, 4)).save(tmp_path / "clear" / "clear.png")
        places = {name: tmp_path / name for name in ("empty", "clear")}
        filled = [a.format(photo=photo, stamps=stamps, text=tmp_path / "text.png", **places) for a in arguments]
        assert sentence in fails(*filled, cwd=tmp_path)

    def test_one_pixel_target_is_fitted(self, stamps: Path, tmp_path: Path) -> None:
        Image.new("RGB", (1, 1), (10, 200, 30)).save(tmp_path / "dot.png")
        result = run("fit", "dot.png", "--stamps", stamps, *SMALL, cwd=tmp_path)
        assert result.returncode == 0, result.stderr

    def test_debug_shows_the_traceback(self, tmp_path: Path) -> None:
        result = run("render", "missing.diffbmp", "--debug", cwd=tmp_path)
        assert result.returncode == 2
        assert "Traceback" in result.stderr

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    def test_full_disk(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        assert run("fit", photo, "--stamps", stamps, *SMALL, cwd=tmp_path).returncode == 0
        sentence = fails("render", "out/scene.diffbmp", "-o", "/dev/full/picture.png", cwd=tmp_path)
        assert "/dev/full" in sentence


class TestRenderCommand:
    def test_renders_larger_and_sharp(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        assert run("fit", photo, "--stamps", stamps, *SMALL, cwd=tmp_path).returncode == 0
        result = run("render", "out/scene.diffbmp", "--scale", 4, "--renderer", "reference", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        with Image.open(tmp_path / "out" / "scene-4x.png") as large:
            assert large.size == (96, 64)

    def test_takes_another_background(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        assert run("fit", photo, "--stamps", stamps, *SMALL, cwd=tmp_path).returncode == 0
        result = run("render", "out/scene.diffbmp", "--background", "transparent", "-o", "clear.png", cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        with Image.open(tmp_path / "clear.png") as picture:
            assert picture.mode == "RGBA"

    def test_export_chooses_by_suffix(self, photo: Path, stamps: Path, tmp_path: Path) -> None:
        assert run("fit", photo, "--stamps", stamps, *SMALL, cwd=tmp_path).returncode == 0
        result = run("export", "out/scene.diffbmp", "-o", "one.png", "-o", "two.PNG", "--scale", 2, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.PNG").read_bytes()


def test_help_and_version(tmp_path: Path) -> None:
    shown = run("--help", cwd=tmp_path)
    assert shown.returncode == 0
    for command in ("fit", "render", "export", "plugins", "doctor"):
        assert command in shown.stdout
    assert run("--version", cwd=tmp_path).stdout.startswith("diffbmp 0.")
    fit_help = run("fit", "--help", cwd=tmp_path).stdout
    for flag in ("--stamps", "--steps", "--seed", "--loss", "--set", "--config", "--resume", "--background", "--mask"):
        assert flag in fit_help
