"""Populations that depend on each other, stepped together: model step by model step, all samples at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ndeploy.sim.blueprint import MemberPlan, PortPlan, ProductTerm
from ndeploy.sim.terms import Workspace, add_shifted

if TYPE_CHECKING:
    from ndeploy.sim.chunk import Chunk

Array = npt.NDArray[Any]


class Messages:
    """Rows (B, N) of messages by model step: all of them, or a ring of those still needed."""

    def __init__(self, values: Array, updates: int) -> None:
        """values: (rows, B, N)."""
        self.values, self.updates, self.rows = values, updates, len(values)

    def at(self, step: int) -> Array | None:
        """What was sent at a model step, None if nothing can have been."""
        return self.values[step % self.rows] if 0 <= step < self.updates else None

    def latched(self, step: int) -> Array:
        """What a product takes at a model step."""
        row: Array = self.values[min(step, self.updates - 1) % self.rows]
        return row


class Port:
    """Sums of one port of a member, at one step after another."""

    def __init__(self, plan: PortPlan, run: Stepper, size: int, outside: Array | None) -> None:
        self.plan, self.run, self.outside = plan, run, outside
        self.sums = np.empty((run.samples, size), dtype=plan.dtype)
        self.tile = self.sums[:, None]
        self.links = [(run.messages[x.source], x.lag, x.term) for x in plan.links]
        self.products = [(x, self._static(x)) for x in plan.products]

    def _static(self, x: ProductTerm) -> Array | None:
        """The operand that stays, as matrices."""
        if x.latched is None:
            return None
        product = x.link.product
        values = self.run.messages[product.right if x.latched.static_right else product.left].latched(0)
        return x.latched.prepare(values).astype(np.int64 if values.dtype == np.int64 else np.int32)

    def collect(self, step: int) -> None:
        """Bring `sums` to this model step."""
        sums = self.sums
        empty = True
        if self.outside is not None:
            np.copyto(sums, self.outside[:, step])
            empty = False
        for messages, lag, term in self.links:
            row = messages.at(step - lag)
            if row is None:
                continue
            if empty and not term.full:
                sums.fill(0)
                empty = False
            term.add(row, sums, empty, self.run.space, step)
            empty = False
        for x, static in self.products:
            if step >= x.link.lag:
                self._multiply(x, static, step - x.link.lag, empty)
                empty = False
        if empty:
            sums.fill(0)

    def _multiply(self, x: ProductTerm, static: Array | None, step: int, first: bool) -> None:
        from ndeploy.sim.kernels_step import add_latched

        product = x.link.product
        if x.latched is not None and static is not None:
            moving = self.run.messages[product.left if x.latched.static_right else product.right].latched(step)
            add_latched(moving, static, product.exponent, self.sums, first)
            return
        left, right = (self.run.messages[name].latched(step) for name in (product.left, product.right))
        contraction = self.run.chunk.plan.contractions[product.name]
        add_shifted(contraction.apply(left, right, x.reach), 0, self.sums, first)


class Stepper:
    """One chunk of samples through one component."""

    def __init__(self, chunk: Chunk, members: tuple[MemberPlan, ...]) -> None:
        self.chunk, self.members = chunk, members
        self.samples = chunk.samples
        self.space = Workspace(self.samples)
        self.messages: dict[str, Messages] = {}
        self.columns: dict[str, Array] = {}
        for m in members:
            self._allocate(m)
        for m in members:
            for port in m.ports:
                for x in port.products:
                    for name in (x.link.product.left, x.link.product.right):
                        if name not in self.messages:
                            values = np.ascontiguousarray(chunk.sent[name].values.swapaxes(0, 1))
                            self.messages[name] = Messages(values, len(values))

    def _allocate(self, m: MemberPlan) -> None:
        name = m.population.name
        updates = self.chunk.updates(name)
        rows = updates if f"spikes/{name}" in self.chunk.wanted else min(updates, m.steps_kept)
        values = np.empty((rows, self.samples, m.population.size), dtype=m.dtype)
        self.messages[name] = Messages(values, updates)
        self.columns[name] = np.zeros((self.samples, m.population.size), dtype=np.int32)

    def run(self) -> None:
        """Every model step, then what the members sent is made available."""
        from ndeploy.sim.kernels_graded import count_rows

        members = []
        for m in self.members:
            name = m.population.name
            updates = self.chunk.updates(name)
            ports = [Port(x, self, m.population.size, self._known(m, x, updates)) for x in m.ports]
            sums = {port.plan.port: (port.tile, 0) for port in ports}
            state = m.evaluator.begin(self.samples)
            traces = self.chunk.trace_arrays(m.population, m.evaluator)
            members.append((m, updates, ports, sums, state, traces, self.messages[name], self.columns[name]))
        events: dict[str, dict[str, int]] = {m.population.name: {} for m in self.members}
        for step in range(self.chunk.steps):
            for m, updates, ports, sums, state, traces, messages, columns in members:
                if step >= updates:
                    continue
                for port in ports:
                    port.collect(step)
                row = messages.values[step % messages.rows]
                views = {name: np.empty((self.samples, 1, row.shape[1]), dtype=x.dtype) for name, x in traces.items()}
                found = m.evaluator.advance(state, sums, row[:, None], views)
                for name, view in views.items():
                    traces[name][:, step : step + 1] = view
                count_rows(row, columns)
                _note(events[m.population.name], found)
        for m, _, _, _, _, traces, messages, columns in members:
            self.chunk.note_overflow(m.population, events[m.population.name])
            values = messages.values.swapaxes(0, 1)
            self.chunk.send(m.population, values, m.low, m.high, columns, traces)

    def _known(self, m: MemberPlan, port: PortPlan, updates: int) -> Array | None:
        """What comes from outside, for every step, (B, T, N)."""
        if not any(port.outside):
            return None
        return self.chunk.whole(port.outside, port.bound, m.population.size, updates)


def _note(events: dict[str, int], found: Mapping[str, int]) -> None:
    for event, n in found.items():
        if n:
            events[event] = events.get(event, 0) + n
