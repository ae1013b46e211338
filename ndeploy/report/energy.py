"""The text of `ndeploy energy`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndeploy.energy import EnergyReport, Range
from ndeploy.report import style

if TYPE_CHECKING:
    from rich.console import RenderableType


def report(energy: EnergyReport, samples: int) -> list[RenderableType]:
    """Totals with their bounds, terms with their sources, and what is left out."""

    facts = {
        "a sample": f"mean of {samples} on {energy.target}",
        "energy": _bounds(energy.energy, "J"),
        "latency": _bounds(energy.latency, "s"),
    }
    parts: list[RenderableType] = [f"[bold yellow]{style.plain(energy.label)}[/bold yellow]", style.facts(facts)]
    if energy.terms:
        sources: dict[str, int] = {}
        table = style.grid("terms", "event", ">count", ">low", ">nominal", ">high", "status", ">source", "note")
        for term in energy.terms:
            number = sources.setdefault(term.source, len(sources) + 1)
            values = (style.si(value, "J") for value in (term.energy.low, term.energy.nominal, term.energy.high))
            table.add_row(term.name, style.si(term.count), *values, term.status, str(number), style.plain(term.note))
        parts += ["", table, *(style.plain(f"[{number}] {source}") for source, number in sources.items())]
    parts.append("\n[bold]not in the total[/bold]")
    parts += [style.plain(f"- {line}") for line in energy.unpriced]
    return parts


def _bounds(value: Range | None, unit: str) -> str:
    if value is None:
        return "no public prices: not estimated"
    low, nominal, high = (style.si(v, unit) for v in (value.low, value.nominal, value.high))
    return f"{nominal}  (low {low}, high {high})"
