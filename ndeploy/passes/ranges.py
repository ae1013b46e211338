"""Interval arithmetic: how large each population's input, current and membrane can ever become."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ndeploy.fixed import DECAY_ONE
from ndeploy.ir.program import Program
from ndeploy.neurons import CubaLi, CubaLif, TernaryLif
from ndeploy.passes.intervals import Intervals


@dataclass(frozen=True)
class Range:
    """Bounds of magnitudes over all messages the sources can send: input (unshifted), current u, state v before
    clipping (0 where the neuron has none). Bounds, not estimates: a run never exceeds them."""

    input: int
    current: int
    state: int


def input_ranges(program: Program) -> dict[str, Range]:
    """Bounds for every population, from the declared payloads of its sources."""
    intervals = Intervals({p.name: p.shape for p in program.populations}, program.projections, program.products)
    for p in program.populations:
        intervals.assume(p.name, p.neuron)
    result = {}
    for p in program.populations:  # sources first, so that a relay's bound is known to what follows it
        intervals.add(p.name, p.neuron)
        low, high = intervals.input(p.name)
        largest = int(np.maximum(np.abs(low), np.abs(high)).max())
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
