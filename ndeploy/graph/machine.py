"""A network made ready to run: parameters as tensors, linear nodes as functions, batches step by step.

The neuron step is that of `discrete.DiscreteNeuron`, the order within a step that of `plan`, the linear operations
those of `operations`, the graded nodes those of `graded_step`. What is the same at every step (a backbone over an
image) is computed at the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ndeploy.errors import RefusedError
from ndeploy.graph import shapes
from ndeploy.graph.discrete import NEURON_NODES, delay_steps, discretise
from ndeploy.graph.graded_step import SynchronisationCell, TraceCell, function, gate
from ndeploy.graph.neuron_step import FloatNeuron
from ndeploy.graph.operations import Operation, operation, pool, tensor
from ndeploy.graph.plan import Apply, Constant, Value, constant, last_reads, plan
from ndeploy.ir import network as ir

AnyArray = npt.NDArray[Any]
Visit = Callable[[str, int, Tensor, Tensor | None], None]
"""Called with a carrier's name, the step, what it puts out (samples, *shape) and, of a neuron, its membrane."""


class Machine:
    """Raises what `shapes.infer`, `plan` and `discretise` raise, RefusedError ND201 for a node it cannot run."""

    def __init__(self, network: ir.Network, dtype: torch.dtype) -> None:
        self.network, self.dtype = network, dtype
        self.shapes, self.plan = shapes.infer(network), plan(network)
        self.done = last_reads(self.plan)
        self.operations: dict[int, Operation] = {
            i: operation(term.node, network.nodes[term.node], dtype, term.delay)
            for i, term in enumerate(self.plan.terms)
            if isinstance(term, Apply)
        }
        self.neurons: dict[str, FloatNeuron] = {}
        self.delays: dict[str, Tensor] = {}
        self.cells: dict[str, TraceCell | SynchronisationCell] = {}
        self.functions: dict[str, Callable[[Tensor], Tensor]] = {}
        for name, node in network.nodes.items():
            if isinstance(node, NEURON_NODES):
                self.neurons[name] = FloatNeuron(discretise(node, network.semantics, name), dtype)
            elif isinstance(node, ir.Delay):
                steps = np.broadcast_to(delay_steps(node, network.semantics, name), self.shapes[name])
                self.delays[name] = torch.from_numpy(steps.copy())
            elif isinstance(node, ir.Trace):
                self.cells[name] = TraceCell(node, dtype)
            elif isinstance(node, ir.Synchronisation):
                self.cells[name] = SynchronisationCell(node, dtype)
            elif isinstance(node, ir.Activation | ir.LayerNorm | ir.Softmax):
                self.functions[name] = function(node, dtype)
            elif isinstance(node, ir.IntegerNeuron) and node.neuron.ports != ("in",):
                raise RefusedError(
                    "ND201",
                    f"node '{name}' ({node.neuron.kind}) has the ports {node.neuron.ports}",
                    help="the float reference runs neurons with one input; use a Product node",
                )

    def constant(self, data: Mapping[str, AnyArray]) -> Constant:
        """What is the same at every step when those inputs are given: all that follows from one value a sample."""
        one = [name for name, value in data.items() if value.ndim == len(self.shapes[name]) + 1]
        return constant(self.network, self.plan, one)

    def run(self, data: Mapping[str, AnyArray], steps: int, x_scale: float, visit: Visit) -> None:
        """One batch from the initial state. data: by input (samples, *shape) or (samples, steps, *shape).

        `visit` is called for every carrier in the order of execution: at every step, at step 0 only for those that are
        `constant`.
        """
        with torch.no_grad():
            batch = _Batch(self, data, x_scale)
            for k in range(steps):
                batch.step(k, visit)


