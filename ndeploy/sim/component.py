"""Populations that depend on each other, stepped together: model step by model step, all samples at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ndeploy.sim.blueprint import MemberPlan, PortPlan, ProductTerm
from ndeploy.sim.graded import Bound, GradedEvaluator, RegisterEvaluator
from ndeploy.sim.kernels_graded import count_register, count_rows
from ndeploy.sim.kernels_step import add_latched
from ndeploy.sim.terms import Workspace, add_shifted

if TYPE_CHECKING:
    from ndeploy.sim.activity import Watch
    from ndeploy.sim.chunk import Chunk

Array = npt.NDArray[Any]
WATCHED_BYTES = 2**17
"""Messages of one member that activity is taken from at a time."""


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
        small = x.reach is not None and x.reach < 2**31
        return x.latched.prepare(values).astype(np.int32 if small else np.int64)

    def collect(self, step: int, into: Array | None = None) -> None:
        """Bring `sums`, or other rows, to this model step."""
        sums = self.sums if into is None else into
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
                self._multiply(x, static, step - x.link.lag, sums, empty)
                empty = False
        if empty:
            sums.fill(0)

    def _multiply(self, x: ProductTerm, static: Array | None, step: int, sums: Array, first: bool) -> None:
        product = x.link.product
        if x.latched is not None and static is not None:
            moving = self.run.messages[product.left if x.latched.static_right else product.right].latched(step)
            add_latched(moving, static, product.exponent, sums, first)
            return
        left, right = (self.run.messages[name].latched(step) for name in (product.left, product.right))
        contraction = self.run.chunk.plan.contractions[product.name]
        add_shifted(contraction.apply(left, right, x.reach), 0, sums, first)


class Stepper:
    """One chunk of samples through one component."""

    def __init__(self, chunk: Chunk, members: tuple[MemberPlan, ...]) -> None:
        self.chunk, self.members = chunk, members
        self.samples = chunk.samples
        self.space = Workspace(self.samples)
        self.messages: dict[str, Messages] = {}
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
        kept = m.steps_kept
        if self.chunk.watch is not None:  # which looks at several steps at a time
            kept = max(kept, WATCHED_BYTES // (self.samples * m.population.size * np.dtype(m.dtype).itemsize))
        rows = updates if f"spikes/{name}" in self.chunk.wanted else min(updates, kept)
        values = np.empty((rows, self.samples, m.population.size), dtype=m.dtype)
        self.messages[name] = Messages(values, updates)

    def run(self) -> None:
        """Every model step, then what the members sent is made available."""
        members = [Member(self, m) for m in self.members]
        watch = self.chunk.watch
        for step in range(self.chunk.steps):
            for member in members:
                if step < member.updates:
                    member.update(step)
                    if watch is not None:
                        member.show(watch, step)
        for member in members:
            population = member.plan.population
            self.chunk.note_overflow(population, member.counted())
            values = member.messages.values.swapaxes(0, 1)
            plan = member.plan
            self.chunk.send(population, values, plan.low, plan.high, member.columns, member.traces)

    def known(self, m: MemberPlan, port: PortPlan, updates: int) -> Array | None:
        """What comes from outside, for every step, (B, T, N)."""
        if not any(port.outside):
            return None
        return self.chunk.whole(port.outside, port.bound, m.population.size, updates)


class Member:
    """A population in one run: its ports, state and messages."""

    def __init__(self, run: Stepper, plan: MemberPlan) -> None:
        population = plan.population
        self.plan, self.samples, self.size = plan, run.samples, population.size
        self.updates = run.chunk.updates(population.name)
        self.ports = [Port(x, run, self.size, run.known(plan, x, self.updates)) for x in plan.ports]
        self.tiles = {port.plan.port: (port.tile, 0) for port in self.ports}
        self.state = plan.evaluator.begin(run.samples)
        self.traces = run.chunk.trace_arrays(population, plan.evaluator)
        self.messages = run.messages[population.name]
        self.columns = np.zeros((run.samples, self.size), dtype=np.int32)
        self.events: dict[str, int] = {}
        self.bound: Bound | None = None
        self.update = self._update
        if self.traces:
            return
        if isinstance(plan.evaluator, RegisterEvaluator) and plan.dtype == plan.ports[0].dtype:
            self.update = self._pass_on
        elif isinstance(plan.evaluator, GradedEvaluator):
            self.bound = plan.evaluator.bind(self.state, {port.plan.port: port.sums for port in self.ports})
            if self.bound is not None:
                self.kernel = self.bound[0]
                self.update = self._call

    def counted(self) -> dict[str, int]:
        """How often values left their widths, by event."""
        return self.events if self.bound is None else self.bound[1]()

    def show(self, watch: Watch, step: int) -> None:
        """Show the messages of the last steps where they are about to be written over, or are the last."""
        rows = step % self.messages.rows + 1
        if rows == self.messages.rows or step + 1 == self.updates:
            watch.rows(self.plan.population.name, self.updates, step + 1 - rows, self.messages.values[:rows])

    def _call(self, step: int) -> None:
        """One call of a kernel."""
        for port in self.ports:
            port.collect(step)
        row = self.messages.values[step % self.messages.rows]
        self.kernel(row)
        count_rows(row, self.columns)

    def _pass_on(self, step: int) -> None:
        """A register: its sums are its messages."""
        row = self.messages.values[step % self.messages.rows]
        self.ports[0].collect(step, row)
        if step == 0:
            row += self.state["held"]
        message = self.plan.population.neuron.message
        outside = count_register(row, message.low, message.high, self.columns)
        _note(self.events, {"payload-overflow": outside})

    def _update(self, step: int) -> None:
        """Any neuron, by its evaluator."""
        for port in self.ports:
            port.collect(step)
        row = self.messages.values[step % self.messages.rows]
        views = {name: np.empty((self.samples, 1, self.size), dtype=x.dtype) for name, x in self.traces.items()}
        _note(self.events, self.plan.evaluator.advance(self.state, self.tiles, row[:, None], views))
        for name, view in views.items():
            self.traces[name][:, step : step + 1] = view
        count_rows(row, self.columns)


def _note(events: dict[str, int], found: Mapping[str, int]) -> None:
    for event, n in found.items():
        if n:
            events[event] = events.get(event, 0) + n
