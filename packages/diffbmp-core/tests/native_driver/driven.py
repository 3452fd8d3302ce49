"""The native renderer as a program of its own: built by CMake for any machine, and driven through pipes."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

PACKAGE = Path(__file__).parents[2]
FUNCTIONS = ("forward", "backward", "layers", "layer_bytes", "targets")


def build(folder: Path, *definitions: str) -> Path:
    """Build the driver with CMake's ``definitions`` (``NAME=VALUE``) into ``folder`` and return the program."""
    options = [f"-D{definition}" for definition in ("DIFFBMP_DRIVER=ON", *definitions)]
    for command in (
        ["cmake", "-S", str(PACKAGE), "-B", str(folder), "-G", "Ninja", *options],
        ["cmake", "--build", str(folder)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    return folder / "driver"


class DrivenNative:
    """What ``diffbmp._native`` offers, by a driver in a process of its own.

    Args:
        command: the driver, behind an emulator where it needs one.
        environment: of its process.
    """

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)

    def close(self) -> None:
        """End the process, and see that it ends well."""
        with self.process as process:  # closes the pipes and waits
            pass
        assert process.returncode == 0

    def targets(self) -> list[str]:
        """Return the instruction sets of the machine that the driver runs on."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(_header("targets", ""))
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().split()

    def forward(self, *arguments: Any) -> None:
        """Draw into the last argument."""
        *call, image = arguments
        self._call("forward", call, [], [image], 0)

    def backward(self, *arguments: Any) -> None:
        """Write the gradients into the last five arguments; into the last where it is not empty."""
        call, grad_image, results = arguments[:14], arguments[14], arguments[15:]
        self._call("backward", call, [grad_image], results, int(results[-1].numel() > 0))

    def layers(self, *arguments: Any) -> None:
        """Draw the layers into the last argument."""
        call, boxes, drawn = arguments[:14], arguments[14], arguments[15]
        self._call("layers", call, [boxes], [drawn], drawn.numel())

    def layer_bytes(self, *arguments: Any) -> None:
        """Draw the layers as bytes into the last but one argument."""
        call, boxes, drawn, shown = arguments[:14], arguments[14], arguments[15], arguments[16]
        self._call("layer_bytes", call, [boxes], [drawn, shown], drawn.numel())

    def _call(
        self, function: str, call: Sequence[Any], more: Sequence[Tensor], results: Sequence[Tensor], wanted: int
    ) -> None:
        tensors, (height, width, blend, filter_, threads, name) = call[:8], call[8:14]
        frame, texels, levels, textures = tensors[0], tensors[5], tensors[6], tensors[7]
        sizes = (frame.element_size(), frame.shape[0], frame.shape[1], texels.numel(), len(levels), len(textures))
        header = _header(function, name, *sizes, height, width, blend, filter_, threads, wanted)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        for part in (header, *(_array(tensor).tobytes() for tensor in (*tensors, *more))):
            self.process.stdin.write(part)
        self.process.stdin.flush()
        for result in results:
            size = result.numel() * result.element_size()
            data = self.process.stdout.read(size)
            assert len(data) == size, f"the driver ended: {self.process.wait(60)}"
            array = _array(result)
            array[...] = np.frombuffer(data, dtype=array.dtype).reshape(array.shape)


def _header(function: str, name: str, *values: int) -> bytes:
    numbers = [FUNCTIONS.index(function), *values, *[0] * (12 - len(values)), len(name)]
    return np.array(numbers, dtype=np.int64).tobytes() + name.encode()


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().numpy()
