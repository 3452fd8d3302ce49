"""The version, shared by all packages of DiffBMP."""

__version__ = "0.1.0"
