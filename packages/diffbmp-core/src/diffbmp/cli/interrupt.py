"""Ctrl-C during a fit: stop at the next step boundary and write everything; a second one gives up at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from rich.console import Console

from diffbmp.fitting.fit import Fit

__all__ = ["stop_on_interrupt"]


@contextmanager
def stop_on_interrupt(fit: Fit) -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM within the block into ``fit.stopping``, the second into KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals only ever reach the main thread
        return

    def stop(number: int, frame: FrameType | None) -> None:
        if fit.stopping:
            raise KeyboardInterrupt
        fit.stopping = True
        Console(stderr=True).print("Stopping; writing the results. Press Ctrl-C again to give them up.")

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
