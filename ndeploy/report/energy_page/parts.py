"""The tables of where the energy goes: by term, by layer, by core."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

from ndeploy.energy.ranges import ZERO, Range
from ndeploy.energy.result import GROUPS, CoreCost, EnergyReport, LayerCost, Term
from ndeploy.report.energy_page.bars import axis, bar
from ndeploy.report.energy_page.numbers import NOTHING, interval, quantity, share
from ndeploy.report.energy_page.scale import Scale, linear
from ndeploy.report.energy_page.sources import Sources
from ndeploy.report.energy_page.tables import Column, Row, Table, largest

MOST_LAYERS = 24
MOST_CORES = 16
GROUP_TITLES = {
    "chip": "dynamic energy of the chip",
    "static": "static energy: power that flows whatever happens, for the time between two samples",
    "host": "host: messages in and out",
    "load": "once, when the program is loaded (in no sum)",
}
MEANINGS = {
    "synaptic-op.dense": "a synapse visited by a message, of dense layers",
    "synaptic-op.sparse": "a synapse visited, of sparse layers and products",
    "synaptic-op.conv": "a synapse visited, of convolutions",
    "axon-in": "a packet taken in by a core",
    "neuron-update.active": "an update with input or bias",
    "neuron-update.idle": "an update without input",
    "neuron-rest": "a neuron's chip step without an update of the program",
    "spike": "a message made by a neuron",
    "message": "a packet put out",
    "hop.east-west": "a packet's way to the next router",
    "hop.north-south": "a packet's way to the next router",
    "chip-link": "a packet's way to the next chip",
    "payload-bit": "a bit of a graded message",
    "memory-read": "a word of 64 bits",
    "memory-write": "a word of 64 bits",
    "barrier": "a core at the end of a chip step",
    "embedded-op": "an operation of the embedded processor",
    "host-byte.in": "a byte that the host sends",
    "host-byte.out": "a byte that the host reads",
    "configuration-byte": "a byte of the program",
    "static": "a chip in use",
}


def by_term(report: EnergyReport, sources: Sources) -> Table:
    """Every term under its group, the largest first, with each group's sum."""
    # static and host energy are on the overview's axis: here they would press the chip's terms into its first pixels
    scale = linear(_highs([*(t.energy for t in report.terms if t.group == "chip"), report.energy or report.bound]))
    whole = (report.energy or report.bound or ZERO).nominal
    rows: list[Row] = []
    for group in GROUPS:
        terms = [term for term in report.terms if term.group == group]
        if not terms:
            continue
        rows.append(Row((GROUP_TITLES[group],), "head"))
        terms.sort(key=lambda t: (t.energy is None, -(t.energy or ZERO).nominal, t.name))
        rows += [_term(term, scale, whole, sources) for term in terms]
        if group == "chip":
            rows.append(_chip_sum(report, scale))
    columns = (
        Column("event", "name"),
        Column("events a sample"),
        Column("price of one"),
        Column("", "bar"),
        Column("energy a sample"),
        Column("of the chip's"),
        Column("source", "text"),
    )
    note = "Bars: nominal; whiskers: from low to high. A covered event is held by the price of another."
    return Table("Energy by term", columns, tuple(rows), axis(scale, "J"), note)


def _term(term: Term, scale: Scale, whole: float, sources: Sources) -> Row:
    name = Markup('{}<small class="block">{}</small>').format(term.name, MEANINGS.get(term.name, ""))
    each = stacked(term.unit_energy, "W" if term.group == "static" else "J")
    if term.covered:
        each, words = Markup("covered"), Markup('0 J<small class="block wrap">in {}</small>').format(term.covered)
    elif term.energy is None:
        each, words = Markup("none known"), Markup("no price" if term.count else "does not happen")
    else:
        words = stacked(term.energy, "J")
    part = share(term.energy.nominal, whole) if term.energy is not None and term.group == "chip" else ""
    drawn = bar(term.energy, scale, "J", term.group) if term.group == "chip" and not term.covered else Markup("")
    return Row((name, quantity(term.count), each, drawn, words, part, sources.mark(term.source, term.status)))


def _chip_sum(report: EnergyReport, scale: Scale) -> Row:
    if report.energy is not None:
        return _sum("sum", report.energy, scale)
    if report.bound is not None:
        return _sum("sum of what is priced", report.bound, scale)
    return Row(("sum", "", "", "", "none: a term has no price", "", ""), "sum")


def _sum(name: str, found: Range, scale: Scale) -> Row:
    return Row((name, "", "", bar(found, scale, "J", "sum"), stacked(found, "J"), "100 %", ""), "sum")


