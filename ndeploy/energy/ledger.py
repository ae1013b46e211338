"""Ledger: every event that a placed program causes, by slice and model step, in exact integers. No prices here.

Events are those of `ndeploy.target.EVENTS`. They are summed over samples, by the model step in which the message they
belong to was sent (updates: in which they were made). Spikes, packets, hops and payload bits stand at the slice that
sends; synaptic operations, packets taken in and synaptic memory at the slice that receives; packets of the host and of
the embedded processor at the slice they go to, for they too cross the mesh.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ndeploy.check_graded import updates_of
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Product, Program
from ndeploy.ir.result import Activity
from ndeploy.neurons import Input
from ndeploy.place import Placed, Slice, embedded_operations
from ndeploy.place.flows import HOST, Flows
from ndeploy.place.links import neurons
from ndeploy.place.routes import Routes, routes
from ndeploy.place.state import WORD_BYTES
from ndeploy.place.traffic import Arrival, Sent, arrivals, collect, senders, spread, to_processor
from ndeploy.place.units import Unit, Units, units_of
from ndeploy.realise import index_sizes
from ndeploy.target import Target

ADDRESS_BYTES = 4
"""Bytes by which host and chip name a neuron in a message: an estimate, the protocol of no chip is public."""
STATE_WORDS = 8 // WORD_BYTES
"""Words of a neuron's state in one word of memory of 64 bits."""

Table = dict[str, IntArray]


@dataclass(frozen=True, eq=False)
class Ledger:
    """events: by event, (slices, model steps). synaptic_ops: by projection and product; embedded: operations of the
    processor by population and product, all samples; phase: (slices,) chip step of a slice's update for model step 0;
    dense: by slice, synaptic operations if every source neuron sent at every update; host_in, host_out: bytes;
    configuration: bytes to load the program, once. slices: as placed, or one a unit where the target has no cores.
    """

    samples: int
    slices: tuple[Slice, ...]
    events: Mapping[str, IntArray]
    synaptic_ops: Mapping[str, int]
    embedded: Mapping[str, int]
    phase: IntArray
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
    steps = len(next(iter(activity.messages.values())))
    sent = senders(program, units, activity)
    counted = activity.samples
    events: Table = {}
    kinds = {j.name: j.synapses.kind for j in program.projections}
    by_link: dict[str, int] = {j.name: 0 for j in program.projections} | {x.name: 0 for x in program.products}
    found: list[tuple[Arrival, int]] = []
    for arrival, payload in arrivals(program, units, slices, sent):
        name, at = arrival.link.name, arrival.slice
        _add(events, f"synaptic-op.{kinds.get(name, 'sparse')}", at, arrival.visits, len(slices))
        _add(events, "axon-in", at, arrival.packets, len(slices))
        _add(events, "memory-read", at, arrival.words, len(slices))
        by_link[name] += int(arrival.visits.sum())
        found.append((arrival, payload))
    dense = _dense(program, units, slices, counted)
    _updates(events, program, units, slices, sent, activity, steps)
    flows = collect(iter(found), to_processor(program, units, slices, sent, counted))
    cores = np.array([piece.core for piece in slices], dtype=np.int64)
    routed = routes(flows, cores, target)
    _packets(events, flows, routed, len(slices))
    return Ledger(
        counted,
        slices,
        events,
        by_link,
        {operation.name: operation.operations * counted for operation in embedded_operations(program)},
        np.array([_phase(program, units, piece) for piece in slices], dtype=np.int64),
        dense,
        flows,
        routed,
        _host_in(program, activity),
        _host_out(program) * counted,
        placed.weight_memory_bytes + placed.state_memory_bytes,
    )


def _add(events: Table, event: str, at: int, values: IntArray, slices: int) -> None:
    if event not in events:
        events[event] = np.zeros((slices, len(values)), dtype=values.dtype)
    elif values.dtype.kind == "f" != events[event].dtype.kind:  # estimated activity: real numbers among integers
        events[event] = events[event].astype(values.dtype)
    events[event][at] += values


def _dense(program: Program, units: Units, slices: tuple[Slice, ...], samples: int) -> IntArray:
    """By slice, what its synapses would cost if every neuron that feeds it sent at every update."""
    of_unit = {unit.name: unit for unit in units.units}
    updates = {name: n for name, n in ((p.name, updates_of(program, p)) for p in program.populations)}
    total = []
    for piece in slices:
        n = 0
        for link in of_unit[piece.unit].links:
            source = units.owner.get(link.source, link.source)
            n += link.synapses(piece.box) * updates.get(source, program.steps)
        total.append(n * samples)
    return np.array(total, dtype=np.int64)


def _population(program: Program, units: Units, unit: str) -> Population | None:
    """The population that the unit is, None for the buffers and neurons of a product."""
    owner = units.owner[unit]
    return next((p for p in program.populations if p.name == owner and p.name == unit), None)


def _product(program: Program, units: Units, unit: str) -> Product:
    return next(x for x in program.products if x.name == units.owner[unit])


