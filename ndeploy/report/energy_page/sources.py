"""Sources of constants: each has a number, by which tables refer to it."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from ndeploy.energy.result import EnergyReport, Term
from ndeploy.report.energy_page.numbers import quantity
from ndeploy.report.energy_page.tables import Column, Row, Table
from ndeploy.target import STATUSES

STATUS_MEANINGS = {
    "code": "read in a public tool's source",
    "abstract": "a paper's abstract",
    "quoted": "a third party quoting the primary",
    "derived": "arithmetic on numbers of the other kinds",
    "unverified": "from memory, assumed, or not published",
}


class Sources:
    """Numbers sources in the order in which they are first named."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, source: str, status: str) -> Markup:
        """The status as a tag and the source's number as a link to its line; nothing without a source."""
        if not source:
            return Markup("")
        number = self._numbers.setdefault(source, len(self._numbers) + 1)
        return Markup('<span class="mark">{} <a href="#source-{}">[{}]</a></span>').format(tag(status), number, number)

    @property
    def listed(self) -> tuple[str, ...]:
        """Sources by number, from 1."""
        return tuple(self._numbers)


def tag(status: str) -> Markup:
    """A status word; its colour repeats what it says. Nothing without a word, as of an event in another's price."""
    if not status:
        return Markup("")
    kind = status if status in STATUSES else "unverified"
    return Markup('<span class="tag {}" title="{}">{}</span>').format(kind, STATUS_MEANINGS[kind], status)


def constants(terms: Sequence[Term], sources: Sources) -> Table:
    """Every price that was used."""
    rows = []
    for term in terms:
        each = term.unit_energy
        if each is None or not term.source:
            continue
        unit = "W" if term.group == "static" else "J"
        ends = tuple(quantity(value, unit) for value in (each.low, each.nominal, each.high))
        rows.append(Row((term.name, *ends, term.scope, sources.mark(term.source, term.status), term.note)))
    columns = (
        Column("constant", "name"),
        Column("low"),
        Column("nominal"),
        Column("high"),
        Column("scope", "text"),
        Column("status and source", "text"),
        Column("note", "text"),
    )
    return Table("Constants", columns, tuple(rows))


def covered(report: EnergyReport) -> list[str]:
    """Events that cost nothing of their own, and what holds them."""
    return [f"{term.name}: in the price of {term.covered}" for term in report.terms if term.covered]
