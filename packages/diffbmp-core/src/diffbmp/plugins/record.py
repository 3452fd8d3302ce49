"""What is known of one plugin, and of one class that it registers."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from typing import Any

from diffbmp.plugins.hookspecs import FAMILIES
from diffbmp.plugins.validation import describe

__all__ = ["CORE", "UNKNOWN", "Entry", "PluginRecord"]

CORE = "core"
"""Name of core's own plugin."""

UNKNOWN = "?"
"""Package and version of a plugin that comes in no distribution."""


@dataclass(frozen=True)
class Entry:
    """One registered class.

    Attributes:
        family: a name in ``FAMILIES``.
        name: what a person writes to have it: the class's name, or ``PLUGIN/NAME`` where another plugin has that.
        cls: the class.
        owner: the name of the plugin that registered it.
    """

    family: str
    name: str
    cls: type[Any]
    owner: str

    @property
    def own_name(self) -> str:
        """The class's name, without the plugin's."""
        return self.name.rpartition("/")[2]

    @property
    def title(self) -> str:
        """What it is and its name, as a sentence says it: ``loss 'mse'``."""
        return f"{FAMILIES[self.family]} '{self.own_name}'"


@dataclass
class PluginRecord:
    """One plugin: where it comes from, the hooks that it implements, and what is wrong with it.

    Attributes:
        name: the entry point's name; ``core`` for core's own.
        package: the distribution that it comes in, or "?".
        version: the distribution's version, or "?".
        hooks: the hooks that were called.
        problems: a sentence for each thing that is wrong.
        allowed: false where the allow-list leaves it out; it was not imported then.
        seconds: time that its import and its hooks took.
        debug: traceback of its last exception, or "".
    """

    name: str
    package: str
    version: str
    hooks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    allowed: bool = True
    seconds: float = 0.0
    debug: str = ""

    @property
    def title(self) -> str:
        """Name, package and version, as a sentence names the plugin: ``'emoji' (diffbmp-emoji 1.2)``."""
        return f"'{self.name}'" if self.package == UNKNOWN else f"'{self.name}' ({self.package} {self.version})"

    def failed(self, doing: str, error: BaseException) -> None:
        """Record an exception that the plugin raised.

        Args:
            doing: how the sentence begins ("cannot be loaded").
            error: the exception, while it is being handled.
        """
        self.problems.append(f"{doing}: {describe(error)}")
        self.debug = traceback.format_exc()
