"""From what every neuron sent to packets between slices, and to what arrives at each slice.

A message becomes one packet for every (link, slice) that holds a target of it: on the chip each is an axon of its own.
Everything here is linear in the activity, so sums over samples and model steps are as exact as single events.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ndeploy.check_graded import updates_of
from ndeploy.fixed import IntArray
from ndeploy.ir.program import Product, Program
from ndeploy.ir.result import Activity
from ndeploy.neurons import Input
from ndeploy.place.fan import destinations, fan
from ndeploy.place.flows import HOST, Flows
from ndeploy.place.links import Box, Exclusive, Link, Separable, SharedConv, neurons
from ndeploy.place.units import Unit, Units, sender, units_of
from ndeploy.realise import index_sizes
from ndeploy.target import Target

EXACT = 2**53
"""Integers below it are exact as float64."""
SUM_BITS = 24
"""Payload of a packet that carries a sum: to or from the embedded processor. It has the bits of a neuron's state."""


class Piece(Protocol):
    """A box of a unit's neurons: a slice of a placement, or one that is to be placed."""

    @property
    def unit(self) -> str: ...
    @property
    def box(self) -> Box: ...


@dataclass(frozen=True, eq=False)
class Sent:
    """Messages of a unit or of something hosted, int64 (steps, neurons), and the payload bits of one (0: binary)."""

    messages: IntArray
    payload: int


@dataclass(frozen=True, eq=False)
class Arrival:
    """Messages over one link into one slice, by step: packets, synapses visited, words of synaptic memory read."""

    link: Link
    slice: int
    packets: IntArray
    visits: IntArray
    words: IntArray
    by_source: Mapping[int, IntArray]


def product_grid(product: Product) -> tuple[int, ...]:
    """Shape of a product's neurons: one axis an index, 1 for the streamed one."""
    stream = product.stream if product.realisation == "streamed" else ""
    return tuple(1 if letter == stream else size for letter, size in index_sizes(product).items())


def _live(product: Product, live: IntArray) -> IntArray:
    """Scalar products by neuron: those of a streamed product's slices fall on the same neurons."""
    sizes = index_sizes(product)
    if product.realisation != "streamed":
        return live
    axis = 1 + list(sizes).index(product.stream)
    found: IntArray = live.reshape(len(live), *sizes.values()).sum(axis=axis).reshape(len(live), -1)
    return found


def payload_bits(program: Program, name: str) -> int:
    """Bits of a population's graded payload, 0 for binary spikes."""
    message = program.population(name).neuron.message
    return 0 if message.bits == 1 and not message.signed else message.bits


def senders(program: Program, units: Units, activity: Activity) -> dict[str, Sent]:
    """What every unit, host population and embedded part sent, by the names that links have for their sources.

    An embedded product sends every element of its result at every model step.
    """
    rows = len(next(iter(activity.messages.values())))
    found: dict[str, Sent] = {}
    for population in program.populations:
        found[sender(population)] = Sent(activity.messages[population.name], payload_bits(program, population.name))
    for product in program.products:
        bits = payload_bits(program, product.left) + payload_bits(program, product.right)
        if product.realisation == "embedded":
            name = f"{product.name}/embedded"
            times = activity.samples * program.steps // rows
            every = np.full((rows, units.hosted[name]), times, dtype=activity_type(activity))
            found[name] = Sent(every, SUM_BITS)
            continue
        if product.realisation == "streamed":
            for side, operand in (("left", product.left), ("right", product.right)):
                held = activity.messages[operand]
                found[f"{product.name}/{side}"] = Sent(held, payload_bits(program, operand))
        found[f"{product.name}/neurons"] = Sent(_live(product, activity.live[product.name]), bits)
    return found


def activity_type(activity: Activity) -> np.dtype[np.int64]:
    """int64 for what was counted; the type of estimated activity (float64) where it was spread evenly."""
    return next(iter(activity.messages.values())).dtype


