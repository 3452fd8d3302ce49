"""What every registered class has: a name, a docstring and a typed settings model."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from diffbmp.settings import Settings as SettingsModel

__all__ = ["Plugin"]


class Plugin:
    """Base of everything that is registered through a hook.

    A family's base class (``Loss``, ``Loader``, ``Renderer``, ...) sets ``family``. A registered class sets
    ``name``, carries a docstring of one paragraph, and may define a nested ``Settings`` model whose values
    arrive as ``self.settings``.
    """

    family: ClassVar[str]
    name: ClassVar[str]

    class Settings(SettingsModel):
        """No settings."""

    settings: Any

    def __init__(self, settings: Any = None) -> None:
        self.settings = type(self).Settings() if settings is None else settings

    @classmethod
    def summary(cls) -> str:
        """Return the first line of the docstring."""
        return (inspect.getdoc(cls) or "").partition("\n")[0]
