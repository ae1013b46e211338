"""The table of `ndeploy verify --against float`: signals by ticks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ndeploy.report import style
from ndeploy.ticks import LIMIT, TickReport

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

MAX_COLUMNS = 15
"""With more ticks than this the table has a row a tick, a column a signal."""


def report(found: TickReport, reference: str, against: str) -> list[RenderableType]:
    """The verdict, what the answers agree on, and every signal's SQNR at every tick."""
    below = found.first_below
    names = f"{reference} and {style.plain(against)}"
    if below is None:
        verdict = f"[bold green]every signal is within its bound[/bold green]: {names}"
    else:
        tick, signal = below
        verdict = (
            f"[bold red]below {found.min_sqnr:g} dB[/bold red] first at tick {tick} in {style.plain(signal.name)}: "
            f"{level(signal.sqnr[tick])} dB ({names})"
        )
    facts = {
        "compared": f"{style.many(found.samples, 'sample')}, {style.many(found.ticks, 'tick')}, "
        f"{style.many(len(found.signals), 'signal')}; least allowed {found.min_sqnr:g} dB"
    }
    if found.agreement is not None:
        if found.agreement.answers is not None:
            facts["same answer"] = f"{style.percent(found.agreement.answers)} of the samples"
        if found.agreement.certain_ticks is not None:
            facts["same most certain tick"] = f"{style.percent(found.agreement.certain_ticks)} of the samples"
    if found.missing:
        facts["not in the program"] = ", ".join(found.missing)
    return [verdict, style.facts(facts), "", table(found)]


def level(value: float) -> str:
    """dB with one digit; equal values and differences from silence in words."""
    if abs(value) >= LIMIT:
        return "equal" if value > 0 else "lost"
    return f"{value:.1f}"


def _cell(value: float, least: float) -> str:
    return f"[bold red]{level(value)}[/bold red]" if value < least else level(value)


def table(found: TickReport) -> Table:
    """SQNR in dB, red where it is below the bound, and the share of equal argmaxes in percent."""
    columns = [(style.plain(s.name), [_cell(value, found.min_sqnr) for value in s.sqnr]) for s in found.signals]
    if found.agreement is not None:
        columns.append(("same argmax, %", [f"{100 * share:.0f}" for share in found.agreement.argmax]))
    title = "SQNR in dB by tick"
    if found.ticks <= MAX_COLUMNS:
        wide = style.grid(title, "", *(f">{tick}" for tick in range(found.ticks)))
        for name, cells in columns:
            wide.add_row(name, *cells)
        return wide
    tall = style.grid(title, ">tick", *(f">{name}" for name, _ in columns))
    for tick in range(found.ticks):
        tall.add_row(str(tick), *(cells[tick] for _, cells in columns))
    return tall
