"""What plugins have registered, by family and name.

A name or a file suffix that two plugins claim stays with the first one; the other is used where a person names it.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from diffbmp.errors import DiffbmpError, unknown_name
from diffbmp.plugins.claims import name_problem, name_warning, suffix_problem, suffix_warning
from diffbmp.plugins.hookspecs import FAMILIES
from diffbmp.plugins.installed import ALLOW_VARIABLE, canonical
from diffbmp.plugins.loading import add_plugin, load_plugins
from diffbmp.plugins.record import UNKNOWN, Entry, PluginRecord
from diffbmp.plugins.validation import describe
from diffbmp.settings import Settings, parse_settings

__all__ = ["Entry", "PluginRecord", "Registry", "registry"]


class Registry:
    """All plugins of this process.

    Attributes:
        plugins: a record of each plugin found, core first.
    """

    def __init__(self) -> None:
        self.plugins: list[PluginRecord] = []
        self._entries: dict[tuple[str, str], Entry] = {}  # by family and name, in the order of registration
        self._warned: set[tuple[str, str]] = set()

    def load(self) -> None:
        """Let core and every installed plugin register; see ``load_plugins``."""
        load_plugins(self)

    def add(self, plugin: object, name: str, *, package: str = UNKNOWN, version: str = UNKNOWN) -> PluginRecord:
        """Register one plugin: a module or any object with hook implementations.

        Returns:
            Its record; ``problems`` says what went wrong. Nothing is raised.
        """
        return add_plugin(self, lambda: plugin, PluginRecord(name, package, version))

    def store(self, entry: Entry, record: PluginRecord) -> str | None:
        """Keep a class that a plugin registers, and record what another plugin claimed before.

        Returns:
            The name that it is kept under: its own, or ``PLUGIN/NAME`` where that is taken; None where the plugin
            has registered the name already.
        """
        first = self._entries.get((entry.family, entry.name))
        if first is not None:
            rival = replace(entry, name=f"{record.name}/{entry.name}")
            if first.owner == record.name or (rival.family, rival.name) in self._entries:
                record.problems.append(f"the {entry.title} is registered twice; the first one is kept")
                return None
            record.problems.append(name_problem(first, rival, self.record))
            entry = rival
        else:
            taken: dict[Entry, list[str]] = {}
            for suffix, claims in self.suffixes(entry.family).items():
                if suffix in entry.cls.suffixes:
                    taken.setdefault(claims[0], []).append(suffix)
            record.problems.extend(suffix_problem(suffixes, e, entry, self.record) for e, suffixes in taken.items())
        self._entries[entry.family, entry.name] = entry
        return entry.name

    def entries(self, family: str) -> list[Entry]:
        """Return what a family has under names of their own, by name."""
        return [entry for entry in self._all(family) if entry.name == entry.own_name]

    def rivals(self, family: str) -> list[Entry]:
        """Return what has a name that another plugin registered before, and is called ``PLUGIN/NAME`` instead."""
        return [entry for entry in self._all(family) if entry.name != entry.own_name]

    def owned(self, record: PluginRecord) -> list[Entry]:
        """Return what a plugin has registered, by family and name."""
        return [entry for family in FAMILIES for entry in self._all(family) if entry.owner == record.name]

    def entry_of(self, cls: type[Any]) -> Entry | None:
        """Return the entry of a class, or None where it is not registered."""
        return next((entry for entry in self._entries.values() if entry.cls is cls), None)

    def record(self, owner: str) -> PluginRecord:
        """Return the record of the plugin called ``owner``."""
        return next((r for r in self.plugins if r.name == owner), PluginRecord(owner, UNKNOWN, UNKNOWN))

    def find(self, family: str, name: str) -> Entry | None:
        """Return what is registered as ``name``, or None.

        Args:
            family: a name in ``FAMILIES``.
            name: ``NAME``; or ``PLUGIN/NAME`` for that of one plugin, by the name of its entry point or package.
        """
        plugin, slash, own_name = name.rpartition("/")
        if not slash:
            return self._entries.get((family, name))
        found = [entry for entry in self._all(family) if entry.own_name == own_name]
        of_plugin = [entry for entry in found if entry.owner == plugin]
        of_package = [entry for entry in found if canonical(self.record(entry.owner).package) == canonical(plugin)]
        return next(iter(of_plugin + of_package), None)

    def entry(self, family: str, name: str) -> Entry:
        """Return what is registered as ``NAME`` or ``PLUGIN/NAME``.

        Warns, once, where several plugins have registered ``NAME``: that of the first one is returned.

        Raises:
            DiffbmpError: for an unknown name, with the nearest known one; where a plugin failed to load or is left
                out, it is named, since the class may be its.
        """
        entry = self.find(family, name)
        if entry is None:
            if family not in FAMILIES:
                raise unknown_name("family of plugins", family, FAMILIES)
            error = unknown_name(FAMILIES[family], name, [entry.name for entry in self._all(family)])
            raise DiffbmpError(f"{error}{self.explain_missing()}")
        rivals = [rival for rival in self.rivals(family) if rival.own_name == name]
        if rivals and self._first_time(family, name):
            warnings.warn(name_warning([entry, *rivals], self.record), stacklevel=3)
        return entry

    def get(self, family: str, name: str) -> type[Any]:
        """Return the class registered as ``NAME`` or ``PLUGIN/NAME``; see ``entry``."""
        return self.entry(family, name).cls

    def suffixes(self, family: str) -> dict[str, list[Entry]]:
        """Return which entries claim each file suffix, the one that has it first; a rival claims none."""
        claims: dict[str, list[Entry]] = {}
        for entry in self._entries.values():
            if entry.family == family and entry.name == entry.own_name:
                for suffix in dict.fromkeys(getattr(entry.cls, "suffixes", ())):
                    claims.setdefault(suffix, []).append(entry)
        return claims

    def for_suffix(self, family: str, suffix: str) -> Entry | None:
        """Return who reads or writes files of a suffix, or None.

        Warns, once, where several claim it: the first one is returned.

        Args:
            family: ``loaders`` or ``exporters``.
            suffix: lower case, with the dot.
        """
        claims = self.suffixes(family).get(suffix, [])
        if len(claims) > 1 and self._first_time(family, suffix):
            warnings.warn(suffix_warning(suffix, claims, self.record), stacklevel=3)
        return claims[0] if claims else None

    def create(self, family: str, name: str, settings: Mapping[str, Any] | Settings | None = None) -> Any:
        """Return an instance of the class registered as ``NAME`` or ``PLUGIN/NAME``.

        Args:
            family: a name in ``FAMILIES``.
            name: what to create.
            settings: its settings; values by name are checked, and None leaves all at their defaults.

        Raises:
            DiffbmpError: for an unknown name or setting, a value out of its type or range, or where the class
                fails with an error of its own, in which case its plugin is named.
        """
        entry = self.entry(family, name)
        cls = entry.cls
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
            plugin = self.record(entry.owner).title
            raise DiffbmpError(
                f"The {entry.title} of the plugin {plugin} cannot be made: {describe(error)}."
            ) from error

    def explain_missing(self) -> str:
        """Return which plugins may bring what is not found: sentences, each after a space, or ""."""
        notes = ""
        broken = sorted({record.name for record in self.plugins if record.problems})
        if broken:
            notes += f" Plugins with problems: {', '.join(broken)} (see `diffbmp plugins`)."
        left_out = sorted({record.name for record in self.plugins if not record.allowed})
        if left_out:
            notes += f" Plugins left out by {ALLOW_VARIABLE}: {', '.join(left_out)}."
        return notes

    def _all(self, family: str) -> list[Entry]:
        return sorted((e for e in self._entries.values() if e.family == family), key=lambda e: e.name)

    def _first_time(self, family: str, claimed: str) -> bool:
        """Return whether nothing was said of this name or suffix yet, and take it as said."""
        first = (family, claimed) not in self._warned
        self._warned.add((family, claimed))
        return first


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