def by_layer(report: EnergyReport) -> Table:
    """Layers in the network's order; of many, those of most energy and the rest together."""
    shown, rest = largest(report.layers, lambda layer: (layer.energy or ZERO).nominal, MOST_LAYERS)
    scale = linear(_highs(layer.energy for layer in shown))
    whole = (report.energy or report.bound or ZERO).nominal
    rows = [
        Row(
            (
                Markup('{}<small class="block">{}</small>').format(layer.name, layer.kind),
                quantity(layer.neurons),
                str(layer.cores) if layer.cores else NOTHING,
                bar(layer.energy, scale, "J"),
                *_energy(layer.energy, whole),
            )
        )
        for layer in shown
    ]
    if rest:
        together = total([layer.energy for layer in rest])
        cells = (f"{len(rest)} other layers", quantity(sum(layer.neurons for layer in rest)), "", "")
        rows.append(Row((*cells, *_energy(together, whole)), "part"))
    shared = outside_layers(report)
    if shared is not None:
        rows.append(Row(("of no single layer", "", "", bar(shared, scale, "J"), *_energy(shared, whole)), "part"))
    columns = (
        Column("layer", "name"),
        Column("neurons"),
        Column("cores"),
        Column("", "bar"),
        Column("dynamic energy a sample"),
        Column("interval"),
        Column("share"),
    )
    return Table("Energy by layer", columns, tuple(rows), axis(scale, "J"), _shared_note(shared))


def _shared_note(shared: Range | None) -> str:
    return (
        "" if shared is None else "Barriers, and what else belongs to a core or the whole chip, are of no single layer."
    )


def outside_layers(report: EnergyReport) -> Range | None:
    """Dynamic energy that stands at no layer; None where it is not known or nothing."""
    layers = total([layer.energy for layer in report.layers])
    if report.energy is None or layers is None or not report.layers:
        return None
    rest = [whole - part for whole, part in zip(_ends(report.energy), _ends(layers), strict=True)]
    # sums in another order differ in their last bits
    if rest[1] <= 1e-9 * report.energy.nominal or not 0 <= rest[0] <= rest[1] <= rest[2]:
        return None
    return Range(*rest)


def by_core(report: EnergyReport) -> Table:
    """The cores of most energy, and the rest together."""
    shown, rest = largest(report.cores, lambda core: (core.energy or ZERO).nominal, MOST_CORES)
    scale = linear(_highs(core.energy for core in shown))
    rows = [_core(core, scale) for core in shown]
    if rest:
        together = total([core.energy for core in rest])
        memory, neurons = _mean([core.memory_share for core in rest]), _mean([core.neuron_share for core in rest])
        cells = (f"{len(rest)} other cores, in all", "", memory, neurons, "", stacked(together, "J"))
        rows.append(Row((*cells, stacked(_longest(rest), "s")), "part"))
    columns = (
        Column("core", "name"),
        Column("holds", "text"),
        Column("memory used"),
        Column("neurons used"),
        Column("", "bar"),
        Column("dynamic energy a sample"),
        Column("busy a sample"),
    )
    note = "Of the rest: mean use, energy of all, and the busiest." if rest else ""
    return Table("Energy by core", columns, tuple(rows), axis(scale, "J"), note)


def _core(core: CoreCost, scale: Scale) -> Row:
    where = f"chip {core.chip}, router {core.x},{core.y}" if core.chip >= 0 else ""
    return Row(
        (
            Markup('{}<small class="block">{}</small>').format(core.core, where),
            _names(core.layers),
            _percent(core.memory_share),
            _percent(core.neuron_share),
            bar(core.energy, scale, "J"),
            stacked(core.energy, "J"),
            stacked(core.busy, "s"),
        )
    )


def stacked(found: Range | None, unit: str) -> Markup:
    """The nominal value above its interval."""
    nominal = quantity(None if found is None else found.nominal, unit)
    ends = interval(found, unit)
    if nominal == ends:
        return Markup("{}").format(nominal)
    return Markup('{}<small class="block">{}</small>').format(nominal, ends)


def _names(names: Sequence[str], most: int = 3) -> str:
    told = ", ".join(names[:most])
    return told if len(names) <= most else f"{told} and {len(names) - most} more"


def _energy(found: Range | None, whole: float) -> tuple[str, str, str]:
    if found is None:
        return "no price", "", ""
    return quantity(found.nominal, "J"), interval(found, "J"), share(found.nominal, whole)


def _percent(part: float | None) -> str:
    return NOTHING if part is None else share(part, 1.0)


def _mean(parts: Sequence[float | None]) -> str:
    known = [part for part in parts if part is not None]
    return _percent(sum(known) / len(known)) if known else NOTHING


def _longest(cores: Sequence[CoreCost]) -> Range | None:
    return max((core.busy for core in cores if core.busy is not None), key=lambda busy: busy.nominal, default=None)


def total(found: Sequence[Range | None]) -> Range | None:
    """The sum, None where a part is not known."""
    whole = ZERO
    for part in found:
        if part is None:
            return None
        whole = whole + part
    return whole


def _ends(found: Range) -> tuple[float, float, float]:
    return found.low, found.nominal, found.high


def _highs(found: Iterable[Range | None]) -> list[float]:
    return [part.high for part in found if part is not None]


def dense_share(layer: LayerCost) -> float | None:
    """Synaptic operations made, of those if every neuron sent at every update; None where there are none."""
    return synaptic_operations(layer) / layer.dense_synaptic_ops if layer.dense_synaptic_ops > 0 else None


def synaptic_operations(layer: LayerCost) -> float:
    """A layer's synaptic operations a sample, of every kind of storage."""
    return sum(count for event, count in layer.counts.items() if event.startswith("synaptic-op"))
