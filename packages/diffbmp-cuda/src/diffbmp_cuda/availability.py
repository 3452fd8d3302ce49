"""Whether this machine can draw with CUDA, and if not, why, in one clause."""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass

import torch

__all__ = ["Machine", "architecture_for", "machine", "reason", "unavailable"]

OLDEST = (7, 5)
"""The least compute capability: Turing, the oldest that CUDA 13 compiles for."""


@dataclass(frozen=True)
class Machine:
    """What was found.

    Attributes:
        no_device: why PyTorch has no NVIDIA GPU, or None.
        no_nvrtc: why kernels cannot be compiled, or None.
        nvrtc: version of NVRTC.
        architectures: what that compiles for, such as 90 for compute capability 9.0.
        driver: version of CUDA that the driver runs at most.
        card: name of the GPU.
        capability: its compute capability.
    """

    no_device: str | None = None
    no_nvrtc: str | None = None
    nvrtc: tuple[int, int] = (0, 0)
    architectures: tuple[int, ...] = ()
    driver: tuple[int, int] = (0, 0)
    card: str = ""
    capability: tuple[int, int] = (0, 0)


def unavailable(device: torch.device) -> str | None:
    """Return why ``device`` cannot be drawn on, or None."""
    missing = _no_device()
    if device.type == "cuda":
        if missing is not None:
            return missing
        return reason(machine(device.index if device.index is not None else torch.cuda.current_device()))
    if device.type != "cpu":
        return "it draws on NVIDIA GPUs only"
    return "it draws on NVIDIA GPUs only" + (f", and {missing}" if missing else "")


def reason(found: Machine) -> str | None:
    """Return why a machine cannot draw, or None; what a person can put right by an install is said with it."""
    if found.no_device is not None:
        return found.no_device
    if found.capability < OLDEST:
        return f"{found.card} has compute capability {_dotted(found.capability)}, and {_dotted(OLDEST)} is the least"
    if found.no_nvrtc is not None:
        extra = f"cu{12 if found.driver[0] == 12 else 13}"
        return f"the compiler NVRTC is missing ({found.no_nvrtc}); pip install 'diffbmp-cuda[{extra}]'"
    if found.driver[0] < found.nvrtc[0]:
        return (
            f"the driver is too old: it runs CUDA up to {_dotted(found.driver)} and NVRTC is {_dotted(found.nvrtc)}; "
            + (
                "pip install 'diffbmp-cuda[cu12]' or update the driver"
                if found.driver[0] == 12
                else "update the driver"
            )
        )
    if architecture_for(found.capability, found.architectures) is None:
        return (
            f"NVRTC {_dotted(found.nvrtc)} does not know {found.card} (compute capability "
            f"{_dotted(found.capability)}); pip install -U 'diffbmp-cuda[cu{found.nvrtc[0]}]'"
        )
    return None


def architecture_for(capability: tuple[int, int], architectures: tuple[int, ...]) -> str | None:
    """Return the best architecture to compile for: of the card's major version, and no newer than the card."""
    major, minor = capability
    fitting = [known for known in architectures if known // 10 == major and known % 10 <= minor]
    return f"sm_{max(fitting)}" if fitting else None


@functools.cache
def machine(index: int) -> Machine:
    """Look at GPU number ``index``, once."""
    missing = _no_device()
    if missing is not None:
        return Machine(no_device=missing)
    properties = torch.cuda.get_device_properties(index)
    card, capability = properties.name, (properties.major, properties.minor)
    driver = _driver()
    try:
        nvrtc, architectures = _nvrtc()
    except Exception as error:  # whatever it is, another renderer draws
        said = (str(error).strip() or type(error).__name__).partition("\n")[0].rstrip(".")
        return Machine(no_nvrtc=said, driver=driver, card=card, capability=capability)
    return Machine(nvrtc=nvrtc, architectures=architectures, driver=driver, card=card, capability=capability)


@functools.cache
def _no_device() -> str | None:
    if torch.version.hip is not None:
        return "this build of PyTorch is for AMD GPUs"
    if torch.version.cuda is None:
        return "this build of PyTorch is for the CPU only"
    with warnings.catch_warnings(record=True) as said:  # PyTorch tells a driver's trouble as a warning
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    if said:
        return f"PyTorch finds none that it can use: {str(said[0].message).partition(chr(10))[0].rstrip('.')}"
    return "PyTorch finds none"


def _nvrtc() -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return the version of NVRTC and what it compiles for."""
    import cuda.core  # noqa: F401 - its absence is what is to be found out
    from cuda.bindings import nvrtc

    status, major, minor = nvrtc.nvrtcVersion()
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC says {status.name}")
    status, architectures = nvrtc.nvrtcGetSupportedArchs()
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC says {status.name}")
    return (int(major), int(minor)), tuple(int(known) for known in architectures)


def _driver() -> tuple[int, int]:
    """Return the version of CUDA that the driver runs at most; (0, 0) where it does not tell."""
    try:
        from cuda.bindings import driver

        status, version = driver.cuDriverGetVersion()
    except Exception:
        return 0, 0
    return (version // 1000, version % 1000 // 10) if status == driver.CUresult.CUDA_SUCCESS else (0, 0)


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