def targets_of(program: Program, unit: Unit, link: Link) -> IntArray | None:
    """For an exclusive link, the target neuron of each source neuron."""
    if not isinstance(link, Exclusive):
        return None
    product = next(p for p in program.products if p.name == link.name)
    if product.realisation == "embedded":
        return np.arange(link.sources, dtype=np.int64)
    return destinations(product, product_grid(product))


def words_read(link: Link, box: Box, visits: IntArray) -> IntArray:
    """Words of 64 bits of synaptic memory that a message of each source neuron reads, from its synapses in the box."""
    if isinstance(link, SharedConv):  # the kernel's taps, without the block of its own that an axon has elsewhere
        return -(-visits * link.format.synapse // 64)
    return -(-link.format.axon_bits(visits) // 64)


def arrivals(
    program: Program, units: Units, slices: Sequence[Piece], sent: Mapping[str, Sent]
) -> Iterator[tuple[Arrival, int]]:
    """Every link into every slice, with the payload bits of its packets; by_source: packets by slice, HOST the rest."""
    of_unit: dict[str, list[int]] = {}
    for number, piece in enumerate(slices):
        of_unit.setdefault(piece.unit, []).append(number)
    by_name = {unit.name: unit for unit in units.units}
    owner: dict[str, IntArray] = {}
    whole: dict[str, dict[int, IntArray]] = {}
    held_rows: dict[str, IntArray] = {}

    def rows(name: str) -> IntArray:
        """Messages with a row for each neuron, so that those of some neurons are taken at once."""
        if name not in held_rows:
            held_rows.clear()  # links of one source follow each other
            held_rows[name] = np.ascontiguousarray(sent[name].messages.T)
        return held_rows[name]

    def owners(name: str) -> IntArray:
        if name not in owner:
            unit = by_name[name]
            held = np.full(unit.size, HOST, dtype=np.int64)
            for number in of_unit.get(name, ()):
                held[neurons(slices[number].box, unit.grid)] = number
            owner[name] = held
        return owner[name]

    def by_slice(name: str, part: IntArray, reached: IntArray | None) -> dict[int, IntArray]:
        """Messages by slice of the source unit. part: (neurons, steps), those of the neurons `reached`."""
        if name not in by_name:
            return {HOST: part.sum(axis=0)}
        held = owners(name) if reached is None else owners(name)[reached]
        if not held.size:
            return {}
        if np.any(held[1:] < held[:-1]):
            order = np.argsort(held, kind="stable")
            held, part = held[order], part[order]
        starts = np.flatnonzero(np.r_[True, held[1:] != held[:-1]])
        sums = np.add.reduceat(part, starts, axis=0)
        return {int(held[s]): sums[i] for i, s in enumerate(starts)}

    for unit in units.units:
        for link in unit.links:
            payload = sent[link.source].payload
            onto = targets_of(program, unit, link)
            uniform = isinstance(link, Separable) and link.uniform
            for number in of_unit.get(unit.name, ()):
                box = slices[number].box
                part = rows(link.source)
                if uniform:
                    each = np.full(1, _volume(box), dtype=np.int64)
                    words = int(words_read(link, box, each)[0])
                    if link.source not in whole:
                        whole[link.source] = by_slice(link.source, part, None)
                    found = whole[link.source]
                    total = np.sum(list(found.values()), axis=0)
                    yield Arrival(link, number, total, total * int(each[0]), total * words, found), payload
                    continue
                visits = fan(link, box, onto)
                reached = np.flatnonzero(visits)
                visits = visits[reached]
                if reached.size < len(part):
                    part = part[reached]
                weights = np.stack([np.ones_like(visits), visits, words_read(link, box, visits)])
                packets, ops, words_of = _weighed(weights, part)
                yield Arrival(link, number, packets, ops, words_of, by_slice(link.source, part, reached)), payload


def _volume(box: Box) -> int:
    return int(np.prod([stop - start for start, stop in box]))


def _weighed(weights: IntArray, rows: IntArray) -> IntArray:
    """weights (k, n) @ rows (n, T): in float64, which is fast, where that is exact."""
    if rows.dtype.kind != "f" and float(weights.max(initial=0)) * float(rows.sum()) >= EXACT:
        return np.asarray(weights @ rows)
    return (weights.astype(np.float64) @ rows.astype(np.float64)).astype(rows.dtype)


def to_processor(
    program: Program, units: Units, slices: Sequence[Piece], sent: Mapping[str, Sent], samples: int
) -> Iterator[tuple[int, IntArray, int]]:
    """(slice, packets by step, payload bits of one) that go to the embedded processor: messages of operands, sums of
    embedded neurons."""
    by_name = {unit.name: unit for unit in units.units}
    rows = len(next(iter(sent.values())).messages)
    for number, piece in enumerate(slices):
        times = units.to_processor.get(piece.unit, 0)
        if not times:
            continue
        unit = by_name[piece.unit]
        population = program.population(units.owner[unit.name])
        index = neurons(piece.box, unit.grid)
        if population.neuron.embedded:  # every update, a sum of each neuron
            packets = spread(program.steps, updates_of(program, population), rows) * index.size * samples
            yield number, packets, SUM_BITS
            continue
        messages = sent[unit.name]
        yield number, times * messages.messages[:, index].sum(axis=1), messages.payload


def spread(steps: int, updates: int, rows: int) -> IntArray:
    """One a step for the first `updates` of `steps`, in so many rows: all steps, or all of them in one."""
    each = (np.arange(steps) < updates).astype(np.int64)
    return each if rows == steps else each.sum(keepdims=True)


def flows(program: Program, target: Target, slices: Sequence[Piece], activity: Activity) -> Flows:
    """Packets between slices by model step, summed over the samples of the activity."""
    units = units_of(program, target)
    sent = senders(program, units, activity)
    return collect(arrivals(program, units, slices, sent), to_processor(program, units, slices, sent, activity.samples))


def collect(found: Iterator[tuple[Arrival, int]], read: Iterator[tuple[int, IntArray, int]]) -> Flows:
    """Flows from arrivals and from what the processor reads, ordered by (source, target, payload)."""
    total: dict[tuple[int, int, int], IntArray] = {}
    for arrival, payload in found:
        for source, packets in arrival.by_source.items():
            key = source, arrival.slice, payload
            total[key] = total[key] + packets if key in total else packets
    for number, packets, payload in read:
        key = number, HOST, payload
        total[key] = total[key] + packets if key in total else packets
    keys = sorted(total)
    if not keys:
        none = np.zeros(0, dtype=np.int64)
        return Flows(none, none, np.zeros((0, 1), dtype=np.int64), none)
    ends = np.array(keys, dtype=np.int64)
    return Flows(ends[:, 0], ends[:, 1], np.stack([total[key] for key in keys]), ends[:, 2])


def even_activity(program: Program, samples: int = 1) -> Activity:
    """As if every neuron sent once in a sample, in one step: for placing without measured rates. Arrays (1, n)."""
    messages = {p.name: np.full((1, p.size), samples, dtype=np.int64) for p in program.populations}
    live = {
        x.name: np.full((1, int(np.prod(list(index_sizes(x).values())))), samples, dtype=np.int64)
        for x in program.products
        if x.realisation != "embedded"
    }
    updates = {p.name: messages[p.name] for p in program.populations if not isinstance(p.neuron, Input)}
    return Activity(samples, messages, updates, live)


def in_one_step(activity: Activity) -> Activity:
    """The activity with all model steps summed into one, for what needs no time."""

    def summed(of: Mapping[str, IntArray]) -> dict[str, IntArray]:
        return {name: values.sum(axis=0, keepdims=True) for name, values in of.items()}

    return Activity(activity.samples, summed(activity.messages), summed(activity.arrivals), summed(activity.live))
