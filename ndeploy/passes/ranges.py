"""Interval arithmetic: how large each population's input, current and membrane can ever become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import DECAY_ONE
from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLi, CubaLif, TernaryLif
from ndeploy.passes.integerise import current_range, product_range


@dataclass(frozen=True)
class Range:
    """Bounds of magnitudes over all messages the sources can send: input (unshifted), current u, state v before
    clipping (0 where the neuron has none). Bounds, not estimates: a run never exceeds them."""

    input: int
    current: int
    state: int


def input_ranges(program: Program) -> dict[str, Range]:
    """Bounds for every population, from the declared payloads of its sources."""
    messages = {p.name: p.neuron.message for p in program.populations}
    low = {p.name: np.zeros(p.size, dtype=np.int64) for p in program.populations}
    high = {p.name: np.zeros(p.size, dtype=np.int64) for p in program.populations}
    for projection in program.projections:
        below, above = current_range(projection, messages[projection.source])
        low[projection.target] = low[projection.target] + below
        high[projection.target] = high[projection.target] + above
    for product in program.products:
        size = low[product.target].size
        below_, above_ = product_range(product, messages[product.left], messages[product.right], size)
        low[product.target] = low[product.target] + below_
        high[product.target] = high[product.target] + above_
    result = {}
    for p in program.populations:
        largest = int(np.maximum(np.abs(low[p.name]), np.abs(high[p.name])).max())
        current = state = 0
        neuron = p.neuron
        if isinstance(neuron, CubaLif | CubaLi | TernaryLif):
            bias = int(np.abs(np.asarray(neuron.bias)).max())
            entering = largest + int(np.abs(np.asarray(getattr(neuron, "input_bias", 0))).max())
            current = _geometric(entering << neuron.shift, DECAY_ONE - 1 - int(np.min(neuron.du)), program.steps)
            state = _geometric(current + bias, DECAY_ONE - int(np.min(neuron.dv)), program.steps)
        result[p.name] = Range(largest, current, state)
    return result


def _geometric(entering: int, factor: int, steps: int) -> int:
    """Bound of x <- x * factor / 4096 + entering after `steps` steps from zero."""
    if factor >= DECAY_ONE:
        return entering * steps
    ratio = factor / DECAY_ONE
    return int(np.ceil(entering * (1 - ratio**steps) / (1 - ratio)))
