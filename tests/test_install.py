"""Installing core where there is no compiler: it still works, draws with ``reference``, and says so once."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CORE = Path(__file__).parents[1] / "packages" / "diffbmp-core"

DRAW = """
import importlib.machinery, sys
# Whatever finder an editable install has put in front must not find the extension of the source tree.
sys.meta_path = [f for f in sys.meta_path if f.__class__.__module__.startswith(("importlib", "_frozen", "builtins"))
                 or f in (importlib.machinery.BuiltinImporter, importlib.machinery.FrozenImporter,
                          importlib.machinery.PathFinder)]
sys.path.insert(0, sys.argv[1])
import torch, diffbmp
assert diffbmp.__file__.startswith(sys.argv[1]), diffbmp.__file__
atlas = diffbmp.Atlas.from_pixels([torch.ones(3, 3)])
frame = torch.tensor([[[2.0, 0, 4], [0, 2, 4]]])
for _ in range(2):
    image = diffbmp.composite(frame, torch.ones(1), torch.ones(1, 3), torch.tensor([0]), atlas, size=(8, 8))
assert image[3, 4, 4] == 1
"""


@pytest.mark.slow
def test_without_a_compiler(tmp_path: Path) -> None:
    nothing = {"CXX": "/bin/false", "CC": "/bin/false"}
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet"]
    built = subprocess.run(
        [*command, "-w", str(tmp_path), str(CORE)],
        env={**os.environ, **nothing},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    site = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    drawn = subprocess.run(
        [sys.executable, "-c", DRAW, str(site)], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert drawn.returncode == 0, drawn.stderr
    assert drawn.stderr.count("The slow renderer 'reference' draws") == 1
    assert "reinstall diffbmp-core with a C++17 compiler" in drawn.stderr
