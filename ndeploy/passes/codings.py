"""What one unit of each graded message is worth: scales from observed ranges, equal where the program needs them equal.

A population of neurons that rescale their sums (affine, gate, norm, ...) may give every neuron a scale of its own, and
the weights that follow absorb it by column. Elements must share a scale where a shared weight reads them (a channel of
a convolution), where a product sums over them, and where they are compared with one another (a readout). Registers
and sums of deltas pass messages on and have the scale of what they are fed by. All of it is one graph whose connected
components share a scale.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import scipy.sparse as sp

from ndeploy.errors import RefusedError
from ndeploy.fixed import IntArray
from ndeploy.ir.lowered import (
    GRADED,
    DeltaCoded,
    FloatArray,
    Graded,
    Held,
    Lowered,
    RealConv,
    RealPopulation,
    RealProduct,
    Registered,
    Softmaxed,
)
from ndeploy.passes.along import by_column, by_row, columns, largest_by_row
from ndeploy.quantizer import Coding, InputCoding, Observed

QUIET = 1e-3
"""Least scale beside the population's largest: what calibration hardly moves is not made infinitely fine."""
SPARE_BITS = 12
"""Payload from which room beyond the observed range costs nothing that matters."""
KEPT_BITS = 10
"""Bits of magnitude that a message keeps when its payload is lent to weights."""


def passes_on(lowered: Lowered, population: RealPopulation) -> bool:
    """Whether the population's messages are those it receives (registers, sums of deltas), not rescaled ones."""
    if isinstance(population.model, Registered | DeltaCoded):
        return True
    return isinstance(population.model, Held) and all(p.unit for p in lowered.into(population.name))


def rescales(lowered: Lowered, population: RealPopulation) -> bool:
    """Whether the scale of the population's messages is free to choose."""
    return isinstance(population.model, GRADED) and not isinstance(population.model, Registered | DeltaCoded | Held)


def _channels(shape: tuple[int, int, int]) -> IntArray:
    return np.repeat(np.arange(shape[0]), shape[1] * shape[2])


