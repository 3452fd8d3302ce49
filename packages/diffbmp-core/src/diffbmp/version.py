"""The version that all packages of this project share."""

__version__ = "0.1.0"
