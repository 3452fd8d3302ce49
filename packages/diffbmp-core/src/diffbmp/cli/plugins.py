"""``diffbmp plugins``: what is installed, what it registers, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from diffbmp.cli.listing import print_json, print_table
from diffbmp.plugins.hookspecs import FAMILIES
from diffbmp.plugins.installed import ALLOW_VARIABLE
from diffbmp.plugins.registry import registry
from diffbmp.plugins.report import is_slow, plugin_report

__all__ = ["plugins_command", "print_findings"]


def plugins_command(
    as_json: Annotated[bool, typer.Option("--json", help="Write everything as JSON.")] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help="Show every setting, how long each plugin takes to load, and the traceback of one that fails.",
        ),
    ] = False,
) -> None:
    """List every plugin, what it registers, and what is wrong with it."""
    report = plugin_report(registry())
    if as_json:
        print_json(report)
        return
    print_table(["plugin", "version", "registers", "name", "what it is"], _registered(report))
    if verbose:
        print_table(["setting", "type", "default", "range", "what it does"], _settings(report), title="\nSettings")
        rows = [[plugin["name"], f"{plugin['seconds']:.3f}"] for plugin in report if plugin["allowed"]]
        print_table(["plugin", "seconds to load"], rows, title="\nTime")
    print_findings(report, tracebacks=verbose)


def print_findings(report: list[dict[str, Any]], *, tracebacks: bool = False) -> None:
    """Write a sentence for each problem of each plugin in a report, and for each plugin that is slow to load."""
    console = Console(highlight=False, soft_wrap=True)
    for plugin in report:
        package = "" if plugin["package"] == "?" else f" ({plugin['package']} {plugin['version']})"
        title = f"plugin '{plugin['name']}'{package}"
        for problem in plugin["problems"]:
            said = Text(f"Problem with {title}: ", style="bold red")
            console.print(said.append(f"{problem.rstrip('.')}.", style="not bold default"))
        if tracebacks and plugin["traceback"]:
            console.print(Padding(Text(plugin["traceback"].rstrip()), (0, 0, 0, 4)))
        if is_slow(plugin):
            said = Text(f"Slow {title}: ", style="bold yellow")
            advice = "import heavy packages inside the function that needs them"
            console.print(
                said.append(f"it takes {plugin['seconds']:.1f} s to load; {advice}.", style="not bold default")
            )


def _registered(report: list[dict[str, Any]]) -> Iterator[list[str]]:
    for plugin in report:
        origin = [plugin["name"], "" if plugin["package"] == "?" else f"{plugin['package']} {plugin['version']}"]
        for item in plugin["registers"]:
            yield [*origin, FAMILIES[item["family"]], item["name"], item["summary"]]
        if not plugin["registers"]:
            yield [*origin, "nothing" if plugin["allowed"] else f"left out by {ALLOW_VARIABLE}", "", ""]


def _settings(report: list[dict[str, Any]]) -> Iterator[list[str]]:
    for plugin in report:
        for item in plugin["registers"]:
            for row in item["settings"]:
                default = "(required)" if row["required"] else _plain(row["default"])
                name = f"{item['family']}.{item['name']}.{row['name']}"
                yield [name, row["type"], default, row["range"], row["description"]]


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
