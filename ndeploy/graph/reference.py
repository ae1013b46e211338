"""Float reference: the network as its source framework would run it, step by step, batched, in PyTorch.

What is compared with: accuracy of the source, and where the integers first differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ndeploy.decode import predict
from ndeploy.errors import UsageError
from ndeploy.fixed import IntArray
from ndeploy.graph.machine import Machine
from ndeploy.ir import network as ir

AnyArray = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class ReferenceResult:
    """outputs: by Output node, (samples, steps, *shape): what arrives there at every step.

    With trace: values by node, what every kept node (neurons, joins, products, graded nodes, ...) put out; membranes by
    neuron, its v after the reset. All (samples, steps, *shape), in the type the run was made in; what is the same at
    every step is stored once (a read-only view).
    """

    outputs: Mapping[str, AnyArray]
    values: Mapping[str, AnyArray] = field(default_factory=dict)
    membranes: Mapping[str, AnyArray] = field(default_factory=dict)

    def predictions(self, decode: str = "sum", answer: tuple[int, ...] = ()) -> IntArray | None:
        """What the first output answers, decoded over steps as by `decode.predict`; None for "none"."""
        return predict(next(iter(self.outputs.values())), decode, answer)


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
    """Run samples from the initial state (every state 0 but what nodes state themselves, nothing in flight).

    x: one array, or one by Input node; (samples, *shape) is static and repeated, (samples, steps, *shape) a sequence,
    whose length gives the steps. In one array for several inputs a sample holds all of them, flattened, in the order of
    the network (as in `decode.encode`). The input's value is x * x_scale. batch: samples run together; it changes
    nothing but memory. Raises UsageError ND204 (steps not known), ND502 (shape), ND503 (no samples), and what
    `Machine` raises.
    """
    machine = Machine(network, dtype)
    data, length = inputs(network, x, steps)
    samples = len(next(iter(data.values())))
    same = machine.constant(data).carriers
    found: dict[str, AnyArray] = {}
    membranes: dict[str, AnyArray] = {}

    def store(where: dict[str, AnyArray], name: str, rows: slice, k: int, value: Tensor) -> None:
        array = value.numpy()
        if name not in where:
            where[name] = np.empty((samples, 1 if name in same else length, *array.shape[1:]), dtype=array.dtype)
        where[name][rows, k] = array

    for start in range(0, samples, batch):
        rows = slice(start, min(start + batch, samples))

        def visit(name: str, k: int, value: Tensor, membrane: Tensor | None, rows: slice = rows) -> None:
            if trace or isinstance(network.nodes[name], ir.Output):
                store(found, name, rows, k, value)
            if trace and membrane is not None:
                store(membranes, name, rows, k, membrane)

        machine.run({name: np.asarray(value[rows]) for name, value in data.items()}, length, x_scale, visit)
    for name in same & found.keys():
        found[name] = np.broadcast_to(found[name], (samples, length, *found[name].shape[2:]))
    # in the network's order, which says which output is the first; `found` is in the order of execution
    outputs = {name: found[name] for name, node in network.nodes.items() if isinstance(node, ir.Output)}
    return ReferenceResult(outputs, {n: v for n, v in found.items() if n not in outputs}, membranes)


def inputs(
    network: ir.Network, x: AnyArray | Mapping[str, AnyArray], steps: int | None
) -> tuple[dict[str, AnyArray], int]:
    """Arrays by input node and the number of steps; static inputs keep their shape. Raises as `run`."""
    names = [name for name, node in network.nodes.items() if isinstance(node, ir.Input)]
    given = x if isinstance(x, Mapping) else _split(network, names, x)
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
        if isinstance(node, ir.Input) and node.static:
            raise UsageError(
                "ND502",
                f"input '{name}' is static, the data hold a sequence of {value.shape[1]} values a sample",
                help=f"give samples of shape {shape}: one value holds for all model steps",
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


def _split(network: ir.Network, names: list[str], x: AnyArray) -> dict[str, AnyArray]:
    """The part of every input where one array holds them all, flattened; x itself for one input."""
    if len(names) == 1:
        return {names[0]: x}
    shapes = [node.shape for node in network.nodes.values() if isinstance(node, ir.Input)]
    sizes = [math.prod(shape) for shape in shapes]
    if x.ndim not in (2, 3) or x.shape[-1] != sum(sizes):
        raise UsageError(
            "ND502",
            f"a sample has shape {x.shape[1:]}, the inputs {names} take {sum(sizes)} values in all",
            help="give one array for every input node, or samples that hold all inputs flattened one after another",
        )
    parts = np.split(x, np.cumsum(sizes)[:-1], axis=-1)
    return {n: part.reshape(*x.shape[:-1], *shape) for n, part, shape in zip(names, parts, shapes, strict=True)}
