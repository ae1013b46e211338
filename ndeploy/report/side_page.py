"""Pages of tables and pictures that stand beside the energy report: the same style sheet, no network, no scripts.

What goes in as text is escaped and its control characters are spelled out; Markup is ours and goes in as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from markupsafe import Markup

from ndeploy.printable import printable
from ndeploy.report.energy_page.tables import Row, Table

POLICY = Markup("default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'")
EVEN = """.verdict { white-space: pre-line; }
@media screen and (min-width: 761px) { .even table { table-layout: fixed; } .even th.bar { width: 45%; } }
@media print { .even table { table-layout: fixed; } .even th.bar { width: 45%; } }
"""
"""Tables one below the other whose columns begin at the same places; a verdict of several lines."""


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; body: Markup."""

    title: str
    body: Markup


def document(title: str, under: str, verdict: str, sections: Sequence[Section], foot: str) -> str:
    """A whole page. under: a line below the title; verdict: what the page says, a sentence or a line each."""
    style = resources.files("ndeploy.report.energy_page").joinpath("page.css").read_text(encoding="utf-8")
    head = Markup(
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="{}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<title>{}</title>\n<style>\n{}</style>\n</head>\n<body>\n'
    ).format(POLICY, printable(title), Markup(style + EVEN))
    body = Markup(
        '<header>\n<h1>{}</h1>\n<p class="faint">{}</p>\n<p class="verdict">{}</p>\n</header>\n<main>\n'
    ).format(printable(title), printable(under), printable(verdict))
    for section in sections:
        body += Markup("<section>\n<h2>{}</h2>\n{}</section>\n").format(printable(section.title), section.body)
    return str(head + body + Markup("</main>\n<footer>{}</footer>\n</body>\n</html>\n").format(printable(foot)))


def table(found: Table) -> Markup:
    """A table, readable on narrow screens too: each cell carries its heading."""
    heads = Markup("").join(
        Markup('<th role="columnheader" scope="col" class="{}">{}{}</th>').format(
            column.kind, printable(column.label), Markup(found.axis) if column.kind == "bar" else ""
        )
        for column in found.columns
    )
    rows = Markup("").join(_row(row, found) for row in found.rows)
    note = Markup('<p class="note">{}</p>\n').format(printable(found.note)) if found.note else Markup("")
    return Markup(
        '<table role="table">\n<caption>{}</caption>\n<thead role="rowgroup"><tr role="row">{}</tr></thead>\n'
        '<tbody role="rowgroup">\n{}</tbody>\n</table>\n{}'
    ).format(printable(found.caption), heads, rows, note)


def items(lines: Sequence[str]) -> Markup:
    """A list of sentences; nothing for none."""
    if not lines:
        return Markup("")
    entries = Markup("").join(Markup("<li>{}</li>\n").format(printable(line)) for line in lines)
    return Markup("<ul>\n{}</ul>\n").format(entries)


def _row(row: Row, found: Table) -> Markup:
    if row.kind == "head":
        return Markup(
            '<tr role="row" class="head"><th role="rowheader" scope="rowgroup" colspan="{}">{}</th></tr>\n'
        ).format(len(found.columns), _text(row.cells[0]))
    cells = Markup("")
    for i, (cell, column) in enumerate(zip(row.cells, found.columns, strict=True)):
        if i == 0:
            cells += Markup('<th role="rowheader" scope="row" class="{}">{}</th>').format(column.kind, _text(cell))
        else:
            cells += Markup('<td role="cell" class="{}" data-label="{}">{}</td>').format(
                column.kind, printable(column.label), _text(cell)
            )
    return Markup('<tr role="row" class="{}">{}</tr>\n').format(row.kind, cells)


def _text(cell: str) -> str:
    return cell if isinstance(cell, Markup) else printable(cell)
