"""Evaluate some samples from the cleared state: layer by layer over all steps, recurrent components step by step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ndeploy.ir.program import Population
from ndeploy.neurons import Input
from ndeploy.sim.activity import Tally, watch
from ndeploy.sim.counts import add_counts, product_counts
from ndeploy.sim.evaluators import Evaluator, guaranteed, narrowest
from ndeploy.sim.layout import convert
from ndeploy.sim.operators import INT32, Sent
from ndeploy.sim.plan import Plan
from ndeploy.sim.products import latched
from ndeploy.sim.schedule import Component, Link, ProductLink

Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
Incoming = tuple[tuple[Link, ...], tuple[ProductLink, ...]]
TILE_BYTES = 2**22
"""Sums and messages of one tile: small enough to stay in cache between the product and the neurons."""


@dataclass
class ChunkResult:
    """traces as in RunResult (only those asked for); counts by kind and name, each (B,); overflow by population."""

    traces: dict[str, IntArray] = field(default_factory=dict)
    synaptic_ops: dict[str, IntArray] = field(default_factory=dict)
    spikes: dict[str, IntArray] = field(default_factory=dict)
    neuron_updates: dict[str, IntArray] = field(default_factory=dict)
    embedded_ops: dict[str, IntArray] = field(default_factory=dict)
    overflow: dict[str, dict[str, int]] = field(default_factory=dict)


def run_chunk(
    plan: Plan, messages: Mapping[str, Array], wanted: set[str], counts: bool, tally: Tally | None = None
) -> ChunkResult:
    """messages: (B, T, *shape) by input population; wanted: names of the traces to return; tally: of activity."""
    return Chunk(plan, messages, wanted, counts, tally).run()


class Chunk:
    """A run of some samples: what has been sent so far, and the result."""

    def __init__(
        self, plan: Plan, messages: Mapping[str, Array], wanted: set[str], counts: bool, tally: Tally | None = None
    ) -> None:
        self.plan = plan
        self.messages = messages
        self.wanted = wanted
        self.count = counts
        self.samples = len(next(iter(messages.values())))
        self.steps = plan.program.steps
        self.sent: dict[str, Sent] = {}
        self.unbounded: set[str] = set()
        self.result = ChunkResult()
        self.watch = None if tally is None else watch(plan, tally, self.samples)

    def run(self) -> ChunkResult:
        last_use = self.plan.last_uses
        for number, component in enumerate(self.plan.schedule.components):
            if component.recurrent:
                self._component(component)
            else:
                self._evaluate(self.plan.populations[component.populations[0]])
            for product in self.plan.program.products if self.count else ():
                if last_use[product.name] == number:
                    self._count_product(product.name)
            if self.watch is not None:
                self.watch.after(component.populations)
            for name in [n for n in self.sent if last_use[n] <= number]:
                del self.sent[name]
                if self.watch is not None:
                    self.watch.forget(name)
        return self.result

    def updates(self, name: str) -> int:
        """How many updates a population makes in these samples."""
        updates = self.plan.populations[name].updates
        return self.steps if updates is None else min(updates, self.steps)

    # -- one population over all steps ----------------------------------------------------------------------------

    def _evaluate(self, population: Population) -> None:
        if isinstance(population.neuron, Input):
            self._receive(population)
            return
        incoming = {port: self._incoming(population.name, port) for port in population.neuron.ports}
        bounds = {port: self._bound(links) for port, links in incoming.items()}
        chosen = self.plan.evaluator(population, bounds)
        state = chosen.begin(self.samples)
        steps = self.updates(population.name)
        values = np.empty((self.samples, steps, population.size), dtype=chosen.message_dtype)
        traces = self.trace_arrays(population, chosen)
        columns = np.zeros((self.samples, population.size), dtype=np.int32)
        for b, t in self._tiles(population):
            sums = {port: self._collect(links, bounds[port], population.size, b, t) for port, links in incoming.items()}
            views = {name: trace[b, t] for name, trace in traces.items()}
            here = {name: value[b] for name, value in state.items()}
            self.note_overflow(population, chosen.advance(here, sums, values[b, t], views))
            add_counts(values[b, t], columns[b], self.plan.compiled)
        self._finish(population, chosen, values, columns, traces)

    def _receive(self, population: Population) -> None:
        values = self.messages[population.name].reshape(self.samples, self.steps, population.size)
        values = values[:, : self.updates(population.name)]
        low, high = int(values.min()), int(values.max())
        narrow = _narrow(values, low, high) if self.plan.compiled else values.astype(np.int64)
        if not narrow.flags.writeable:
            narrow = narrow.copy()  # torch takes no read-only arrays
        values = convert(np.ascontiguousarray(narrow), 1, self.plan.layout[population.name])
        self.send(population, values, low, high, self._columns(values), {})

    def _columns(self, values: Array) -> Array:
        """How many messages (B, T, N) are not zero, (B, N)."""
        columns = np.zeros((values.shape[0], values.shape[2]), dtype=np.int32)
        add_counts(values, columns, self.plan.compiled)
        return columns

    def _finish(
        self, population: Population, chosen: Evaluator, values: Array, columns: Array, traces: Mapping[str, Array]
    ) -> None:
        if chosen.bounds is not None:
            low, high = chosen.bounds
        else:
            low, high = int(values.min()), int(values.max())
            if self.plan.compiled:
                values = _narrow(values, low, high)
        self.send(population, values, low, high, columns, traces)

    def send(
        self, population: Population, values: Array, low: int, high: int, columns: Array, traces: Mapping[str, Array]
    ) -> None:
        """Make the messages available, count them, and keep what was asked for."""
        name = population.name
        totals = columns.sum(axis=1, dtype=np.int64)
        density = float(totals.sum()) / max(1, values.size)
        self.sent[name] = Sent(values, low, high, density)
        if self.watch is not None:
            self.watch.sent(name, values)
        if self.count:
            self.result.spikes[name] = totals
            updates = 0 if isinstance(population.neuron, Input) else self.updates(name)
            self.result.neuron_updates[name] = np.full(self.samples, updates * population.size, dtype=np.int64)
            if population.neuron.embedded:
                operations = updates * population.neuron.operations(population.size)
                self.result.embedded_ops[name] = np.full(self.samples, operations, dtype=np.int64)
            for projection in self.plan.outgoing[name]:
                visits = self.plan.fan_out[projection.name].visits(columns, totals, self.plan.compiled)
                self.result.synaptic_ops[projection.name] = visits
        kept = {f"state/{name}/{variable}": trace for variable, trace in traces.items()}
        if f"spikes/{name}" in self.wanted:
            kept[f"spikes/{name}"] = values
        for key, value in kept.items():
            plain = convert(value, self.plan.layout[name], 1).astype(np.int64)
            if plain.shape[1] < self.steps:  # it stands still and is silent
                after = np.repeat(plain[:, -1:], self.steps - plain.shape[1], axis=1)
                plain = np.concatenate([plain, after if key.startswith("state/") else np.zeros_like(after)], axis=1)
            self.result.traces[key] = plain.reshape(self.samples, self.steps, *population.shape)

    # -- components that depend on their own past -----------------------------------------------------------------

    def _component(self, component: Component) -> None:
        members = None
        if self.plan.compiled:
            members = self.plan.blueprint(component, {n: self.sent[n].top for n in self.plan.feeding(component)})
        if members is None:
            self._step_together(component)
        else:
            from ndeploy.sim.component import Stepper

            Stepper(self, members).run()

    def whole(self, incoming: Incoming, bound: int, size: int, updates: int) -> Array:
        """Summed input of all samples and steps, (B, T, N), as integers."""
        return _whole(self._collect(incoming, bound, size, slice(0, self.samples), slice(0, updates)), bound)

    def _step_together(self, component: Component) -> None:
        """Any component, population by population through the same code as without loops."""
        members = [self.plan.populations[name] for name in component.populations]
        inner: dict[tuple[str, str], Incoming] = {}
        outside: dict[tuple[str, str], Array] = {}
        chosen: dict[str, Evaluator] = {}
        for p in members:
            bounded = self.plan.compiled and guaranteed(p.neuron) is not None
            low, high = guaranteed(p.neuron) or (0, 0)
            dtype: type[np.signedinteger[Any]] = np.int64
            if bounded:
                dtype = narrowest(low, high)
            else:
                self.unbounded.add(p.name)
            shape = self.samples, self.updates(p.name), p.size
            self.sent[p.name] = Sent(np.zeros(shape, dtype=dtype), low, high, 1.0)
        own = set(component.populations)
        bounds: dict[tuple[str, str], int | None] = {}
        for p in members:
            for port in p.neuron.ports:
                links, products = self._incoming(p.name, port)
                key = p.name, port
                bounds[key] = self._bound((links, products))
                within = tuple(x for x in links if x.projection.source in own)
                joined = tuple(x for x in products if {x.product.left, x.product.right} & own)
                inner[key] = within, joined
                rest = tuple(x for x in links if x not in within), tuple(x for x in products if x not in joined)
                whole = slice(0, self.samples), slice(0, self.updates(p.name))
                outside[key] = _whole(self._collect(rest, bounds[key], p.size, *whole), bounds[key])
            chosen[p.name] = self.plan.evaluator(p, {port: bounds[p.name, port] for port in p.neuron.ports})
        state = {p.name: chosen[p.name].begin(self.samples) for p in members}
        traces = {p.name: self.trace_arrays(p, chosen[p.name]) for p in members}
        everyone = slice(0, self.samples)
        for t in range(self.steps):
            now = slice(t, t + 1)
            for p in members:
                if t >= self.updates(p.name):
                    continue
                sums = {}
                for port in p.neuron.ports:
                    key = p.name, port
                    arrived = _whole(self._collect(inner[key], bounds[key], p.size, everyone, now), bounds[key])
                    sums[port] = arrived + outside[key][:, now], 0
                row = np.empty((self.samples, 1, p.size), dtype=chosen[p.name].message_dtype)
                views = {name: np.empty(row.shape, dtype=trace.dtype) for name, trace in traces[p.name].items()}
                self.note_overflow(p, chosen[p.name].advance(state[p.name], sums, row, views))
                self.sent[p.name].values[:, now] = row
                density = np.count_nonzero(row) / row.size
                self.sent[p.name] = replace(self.sent[p.name], density=density)
                for name, view in views.items():
                    traces[p.name][name][:, now] = view
        for p in members:
            values = self.sent[p.name].values
            low, high = guaranteed(p.neuron) or (int(values.min()), int(values.max()))
            self.unbounded.discard(p.name)
            values = _narrow(values, low, high) if self.plan.compiled else values
            self.send(p, values, low, high, self._columns(values), traces[p.name])

    # -- inputs ---------------------------------------------------------------------------------------------------

    def _incoming(self, name: str, port: str) -> Incoming:
        return self.plan.links(name, port), self.plan.products(name, port)

    def _bounded(self, *sources: str) -> bool:
        return self.plan.compiled and not self.unbounded.intersection(sources)

    def _reach(self, x: Link | ProductLink) -> int | None:
        """Bound on what a link or product adds, after its exponent; None if its messages have none."""
        if isinstance(x, Link):
            if not self._bounded(x.projection.source):
                return None
            reach = self.plan.operator(x, True).reach(self.sent[x.projection.source].top)
            exponent = x.projection.exponent
        else:
            if not self._bounded(x.product.left, x.product.right):
                return None
            tops = self.sent[x.product.left].top, self.sent[x.product.right].top
            reach, exponent = self.plan.contractions[x.product.name].reach(*tops), -x.product.exponent
        return reach << exponent if exponent >= 0 else (reach >> -exponent) + 1

    def _bound(self, incoming: Incoming) -> int | None:
        """Bound on the summed input."""
        total = 0
        both: tuple[Link | ProductLink, ...] = (*incoming[0], *incoming[1])
        for x in both:
            reach = self._reach(x)
            if reach is None:
                return None
            total += reach
        return total if self.plan.compiled else None

    def _collect(self, incoming: Incoming, bound: int | None, size: int, b: slice, t: slice) -> tuple[Array, int]:
        """Summed input of a tile: (array (B, T, N), exponent), the input being array << exponent."""
        links, products = incoming
        samples, steps = b.stop - b.start, t.stop - t.start
        if len(links) == 1 and not products and links[0].lag == 0 and t.stop <= self._rows(links[0]):
            array = self._through(links[0], b, t)
            exponent = links[0].projection.exponent
            return _divided(array, exponent, bound) if exponent < 0 or bound == 0 else (array, exponent)
        dtype = np.int32 if bound is not None and bound < INT32 else np.int64
        total = np.zeros((samples, steps, size), dtype=dtype)
        both: tuple[Link | ProductLink, ...] = (*links, *products)
        for x in both:
            first, last = max(0, t.start - x.lag), min(t.stop - x.lag, self._rows(x))
            if last <= first:
                continue
            part = slice(first, last)
            if isinstance(x, Link):
                exponent = x.projection.exponent
                array, exponent = _divided(self._through(x, b, part), exponent, bound)
                added = array << exponent if exponent else array
            else:
                added = self._multiplied(x, b, part)
            total[:, first + x.lag - t.start : last + x.lag - t.start] += added.astype(dtype, copy=False)
        return total, 0

    def _rows(self, x: Link | ProductLink) -> int:
        """For how many model steps something comes over it; a product latches its operands."""
        return self.updates(x.projection.source) if isinstance(x, Link) else self.steps

    def _through(self, link: Link, b: slice, t: slice) -> Array:
        """Sums of a link for the messages of steps t, before the exponent."""
        source = link.projection.source
        sent = self.sent[source]
        rows = np.ascontiguousarray(sent.values[b, t])
        op = self.plan.operator(link, self._bounded(source))
        exact = self.plan.compiled and not self._bounded(source)
        flat = rows.reshape(-1, rows.shape[-1])
        if exact:
            flat = convert(flat, self.plan.layout[source], 1)
        sums = op.apply(flat, sent)
        if exact:
            sums = convert(sums, 1, self.plan.layout[link.projection.target])
        return sums.reshape(*rows.shape[:2], -1)

    def _multiplied(self, x: ProductLink, b: slice, t: slice) -> Array:
        left, right = (latched(self.sent[n].values[b], t) for n in (x.product.left, x.product.right))
        contraction = self.plan.contractions[x.product.name]
        reach = None
        if self._bounded(x.product.left, x.product.right):
            reach = contraction.reach(self.sent[x.product.left].top, self.sent[x.product.right].top)
        lead = left.shape[:2]
        flat = contraction.apply(left.reshape(-1, left.shape[-1]), right.reshape(-1, right.shape[-1]), reach)
        return flat.reshape(*lead, -1)

    # -- bookkeeping ----------------------------------------------------------------------------------------------

    def _tiles(self, population: Population) -> Iterator[tuple[slice, slice]]:
        """Samples and steps of each tile: whole samples where several fit, else some steps of one sample."""
        row = 4 * population.size + 2 * self.plan.arriving[population.name]
        updates = self.updates(population.name)
        together = TILE_BYTES // (row * updates)
        if together >= 1:
            for b in range(0, self.samples, together):
                yield slice(b, min(self.samples, b + together)), slice(0, updates)
            return
        steps = max(1, TILE_BYTES // row)
        for b in range(self.samples):
            for t in range(0, updates, steps):
                yield slice(b, b + 1), slice(t, min(updates, t + steps))

    def trace_arrays(self, population: Population, chosen: Evaluator) -> dict[str, Array]:
        prefix = f"state/{population.name}/"
        names: Iterable[str] = (n for n in population.neuron.state if prefix + n in self.wanted)
        shape = self.samples, self.updates(population.name), population.size
        return {name: np.empty(shape, dtype=chosen.state_dtype) for name in names}

    def note_overflow(self, population: Population, events: Mapping[str, int]) -> None:
        for event, n in events.items():
            if n:
                where = self.result.overflow.setdefault(population.name, {})
                where[event] = where.get(event, 0) + n

    def _count_product(self, name: str) -> None:
        contraction = self.plan.contractions[name]
        product = contraction.product
        zero = np.zeros(self.samples, dtype=np.int64)
        if product.realisation == "embedded":
            from ndeploy.realise import realise

            self.result.synaptic_ops[name] = zero
            self.result.embedded_ops[name] = zero + realise(product).multiplies * self.steps
            return
        left, right = self.sent[product.left], self.sent[product.right]
        spikes = self.result.spikes
        live = contraction.live(left, right, self.steps, self.plan.compiled)
        visits, sent, updates = product_counts(product, self.steps, spikes[product.left], spikes[product.right], live)
        self.result.synaptic_ops[name], self.result.spikes[name] = visits, sent
        self.result.neuron_updates[name] = updates


def _narrow(values: Array, low: int, high: int) -> Array:
    """The narrowest of int8, int32, int64 that holds low .. high."""
    return values.astype(narrowest(low, high), copy=False)


def _divided(array: Array, exponent: int, bound: int | None) -> tuple[Array, int]:
    """Integers, with a negative exponent applied (floor)."""
    wide = bound is None or bound >= INT32
    if wide or array.dtype.kind == "f":
        array = array.astype(np.int64 if wide else np.int32, copy=False)
    if bound == 0:
        return array, 0
    return (array >> -exponent, 0) if exponent < 0 else (array, exponent)


def _whole(collected: tuple[Array, int], bound: int | None) -> Array:
    """Integers with the exponent applied."""
    array, exponent = _divided(*collected, bound)
    return array << exponent if exponent else array
