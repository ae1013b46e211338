"""Ledger: every event that a placed program causes, by slice and model step, in exact integers. No prices here.

Events are those of `ndeploy.target.EVENTS`. They are summed over samples, by the model step in which the message they
belong to was sent (updates: in which they were made). Spikes, packets, hops and payload bits stand at the slice that
sends; synaptic operations, packets taken in and synaptic memory at the slice that receives; packets of the host and of
the embedded processor at the slice they go to, for they too cross the mesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ndeploy.check_graded import updates_of
from ndeploy.energy.clock import When, clock, operands_sent
from ndeploy.energy.updates import updates, words_of
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.ir.result import Activity
from ndeploy.neurons import Input
from ndeploy.place import Placed, Slice
from ndeploy.place.flows import HOST, Flows
from ndeploy.place.links import neurons
from ndeploy.place.routes import Routes, routes
from ndeploy.place.traffic import Arrival, arrivals, collect, senders, spread, to_processor
from ndeploy.place.units import Units, sender, units_of
from ndeploy.realise import index_sizes, realise
from ndeploy.target import EMBEDDED_EVENT, Target

ADDRESS_BYTES = 4
"""Bytes by which host and chip name a neuron in a message: an estimate, the protocol of no chip is public."""

Table = dict[str, IntArray]
Work = dict[tuple[int, int, int, str], IntArray]
"""(core, first chip step, chip steps it is spread over, event): events by model step. The first chip step is model step
0's; core HOST is the embedded processor."""


@dataclass(frozen=True, eq=False)
class Ledger:
    """events: by event, (slices, model steps). synaptic_ops: by projection and product; embedded: operations of the
    processor by population and product, all samples; work: the same events on the chip's clock, by core; rest: by
    slice, chip steps of its neurons in which the program asks no update of them; dense: by slice, synaptic operations
    if every source neuron sent at every update; host_in, host_out: bytes; configuration: bytes to load the program,
    once. slices: as placed, or one a unit where the target has no cores.
    """

    samples: int
    slices: tuple[Slice, ...]
    events: Mapping[str, IntArray]
    synaptic_ops: Mapping[str, int]
    embedded: Mapping[str, int]
    work: Mapping[tuple[int, int, int, str], IntArray]
    rest: IntArray
    dense: IntArray
    flows: Flows
    routes: Routes
    host_in: int
    host_out: int
    configuration: int


def _slices(placed: Placed, units: Units) -> tuple[Slice, ...]:
    if placed.slices:
        return placed.slices
    return tuple(
        Slice(u.name, units.owner[u.name], u.grid, tuple((0, n) for n in u.grid), HOST, u.size) for u in units.units
    )


def tally(program: Program, placed: Placed, target: Target, activity: Activity) -> Ledger:
    """Events of a run's activity on a placement. Sums over slices and steps equal the simulator's own counts."""
    units = units_of(program, target)
    slices = _slices(placed, units)
    sent = senders(program, units, activity)
    counted = activity.samples
    book = _Book(slices, clock(program))
    kinds = {j.name: j.synapses.kind for j in program.projections}
    by_link: dict[str, int] = {j.name: 0 for j in program.projections} | {x.name: 0 for x in program.products}
    found: list[tuple[Arrival, int]] = []
    for arrival, payload in arrivals(program, units, slices, sent):
        name, at, source = arrival.link.name, arrival.slice, arrival.link.source
        book.add(f"synaptic-op.{kinds.get(name, 'sparse')}", at, arrival.visits, source)
        book.add("axon-in", at, arrival.packets, source)
        book.add("memory-read", at, arrival.words, source)
        by_link[name] += int(arrival.visits.sum())
        found.append((arrival, payload))
    of_unit = {unit.name: unit for unit in units.units}
    made = []
    for number, piece in enumerate(slices):
        unit = of_unit[piece.unit]
        index = neurons(piece.box, unit.grid)
        all_of, active = updates(program, units, unit, index, sent, activity)
        made.append(int(all_of.sum()))
        read, written = words_of(program, units, unit)
        book.add("neuron-update.active", number, active, unit.name)
        book.add("neuron-update.idle", number, all_of - active, unit.name)
        book.add("memory-read", number, all_of * read, unit.name)
        book.add("memory-write", number, all_of * written, unit.name)
        if unit.name in sent:  # the messages of embedded populations are the processor's
            book.add("spike", number, sent[unit.name].messages[:, index].sum(axis=1), unit.name)
    flows = collect(iter(found), to_processor(program, units, slices, sent, counted))
    routed = routes(flows, np.array([piece.core for piece in slices], dtype=np.int64), target)
    _packets(book, flows, routed)
    embedded = _processor(book, program, counted, len(next(iter(activity.messages.values()))))
    rest = np.array([s.size * program.chip_steps_per_sample * counted for s in slices], dtype=np.int64) - made
    return Ledger(
        counted,
        slices,
        book.events,
        by_link,
        embedded,
        book.work,
        rest if placed.cores else np.zeros_like(rest),
        _dense(program, units, slices, counted),
        flows,
        routed,
        _host_in(program, activity),
        _host_out(program) * counted,
        sum(use.memory_bytes for use in placed.use) + placed.state_memory_bytes,
    )


