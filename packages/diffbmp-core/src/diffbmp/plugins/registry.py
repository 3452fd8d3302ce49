"""Finding plugins and keeping what they register, by family and name.

A plugin that cannot be imported, implements a hook that does not exist, or registers what is not fit is put
down as a problem under its name; everything else goes on.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pluggy

import diffbmp.plugins.hookspecs as hookspecs
from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.plugins.hookspecs import FAMILIES, HOOKS
from diffbmp.plugins.validation import class_problem, describe, hook_problem, unmarked_hooks
from diffbmp.settings import Settings, parse_settings

__all__ = ["Entry", "PluginRecord", "Registry", "registry"]

ENTRY_POINT_GROUP = "diffbmp"
ALLOW_VARIABLE = "DIFFBMP_PLUGINS"
TRACE_VARIABLE = "DIFFBMP_TRACE"
CORE = "core"
UNKNOWN = "?"


@dataclass(frozen=True)
class Entry:
    """One registered class, and the plugin that registered it."""

    family: str
    name: str
    cls: type[Any]
    owner: str


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
        debug: traceback of its last exception, or "".
    """

    name: str
    package: str
    version: str
    hooks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    allowed: bool = True
    debug: str = ""

    @property
    def title(self) -> str:
        """Name, package and version, as a sentence names the plugin: ``'emoji' (diffbmp-emoji 1.2)``."""
        return f"'{self.name}'" if self.package == UNKNOWN else f"'{self.name}' ({self.package} {self.version})"

    def failed(self, doing: str, error: BaseException) -> None:
        """Put down an exception of the plugin's."""
        self.problems.append(f"{doing}: {describe(error)}")
        self.debug = traceback.format_exc()


