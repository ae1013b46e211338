"""A sweep as one self-contained page: the picture, every row with its interval, what was refused and why."""

from __future__ import annotations

from markupsafe import Markup

from ndeploy.energy.ranges import Range
from ndeploy.printable import printable
from ndeploy.report import side_page as pages
from ndeploy.report import style
from ndeploy.report.energy_page.bars import axis, bar
from ndeploy.report.energy_page.numbers import NOTHING, full, interval, quantity
from ndeploy.report.energy_page.scale import linear, logarithmic
from ndeploy.report.energy_page.tables import Column, Table
from ndeploy.report.energy_page.tables import Row as Line
from ndeploy.report.sweep import (
    HEADINGS,
    SAID,
    Swept,
    answered,
    beside,
    dynamic,
    refusals,
    shown,
    verdict,
    warnings,
    what,
)
from ndeploy.report.sweep_picture import SPREAD, svg
from ndeploy.sweep_rows import Row, varying


def page(swept: Swept) -> str:
    """The page. The same sweep gives the same text."""
    sections = [pages.Section("Accuracy against cost", _figure(swept))]
    if swept.measured:
        sections.append(pages.Section("Every combination", pages.table(_costs(swept))))
        sections.append(pages.Section("Static, host and time", pages.table(_beside(swept))))
        sections.append(pages.Section("On the chip", pages.table(_chip(swept))))
    refused = refusals(swept)
    if refused:
        sections.append(pages.Section("Refused", pages.items(refused)))
    told = warnings(swept)
    if told:
        sections.append(pages.Section("Beware", pages.items(told)))
    if swept.command:
        sections.append(pages.Section("To reproduce this", Markup("<pre>{}</pre>\n").format(printable(swept.command))))
    return pages.document(
        f"What {swept.model} costs, by choice",
        f"Each combination compiled, run on {swept.data} and priced; means a sample.",
        verdict(swept),
        sections,
        "Counts are exact, prices are not. Rows of one target share their constants and are told apart by them, not by "
        "their intervals.",
    )


def _figure(swept: Swept) -> Markup:
    return Markup('<figure><div class="picture">{}</div></figure>\n').format(Markup(svg(swept)))


def _name(row: Row, names: tuple[str, ...]) -> str:
    return ", ".join(f"{shown(row, name)} {_unit(name)}".strip() for name in names)


def _unit(name: str) -> str:
    return "" if name in ("target", "attention") else HEADINGS[name]


def _rows(swept: Swept) -> list[Row]:
    return [row for row in swept.rows if row.measured is not None]


def _costs(swept: Swept) -> Table:
    rows, names = _rows(swept), varying(swept.rows)
    places = {row.case: place for row, place in zip(swept.rows, swept.standings, strict=True)}
    known = [e for row in rows if row.measured and (e := row.measured.cost.quantities["energy"]) is not None]
    ends = [end for energy in known for end in (energy.low, energy.high) if end > 0]
    scale = logarithmic(ends) if ends and max(ends) > SPREAD * min(ends) else linear(ends)
    lines = []
    for row in rows:
        if row.measured is None:
            continue
        energy = row.measured.cost.quantities["energy"]
        cells = (answered(row.measured), bar(energy, scale, "J"), *dynamic(row.measured), SAID[places[row.case]])
        lines.append(Line((_name(row, names), *cells)))
    columns = (
        Column("combination", "name"),
        Column(what(swept)),
        Column("", "bar"),
        Column("dynamic energy"),
        Column("interval"),
        Column("beside the others", "text"),
    )
    return Table("Accuracy and dynamic energy", columns, tuple(lines), axis(scale, "J"), beside(swept))


def _beside(swept: Swept) -> Table:
    lines = []
    for row in _rows(swept):
        if row.measured is None:
            continue
        q = row.measured.cost.quantities
        joules = [_words(q[name], "J") for name in ("static", "host", "total")]
        cells = (*joules, _words(q["latency"], "s"), _throughput(q["interval"]), row.measured.cost.model)
        lines.append(Line((_name(row, varying(swept.rows)), *cells)))
    columns = (
        Column("combination", "name"),
        Column("static energy"),
        Column("host energy"),
        Column("all three"),
        Column("latency"),
        Column("samples a second"),
        Column("prices", "text"),
    )
    return Table("Static and host energy, time", columns, tuple(lines))


def _words(value: Range | None, unit: str) -> str:
    if value is None:
        return NOTHING
    return str(Markup("{}").format(full(value, unit)))


def _throughput(value: Range | None) -> str:
    if value is None or value.low <= 0:
        return NOTHING
    return f"{quantity(1 / value.nominal)} ({interval(Range(1 / value.high, 1 / value.nominal, 1 / value.low))})"


def _chip(swept: Swept) -> Table:
    lines = []
    for row in _rows(swept):
        m = row.measured
        if m is None:
            continue
        cores = f"{m.cores} (at least {m.cores_lower_bound})" if m.cores else NOTHING
        cells = (
            cores,
            str(m.chips) if m.chips else NOTHING,
            style.size_in_bytes(m.memory_bytes),
            str(m.steps),
            str(m.chip_steps),
            m.mode,
        )
        lines.append(Line((_name(row, varying(swept.rows)), *cells)))
    columns = (
        Column("combination", "name"),
        Column("cores"),
        Column("chips"),
        Column("synaptic memory"),
        Column("model steps"),
        Column("chip steps"),
        Column("mode", "text"),
    )
    return Table("What it takes", columns, tuple(lines))
