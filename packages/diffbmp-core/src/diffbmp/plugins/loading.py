"""Loading plugins: import one, call its hooks, and record what goes wrong and how long it takes."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from diffbmp.plugins.hooks import PluginHooks
from diffbmp.plugins.hookspecs import HOOKS
from diffbmp.plugins.installed import ALLOW_VARIABLE, allow_list, canonical, installed_plugins
from diffbmp.plugins.record import CORE, UNKNOWN, Entry, PluginRecord
from diffbmp.plugins.validation import class_problem

if TYPE_CHECKING:
    from diffbmp.plugins.registry import Registry

__all__ = ["TRACE_VARIABLE", "add_plugin", "load_plugins"]

TRACE_VARIABLE = "DIFFBMP_TRACE"


def load_plugins(registry: Registry) -> None:
    """Find core and every installed plugin of the entry-point group, and let them register.

    The environment variable ``DIFFBMP_PLUGINS`` names the plugins (or their packages) that are let in,
    separated by commas; where it is set and empty, only core is. ``DIFFBMP_TRACE=1`` writes on stderr which
    plugin is loaded, which hook is called and how long each takes.
    """
    started = time.perf_counter()
    import diffbmp.builtins as core  # core's own plugin imports every family, so it comes last

    imported = time.perf_counter() - started
    record = add_plugin(registry, lambda: core, PluginRecord(CORE, "diffbmp-core", core.__version__))
    record.seconds += imported
    allowed = allow_list()
    for found in installed_plugins():
        record = PluginRecord(found.name, found.package, found.version)
        if allowed is not None and not allowed & {canonical(found.name), canonical(found.package)}:
            record.allowed = False
            registry.plugins.append(record)
        else:
            add_plugin(registry, found.load, record)
    if allowed is not None:
        known = {canonical(name) for record in registry.plugins for name in (record.name, record.package)}
        for name in sorted(allowed - known):
            problem = f"{ALLOW_VARIABLE} names it, but it is not installed"
            registry.plugins.append(PluginRecord(name, UNKNOWN, UNKNOWN, problems=[problem]))


def add_plugin(registry: Registry, load: Callable[[], object], record: PluginRecord) -> PluginRecord:
    """Load one plugin and let it register. Nothing is raised but ``KeyboardInterrupt``.

    Args:
        registry: what it registers with.
        load: returns the plugin, a module or any object with hook implementations.
        record: of the plugin, with its name, package and version.

    Returns:
        The record.
    """
    other = next((other for other in registry.plugins if other.name == record.name), None)
    registry.plugins.append(record)
    if other is not None:
        record.problems.append(
            f"the packages {other.package} and {record.package} both have a plugin called '{record.name}'; "
            f"that of {other.package} is kept"
        )
        return record
    hooks = PluginHooks(record)
    started = time.perf_counter()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints must not spoil --json
            plugin = load()
        _trace(f"loaded {record.title}", started)
        hooks.register(plugin, record.name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # whatever a stranger's module does, SystemExit too, stops nothing else
        record.failed("cannot be loaded", error)
        record.hooks.clear()
    for hook in record.hooks:
        _call(registry, hooks, hook, record)
    record.seconds = time.perf_counter() - started
    return record


def _call(registry: Registry, hooks: PluginHooks, hook: str, record: PluginRecord) -> None:
    family = HOOKS[hook]
    registered: list[str] = []

    def register(cls: type[Any]) -> None:
        try:
            problem = class_problem(family, cls)
        except Exception as error:  # a class can do anything when it is looked at
            record.failed(f"{hook} registers a class that cannot be read", error)
            return
        if problem is not None:
            record.problems.append(problem)
            return
        name = registry.store(Entry(family, cls.name, cls, record.name), record)
        if name is not None:
            registered.append(name)

    started = time.perf_counter()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            getattr(hooks.hook, hook)(register=register)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # as above
        record.failed(f"{hook} failed", error)
    _trace(f"{hook} of '{record.name}' registered {', '.join(registered) or 'nothing'}", started)


def _trace(text: str, started: float) -> None:
    if os.environ.get(TRACE_VARIABLE, "").strip() not in ("", "0"):
        sys.stderr.write(f"diffbmp: {text} ({1000 * (time.perf_counter() - started):.1f} ms)\n")
