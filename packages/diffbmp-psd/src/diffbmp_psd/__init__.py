"""Layered Photoshop files of DiffBMP scenes."""

import diffbmp
from diffbmp_psd.exporter import PsdExporter
from diffbmp_psd.version import __version__

__all__ = ["PsdExporter", "__version__"]


@diffbmp.hookimpl
def register_exporters(register):  # type: ignore[no-untyped-def]
    """Register PSD and PSB."""
    register(PsdExporter)
