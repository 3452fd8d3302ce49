"""Packages of plugins, built and installed where only one module's tests look; the command line in this process."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from diffbmp.cli.app import main
from diffbmp.plugins import registry as registry_module

# For tensors of the tests' sizes more threads only wait for each other; tests of threading set their own number.
torch.set_num_threads(1)

Installing = Callable[[Path], AbstractContextManager[Path]]


@dataclass(frozen=True)
class Result:
    returncode: int
    stdout: str
    stderr: str


Running = Callable[..., Result]


@pytest.fixture(scope="session")
def install(tmp_path_factory: pytest.TempPathFactory) -> Installing:
    """Return a context manager within which this process finds a package's plugin by its entry point.

    The package is built into a wheel (with hatchling, offline) and unpacked into the folder that is returned.
    """

    @contextmanager
    def installed(package: Path) -> Iterator[Path]:
        site, wheels = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("wheels")
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)]
        subprocess.run(build, cwd=package, check=True, capture_output=True)
        (wheel,) = wheels.iterdir()
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
        with pytest.MonkeyPatch.context() as patch:
            patch.syspath_prepend(str(site))
            patch.setattr(registry_module, "_registry", None)
            yield site

    return installed


@pytest.fixture
def run(tmp_path: Path) -> Running:
    """Return a function that runs ``diffbmp ...`` in ``tmp_path``, in this process; starting PyTorch takes seconds."""

    def running(*arguments: object) -> Result:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
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

    return running


@pytest.fixture
def fails(run: Running) -> Callable[..., str]:
    """Return a function that runs a command which must fail with one sentence and exit code 2; it returns that."""

    def failing(*arguments: object) -> str:
        result = run(*arguments)
        assert result.returncode == 2, result.stderr + result.stdout
        assert "Traceback" not in result.stderr
        sentence = result.stderr.strip().splitlines()[-1]
        assert sentence.startswith("Error: "), result.stderr
        return sentence

    return failing


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a smooth, structured 48 x 32 picture as a file."""
    y, x = np.mgrid[0:32, 0:48] / 32
    pixels = np.stack([0.5 + 0.5 * np.sin(5 * x), y, 0.5 + 0.5 * np.cos(4 * x * y)], axis=-1)
    path = tmp_path / "photo.png"
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(path)
    return path
