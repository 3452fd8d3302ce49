"""Finding plugins and keeping what they register, by family and name.

A plugin that cannot be imported, implements a hook that does not exist, or registers what is not fit is put
down as a problem under its name; everything else goes on.
"""

from __future__ import annotations

import importlib.metadata
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pluggy

import diffbmp.plugins.hookspecs as hookspecs
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.plugins.hookspecs import FAMILIES
from diffbmp.plugins.plugin import Plugin
from diffbmp.settings import Settings, parse_settings

__all__ = ["Entry", "PluginRecord", "Registry", "registry"]

ENTRY_POINT_GROUP = "diffbmp"
ALLOW_VARIABLE = "DIFFBMP_PLUGINS"
TRACE_VARIABLE = "DIFFBMP_TRACE"
CORE = "core"


@dataclass(frozen=True)
class Entry:
    """One registered class, and the plugin that registered it."""

    family: str
    name: str
    cls: type[Any]
    owner: str


@dataclass
class PluginRecord:
    """One plugin: where it comes from, the hooks that it implements, and what is wrong with it."""

    name: str
    package: str
    version: str
    hooks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    allowed: bool = True
    debug: str = ""


class Registry:
    """All plugins of this process.

    Attributes:
        plugins: a record of each plugin found, core first.
    """

    def __init__(self) -> None:
        self.plugins: list[PluginRecord] = []
        self._entries: dict[tuple[str, str], Entry] = {}
        self._manager = pluggy.PluginManager("diffbmp")
        self._manager.add_hookspecs(hookspecs)
        if os.environ.get(TRACE_VARIABLE, "") not in ("", "0"):
            self._manager.trace.root.setwriter(lambda text: sys.stderr.write(f"diffbmp: {text}"))
            self._manager.enable_tracing()

    def load(self) -> None:
        """Find core and every installed plugin of the entry-point group, and let them register."""
        import diffbmp.builtins as core  # core's own plugin imports every family, so it comes last

        self.add(core, CORE, package="diffbmp-core", version=core.__version__)
        allowed = _allow_list()
        for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
            package = point.dist.name if point.dist else "?"
            version = point.dist.version if point.dist else "?"
            if allowed is not None and point.name not in allowed and package not in allowed:
                self.plugins.append(PluginRecord(point.name, package, version, allowed=False))
                continue
            self._add(point.load, point.name, package, version)
        if allowed is not None:
            found = {CORE} | {r.name for r in self.plugins} | {r.package for r in self.plugins}
            for name in sorted(allowed - found):
                problem = f"{ALLOW_VARIABLE} names it, but no such plugin is installed"
                self.plugins.append(PluginRecord(name, "?", "?", problems=[problem]))

    def add(
        self, plugin: ModuleType | object, name: str, *, package: str = "?", version: str = "?"
    ) -> PluginRecord:
        """Register one plugin: a module or any object with hook implementations.

        Returns:
            Its record; ``problems`` says what went wrong, by the plugin's name. Nothing is raised.
        """
        return self._add(lambda: plugin, name, package, version)

    def _add(self, load: Callable[[], Any], name: str, package: str, version: str) -> PluginRecord:
        record = PluginRecord(name, package, version)
        self.plugins.append(record)
        if any(other.name == name for other in self.plugins[:-1]):
            record.problems.append(f"another plugin is called '{name}' too; this one is left out")
            return record
        try:
            plugin = load()
            self._manager.register(plugin, name)
        except Exception as error:  # whatever a stranger's module does must not stop the program
            record.problems.append(f"could not be loaded: {type(error).__name__}: {error}")
            record.debug = traceback.format_exc()
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            return record
        known = {f"register_{family}" for family in FAMILIES}
        for caller in self._manager.get_hookcallers(plugin) or []:
            if caller.name in known:
                record.hooks.append(caller.name)
            else:
                record.problems.append(str(unknown_name("hook", caller.name, known)))
        if not record.hooks and not record.problems:
            record.problems.append("implements no hook; functions need the marker @diffbmp.hookimpl")
        others = [p for p in self._manager.get_plugins() if p is not plugin]
        for family in FAMILIES:
            if f"register_{family}" in record.hooks:
                self._call(family, record, others)
        return record

    def _call(self, family: str, record: PluginRecord, others: list[Any]) -> None:
        def register(cls: type[Any]) -> None:
            problem = _unfit(family, cls)
            if problem is None:
                problem = self._store(Entry(family, cls.name, cls, record.name))
            if problem is not None:
                record.problems.append(problem)

        caller = self._manager.subset_hook_caller(f"register_{family}", remove_plugins=others)
        try:
            caller(register=register)
        except Exception as error:  # as above
            record.problems.append(f"register_{family} failed: {type(error).__name__}: {error}")
            record.debug = traceback.format_exc()

    def _store(self, entry: Entry) -> str | None:
        key = (entry.family, entry.name)
        if key in self._entries:
            taken = self._entries[key].owner
            return (
                f"{entry.family} '{entry.name}' is registered by both '{taken}' and '{entry.owner}'; "
                f"the one of '{taken}' is kept"
            )
        self._entries[key] = entry
        return None

    def entries(self, family: str) -> list[Entry]:
        """Return what is registered in a family, by name."""
        return sorted((e for e in self._entries.values() if e.family == family), key=lambda e: e.name)

    def get(self, family: str, name: str) -> type[Any]:
        """Return the class registered under ``name``.

        Raises:
            DiffbmpError: for an unknown name, with the nearest known one; where a plugin failed to load, it is
                named, since the class may be its.
        """
        try:
            return self._entries[family, name].cls
        except KeyError:
            error = unknown_name(
                family.removesuffix("s").replace("losse", "loss"),
                name,
                [e.name for e in self.entries(family)],
            )
            broken = [record.name for record in self.plugins if record.problems]
            if broken:
                error = DiffbmpError(
                    f"{error} Plugins with problems: {', '.join(broken)} (see `diffbmp plugins`)."
                )
            raise error from None

    def create(self, family: str, name: str, settings: Mapping[str, Any] | Settings | None = None) -> Any:
        """Return an instance of the class registered under ``name``, with its settings checked."""
        cls = self.get(family, name)
        if not isinstance(settings, Settings):
            settings = parse_settings(cls.Settings, settings or {}, f"{family}.{name}")
        return cls(settings)


