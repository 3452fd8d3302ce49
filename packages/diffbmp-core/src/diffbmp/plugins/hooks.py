"""The hooks that one plugin implements, found and checked."""

from __future__ import annotations

import pluggy

import diffbmp.plugins.hookspecs as hookspecs
from diffbmp.plugins.hookspecs import HOOKS
from diffbmp.plugins.record import PluginRecord
from diffbmp.plugins.validation import hook_problem, unmarked_hooks

__all__ = ["PluginHooks"]


class PluginHooks(pluggy.PluginManager):
    """The hooks of one plugin. Each plugin has a manager of its own, so that none can get in another's way."""

    def __init__(self, record: PluginRecord) -> None:
        super().__init__("diffbmp")
        self.add_hookspecs(hookspecs)
        self._record = record

    def register(self, plugin: object, name: str | None = None) -> str | None:
        """Find the plugin's hooks, and record why one cannot be called or is not marked."""
        registered = super().register(plugin, name)
        record = self._record
        record.hooks.sort(key=list(HOOKS).index)
        for function in unmarked_hooks(plugin, record.hooks):
            record.problems.append(f"{function} lacks the marker @diffbmp.hookimpl, so it is not called")
        if not record.hooks and not record.problems:
            record.problems.append(_no_hook(plugin))
        return registered

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Return the options of a function that is marked and can be called; record why one cannot."""
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