def _biased(population: Population) -> bool:
    return any(bool(np.any(getattr(population.neuron, name, 0))) for name in ("bias", "input_bias"))


def _updates(
    events: Table,
    program: Program,
    units: Units,
    slices: tuple[Slice, ...],
    sent: Mapping[str, Sent],
    activity: Activity,
    steps: int,
) -> None:
    """Updates, active and idle, the words of state they touch, and the spikes they make."""
    of_unit = {unit.name: unit for unit in units.units}
    for number, piece in enumerate(slices):
        unit = of_unit[piece.unit]
        index = neurons(piece.box, unit.grid)
        population = _population(program, units, unit.name)
        if population is not None:
            each = spread(program.steps, updates_of(program, population), steps)
            all_of = each * index.size * activity.samples
            active = activity.arrivals[population.name][:, index].sum(axis=1)
            if _biased(population):
                active = all_of
            makes = None if population.neuron.embedded else sent[unit.name].messages[:, index].sum(axis=1)
        else:
            all_of, active = _of_product(program, units, unit, index, sent, activity, steps)
            makes = sent[unit.name].messages[:, index].sum(axis=1)
        _add(events, "neuron-update.active", number, active, len(slices))
        _add(events, "neuron-update.idle", number, all_of - active, len(slices))
        words = -(-unit.words // STATE_WORDS)
        _add(events, "memory-read", number, all_of * words, len(slices))
        _add(events, "memory-write", number, all_of * words, len(slices))
        if makes is not None:
            _add(events, "spike", number, makes, len(slices))


def _of_product(
    program: Program,
    units: Units,
    unit: Unit,
    index: IntArray,
    sent: Mapping[str, Sent],
    activity: Activity,
    steps: int,
) -> tuple[IntArray, IntArray]:
    """(updates, updates into which a message came) of a product's neurons or of one of its buffers, by step."""
    product = _product(program, units, unit.name)
    sizes = index_sizes(product)
    repeats = sizes[product.stream] if product.realisation == "streamed" else 1
    every = spread(program.steps, program.steps, steps)
    all_of = every * index.size * repeats * activity.samples
    if not unit.name.endswith("/neurons"):
        return all_of, sent[unit.name].messages[:, index].sum(axis=1)
    letters = product.subscripts.split("->")[0].split(",")
    came = np.zeros(len(every), dtype=np.int64)
    for operand, of_side, view in zip(
        (product.left, product.right), letters, (product.left_view, product.right_view), strict=True
    ):
        fans = _uses(of_side, view, sizes, unit, index, product)
        came = came + (activity.messages[operand].astype(np.float64) @ fans).astype(np.int64)
    both = _coinciding(program, product, sent[unit.name].messages, index)
    return all_of, np.minimum(came - both, all_of)


def _uses(
    letters: str, view: tuple[int, ...], sizes: Mapping[str, int], unit: Unit, index: IntArray, product: Product
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """How many of the neurons at `index` each element of an operand goes to, counting the slices of a streamed one."""
    at = dict(zip(sizes, np.unravel_index(index, unit.grid), strict=True))
    fans = np.zeros(math.prod(view), dtype=np.float64)
    stream = product.stream if product.realisation == "streamed" else ""
    for k in range(sizes[stream] if stream and stream in letters else 1):
        where = tuple(np.full(index.size, k) if letter == stream else at[letter] for letter in letters)
        fans += np.bincount(np.ravel_multi_index(where, view), minlength=fans.size)
    return fans


def _coinciding(program: Program, product: Product, live: IntArray, index: IntArray) -> IntArray:
    """Updates that both operands reach at once. A latched operand arrives once: later products are of one arrival."""
    early = [updates_of(program, program.population(name)) for name in (product.left, product.right)]
    both: IntArray = live[:, index].sum(axis=1)
    if len(both) == program.steps:
        both = np.where(np.arange(program.steps) < min(early), both, 0)
    return both


def _packets(events: Table, flows: Flows, routed: Routes, slices: int) -> None:
    """Packets, hops, links between chips and payload bits, at the slice that sends (that receives, from outside)."""
    at = np.where(flows.source == HOST, flows.target, flows.source)
    inside = at != HOST
    for event, factor in (
        ("message", np.ones(len(at), dtype=np.int64)),
        ("hop.east-west", routed.east_west),
        ("hop.north-south", routed.north_south),
        ("chip-link", routed.chip_links),
        ("payload-bit", flows.payload),
    ):
        table = np.zeros((slices, flows.packets.shape[1]), dtype=flows.packets.dtype)
        np.add.at(table, at[inside], flows.packets[inside] * factor[inside, None])
        events[event] = table


def _phase(program: Program, units: Units, piece: Slice) -> int:
    """Chip step in which the slice is updated for model step 0."""
    population = _population(program, units, piece.unit)
    if population is not None:
        return population.offset
    product = _product(program, units, piece.unit)
    after = max(program.population(product.left).offset, program.population(product.right).offset) + 1
    return after + (product.realisation == "streamed" and piece.unit.endswith("/neurons"))


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
