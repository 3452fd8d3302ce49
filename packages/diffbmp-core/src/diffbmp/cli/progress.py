"""Live progress bars: of a fit, and of a file being written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from diffbmp.fitting.fit import Fit
from diffbmp.fitting.observer import Observer
from diffbmp.fitting.step import Step

__all__ = ["ProgressBar", "writing_bar"]


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


@contextmanager
def writing_bar(path: Path) -> Iterator[Callable[[float], None]]:
    """Show a bar with the time left while a file is written, on stderr and only where that is a terminal.

    Yields:
        What is to be called with the fraction done.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(f"writing {path.name}", total=1.0)
        yield lambda fraction: bar.update(task, completed=fraction)
