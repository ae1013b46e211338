"""`ndeploy energy A.ndp B.ndp ...`: estimates side by side, for the terminal, as a page and as CSV."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndeploy.energy.compare import QUANTITIES, Comparison, Contrast, compare
from ndeploy.energy.ranges import Range
from ndeploy.energy.result import EnergyReport
from ndeploy.report import csv_rows, style
from ndeploy.report.energy_page.numbers import NOTHING, full, interval, quantity

if TYPE_CHECKING:
    from markupsafe import Markup
    from rich.console import RenderableType

    from ndeploy.report.energy_page.tables import Table

MOST_LAYERS = 24
COLOURS = ("chip", "host", "other", "static")


def report(comparison: Comparison) -> list[RenderableType]:
    """What is certain first, then totals, exact counts, layers, and what to beware of."""
    parts: list[RenderableType] = ["[bold]side by side[/bold], a sample each"]
    parts += [style.plain(line) for line in verdicts(comparison)]
    totals = style.grid("", "quantity", *(f">{style.plain(name)}" for name in comparison.names))
    for label, cells in _totals(comparison):
        totals.add_row(label, *map(style.plain, cells))
    parts += ["", totals]
    counts = style.grid("events a sample, exact", "event", *(f">{style.plain(name)}" for name in comparison.names))
    for label, cells in _events(comparison):
        counts.add_row(label, *cells)
    parts += ["", counts]
    common = _layers(comparison)
    if common:
        columns = (f">{style.plain(name)}" for name in comparison.names)
        layers = style.grid("nominal dynamic energy by layer", "layer", *columns)
        for label, cells in common:
            layers.add_row(style.plain(label), *cells)
        parts += ["", layers]
    if comparison.warnings:
        parts += ["\n[bold yellow]beware[/bold yellow]", *(style.plain(f"- {line}") for line in comparison.warnings)]
    return parts


def verdicts(comparison: Comparison) -> list[str]:
    """For every estimate but the first what can be said of its dynamic energy and its latency, one sentence each."""
    first = comparison.names[0]
    found = []
    for name, contrasts in zip(comparison.names[1:], comparison.contrasts, strict=True):
        by = {c.quantity: c for c in contrasts}
        found += [sentence(name, first, by[quantity]) for quantity in ("energy", "latency")]
    return found


def sentence(name: str, first: str, contrast: Contrast) -> str:
    """One contrast in words: certain, equal, open or not known."""
    what, ratio = QUANTITIES[contrast.quantity][0], contrast.ratio
    if contrast.verdict == "unknown":
        return f"{name}: {what} cannot be compared with {first}: one of the two is not known."
    if contrast.verdict == "equal":
        return f"{name}: the same {what} as {first}, event by event."
    if ratio is None:
        known = f"more {what} than {first}" if contrast.verdict == "more" else f"{what} that may be {first}'s"
        return f"{name}: {known}; there is no ratio, the other may be zero."
    bounds = f"{_times(ratio.low)} to {_times(ratio.high)} times"
    why = "whatever the constants are within their bounds" if contrast.shared else "by the ends of their intervals"
    if contrast.verdict == "open":
        open_ = "the constants' bounds decide" if contrast.shared else "the intervals overlap"
        nominal = f"{_times(ratio.nominal)} times the {what} of {first} at nominal"
        return f"{name}: {nominal}, but {open_} ({bounds}): nothing can be said."
    return f"{name}: {_times(ratio.nominal)} times the {what} of {first} ({bounds}, {why}): {contrast.verdict}."


def _times(ratio: float) -> str:
    return f"{ratio:.3g}" if ratio < 1000 else f"{ratio:.0f}"


def _totals(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Rows of words: quantities with intervals, then what is on the chip."""
    reports = comparison.reports
    rows = [
        (words, [full(value, unit) if value is not None else _missing(r, name) for r, value in _values(reports, name)])
        for name, (words, unit) in QUANTITIES.items()
    ]
    rows += [
        ("accuracy", [style.percent(r.accuracy) for r in reports]),
        ("cores", [str(len(r.cores)) if r.cores else "-" for r in reports]),
        ("model steps, chip steps", [f"{r.model_steps}, {r.chip_steps}" for r in reports]),
        ("target", [r.target for r in reports]),
        ("prices", [r.model for r in reports]),
        ("samples", [str(r.samples) for r in reports]),
    ]
    return rows


def _values(reports: tuple[EnergyReport, ...], name: str) -> list[tuple[EnergyReport, Range | None]]:
    return [(r, getattr(r, name)) for r in reports]


def _missing(found: EnergyReport, name: str) -> str:
    if name == "energy" and found.bound is not None:
        return f"at least {quantity(found.bound.low, 'J')}"
    return "not known"