def _unfit(family: str, cls: object) -> str | None:
    """Return why ``cls`` cannot be registered in ``family``, or None."""
    if not (inspect.isclass(cls) and issubclass(cls, Plugin)):
        return f"register_{family} was given {cls!r}, which is not a class of that family"
    if getattr(cls, "family", None) != family:
        return f"register_{family} was given {cls.__name__}, which belongs to {getattr(cls, 'family', 'no family')}"
    if not isinstance(getattr(cls, "name", None), str) or not cls.name:
        return f"{cls.__name__} has no `name`"
    if not cls.__dict__.get("__doc__"):
        return f"{cls.__name__} ('{cls.name}') has no docstring"
    if not (inspect.isclass(cls.Settings) and issubclass(cls.Settings, Settings)):
        return f"{cls.__name__} ('{cls.name}'): Settings is not a diffbmp.Settings model"
    abstract: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
    if abstract:
        return f"{cls.__name__} ('{cls.name}') does not define {', '.join(sorted(abstract))}"
    return None


def _allow_list() -> set[str] | None:
    value = os.environ.get(ALLOW_VARIABLE)
    return None if value is None else {part.strip() for part in value.split(",") if part.strip()}


_registry: Registry | None = None


def registry() -> Registry:
    """Return the process's registry; entry points are scanned at the first call."""
    global _registry
    if _registry is None:
        loading = Registry()
        loading.load()
        _registry = loading
    return _registry