class _Book:
    """Events by slice and model step, and by core on the chip's clock, while they are being added up."""

    def __init__(self, slices: tuple[Slice, ...], when: Mapping[str, When]) -> None:
        self.slices = slices
        self.when = when
        self.events: Table = {}
        self.work: Work = {}

    def add(self, event: str, at: int, values: IntArray, source: str | None) -> None:
        """Events of a slice, which happen when `source`, a unit or a sender, acts; None: in no core's time."""
        if event not in self.events:
            self.events[event] = np.zeros((len(self.slices), len(values)), dtype=values.dtype)
        elif values.dtype.kind == "f" != self.events[event].dtype.kind:  # estimated activity: real among integers
            self.events[event] = self.events[event].astype(values.dtype)
        self.events[event][at] += values
        if source is not None:
            self.happens(self.slices[at].core, event, values, self.when[source])

    def happens(self, core: int, event: str, values: IntArray, when: When) -> None:
        """Events of a core on the chip's clock."""
        key = core, when.start, when.over, event
        held = self.work.get(key)
        self.work[key] = values if held is None else held + values


def _processor(book: _Book, program: Program, samples: int, rows: int) -> dict[str, int]:
    """Operations of the embedded processor by population and product; on the clock they start when all is sent."""
    found: dict[str, int] = {}
    for population in program.populations:
        if population.neuron.embedded:
            each = spread(program.steps, updates_of(program, population), rows) * samples
            operations = each * population.neuron.operations(population.size)
            found[population.name] = int(operations.sum())
            book.happens(HOST, EMBEDDED_EVENT, operations, When(population.offset))
    for product in program.products:
        if product.realisation == "embedded":
            operations = spread(program.steps, program.steps, rows) * (samples * realise(product).multiplies)
            found[product.name] = int(operations.sum())
            book.happens(HOST, EMBEDDED_EVENT, operations, When(operands_sent(program, product)))
    return found


def _dense(program: Program, units: Units, slices: tuple[Slice, ...], samples: int) -> IntArray:
    """By slice, what its synapses would cost if every neuron that feeds it sent at every update."""
    of_unit = {unit.name: unit for unit in units.units}
    often = {p.name: updates_of(program, p) for p in program.populations}
    sends: dict[str, int] = {sender(p): often[p.name] for p in program.populations}
    for product in program.products:
        length = index_sizes(product)[product.stream] if product.realisation == "streamed" else 1
        sends[f"{product.name}/neurons"] = program.steps * length  # a streamed product's send for each of its slices
        sends[f"{product.name}/embedded"] = program.steps
        sends[f"{product.name}/left"] = often[product.left]
        sends[f"{product.name}/right"] = often[product.right]
    total = [
        samples * sum(link.synapses(piece.box) * sends[link.source] for link in of_unit[piece.unit].links)
        for piece in slices
    ]
    return np.array(total, dtype=np.int64)


def _packets(book: _Book, flows: Flows, routed: Routes) -> None:
    """Packets, hops, links between chips and payload bits, at the slice that sends (that receives, from outside). What
    comes from outside takes no time of a core to send."""
    at = np.where(flows.source == HOST, flows.target, flows.source)
    for event, factor in (
        ("message", np.ones(len(at), dtype=np.int64)),
        ("hop.east-west", routed.east_west),
        ("hop.north-south", routed.north_south),
        ("chip-link", routed.chip_links),
        ("payload-bit", flows.payload),
    ):
        counts = flows.packets * factor[:, None]
        for own in (True, False):
            chosen = (at != HOST) & ((flows.source != HOST) == own)
            table = np.zeros((len(book.slices), flows.packets.shape[1]), dtype=flows.packets.dtype)
            np.add.at(table, at[chosen], counts[chosen])
            book.events.setdefault(event, np.zeros_like(table))
            for number in np.flatnonzero(table.any(axis=1)).tolist():
                book.add(event, number, table[number], book.slices[number].unit if own else None)


def _host_in(program: Program, activity: Activity) -> int:
    """Bytes of the messages that the host injects."""
    total = 0
    for population in program.populations:
        if isinstance(population.neuron, Input):
            message = population.neuron.message
            payload = 0 if message.bits == 1 else -(-message.bits // 8)
            total += int(activity.messages[population.name].sum()) * (ADDRESS_BYTES + payload)
    return total


def _host_out(program: Program) -> int:
    """Bytes that the host reads for a sample: every output neuron at every model step."""
    total = 0
    for port in program.outputs:
        population = program.population(port.population)
        bits = population.neuron.message.bits if port.variable == "message" else 24
        total += population.size * program.steps * -(-bits // 8)
    return total
