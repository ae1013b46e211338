"""Activity the slow way: from the messages that the oracle has recorded, synapse by synapse and chip step by chip step.

It shares nothing with the simulator: where a message lands is found on the chip's clock, not from lags.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Product, Program, Projection
from ndeploy.ir.result import Activity
from ndeploy.neurons import Input
from ndeploy.realise import index_sizes

Flags = npt.NDArray[np.bool_]


def activity_of(program: Program, traces: Mapping[str, IntArray]) -> Activity:
    """What every neuron did at every model step, summed over samples, from "spikes/<population>" of all populations.

    traces: as in RunResult, (samples, steps, *shape). A product counts as arriving where two of its factors that are
    multiplied are not zero, whichever realisation it has.
    """
    on = {
        p.name: traces[f"spikes/{p.name}"].reshape(-1, program.steps, p.size) != 0 for p in program.populations
    }  # (samples, steps, n)
    arrived = {p.name: np.zeros_like(on[p.name]) for p in program.populations if not isinstance(p.neuron, Input)}
    for projection in program.projections:
        _deliver(program, projection, on[projection.source], arrived[projection.target])
    live = {}
    for product in program.products:
        together = _multiply(program, product, on, arrived[product.target])
        if product.realisation != "embedded":
            live[product.name] = together
    return Activity(
        samples=len(next(iter(on.values()))),
        messages={name: value.sum(axis=0, dtype=np.int64) for name, value in on.items()},
        arrivals={name: value.sum(axis=0, dtype=np.int64) for name, value in arrived.items()},
        live=live,
    )


def consumed(program: Program, target: Population, chip_step: int) -> int | None:
    """The model step whose update of `target` takes in what arrives at a chip step; None after the last update."""
    updates = program.steps if target.updates is None else min(target.updates, program.steps)
    for k in range(updates):
        if target.offset + k * program.period >= chip_step:
            return k
    return None


def _deliver(program: Program, projection: Projection, on: Flags, arrived: Flags) -> None:
    """Every synapse by itself: a message visits a weight of zero as any other."""
    source, target = program.population(projection.source), program.population(projection.target)
    targets, sources, index = projection.synapses.to_coo()
    extra = np.zeros_like(index) if projection.delays is None else projection.delays.reshape(-1)[index]
    for k in range(program.steps):
        for more in np.unique(extra):
            sent = source.offset + k * program.period
            at = consumed(program, target, sent + projection.delay + int(more))
            if at is None:
                continue
            here = extra == more
            for sample in range(len(on)):
                heard = on[sample, k, sources[here]]
                arrived[sample, at, targets[here][heard]] = True


def _multiply(program: Program, product: Product, on: Mapping[str, Flags], arrived: Flags) -> IntArray:
    """Scalar products of two factors that are not zero, (steps, index space), summed over samples."""
    left, right = program.population(product.left), program.population(product.right)
    target = program.population(product.target)
    operands, result = product.subscripts.split("->")
    space = "".join(index_sizes(product))
    live = np.zeros((program.steps, int(np.prod(list(index_sizes(product).values())))), dtype=np.int64)
    for k in range(program.steps):
        at = consumed(
            program, target, max(left.offset, right.offset) + k * program.period + product.delay
        )  # both operands of a model step must be there
        for sample in range(len(on[product.left])):
            factors = []
            for operand, view in ((left, product.left_view), (right, product.right_view)):
                last = program.steps if operand.updates is None else min(operand.updates, program.steps)
                latched = on[operand.name][sample, min(k, last - 1)]  # sent no more: as it was last
                factors.append(latched.reshape(view).astype(np.int64))
            live[k] += np.einsum(f"{operands}->{space}", *factors).reshape(-1)
            if at is not None:
                arrived[sample, at] |= np.einsum(f"{operands}->{result}", *factors).reshape(-1) > 0
    return live


__all__ = ["activity_of", "consumed"]