def _events(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Every event that happens in one of them, with its count in each, and over the first's."""
    counts = [{t.name: t.count for t in r.terms if t.group != "static"} for r in comparison.reports]
    names = dict.fromkeys(name for found in counts for name, count in found.items() if count)
    return [(name, [_count(counts, i, name) for i in range(len(counts))]) for name in names]


def _count(counts: list[dict[str, float]], index: int, name: str) -> str:
    count, first = counts[index].get(name, 0.0), counts[0].get(name, 0.0)
    return quantity(count) + (f"  ({_times(count / first)}x)" if index and first else "")


def _layers(comparison: Comparison) -> list[tuple[str, list[str]]]:
    """Layers that two or more have by name, those of most energy; none where no layer is in two."""
    energies = [{layer.name: layer.energy for layer in r.layers} for r in comparison.reports]
    names = dict.fromkeys(layer.name for r in comparison.reports for layer in r.layers)
    common = [name for name in names if sum(name in found for found in energies) > 1]

    def most(name: str) -> float:
        return max((e.nominal for found in energies if (e := found.get(name)) is not None), default=0.0)

    shown = set(sorted(common, key=lambda name: (-most(name), name))[:MOST_LAYERS])
    return [
        (name, [quantity(e.nominal, "J") if (e := found.get(name)) is not None else "-" for found in energies])
        for name in common
        if name in shown
    ]


# -- files -------------------------------------------------------------------------------------------------------------


def csv_text(comparison: Comparison) -> str:
    """A row for every artifact, kind and name: totals ("quantity"), events ("event") and layers ("layer")."""
    rows: list[list[object]] = []
    for name, found in zip(comparison.names, comparison.reports, strict=True):
        start = [name, found.target, found.model]
        rows += [
            [*start, "quantity", key, None, *_ends(getattr(found, key)), unit] for key, (_, unit) in QUANTITIES.items()
        ]
        rows += [[*start, "event", term.name, term.count, *_ends(term.energy), "J"] for term in found.terms]
        rows += [[*start, "layer", layer.name, None, *_ends(layer.energy), "J"] for layer in found.layers]
    header = ("artifact", "target", "prices", "kind", "name", "count", "low", "nominal", "high", "unit")
    return csv_rows.text(header, rows)


def _ends(value: Range | None) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if value is None else (value.low, value.nominal, value.high)


def page(comparison: Comparison) -> str:
    """One self-contained page."""
    from ndeploy.report import side_page as pages

    sections = [pages.Section("Totals with their intervals", _bars(comparison))]
    sections.append(pages.Section("Every quantity", pages.table(_table(comparison, "quantity", _totals(comparison)))))
    sections.append(pages.Section("Over the first", pages.table(_contrasts(comparison))))
    events = _table(comparison, "event", _events(comparison), "Counts are exact; in brackets over the first's.")
    sections.append(pages.Section("Events a sample", pages.table(events)))
    layers = _layers(comparison)
    if layers:
        told = _table(comparison, "layer", layers, "Layers that two or more have by name: nominal dynamic energy.")
        sections.append(pages.Section("By layer", pages.table(told)))
    if comparison.warnings:
        sections.append(pages.Section("Beware", pages.items(comparison.warnings)))
    commands = [str(r.provenance["command"]) for r in comparison.reports if r.provenance.get("command")]
    if commands:
        sections.append(pages.Section("To reproduce each", pages.items(commands)))
    return pages.document(
        f"{len(comparison.names)} deployments side by side",
        ", ".join(f"{n}: {r.program} on {r.target}" for n, r in zip(comparison.names, comparison.reports, strict=True)),
        "\n".join(verdicts(comparison)),
        sections,
        "Counts are exact, prices are not. Estimates with the same constants are compared constant by constant: they "
        "can be told apart although their intervals overlap.",
    )


def _table(comparison: Comparison, what: str, rows: list[tuple[str, list[str]]], note: str = "") -> Table:
    from ndeploy.report.energy_page.tables import Column, Row, Table

    columns = (Column(what, "name"), *(Column(name) for name in comparison.names))
    return Table(what, columns, tuple(Row((label, *cells)) for label, cells in rows), note=note)


def _contrasts(comparison: Comparison) -> Table:
    """Ratios with bounds, and what they say."""
    from ndeploy.report.energy_page.tables import Column, Row, Table

    words = {"open": "nothing can be said", "unknown": "not known"}
    rows = []
    for name, contrasts in zip(comparison.names[1:], comparison.contrasts, strict=True):
        rows.append(Row((f"{name} over {comparison.names[0]}",), "head"))
        for c in contrasts:
            ratio = NOTHING if c.ratio is None else f"{_times(c.ratio.nominal)}x"
            bounds = NOTHING if c.ratio is None else f"{_times(c.ratio.low)}x to {_times(c.ratio.high)}x"
            by = "common constants" if c.shared else "intervals"
            cells = (QUANTITIES[c.quantity][0], ratio, bounds, by, words.get(c.verdict, c.verdict))
            rows.append(Row(cells))
    columns = (
        Column("quantity", "name"),
        Column("ratio of nominals"),
        Column("bounds of the ratio"),
        Column("bounds by", "text"),
        Column("so it is", "text"),
    )
    return Table("Ratios", columns, tuple(rows))


def _bars(comparison: Comparison) -> Markup:
    """A table with a bar for each artifact's quantities, one axis a quantity."""
    from markupsafe import Markup

    from ndeploy.report import side_page as pages
    from ndeploy.report.energy_page.bars import axis, bar
    from ndeploy.report.energy_page.scale import linear
    from ndeploy.report.energy_page.tables import Column, Row, Table

    body = Markup("")
    kinds = {
        "energy": "chip",
        "static": "static",
        "host": "host",
        "total": "sum",
        "latency": "other",
        "interval": "other",
    }
    for name, (words, unit) in QUANTITIES.items():
        values = [getattr(r, name) for r in comparison.reports]
        known = [value for value in values if value is not None]
        if not known:
            continue
        scale = linear(value.high for value in known)
        rows = tuple(
            Row(
                (
                    label,
                    bar(value, scale, unit, kinds[name]),
                    quantity(None if value is None else value.nominal, unit),
                    interval(value, unit),
                )
            )
            for label, value in zip(comparison.names, values, strict=True)
        )
        columns = (Column(words, "name"), Column("", "bar"), Column("nominal"), Column("interval"))
        body += pages.table(Table(words, columns, rows, axis(scale, unit)))
    return Markup('<div class="even">\n{}</div>\n').format(body)


__all__ = ["Comparison", "compare", "csv_text", "page", "report", "sentence", "verdicts"]
