"""The text of `ndeploy targets show` and `ndeploy targets prices`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ndeploy.report import style

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table


def report(target: Mapping[str, Any]) -> list[RenderableType]:
    """Limits, features and prices of `ndeploy.target.describe`, every number beside its source and status."""

    sources = _Sources()
    parts: list[RenderableType] = [f"[bold]{style.plain(target['name'])}[/bold]  {style.plain(target['title'])}"]
    limits = style.grid("limits", "limit", ">value", "unit", "status", "source and note")
    for path, limit in target["limits"].items():
        value = limit["value"]
        shown = str(value) if value is not None else ("not public" if limit["status"] == "unverified" else "none")
        limits.add_row(path, shown, limit["unit"], limit["status"], style.plain(sources.cite(limit)))
    parts.append(limits)
    features = style.grid("what it has", "", "values", "status", "source and note")
    for key in ("neuron_kinds", "resets", "features"):
        entry = target[key]
        features.add_row(key, ", ".join(entry["values"]), entry["status"], style.plain(sources.cite(entry)))
    parts.append(features)
    parts += _price_parts(target, sources)
    parts += sources.parts()
    parts += [f"[dim]{style.plain(note)}[/dim]" for note in target["notes"]]
    return parts


def prices(table: Mapping[str, Any]) -> list[RenderableType]:
    """A price table of `ndeploy.prices.describe`."""
    sources = _Sources()
    known = {"targets": ", ".join(table["targets"]), "node": table["node"], "voltage": table["voltage"]}
    parts: list[RenderableType] = [
        f"[bold]{style.plain(table['name'])}[/bold]  {style.plain(table['title'])}",
        style.facts({key: style.plain(value) for key, value in known.items() if value}),
    ]
    parts += _price_parts(table, sources)
    parts += sources.parts()
    parts += [f"[dim]{style.plain(note)}[/dim]" for note in table["notes"]]
    return parts


def _price_parts(held: Mapping[str, Any], sources: _Sources) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for key in ("energy", "time"):
        if held[key]:
            parts.append(_prices(key, held[key], sources))
        else:
            parts.append(f"[bold]{key}[/bold]  no public figures: nothing is priced")
    if held["static_power"]:
        parts.append(_prices("static power", [held["static_power"]], sources))
    if held["covered"]:
        covered = style.grid("in another price already", "event", "held by")
        for event, holder in held["covered"].items():
            covered.add_row(style.plain(event), style.plain(holder))
        parts.append(covered)
    return parts


def _prices(title: str, prices: list[dict[str, Any]], sources: _Sources) -> Table:

    table = style.grid(title, "event", ">low", ">nominal", ">high", "scope", "status", "source and note")
    for price in prices:
        values = (style.si(price[key], price["unit"]) for key in ("low", "nominal", "high"))
        table.add_row(
            style.plain(price["name"]), *values, price["scope"], price["status"], style.plain(sources.cite(price))
        )
    return table


class _Sources:
    """Numbers for sources, in the order they are first cited."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def cite(self, entry: Mapping[str, Any]) -> str:
        """The text "[2] note" for an entry with a source and perhaps a note."""
        number = self.numbers.setdefault(str(entry["source"]), len(self.numbers) + 1)
        return f"[{number}] {entry['note']}".strip()

    def parts(self) -> list[RenderableType]:
        """The list of what was cited."""
        cited = (style.plain(f"[{number}] {source}") for source, number in self.numbers.items())
        return ["[bold]sources[/bold]", *cited]
