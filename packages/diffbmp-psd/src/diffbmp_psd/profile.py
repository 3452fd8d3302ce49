"""The colour profile that files carry."""

from __future__ import annotations

from functools import cache

from PIL import ImageCms

__all__ = ["srgb_profile"]

CREATED = slice(24, 36)
"""Where an ICC profile says when it was made: year, month, day, hour, minute, second, two bytes each."""


@cache
def srgb_profile() -> bytes:
    """Return an sRGB profile, the same bytes whenever it is made."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[CREATED] = b"".join(value.to_bytes(2, "big") for value in (2026, 1, 1, 0, 0, 0))
    return bytes(profile)
