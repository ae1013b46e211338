"""Float reference: the network as its source framework would run it, step by step, batched, in PyTorch.

What is compared with: accuracy of the source, and where the integers first differ. The neuron step is that of
`discrete.DiscreteNeuron`, the order within a step that of `plan`, the linear operations those of `operations`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ndeploy.decode import predict
from ndeploy.errors import RefusedError, UsageError
from ndeploy.fixed import IntArray
from ndeploy.graph import shapes
from ndeploy.graph.discrete import NEURON_NODES, delay_steps, discretise
from ndeploy.graph.neuron_step import FloatNeuron
from ndeploy.graph.operations import Operation, operation, pool
from ndeploy.graph.plan import Apply, Plan, Value, plan
from ndeploy.ir import network as ir

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ReferenceResult:
    """outputs: by Output node, (samples, steps, *shape): what arrives there at every step.

    With trace: values by node, what every kept node (neurons, joins, products, ...) put out; membranes by neuron, its
    v after the reset. All (samples, steps, *shape), in the type the run was made in.
    """

    outputs: Mapping[str, AnyArray]
    values: Mapping[str, AnyArray] = field(default_factory=dict)
    membranes: Mapping[str, AnyArray] = field(default_factory=dict)

    def predictions(self, decode: str = "sum") -> IntArray | None:
        """argmax of the first output, decoded over steps; None for "none"."""
        return predict(next(iter(self.outputs.values())), decode)


def run(
    network: ir.Network,
    x: AnyArray | Mapping[str, AnyArray],
    steps: int | None = None,
    *,
    x_scale: float = 1.0,
    dtype: torch.dtype = torch.float32,
    batch: int = 256,
    trace: bool = False,
) -> ReferenceResult:
    """Run samples from the cleared state (every state 0, nothing in flight).

    x: one array, or one by Input node; (samples, *shape) is static and repeated, (samples, steps, *shape) a sequence,
    whose length gives the steps. The input's value is x * x_scale. batch: samples run together; it changes nothing but
    memory. Raises UsageError ND204 (steps not known), ND502 (shape), ND503 (no samples), and what `shapes.infer`,
    `plan` and `discretise` raise.
    """
    known = shapes.infer(network)
    made = plan(network)
    data, length = _inputs(network, x, steps)
    samples = len(next(iter(data.values())))
    machine = _Machine(network, known, made, dtype, trace)
    collected: list[ReferenceResult] = []
    with torch.no_grad():
        for start in range(0, samples, batch):
            part = {name: np.asarray(value[start : start + batch]) for name, value in data.items()}
            collected.append(machine.run(part, length, x_scale))
    return ReferenceResult(
        *(
            {
                name: np.concatenate([getattr(r, group)[name] for r in collected])
                for name in getattr(collected[0], group)
            }
            for group in ("outputs", "values", "membranes")
        )
    )


def _inputs(
    network: ir.Network, x: AnyArray | Mapping[str, AnyArray], steps: int | None
) -> tuple[dict[str, AnyArray], int]:
    """Arrays by input node and the number of steps; static inputs keep their shape."""
    names = [name for name, node in network.nodes.items() if isinstance(node, ir.Input)]
    given = x if isinstance(x, Mapping) else dict.fromkeys(names[:1], x)
    if set(given) != set(names):
        raise UsageError(
            "ND502",
            f"the network has the inputs {names}, the data has {sorted(given)}",
            help="give one array for every input node",
        )
    lengths: dict[str, int] = {}
    for name, value in given.items():
        node = network.nodes[name]
        shape = tuple(node.shape) if isinstance(node, ir.Input) else ()
        if len(value) == 0:
            raise UsageError("ND503", f"input '{name}': no samples", help="give at least one sample")
        if value.shape[1:] == shape:
            continue
        if value.shape[2:] != shape or value.ndim != len(shape) + 2:
            raise UsageError(
                "ND502",
                f"input '{name}': a sample has shape {value.shape[1:]}, the network takes {shape} or (steps, *{shape})",
                help="reshape x",
            )
        lengths[name] = value.shape[1]
    wanted = steps if steps is not None else (next(iter(lengths.values())) if lengths else network.steps)
    if wanted is None:
        raise UsageError(
            "ND204", "the number of model steps is not known", help="give --steps, or data with a time axis"
        )
    if any(length != wanted for length in lengths.values()):
        raise UsageError(
            "ND502", f"sequences of {sorted(set(lengths.values()))} steps, {wanted} are asked for", help="cut the data"
        )
    return dict(given), int(wanted)


class _Machine:
    """A network made ready: parameters as tensors, operations as functions."""

    def __init__(
        self, network: ir.Network, known: Mapping[str, shapes.Shape], made: Plan, dtype: torch.dtype, trace: bool
    ) -> None:
        self.network, self.shapes, self.plan, self.dtype, self.trace = network, known, made, dtype, trace
        self.operations: dict[int, Operation] = {
            i: operation(term.node, network.nodes[term.node], dtype, term.delay)
            for i, term in enumerate(made.terms)
            if isinstance(term, Apply)
        }
        self.neurons = {
            name: FloatNeuron(discretise(node, network.semantics, name), dtype)
            for name, node in network.nodes.items()
            if isinstance(node, NEURON_NODES)
        }
        self.delays = {
            name: torch.from_numpy(np.broadcast_to(delay_steps(node, network.semantics, name), known[name]).copy())
            for name, node in network.nodes.items()
            if isinstance(node, ir.Delay)
        }
        for name, node in network.nodes.items():
            if isinstance(node, ir.IntegerNeuron) and node.neuron.ports != ("in",):
                raise RefusedError(
                    "ND201",
                    f"node '{name}' ({node.neuron.kind}) has the ports {node.neuron.ports}",
                    help="the float reference runs neurons with one input; use a Product node",
                )

    def run(self, data: Mapping[str, AnyArray], steps: int, x_scale: float) -> ReferenceResult:
        """One batch from the cleared state."""
        samples = len(next(iter(data.values())))
        state: dict[str, Any] = {
            name: neuron.start(samples, self.shapes[name]) for name, neuron in self.neurons.items()
        }
        for name, node in self.network.nodes.items():
            if isinstance(node, ir.IntegerNeuron):
                state[name] = node.neuron.initial((samples, *node.shape))
        past: dict[str, list[Tensor]] = {name: [] for name in self.plan.order}
        entered: dict[str, list[Tensor]] = {name: [] for name in self.delays}
        inputs = {name: torch.from_numpy(np.ascontiguousarray(v)).to(self.dtype) * x_scale for name, v in data.items()}
        values: dict[str, list[Tensor]] = {name: [] for name in self.plan.order if self._kept(name)}
        membranes: dict[str, list[Tensor]] = {name: [] for name in self.neurons} if self.trace else {}
        for k in range(steps):
            now: dict[str, Tensor] = {}
            terms: dict[int, Tensor] = {}

            def term(i: int, now: dict[str, Tensor] = now, terms: dict[int, Tensor] = terms) -> Tensor:
                if i not in terms:
                    terms[i] = self._term(i, now, past, samples, term)
                return terms[i]

            def arriving(name: str, term: Callable[[int], Tensor] = term) -> Tensor:
                parts = [term(i) for i in self.plan.inputs[name]]
                if not parts:
                    return torch.zeros((samples, *self.shapes[name]), dtype=self.dtype)
                total = parts[0]
                for part in parts[1:]:
                    total = total + part
                return total

            for name in self.plan.order:
                node = self.network.nodes[name]
                if name in inputs:
                    x = inputs[name]
                    now[name] = x if x.ndim == len(self.shapes[name]) + 1 else x[:, k]
                elif name in self.delays:
                    if name not in self.plan.late:
                        entered[name].append(arriving(name))
                    now[name] = self._delayed(name, entered[name], k, samples)
                elif isinstance(node, ir.Product):
                    left, right = (term(i) for i in self.plan.operands[name])
                    now[name] = _multiply(node, left, right)
                elif isinstance(node, ir.Pool):
                    now[name] = pool(node, arriving(name))
                elif isinstance(node, ir.IntegerNeuron):
                    state[name], now[name] = self._integer(node, state[name], arriving(name))
                elif name in self.neurons:
                    now[name] = self.neurons[name].step(state[name], arriving(name))
                    if self.trace:
                        membranes[name].append(state[name]["v"])
                else:
                    now[name] = arriving(name)
                if name in values:
                    values[name].append(now[name])
            for name in self.plan.late:
                entered[name].append(arriving(name))
            for name, value in now.items():
                reach = self.plan.history.get(name, 0)
                if reach:
                    past[name] = [value, *past[name][: reach - 1]]
        found = {name: torch.stack(list_, dim=1).numpy() for name, list_ in values.items()}
        # in the network's order, which says which output is the first; `found` is in the order of execution
        outputs = {name: found[name] for name, node in self.network.nodes.items() if isinstance(node, ir.Output)}
        if not self.trace:
            return ReferenceResult(outputs)
        stacked = {name: torch.stack(list_, dim=1).numpy() for name, list_ in membranes.items()}
        return ReferenceResult(outputs, {n: v for n, v in found.items() if n not in outputs}, stacked)

    def _kept(self, name: str) -> bool:
        return self.trace or isinstance(self.network.nodes[name], ir.Output)

    def _term(
        self, i: int, now: dict[str, Tensor], past: dict[str, list[Tensor]], samples: int, term: Callable[[int], Tensor]
    ) -> Tensor:
        found = self.plan.terms[i]
        if isinstance(found, Value):
            if not found.lag:
                return now[found.carrier]
            older = past[found.carrier]
            if len(older) >= found.lag:
                return older[found.lag - 1]
            return torch.zeros((samples, *self.shapes[found.carrier]), dtype=self.dtype)
        total = term(found.terms[0])
        for other in found.terms[1:]:
            total = total + term(other)
        return self.operations[i](total)

    def _delayed(self, name: str, entered: list[Tensor], k: int, samples: int) -> Tensor:
        """Each element's input of as many steps ago as its delay, 0 before the first."""
        steps = self.delays[name]
        result = torch.zeros((samples, *self.shapes[name]), dtype=self.dtype)
        for d in torch.unique(steps).tolist():
            if k - d >= 0:
                result = torch.where(steps == d, entered[k - d], result)
        return result

    def _integer(self, node: ir.IntegerNeuron, state: Any, x: Tensor) -> tuple[Any, Tensor]:
        whole = np.rint(x.numpy().astype(np.float64)).astype(np.int64)
        after, message = node.neuron.step(state, {"in": whole})
        return after, torch.from_numpy(message).to(self.dtype)


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