class Registry:
    """All plugins of this process.

    Attributes:
        plugins: a record of each plugin found, core first.
    """

    def __init__(self) -> None:
        self.plugins: list[PluginRecord] = []
        self._entries: dict[tuple[str, str], Entry] = {}
        self._contested: dict[tuple[str, str], str] = {}
        self._tracing = os.environ.get(TRACE_VARIABLE, "").strip() not in ("", "0")

    def load(self) -> None:
        """Find core and every installed plugin of the entry-point group, and let them register.

        The environment variable ``DIFFBMP_PLUGINS`` names the plugins (or their packages) that are let in,
        separated by commas; where it is set and empty, only core is. ``DIFFBMP_TRACE=1`` writes on stderr which
        plugin is loaded, which hook is called and how long each takes.
        """
        import diffbmp.builtins as core  # core's own plugin imports every family, so it comes last

        self.add(core, CORE, package="diffbmp-core", version=core.__version__)
        allowed = _allow_list()
        for point in _entry_points():
            package, version = _distribution(point)
            if allowed is not None and not allowed & {_canonical(point.name), _canonical(package)}:
                self.plugins.append(PluginRecord(point.name, package, version, allowed=False))
            else:
                self._add(point.load, point.name, package, version)
        if allowed is not None:
            found = {name: _canonical(name) for record in self.plugins for name in (record.name, record.package)}
            for name in sorted(allowed - set(found.values())):
                problem = f"{ALLOW_VARIABLE} names it, but it is not installed"
                self.plugins.append(PluginRecord(name, UNKNOWN, UNKNOWN, problems=[problem]))

    def add(self, plugin: object, name: str, *, package: str = UNKNOWN, version: str = UNKNOWN) -> PluginRecord:
        """Register one plugin: a module or any object with hook implementations.

        Returns:
            Its record; ``problems`` says what went wrong. Nothing is raised.
        """
        return self._add(lambda: plugin, name, package, version)

    def entries(self, family: str) -> list[Entry]:
        """Return what is registered in a family, by name."""
        return sorted((e for e in self._entries.values() if e.family == family), key=lambda e: e.name)

    def owned(self, record: PluginRecord) -> list[Entry]:
        """Return what a plugin has registered, by family and name."""
        return [e for family in FAMILIES for e in self.entries(family) if e.owner == record.name]

    def get(self, family: str, name: str) -> type[Any]:
        """Return the class registered under ``name``.

        Warns, once, where several plugins have registered the name: the class of the first one is returned.

        Raises:
            DiffbmpError: for an unknown name, with the nearest known one; where a plugin failed to load or is left
                out, it is named, since the class may be its.
        """
        key = (family, name)
        if key not in self._entries:
            raise self._unknown(family, name)
        if key in self._contested:
            sentence = self._contested.pop(key)
            warnings.warn(f"{sentence}; leave a plugin out with {ALLOW_VARIABLE} to choose.", stacklevel=2)
        return self._entries[key].cls

    def create(self, family: str, name: str, settings: Mapping[str, Any] | Settings | None = None) -> Any:
        """Return an instance of the class registered under ``name``.

        Args:
            family: a name in ``FAMILIES``.
            name: what to create.
            settings: its settings; values by name are checked, and None leaves all at their defaults.

        Raises:
            DiffbmpError: for an unknown name or setting, a value out of its type or range, or where the class
                fails with an error of its own, in which case its plugin is named.
        """
        cls = self.get(family, name)
        where = f"{family}.{name}"
        try:
            if not isinstance(settings, Settings):
                settings = parse_settings(cls.Settings, {} if settings is None else settings, where)
            elif not isinstance(settings, cls.Settings):
                wanted, got = cls.Settings.__qualname__, type(settings).__qualname__
                raise DiffbmpError(f"'{where}' takes settings of the model {wanted}, not of {got}.")
            return cls(settings)
        except DiffbmpError:
            raise
        except Exception as error:  # a plugin's own code
            owner = self._record(self._entries[family, name].owner).title
            raise DiffbmpError(
                f"The {FAMILIES[family]} '{name}' of the plugin {owner} cannot be made: {describe(error)}."
            ) from error

    def _add(self, load: Callable[[], object], name: str, package: str, version: str) -> PluginRecord:
        record = PluginRecord(name, package, version)
        other = next((other for other in self.plugins if other.name == name), None)
        self.plugins.append(record)
        if other is not None:
            record.problems.append(
                f"the packages {other.package} and {package} both have a plugin called '{name}'; "
                f"that of {other.package} is kept"
            )
            return record
        started = time.perf_counter()
        try:
            with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints must not spoil --json
                plugin = load()
            self._trace(f"loaded {record.title}", started)
            hooks = _Hooks(record)
            hooks.register(plugin, name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a stranger's module does, SystemExit too, stops nothing else
            record.failed("cannot be loaded", error)
            record.hooks.clear()
            return record
        if not record.hooks and not record.problems:
            record.problems.append(_no_hook(plugin))
        for hook in record.hooks:
            self._call(hooks, hook, record)
        return record

    def _call(self, hooks: _Hooks, hook: str, record: PluginRecord) -> None:
        family = HOOKS[hook]
        registered: list[str] = []

        def register(cls: type[Any]) -> None:
            try:
                problem = class_problem(family, cls)
            except Exception as error:  # a class can do anything when it is looked at
                record.failed(f"{hook} registers a class that cannot be read", error)
                return
            if problem is None:
                problem = self._store(Entry(family, cls.name, cls, record.name))
            if problem is None:
                registered.append(cls.name)
            else:
                record.problems.append(problem)

        started = time.perf_counter()
        try:
            with contextlib.redirect_stdout(sys.stderr):
                getattr(hooks.hook, hook)(register=register)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # as above
            record.failed(f"{hook} failed", error)
        self._trace(f"{hook} of '{record.name}' registered {', '.join(registered) or 'nothing'}", started)

    def _store(self, entry: Entry) -> str | None:
        key = (entry.family, entry.name)
        if key not in self._entries:
            self._entries[key] = entry
            return None
        what = f"the {FAMILIES[entry.family]} '{entry.name}'"
        first, second = self._record(self._entries[key].owner), self._record(entry.owner)
        if first is second:
            return f"{what} is registered twice; the first one is kept"
        sentence = f"{what} is registered by both {first.title} and {second.title}; that of '{first.name}' is kept"
        self._contested[key] = f"T{sentence[1:]}"
        return sentence

    def _record(self, owner: str) -> PluginRecord:
        return next(record for record in self.plugins if record.name == owner)

    def _unknown(self, family: str, name: str) -> DiffbmpError:
        if family not in FAMILIES:
            return unknown_name("family of plugins", family, FAMILIES)
        error = unknown_name(FAMILIES[family], name, [entry.name for entry in self.entries(family)])
        notes = ""
        broken = sorted({record.name for record in self.plugins if record.problems})
        if broken:
            notes += f" Plugins with problems: {', '.join(broken)} (see `diffbmp plugins`)."
        left_out = sorted({record.name for record in self.plugins if not record.allowed})
        if left_out:
            notes += f" Plugins left out by {ALLOW_VARIABLE}: {', '.join(left_out)}."
        return DiffbmpError(f"{error}{notes}")

    def _trace(self, text: str, started: float) -> None:
        if self._tracing:
            sys.stderr.write(f"diffbmp: {text} ({1000 * (time.perf_counter() - started):.1f} ms)\n")


class _Hooks(pluggy.PluginManager):
    """The hooks of one plugin. Each has a manager of its own, so that none can get in another's way."""

    def __init__(self, record: PluginRecord) -> None:
        super().__init__("diffbmp")
        self.add_hookspecs(hookspecs)
        self._record = record

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Register the plugin, and put down functions that look like hooks but are not marked."""
        registered = super().register(plugin, name)
        self._record.hooks.sort(key=list(HOOKS).index)
        for function in unmarked_hooks(plugin, self._record.hooks):
            self._record.problems.append(f"{function} lacks the marker @diffbmp.hookimpl, so it is not called")
        return registered

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return the options of a function that is marked and fit to be called; put down why one is not."""
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None:
            return None
        problem = hook_problem(plugin, name, options)
        if problem is not None:
            self._record.problems.append(problem)
            return None
        hook = options.get("specname") or name
        if hook not in HOOKS:  # optional, and for another version
            return None
        if hook not in self._record.hooks:
            self._record.hooks.append(hook)
        return options


def _no_hook(plugin: object) -> str:
    if isinstance(plugin, type):
        return (
            f"its entry point names the class {plugin.__name__}; it must name the module (or an object) "
            "whose functions have the marker @diffbmp.hookimpl"
        )
    return "implements no hook; its functions need the marker @diffbmp.hookimpl"


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return sorted(points, key=lambda point: (point.name, *_distribution(point)))


def _distribution(point: importlib.metadata.EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution, whose metadata may be damaged."""
    try:
        if point.dist is not None:
            return point.dist.name or UNKNOWN, point.dist.version or UNKNOWN
    except Exception:  # no METADATA, or one that does not parse: each version of Python raises its own
        pass
    return UNKNOWN, UNKNOWN


def _allow_list() -> set[str] | None:
    value = os.environ.get(ALLOW_VARIABLE)
    return None if value is None else {_canonical(part) for part in value.split(",") if part.strip()}


def _canonical(name: str) -> str:
    """Return a name as package indexes compare them: ``Diffbmp_Emoji`` is ``diffbmp-emoji``."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


_registry: Registry | None = None
_loading = threading.RLock()


def registry() -> Registry:
    """Return the process's registry; entry points are scanned at the first call.

    A plugin that asks for it while it is being loaded gets what is registered so far.
    """
    global _registry
    with _loading:
        if _registry is None:
            _registry = Registry()
            try:
                _registry.load()
            except BaseException:
                _registry = None  # interrupted: whoever asks next starts over
                raise
        return _registry
