"""A program whose states are twice as large, to see whether a run leaves half of the width unused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ndeploy.fixed import STATE_MAX
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import CubaLi, CubaLif, Neuron
from ndeploy.passes.ranges import Range


def with_margin(program: Program, ranges: Mapping[str, Range]) -> Program:
    """The program with current and membrane doubled, relative to the same threshold, in every population whose range is
    not proved: it overflows where the original would with inputs twice as strong.

    Populations whose threshold or bias already takes more than half of the state are left as they are.
    """

    def doubled(population: Population) -> Population:
        neuron = population.neuron
        bound = ranges[population.name]
        if not isinstance(neuron, CubaLif | CubaLi) or max(bound.current, bound.state) <= STATE_MAX:
            return population
        return replace(population, neuron=_doubled(neuron))

    return replace(program, populations=tuple(doubled(p) for p in program.populations))


def _doubled(neuron: CubaLif | CubaLi) -> Neuron:
    constants = ("vth", "bias", "input_bias", "reset_amount", "reset_value")
    values = {name: np.asarray(getattr(neuron, name)) for name in constants if hasattr(neuron, name)}
    if any(int(np.abs(value).max()) > STATE_MAX // 2 for value in values.values()):
        return neuron
    # the input bias is added before the shift and doubles with it; a membrane that is sent is halved again
    scaled: dict[str, Any] = {name: 2 * value for name, value in values.items() if name != "input_bias"}
    if isinstance(neuron, CubaLi):
        return replace(neuron, shift=neuron.shift + 1, emit_shift=neuron.emit_shift + 1, **scaled)
    return replace(neuron, shift=neuron.shift + 1, **scaled)
