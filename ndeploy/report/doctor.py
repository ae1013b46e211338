"""The text of `ndeploy doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndeploy.doctor import Check
from ndeploy.report import style

if TYPE_CHECKING:
    from rich.console import RenderableType

_MARKS = {"ok": "[green]ok[/green]", "missing": "[yellow]missing[/yellow]", "broken": "[bold red]broken[/bold red]"}


def report(found: list[Check], works: bool) -> list[RenderableType]:
    """A line a check, then the commands that mend what is not well."""
    from rich.text import Text

    table = style.grid("", "", "what", "found")
    for check in found:
        table.add_row(_MARKS[check.state], check.name, style.plain(check.found))
    parts: list[RenderableType] = [table]
    mends = [check for check in found if check.state != "ok" and check.mend]
    if mends:
        parts.append("[bold]to mend[/bold]")
        # Text neither wraps in the middle of a word nor reads markup: a command must survive copying
        parts += [Text(f"  {check.name}: {check.mend}", overflow="ignore", no_wrap=True) for check in mends]
    parts.append("[green]the core works[/green]" if works else "[bold red]the core does not work[/bold red]")
    return parts