def _out_shape(synapses: RealConv, size: int) -> IntArray:
    channels = synapses.weight.shape[0]
    return np.repeat(np.arange(channels), size // channels)


def _tied(product: RealProduct) -> Iterator[tuple[str, IntArray]]:
    """Elements of each operand that the product sums over: they differ in contracted letters only."""
    letters, out = product.subscripts.split("->")
    for name, own, view in zip(
        (product.left, product.right), letters.split(","), (product.left_view, product.right_view), strict=True
    ):
        index = np.indices(view)
        label = np.zeros(view, dtype=np.int64)
        for axis, letter in enumerate(own):
            if letter in out:
                label = label * view[axis] + index[axis]
        yield name, label.reshape(-1)


def _ties(lowered: Lowered) -> Iterator[tuple[str, IntArray]]:
    """(population, label by element): elements with equal labels share a scale."""
    sizes = {p.name: math.prod(p.shape) for p in lowered.populations}
    for p in lowered.projections:
        if isinstance(p.synapses, RealConv):
            yield p.source, _channels(p.synapses.in_shape)
            yield p.target, _out_shape(p.synapses, sizes[p.target])
    for q in lowered.products:
        yield from _tied(q)
    alike = [name for name, _ in lowered.outputs]
    # joins and spiking readouts know one unit for all they receive
    alike += [p.source for p in lowered.projections if not isinstance(lowered.population(p.target).model, GRADED)]
    into_others = [q for q in lowered.products if not isinstance(lowered.population(q.target).model, GRADED)]
    alike += [name for q in into_others for name in (q.left, q.right)]
    for name in alike:
        yield name, np.zeros(sizes[name], dtype=np.int64)


class _Elements:
    """All elements of graded populations, numbered, with the edges between those that share a scale."""

    def __init__(self, lowered: Lowered) -> None:
        self.lowered = lowered
        self.first: dict[str, int] = {}
        self.count = 0
        for p in lowered.populations:
            if rescales(lowered, p) or passes_on(lowered, p):
                self.first[p.name] = self.count
                self.count += math.prod(p.shape)
        rows: list[IntArray] = []
        columns: list[IntArray] = []
        hub = self.count
        for name, label in _ties(lowered):
            if name in self.first:
                rows.append(self.first[name] + np.arange(label.size))
                columns.append(hub + label)
                hub += int(label.max()) + 1
        for q in lowered.projections:
            if q.unit and q.source in self.first and passes_on(lowered, lowered.population(q.target)):
                source, end = selection(q.synapses)
                rows.append(self.first[q.source] + source)
                columns.append(self.first[q.target] + end)
        if rows:
            edges = np.concatenate(rows), np.concatenate(columns)
            graph = sp.coo_array((np.ones(edges[0].size), edges), shape=(hub, hub))
            self.component = sp.csgraph.connected_components(graph, directed=False)[1]
        else:
            self.component = np.arange(self.count)

    def of(self, name: str) -> IntArray:
        """The component of every element of a population, flat."""
        start = self.first[name]
        size = math.prod(self.lowered.population(name).shape)
        return np.asarray(self.component[start : start + size])


def selection(synapses: object) -> tuple[IntArray, IntArray]:
    """(source, target) of every synapse."""
    from ndeploy.passes.compose import to_matrix

    coo = to_matrix(synapses).tocoo()  # type: ignore[arg-type]
    target, source = coo.coords
    return source.astype(np.int64), target.astype(np.int64)


def magnitudes(population: RealPopulation, observed: Mapping[str, Observed]) -> FloatArray:
    """The largest |value| of every element, flat; from observation, or from the model where that says it."""
    model = population.model
    if isinstance(model, Softmaxed):
        return np.ones(math.prod(population.shape))
    if isinstance(model, Registered | DeltaCoded | Held):
        return np.abs(np.broadcast_to(model.start, population.shape)).reshape(-1)
    seen = observed.get(population.name)
    if seen is None:
        raise RefusedError(
            "ND305",
            f"population '{population.name}': the range of its messages is not known",
            help="give --calibration DATA.npz",
        )
    return np.maximum(np.abs(seen.low), np.abs(seen.high)).reshape(-1)


def signed(population: RealPopulation) -> bool:
    """Whether its messages can be negative."""
    model = population.model
    return not (isinstance(model, Softmaxed) or (isinstance(model, Graded) and model.function == "relu"))


def top(bits: int, is_signed: bool) -> int:
    """Largest message of a symmetric payload."""
    return (1 << (bits - 1)) - 1 if is_signed else (1 << bits) - 1


def message_codings(
    lowered: Lowered,
    observed: Mapping[str, Observed],
    bits: Mapping[str, int],
    inputs: Mapping[str, InputCoding],
    headroom: float = 1.0,
) -> dict[str, Coding]:
    """Coding of every graded population whose scale does not follow from its own weights (sums of weighted deltas).

    bits: payload of each population that rescales. headroom: how much larger than observed a message may get before it
    is clipped. Raises RefusedError ND305 where a range is not known, ND301 where spikes are passed on from a
    start value that is no whole number of them.
    """
    elements = _Elements(lowered)
    scale = np.zeros(int(elements.component.max(initial=0)) + 1)
    codings: dict[str, Coding] = {}
    chosen = [p for p in lowered.populations if p.name in elements.first]
    width = _widths(lowered, bits, chosen, inputs)
    for p in chosen:
        is_signed = signed(p)
        # a difference may be twice as large as what it is one of: its payload has a bit for that
        steps = top(width[p.name] - isinstance(p.model, DeltaCoded), is_signed)
        spare = width[p.name] >= SPARE_BITS and not isinstance(p.model, Softmaxed)
        wide = headroom if spare else 1.0
        np.maximum.at(scale, elements.of(p.name), magnitudes(p, observed) * wide / steps)
    given = np.zeros(scale.size, dtype=np.bool_)
    for q in lowered.projections:  # what is passed on from the host has the host's scale, from spikes theirs
        if q.source in elements.first or q.target not in elements.first:
            continue
        target = lowered.population(q.target)
        if passes_on(lowered, target):
            _require_whole_start(target, q.source, q.source in inputs)
            scale[elements.of(q.target)] = inputs[q.source].scale if q.source in inputs else 1.0
            given[elements.of(q.target)] = True
    scale = np.where(given, scale, scale * _room(lowered, elements, scale, width, inputs))
    least = np.zeros(scale.size)
    for p in chosen:
        # what calibration never moves may reach 1
        quiet = float(scale[elements.of(p.name)].max()) * QUIET or 1.0 / top(width[p.name], signed(p))
        np.maximum.at(least, elements.of(p.name), quiet)
    scale = np.where(given, scale, np.maximum(scale, least))
    for p in chosen:
        own = scale[elements.of(p.name)].reshape(p.shape)
        codings[p.name] = Coding(_compact(own), width[p.name], signed(p))
    return codings


def _require_whole_start(population: RealPopulation, source: str, from_host: bool) -> None:
    model = population.model
    if (
        isinstance(model, Registered | Held | DeltaCoded)
        and not from_host
        and (model.start != np.rint(model.start)).any()
    ):
        raise RefusedError(
            "ND301",
            f"'{population.name}' passes on the spikes of '{source}', and its start value is no whole number of them",
            help="put an Activation (identity) between the two, or start from 0",
        )


def _room(
    lowered: Lowered,
    elements: _Elements,
    scale: FloatArray,
    width: Mapping[str, int],
    inputs: Mapping[str, InputCoding],
) -> FloatArray:
    """By how much each component's scale can grow without a larger weight in any row: payload that is not needed is
    lent to the weights that read it (cross-layer equalisation, Nagel et al., arXiv 1906.04721).

    A column whose weights, times its message's scale, are small beside its rows' largest would keep few of its bits.
    Messages keep at least `KEPT_BITS` bits.
    """
    share = np.zeros(scale.size)
    for key in {(p.target, p.port) for p in lowered.projections if not p.unit}:
        into = [p for p in lowered.projections if (p.target, p.port) == key and not p.unit]
        shape = lowered.population(key[0]).shape
        magnitude = {}
        for p in into:
            source = lowered.population(p.source)
            if p.source in elements.first:
                unit: FloatArray = scale[elements.of(p.source)].reshape(source.shape)
            else:
                unit = np.asarray(inputs[p.source].scale if p.source in inputs else 1.0)
            magnitude[p.name] = np.abs(p.synapses.weight) * columns(p.synapses, unit, source.shape)
        rows = [np.broadcast_to(largest_by_row(p.synapses, magnitude[p.name], shape), shape) for p in into]
        row = np.maximum(np.max(rows, axis=0), 1e-300)
        for p in into:
            if p.source in elements.first:
                relative = magnitude[p.name] / by_row(p.synapses, row, shape)
                source_shape = lowered.population(p.source).shape
                np.maximum.at(share, elements.of(p.source), by_column(p.synapses, relative, source_shape))
    room = np.divide(1.0, share, out=np.ones(scale.size), where=share > 0)
    limit = np.full(scale.size, np.inf)
    for name in elements.first:
        # what the host sends has the scale the host gives it, and shares of one have theirs
        fixed = isinstance(lowered.population(name).model, Softmaxed) or any(
            p.source in inputs for p in lowered.into(name) if p.unit
        )
        np.minimum.at(limit, elements.of(name), 1.0 if fixed else 2.0 ** max(0, width[name] - 1 - KEPT_BITS))
    return np.clip(room, 1.0, np.maximum(limit, 1.0))


def _compact(scale: FloatArray) -> FloatArray:
    return np.asarray(scale.flat[0]) if (scale == scale.flat[0]).all() else scale


def _widths(
    lowered: Lowered, bits: Mapping[str, int], chosen: list[RealPopulation], inputs: Mapping[str, InputCoding]
) -> dict[str, int]:
    """Payloads: as asked for, or of the source for what passes messages on; one bit more for differences and sums of
    differences, and a sign for unsigned sources."""
    width = {p.name: bits[p.name] for p in chosen if p.name in bits}
    waiting = [p for p in chosen if p.name not in width]
    while waiting:
        ready = []
        for p in waiting:
            sources = [x.source for x in lowered.into(p.name) if x.unit and x.source != p.name]
            if all(s in width or s in inputs for s in sources):
                ready.append((p, sources))
        if not ready:
            ready = [(p, []) for p in waiting]
        for p, sources in ready:
            # a difference takes one bit more; a sum of differences stays within a threshold of what they came from
            more = int(isinstance(p.model, DeltaCoded))
            known = []
            for s in sources:
                unsigned = not (inputs[s].signed if s in inputs else signed(lowered.population(s)))
                known.append((inputs[s].bits if s in inputs else width[s]) + unsigned)
            width[p.name] = min(24, max(known, default=16) + more)
        waiting = [p for p in waiting if p.name not in width]
    return width
