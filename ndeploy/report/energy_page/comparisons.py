"""Baselines under the same rules, and NeuroBench's metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ndeploy.energy.ranges import Range
from ndeploy.energy.result import Baseline, EnergyReport
from ndeploy.report.energy_page.bars import axis, bar
from ndeploy.report.energy_page.numbers import NOTHING, interval, quantity
from ndeploy.report.energy_page.scale import Scale, logarithmic
from ndeploy.report.energy_page.sources import Sources
from ndeploy.report.energy_page.tables import Column, Row, Table
from ndeploy.report.energy_page.verdict import SPIKING, kind

MOST_ITEMS = 12
MOST_PAIRS = 48
DEPTH = 3
WHOLE = 1e4
"""From here on, fractions of a number are not shown."""
LONG = 40
"""Characters of an item of a list from which each stands in a line of its own."""


def baselines(report: EnergyReport, sources: Sources) -> Table:
    """Networks by the rules that price them, on one logarithmic axis; the chip's own estimate stands apart."""
    energies = [b.energy for b in report.baselines]
    if report.energy is not None:
        energies.append(report.energy)
    scale = logarithmic(end for energy in energies for end in (energy.low, energy.nominal, energy.high))
    rows: list[Row] = []
    for rules in dict.fromkeys(b.rules for b in report.baselines):
        rows.append(Row((f"by the rules of {rules}",), "head"))
        rows += [_baseline(b, scale, sources) for b in report.baselines if b.rules == rules]
    if report.energy is not None:
        rows.append(
            Row((f"by the prices of {report.target} (other rules: not to be compared digit by digit)",), "head")
        )
        cells = ("this program, placed", "", "", *_drawn(report.energy, scale, "sum"), "")
        rows.append(Row(cells, "sum"))
    columns = (
        Column("network", "name"),
        Column("MACs"),
        Column("ACs"),
        Column("", "bar"),
        Column("energy a sample"),
        Column("interval"),
        Column("source", "text"),
    )
    return Table(
        "Baselines",
        columns,
        tuple(rows),
        axis(scale, "J"),
        "MACs: multiply-accumulations, ACs: accumulations. Logarithmic axis. Only rows under one heading compare.",
    )


def _baseline(baseline: Baseline, scale: Scale, sources: Sources) -> Row:
    drawn = _drawn(baseline.energy, scale, "chip" if kind(baseline) == SPIKING else "other")
    numbers = (quantity(baseline.macs), quantity(baseline.acs))
    return Row((baseline.name, *numbers, *drawn, sources.mark(baseline.source, baseline.status)))


def _drawn(energy: Range, scale: Scale, colour: str) -> tuple[str, str, str]:
    return bar(energy, scale, "J", colour), quantity(energy.nominal, "J"), interval(energy, "J")


def notes(found: Sequence[Baseline]) -> tuple[tuple[str, str], ...]:
    """What each baseline assumes; those of the same name and words once."""
    said = {(f"{b.name} ({b.rules})", b.note): None for b in found if b.note}
    return tuple(said)


def parts(found: Sequence[Baseline]) -> Table | None:
    """What each baseline's energy consists of; None where nobody says."""
    names = list(dict.fromkeys(name for b in found for name in b.terms))
    if not names:
        return None
    rows = [
        Row((f"{b.name}, {b.rules}", *(quantity(b.terms[n], "J") if n in b.terms else NOTHING for n in names)))
        for b in found
        if b.terms
    ]
    return Table(
        "Parts of the baselines' energy", (Column("network", "name"), *(Column(n) for n in names)), tuple(rows)
    )


def facts(found: Mapping[str, Any], depth: int = 0) -> tuple[tuple[str, str], ...]:
    """Nested data as pairs: "a / b" for what is inside a; of many entries the first, and how many more there are."""
    pairs: list[tuple[str, str]] = []
    for name, value in found.items():
        label = str(name).replace("_", " ")
        if isinstance(value, Mapping):
            inner = facts(value, depth + 1) if depth < DEPTH else (("", f"{len(value)} entries"),)
            shown = inner[:MOST_PAIRS]
            pairs += [(f"{label} / {inside}" if inside else label, told) for inside, told in shown]
            if len(inner) > len(shown):
                pairs.append((label, f"and {len(inner) - len(shown)} more"))
        elif value != "":
            pairs.append((label, words(value)))
    return tuple(pairs)


def words(value: object) -> str:
    """A value of JSON in words."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= WHOLE else f"{value:.6g}"
    if isinstance(value, list | tuple):
        if not value:
            return "none"
        apart = "\n" if any(isinstance(item, Mapping) or len(str(item)) > LONG for item in value) else ", "
        told = apart.join(_item(item) for item in value[:MOST_ITEMS])
        return told if len(value) <= MOST_ITEMS else f"{told}{apart}and {len(value) - MOST_ITEMS} more"
    return str(value)


def _item(item: object) -> str:
    if isinstance(item, Mapping):
        if isinstance(item.get("reason"), str):
            return f"{words(item.get('name'))}: {item['reason']}"
        return ", ".join(f"{str(k).replace('_', ' ')} {words(v)}" for k, v in list(item.items())[:MOST_ITEMS])
    return words(item)
