"""The sentences about a name or a file suffix that several plugins claim, and how a person chooses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from diffbmp.plugins.record import Entry, PluginRecord

__all__ = ["name_problem", "name_warning", "suffix_problem", "suffix_warning"]

Records = Callable[[str], PluginRecord]
"""Gives the record of a plugin by its name."""


def name_problem(first: Entry, rival: Entry, records: Records) -> str:
    """Return the problem of the plugin that registers a name which another one has."""
    owners = _joined([records(first.owner).title, records(rival.owner).title])
    return (
        f"the {first.title} is registered by {owners}; that of '{first.owner}' is kept, and the other one is called "
        f"'{rival.name}'"
    )


def name_warning(claims: Sequence[Entry], records: Records) -> str:
    """Return what is said where a name is used that several plugins have registered, the first of which has it."""
    owners = _joined([records(entry.owner).title for entry in claims])
    return (
        f"The {claims[0].title} is registered by {owners}; that of '{claims[0].owner}' is used. "
        f"Write {_choice(f'{entry.owner}/{entry.own_name}' for entry in claims)} to choose."
    )


def suffix_problem(suffixes: Sequence[str], first: Entry, second: Entry, records: Records) -> str:
    """Return the problem of the plugin that registers ``second``, whose ``suffixes`` the class ``first`` has."""
    what = f"suffix {suffixes[0]} is" if len(suffixes) == 1 else f"suffixes {', '.join(suffixes)} are"
    return (
        f"the {what} claimed by {_joined([_origin(entry, records) for entry in (first, second)])}; '{first.name}' is "
        f"kept, and {second.name}:FILE{suffixes[0]} asks for the other one"
    )


def suffix_warning(suffix: str, claims: Sequence[Entry], records: Records) -> str:
    """Return what is said where a suffix is used that several classes claim, the first of which has it."""
    return (
        f"The suffix {suffix} is claimed by {_joined([_origin(entry, records) for entry in claims])}; "
        f"'{claims[0].name}' is used. Write {_choice(f'{entry.name}:FILE{suffix}' for entry in claims)} to choose."
    )


def _origin(entry: Entry, records: Records) -> str:
    return f"the {entry.title} of {records(entry.owner).title}"


def _joined(items: Sequence[str]) -> str:
    return f"{'both ' if len(items) == 2 else ''}{', '.join(items[:-1])} and {items[-1]}"


def _choice(names: Iterable[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)
