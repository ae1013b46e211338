"""A program executed in float64 in which every rounding can be taken out, one cause at a time.

With nothing mended it is the program, bit for bit (sums of integers below 2^53 are exact in float64); with everything
mended it is the float network in the program's units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ndeploy.divergence.causes import Mix
from ndeploy.divergence.exact import Exact, message_unit
from ndeploy.divergence.hybrid_neurons import Stepped, stepped
from ndeploy.divergence.signals import FloatArray, Signals
from ndeploy.ir.program import Product, Program, Projection, lag
from ndeploy.neurons import Input
from ndeploy.search.score import unit
from ndeploy.sim.schedule import schedule
from ndeploy.synapses import Conv, Dense
from ndeploy.torch_threads import one_thread
from ndeploy.train.synaptic import BlockOperation, ConvOperation, DenseOperation, ListedOperation, Operation

Array = npt.NDArray[Any]


class ImpossibleMixError(Exception):
    """A mix whose messages would have to arrive before they are sent."""


@dataclass(frozen=True, eq=False)
class _Link:
    """Synapses of one lag. exponent: of the shift of their sum; floor: whether it drops bits."""

    source: str
    port: str
    operation: Operation
    weight: Tensor
    lag: int
    exponent: int
    floor: bool

    def __call__(self, messages: Tensor) -> Tensor:
        """(rows, n_in) to (rows, n_out)."""
        return _shifted(self.operation(messages, self.weight), self.exponent, self.floor)


@dataclass(frozen=True, eq=False)
class _Times:
    """A product with its lag."""

    product: Product
    lag: int
    floor: bool

    def __call__(self, left: Tensor, right: Tensor) -> Tensor:
        p = self.product
        operands, result = p.subscripts.replace(" ", "").split("->")
        first, second = operands.split(",")
        a, b = left.reshape(-1, *p.left_view), right.reshape(-1, *p.right_view)
        sums = torch.einsum(f"...{first},...{second}->...{result}", a, b).reshape(len(a), -1)
        return _shifted(sums, -p.exponent, self.floor)


def _shifted(sums: Tensor, exponent: int, floor: bool) -> Tensor:
    value = sums * 2.0**exponent
    return torch.floor(value) if floor and exponent < 0 else value


class Hybrid:
    """The program beside its real numbers. `run` is pure; what costs time to build is kept."""

    def __init__(self, program: Program, exact: Exact) -> None:
        self.program, self.exact = program, exact
        self._operations: dict[tuple[str, int, bool], Operation] = {}
        self._components = schedule(program).components

    def run(self, messages: Mapping[str, Array], values: Mapping[str, FloatArray], mix: Mix) -> Signals:
        """What samples show. messages: integers by input, (samples, model steps, *shape); values: the same before
        rounding and clipping. Raises ImpossibleMixError."""
        # many small operations: threads would mostly wait for one another, and sums keep one order
        with one_thread(), torch.inference_mode():
            return _Run(self, messages, values, mix).signals()

    def links(self, mix: Mix) -> dict[str, list[_Link]]:
        """Links by target."""
        found: dict[str, list[_Link]] = {p.name: [] for p in self.program.populations}
        for q in self.program.projections:
            real = mix.mends("weights", q.target)
            weight = self.exact.weights[q.name] if real else q.synapses.weight.astype(np.float64)
            floor = not mix.mends("shift", q.target)
            lags = self.lags(q, mix)
            for behind in np.unique(lags):
                operation = self._operation(q, int(behind), lags, mix.mends("delay", q.target))
                found[q.target].append(
                    _Link(
                        q.source, q.port, operation, torch.from_numpy(np.array(weight)), int(behind), q.exponent, floor
                    )
                )
        return found

    def products(self, mix: Mix) -> dict[str, list[_Times]]:
        """Products by target."""
        found: dict[str, list[_Times]] = {p.name: [] for p in self.program.populations}
        for q in self.program.products:
            late = max((q.left, q.right), key=lambda name: self.program.population(name).offset)
            behind = 0 if mix.mends("delay", q.target) else lag(self.program, late, q.target, q.delay)
            found[q.target].append(_Times(q, behind, not mix.mends("shift", q.target)))
        return found

    def lags(self, q: Projection, mix: Mix) -> npt.NDArray[np.int64]:
        """Model steps: one number, or by synapse in the layout of the weight."""
        if mix.mends("delay", q.target):
            return self.exact.lags[q.name]
        if q.delays is None:
            return np.asarray(lag(self.program, q.source, q.target, q.delay), dtype=np.int64)
        table = {int(d): lag(self.program, q.source, q.target, q.delay + int(d)) for d in np.unique(q.delays)}
        return np.asarray(np.vectorize(table.__getitem__, otypes=[np.int64])(q.delays))

    def _operation(self, q: Projection, behind: int, lags: npt.NDArray[np.int64], mended: bool) -> Operation:
        whole = bool((lags == behind).all())
        key = (q.name, -1 if whole else behind, mended and not whole)
        if key not in self._operations:
            self._operations[key] = _built(q, None if whole else lags == behind)
        return self._operations[key]


def _built(q: Projection, here: npt.NDArray[np.bool_] | None) -> Operation:
    synapses = q.synapses
    if here is None and isinstance(synapses, Dense):
        return DenseOperation(synapses)
    if here is None and isinstance(synapses, Conv):
        return BlockOperation(synapses) if BlockOperation.suits(synapses) else ConvOperation(synapses)
    target, source, index = (np.asarray(part, dtype=np.int64) for part in synapses.to_coo())
    if here is not None:
        chosen = here.reshape(-1)[index]
        target, source, index = target[chosen], source[chosen], index[chosen]
    return ListedOperation(target, source, index, synapses.n_in, synapses.n_out)


class _Run:
    """One execution."""

    def __init__(self, hybrid: Hybrid, messages: Mapping[str, Array], values: Mapping[str, FloatArray], mix: Mix):
        self.program, self.mix = hybrid.program, mix
        self.links, self.products = hybrid.links(mix), hybrid.products(mix)
        self.components = hybrid._components
        self.steps = self.program.steps
        self.samples = len(next(iter(messages.values())))
        self.sent: dict[str, Tensor] = {}
        self.membranes: dict[str, Tensor] = {}
        self.neurons: dict[str, Stepped] = {}
        self.updates = {p.name: min(self.steps, p.updates or self.steps) for p in self.program.populations}
        for p in self.program.populations:
            if isinstance(p.neuron, Input):
                given = values[p.name] if mix.mends("activation", p.name) else messages[p.name]
                flat = np.array(given, dtype=np.float64).reshape(self.samples, self.steps, -1)
                flat[:, self.updates[p.name] :] = 0.0
                self.sent[p.name] = torch.from_numpy(flat)
            else:
                self.neurons[p.name] = stepped(p, hybrid.exact, mix, self.samples)

    def signals(self) -> Signals:
        for component in self.components:
            names = [name for name in component.populations if name in self.neurons]
            if component.recurrent:
                self._together(names)
            else:
                for name in names:
                    self._alone(name)
        messages, membranes = {}, {}
        for p in self.program.populations:
            if p.name not in self.neurons:
                continue
            if p.neuron.message.bits:
                scale = np.broadcast_to(message_unit(p), p.shape).reshape(-1)
                messages[p.name] = self._latched(p.name).numpy() * scale
            if p.name in self.membranes:
                scale = np.broadcast_to(np.asarray(p.scale, dtype=np.float64), p.shape).reshape(-1)
                membranes[p.name] = self.membranes[p.name].numpy() * scale
        port = self.program.outputs[0]
        shape = self.program.population(port.population).shape
        source = self.sent if port.variable == "message" else self.membranes
        raw = source[port.population].numpy().reshape(self.samples, self.steps, *shape)
        return Signals(messages, membranes, np.asarray(raw * unit(self.program, port), dtype=np.float64))

    def _alone(self, name: str) -> None:
        """A population that depends on others only: what arrives is known for all steps before it starts."""
        neuron = self.neurons[name]
        arriving = self._arriving(name, ())
        sent = torch.zeros((self.samples, self.steps, neuron.size), dtype=torch.float64)
        held = torch.empty_like(sent) if neuron.has_membrane else None
        for k in range(self.updates[name]):
            sent[:, k] = neuron.step({port: value[:, k] for port, value in arriving.items()})
            if held is not None:
                held[:, k] = neuron.v
        self._keep(name, sent, held)

    def _together(self, names: Sequence[str]) -> None:
        """Populations that depend on one another, step by step."""
        outside = {name: self._arriving(name, names) for name in names}
        sent = {
            name: torch.zeros((self.samples, self.steps, self.neurons[name].size), dtype=torch.float64)
            for name in names
        }
        held = {name: torch.empty_like(sent[name]) for name in names if self.neurons[name].has_membrane}
        order = self._order(names)
        for k in range(self.steps):
            for name in order:
                if k >= self.updates[name]:
                    continue
                totals = {port: value[:, k].clone() for port, value in outside[name].items()}
                for link in self.links[name]:
                    if link.source in sent and k >= link.lag:
                        totals[link.port] += link(sent[link.source][:, k - link.lag])
                for times in self.products[name]:
                    q = times.product
                    if (q.left in sent or q.right in sent) and k >= times.lag:
                        left, right = (self._operand(n, k - times.lag, sent) for n in (q.left, q.right))
                        totals[q.port] += times(left, right)
                sent[name][:, k] = self.neurons[name].step(totals)
                if name in held:
                    held[name][:, k] = self.neurons[name].v
        for name in names:
            self._keep(name, sent[name], held.get(name))

    def _operand(self, name: str, k: int, sent: Mapping[str, Tensor]) -> Tensor:
        """What a product takes of model step k: of a population that stands still its last message."""
        source = sent[name] if name in sent else self.sent[name]
        return source[:, min(k, self.updates[name] - 1)]

    def _keep(self, name: str, sent: Tensor, held: Tensor | None) -> None:
        self.sent[name] = sent
        if held is not None:
            self.membranes[name] = held

    def _latched(self, name: str) -> Tensor:
        """The messages, of a population that stands still its last one at every later step."""
        value, updates = self.sent[name], self.updates[name]
        return value if updates >= self.steps else value[:, torch.arange(self.steps).clamp(max=updates - 1)]

    def _arriving(self, name: str, without: Sequence[str]) -> dict[str, Tensor]:
        """What comes from populations other than `without`, by port, (samples, steps, neurons)."""
        neuron = self.neurons[name]
        totals = {
            port: torch.zeros((self.samples, self.steps, neuron.size), dtype=torch.float64) for port in neuron.ports
        }
        for link in self.links[name]:
            if link.source not in without:
                self._add(totals[link.port], link(self.sent[link.source].flatten(0, 1)), link.lag)
        for times in self.products[name]:
            q = times.product
            if q.left not in without and q.right not in without:
                value = times(self._latched(q.left).flatten(0, 1), self._latched(q.right).flatten(0, 1))
                self._add(totals[q.port], value, times.lag)
        return totals

    def _add(self, total: Tensor, value: Tensor, behind: int) -> None:
        if behind < self.steps:
            total[:, behind:] += value.view(self.samples, self.steps, -1)[:, : self.steps - behind]

    def _order(self, names: Sequence[str]) -> list[str]:
        """Sources of the same step before their targets. Raises ImpossibleMixError where there is no such order."""
        before = {name: {x.source for x in self.links[name] if x.lag == 0 and x.source in names} for name in names}
        for name in names:
            for times in self.products[name]:
                if times.lag == 0:
                    before[name] |= {n for n in (times.product.left, times.product.right) if n in names}
        order: list[str] = []
        while len(order) < len(names):
            ready = [name for name in names if name not in order and before[name] <= set(order)]
            if not ready:
                raise ImpossibleMixError
            order += ready
        return order
