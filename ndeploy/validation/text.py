"""The table of `ndeploy validate`, for a terminal and for docs/validation.md."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ndeploy.validation.rows import Measurement, Row

if TYPE_CHECKING:
    from rich.console import RenderableType

COLUMNS = ("workload", "quantity", "measured", "low", "nominal", "high", "error", "high/low", "inside", "basis")
_SI = ("J", "s", "W")


def quantity(value: float, unit: str) -> str:
    """Three digits and an SI prefix for joules, seconds and watts; four digits for counts and rates."""
    from ndeploy.report.style import si

    if unit in _SI:
        return si(value, unit)
    if unit == "1/s":
        return f"{value:.4g} /s"
    factor, prefix = next(((f, p) for f, p in ((1e6, " M"), (1e3, " k")) if value >= 10 * f), (1.0, ""))
    return f"{value / factor:.4g}{prefix}"


def _error(row: Row) -> str:
    """Percent; beyond ten times the measured value, how many times."""
    if row.error is None:
        return "-"
    return f"{100 * row.error:+.0f} %" if row.error < 9 else f"{row.error + 1:.0f} times"


def _width(row: Row) -> str:
    return "-" if row.width is None or row.width == 1 else f"{row.width:.1f}"


def _inside(row: Row) -> str:
    return "-" if row.inside is None else "yes" if row.inside else "no"


def cells(row: Row) -> tuple[str, ...]:
    """The texts of `COLUMNS`."""
    m, found = row.measurement, row.estimate
    bounds = (
        ("-", "-", "-")
        if found is None
        else tuple(quantity(value, m.unit) for value in (found.low, found.nominal, found.high))
    )
    return (
        m.workload,
        m.quantity,
        quantity(m.value, m.unit),
        *bounds,
        _error(row),
        _width(row),
        _inside(row),
        row.basis,
    )


def verdict(rows: Sequence[Row]) -> str:
    """How many agree, in a sentence: energies, times and rates apart from counts."""
    physical = [row for row in rows if row.measurement.unit in (*_SI, "1/s")]
    counts = [row for row in rows if row not in physical]
    left = sum(row.estimate is None for row in rows)
    tail = f"; {left} not computed, for the reasons given" if left else ""
    return f"Inside the estimate: {_share(physical)} energies, times and rates, {_share(counts)} counts{tail}."


def _share(rows: Sequence[Row]) -> str:
    known = [row for row in rows if row.inside is not None]
    return f"{sum(bool(row.inside) for row in known)} of {len(known)}"


def markdown(rows: Sequence[Row]) -> str:
    """The table and, below it, by row: what was computed, what is missing, the source. Ends with a newline."""
    lines = [verdict(rows), "", f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    lines.append("")
    lines += [f"- `{row.measurement.name}`: {_story(row)}" for row in rows]
    return "\n".join(lines) + "\n"


def _story(row: Row) -> str:
    parts = [row.how, *row.missing, _source(row.measurement)]
    return ". ".join(part[:1].upper() + part[1:] for part in parts) + "."


def _source(measurement: Measurement) -> str:
    return f"source ({measurement.status}): {measurement.source}"


def report(rows: Sequence[Row]) -> list[RenderableType]:
    """The table and the reasons, as rich renderables."""
    from ndeploy.report import style

    right = COLUMNS[2:8]
    table = style.grid(verdict(rows), *(f">{name}" if name in right else name for name in COLUMNS))
    for row in rows:
        table.add_row(*(style.plain(cell) for cell in cells(row)))
    return [table, *(f"[bold]{style.plain(r.measurement.name)}[/bold]  {style.plain(_story(r))}" for r in rows)]
