"""Values as the bytes of a scene file's entries and back, strangers' bytes included: JSON, tensors, 8-bit pixels."""

from __future__ import annotations

import io
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor

from diffbmp.scene.archive import SceneFileError, reason

__all__ = [
    "MOST_JSON_BYTES",
    "decode_json",
    "decode_pixels",
    "decode_tensors",
    "encode_json",
    "encode_pixels",
    "encode_tensors",
    "exact_bytes",
    "from_bytes",
]

MOST_JSON_BYTES = 2**24
"""Longest JSON entry."""

MOST_JSON_VALUES = 2**19
"""Most values in a JSON entry, which take far more memory than text; an upper bound is counted in the text."""

DEEPEST_JSON = 32
"""Deepest nesting of lists and objects."""

MOST_HEADER_BYTES = 2**24
"""Longest header of a safetensors entry; it lists the tensors."""

DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.bool,
)
"""What tensors may hold."""

MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Pillow's name of an 8-bit picture with so many channels."""


def encode_json(value: Any, what: str) -> bytes:
    """Return JSON values as text, keys sorted.

    Raises:
        SceneFileError: where ``what`` holds something else: a tensor, NaN, a nesting too deep.
    """
    try:
        text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise SceneFileError(f"cannot hold {what}: {reason(error)}") from error
    _check_depth(value, what, DEEPEST_JSON)
    data = text.encode("ascii")
    _check_size(data, what)
    return data


def decode_json(data: bytes, what: str) -> Any:
    """Return what a JSON entry holds.

    Raises:
        SceneFileError: where it is no JSON, gives a key twice, holds NaN or infinity, is too long or nested too deep.
    """
    _check_size(data, what)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        raise SceneFileError(f"is damaged: '{what}' is no valid JSON ({reason(error)})") from error
    _check_depth(value, what, DEEPEST_JSON)
    return value


def _check_size(data: bytes, what: str) -> None:
    if len(data) > MOST_JSON_BYTES:
        raise SceneFileError(f"is refused: '{what}' has {len(data)} bytes; the limit is {MOST_JSON_BYTES}")
    count = sum(data.count(sign) for sign in (b",", b"[", b"{"))
    if count > MOST_JSON_VALUES:
        raise SceneFileError(f"is refused: '{what}' holds {count} values; the limit is {MOST_JSON_VALUES}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"key {key[:80]!r} is given twice")
        values[key] = value
    return values


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:80]} is not a finite number")
    return number


def _check_depth(value: Any, what: str, left: int) -> None:
    if not isinstance(value, (dict, list, tuple)):
        return
    if left == 0:
        raise SceneFileError(f"is refused: {what!r} is nested deeper than {DEEPEST_JSON} levels")
    children: Iterable[Any] = value.values() if isinstance(value, dict) else value
    for child in children:
        _check_depth(child, what, left - 1)


def encode_tensors(tensors: Mapping[str, Tensor]) -> bytes:
    """Return tensors of any device as safetensors; the same values give the same bytes.

    Raises:
        SceneFileError: for a dtype or layout that a scene file does not hold.
    """
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES or tensor.layout != torch.strided or tensor.is_meta:
            raise SceneFileError(f"cannot hold the tensor {name!r}: {tensor.dtype}, {tensor.layout}, {tensor.device}")
    # Clones, since safetensors refuses tensors that share memory.
    plain = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    return safetensors.torch.save(plain)


def decode_tensors(data: bytes, what: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors entry, on the CPU.

    Raises:
        SceneFileError: where it is damaged or holds other numbers than ``DTYPES``.
    """
    header_bytes = int.from_bytes(data[:8], "little")
    if header_bytes > MOST_HEADER_BYTES:
        raise SceneFileError(f"is damaged: the header of '{what}' has {header_bytes} bytes; limit {MOST_HEADER_BYTES}")
    try:
        tensors: dict[str, Tensor] = safetensors.torch.load(data)
    except MemoryError:
        raise
    except Exception as error:  # the parser's own error, and whatever PyTorch says to the shapes it let through
        raise SceneFileError(f"is damaged: '{what}' cannot be read ({reason(error)})") from error
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPES:
            raise SceneFileError(f"is refused: the tensor {name[:80]!r} of '{what}' holds {tensor.dtype}")
        if tensor.dtype == torch.bool and tensor.numel() and int(tensor.view(torch.uint8).max()) > 1:
            raise SceneFileError(f"is damaged: the tensor {name[:80]!r} of '{what}' holds neither true nor false")
    return tensors


def exact_bytes(pixels: Tensor) -> Tensor | None:
    """Return floats that are all exactly k / 255 as those k, uint8, else None; ``from_bytes`` inverts it bit by bit."""
    values = (pixels.to(torch.float64).clamp(0, 1) * 255).round().to(torch.uint8)
    again = from_bytes(values, pixels.dtype)
    same = torch.equal(again.view(torch.uint8), pixels.contiguous().view(torch.uint8))  # tells -0 from 0
    return values if same else None


def from_bytes(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Return uint8 k as k / 255 in ``dtype``."""
    return values.to(dtype).div_(255)


def encode_pixels(values: Tensor) -> bytes:
    """Return uint8 ``(1 | 3 | 4, h, w)`` as a PNG: grey, RGB, or RGBA as it is."""
    array = values.movedim(0, -1).contiguous().numpy()
    picture = Image.fromarray(array[..., 0] if values.shape[0] == 1 else array)
    file = io.BytesIO()
    picture.save(file, format="PNG")
    return file.getvalue()


def decode_pixels(data: bytes, what: str, shape: tuple[int, int, int]) -> Tensor:
    """Return a PNG's pixels as uint8 ``shape``, which the picture must declare to have before it is decoded.

    Raises:
        SceneFileError: where it is no such picture, or damaged.
    """
    channels, height, width = shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the size is checked here; what remains is about metadata
            with Image.open(io.BytesIO(data), formats=("PNG",)) as picture:
                declared = (picture.mode, picture.size)
                if declared == (MODES[channels], (width, height)):
                    values = torch.from_numpy(np.array(picture, dtype=np.uint8)).reshape(height, width, channels)
                    return values.movedim(-1, 0).contiguous()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise nearly anything on damaged data
        raise SceneFileError(f"is damaged: '{what}' is no whole PNG ({reason(error)})") from error
    mode, size = declared
    raise SceneFileError(
        f"is damaged: '{what}' is {mode} of {size[0]} x {size[1]}, expected {MODES[channels]} of {width} x {height}"
    )