class _Batch:
    """The state of one batch.

    now: what carriers put out in this step; past: earlier, the latest first; terms: those evaluated in this step.
    """

    def __init__(self, machine: Machine, data: Mapping[str, AnyArray], x_scale: float) -> None:
        m = self.machine = machine
        self.plan, self.nodes = m.plan, m.network.nodes
        self.samples = len(next(iter(data.values())))
        self.inputs = {
            name: torch.from_numpy(np.ascontiguousarray(v)).to(m.dtype) * x_scale for name, v in data.items()
        }
        self.constant = m.constant(data)
        self.state: dict[str, Any] = {name: n.start(self.samples, m.shapes[name]) for name, n in m.neurons.items()}
        self.state |= {name: cell.start(self.samples) for name, cell in m.cells.items()}
        for name, node in self.nodes.items():
            if isinstance(node, ir.IntegerNeuron):
                self.state[name] = node.neuron.initial((self.samples, *node.shape))
            elif isinstance(node, ir.Register):
                self.state[name] = tensor(node.start, m.dtype).expand(self.samples, *node.start.shape)
        self.past: dict[str, list[Tensor]] = {name: [] for name in self.plan.order}
        self.entered: dict[str, list[Tensor]] = {name: [] for name in m.delays}
        self.now: dict[str, Tensor] = {}
        self.terms: dict[int, Tensor] = {}

    def step(self, k: int, visit: Visit) -> None:
        # of what is the same at every step, the terms that are read later are all that stays
        self.now = {}
        self.terms = {i: value for i, value in self.terms.items() if i in self.constant.lasting}
        for name in self.plan.order:
            if k and name in self.constant.carriers:
                continue
            self.now[name] = self._value(name, k)
            visit(name, k, self.now[name], self.state[name]["v"] if name in self.machine.neurons else None)
            self._forget(name)
        for name in self.plan.late:
            if isinstance(self.nodes[name], ir.Register):
                self.state[name] = self._arriving(name)
            else:
                self.entered[name].append(self._arriving(name))
        for name, reach in self.plan.history.items():
            if reach:  # what is the same at every step was computed at the first one only
                latest = self.now[name] if name in self.now else self.past[name][0]
                self.past[name] = [latest, *self.past[name][: reach - 1]]

    def _forget(self, name: str) -> None:
        """Let go of what nothing reads once the carrier has been computed: backbones are wide and deep."""
        carriers, terms = self.machine.done[name]
        for carrier in carriers:
            self.now.pop(carrier, None)
        for i in terms:
            if i not in self.constant.lasting:
                self.terms.pop(i, None)

    def _value(self, name: str, k: int) -> Tensor:
        """What a carrier puts out in step k."""
        m, node = self.machine, self.nodes[name]
        if name in self.inputs:
            x = self.inputs[name]
            return x if x.ndim == len(m.shapes[name]) + 1 else x[:, k]
        if name in m.delays:
            if name not in self.plan.late:
                self.entered[name].append(self._arriving(name))
            return self._delayed(name, k)
        if isinstance(node, ir.Register):
            register: Tensor = self.state[name]
            return register
        if isinstance(node, ir.Product):
            return _multiply(node, *(self._sum(side) for side in self.plan.operands[name]))
        if isinstance(node, ir.Gate):
            return gate(*(self._sum(side) for side in self.plan.operands[name]))
        x = self._arriving(name)
        if name in m.neurons:
            return m.neurons[name].step(self.state[name], x)
        if name in m.cells:
            return m.cells[name].step(self.state[name], x)
        if name in m.functions:
            return m.functions[name](x)
        if isinstance(node, ir.Pool):
            return pool(node, x)
        if isinstance(node, ir.IntegerNeuron):
            whole = np.rint(x.numpy().astype(np.float64)).astype(np.int64)
            self.state[name], message = node.neuron.step(self.state[name], {"in": whole})
            return torch.from_numpy(message).to(m.dtype)
        return x

    def _arriving(self, name: str) -> Tensor:
        terms = self.plan.inputs[name]
        return self._sum(terms) if terms else self._zeros(name)

    def _sum(self, terms: Iterable[int]) -> Tensor:
        first, *others = terms
        total = self._term(first)
        for i in others:
            total = total + self._term(i)
        return total

    def _term(self, i: int) -> Tensor:
        if i not in self.terms:
            found = self.plan.terms[i]
            if isinstance(found, Apply):
                self.terms[i] = self.machine.operations[i](self._sum(found.terms))
            else:
                self.terms[i] = self._earlier(found)
        return self.terms[i]

    def _earlier(self, value: Value) -> Tensor:
        if not value.lag:
            return self.now[value.carrier]
        older = self.past[value.carrier]
        return older[value.lag - 1] if len(older) >= value.lag else self._zeros(value.carrier)

    def _delayed(self, name: str, k: int) -> Tensor:
        """Each element's input of as many steps ago as its delay, 0 before the first."""
        steps, entered = self.machine.delays[name], self.entered[name]
        result = self._zeros(name)
        for d in torch.unique(steps).tolist():
            if k - d >= 0:
                result = torch.where(steps == d, entered[k - d], result)
        return result

    def _zeros(self, name: str) -> Tensor:
        return torch.zeros((self.samples, *self.machine.shapes[name]), dtype=self.machine.dtype)


def _multiply(node: ir.Product, left: Tensor, right: Tensor) -> Tensor:
    """einsum with the batch in front, times the scale. The letter "Z" stands for the batch."""
    operands, result = node.subscripts.split("->")
    a, b = operands.split(",")
    batch = next(c for c in "ZYXWVUTSRQPONMLKJIHGFEDCBA" if c not in node.subscripts)
    product = torch.einsum(
        f"{batch}{a},{batch}{b}->{batch}{result}",
        left.reshape(-1, *node.left_view),
        right.reshape(-1, *node.right_view),
    ).reshape(-1, *node.output_shape)
    return product if node.scale == 1.0 else product * node.scale
