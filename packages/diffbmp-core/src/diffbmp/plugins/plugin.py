"""What every registered class has: a name, a docstring and a typed settings model."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

from diffbmp.settings import Settings as SettingsModel

__all__ = ["Plugin"]


class Plugin:
    """Base of everything that is registered through a hook.

    A family's base class (``Loss``, ``Loader``, ``Renderer``, ...) sets ``family`` and declares, as class variables,
    what a member must give besides. A registered class sets ``name`` (lower-case letters, digits, ``_`` and
    ``-``), carries a docstring of its own whose first line says what it is, and may define a nested ``Settings``
    model whose values arrive as ``self.settings``.
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
        return cls.description().partition("\n")[0]

    @classmethod
    def description(cls) -> str:
        """Return the whole docstring, without its indentation."""
        return inspect.cleandoc(cls.__doc__ or "")

    @classmethod
    def registration_problem(cls) -> str | None:
        """Return why this class cannot be registered, or None; for what a family demands beyond its class variables.

        It is asked last, of a class that is sound otherwise. The sentence follows the class's name: "has no tail".
        """
        return None
