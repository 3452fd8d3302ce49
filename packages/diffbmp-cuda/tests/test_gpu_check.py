"""The command for machines with a card, rehearsed on the CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_a_rehearsal_prints_one_table_and_writes_its_figures(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    command = [sys.executable, ROOT / "scripts" / "gpu_check", "--rehearse", "--output", figures]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "of copy bandwidth" in done.stdout
    report = json.loads(figures.read_text())
    assert report["failed"] == []
    assert report["conformance"]["passed"] > 0
    assert report["machine"]["torch"] == torch.__version__
    assert {len(scene["results"]) for scene in report["scenes"]} == {1}
    assert report["fit"]["seconds"] > 0
    assert len(report["commit"].rstrip("+")) == 40 or report["commit"] == "unknown"


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_it_fails_and_says_why() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "gpu.py", "figures.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Renderer 'cuda' cannot draw on cuda:" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
