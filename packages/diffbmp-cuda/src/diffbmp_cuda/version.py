"""One version for all packages of DiffBMP."""

__version__ = "0.1.0"
