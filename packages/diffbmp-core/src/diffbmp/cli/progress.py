"""The live progress bar of a fit."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from diffbmp.fitting.fit import Fit, Step
from diffbmp.fitting.observer import Observer

__all__ = ["ProgressBar"]


class ProgressBar(Observer):
    """Bar with loss, PSNR, steps a second and time left."""

    name = "progress"

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn("fitting"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  PSNR {task.fields[psnr]}  {task.fields[speed]} steps/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )

    def started(self, fit: Fit) -> None:
        """Show the bar."""
        self._progress.start()
        self._task = self._progress.add_task(
            "fit", total=fit.settings.steps, completed=fit.next_step, loss="-", psnr="-", speed="-"
        )

    def stepped(self, fit: Fit, step: Step) -> None:
        """Move the bar."""
        self._progress.update(
            self._task,
            completed=step.index + 1,
            loss=f"{step.loss:.5f}",
            psnr="-" if step.psnr is None else f"{step.psnr:.2f} dB",
            speed=f"{1 / step.seconds:.1f}",
        )

    def finished(self, fit: Fit) -> None:
        """Take the bar away."""
        self._progress.stop()
