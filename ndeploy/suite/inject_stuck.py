"""Neurons that are stuck: whatever arrives, they send nothing, or one value that was drawn over their payload.

A stuck neuron is one that an update writes: its message is the value in every update, and where an output reads a state
variable of it (a readout's membrane), that variable is the value too. Everything else of the neuron is as it was, so
that other neurons see a difference only through what they are sent. Inputs are the host's, and not stuck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ndeploy.fixed import STATE_MAX, IntArray
from ndeploy.ir.program import Population, Program
from ndeploy.neurons import CubaLif, Input, Message, Neuron, State


@dataclass(frozen=True, eq=False)
class Held:
    """places: of neurons, flat; drawn: (places, 2) in [0, 1): below a half silent, and where in the payload if not."""

    places: IntArray
    drawn: Any

    def values(self, low: int, high: int) -> IntArray:
        """0, or a value of low .. high that is not 0; 1 for a spike."""
        found = low + np.floor(self.drawn[:, 1] * (high - low)).astype(np.int64)
        found += found >= 0
        return np.where(self.drawn[:, 0] < 0.5, 0, found)


@dataclass(frozen=True, eq=False)
class Stuck(Neuron):
    """`inner` with some of its `size` neurons stuck. places: flat; values: what they send; read: what stands in the
    state variables that outputs read, by name."""

    inner: Neuron
    size: int
    places: IntArray
    values: IntArray
    read: Mapping[str, IntArray]

    def __post_init__(self) -> None:
        for name in ("kind", "ports", "embedded"):
            object.__setattr__(self, name, getattr(self.inner, name))

    def operations(self, size: int) -> int:
        return self.inner.operations(size)

    @property
    def message(self) -> Message:
        return self.inner.message

    @property
    def state(self) -> tuple[str, ...]:
        return self.inner.state

    def initial(self, shape: tuple[int, ...]) -> State:
        return self.inner.initial(shape)

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        after, message = self.inner.step(state, inputs)
        seen = {name: self._put(after[name], values) for name, values in self.read.items()}
        return {**after, **seen}, self._put(message, self.values)

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        return self.inner.overflow(state, inputs)

    def _put(self, array: IntArray, values: IntArray) -> IntArray:
        changed = np.array(array, dtype=np.int64).reshape(-1, self.size)
        changed[:, self.places] = values
        return changed.reshape(array.shape)


def places_of(program: Program) -> list[int]:
    """How many neurons can be stuck: by population, then by product."""
    from ndeploy.suite.inject_products import neurons

    read = _read(program)
    own = [
        p.size if not isinstance(p.neuron, Input) and (p.neuron.message.bits or read.get(p.name)) else 0
        for p in program.populations
    ]
    return own + [neurons(program, product) for product in program.products]


def held(program: Program, chosen: Sequence[Held]) -> Program:
    """The program with neurons stuck. chosen: in the order of `places_of`."""
    from ndeploy.suite.inject_products import with_stuck

    read = _read(program)
    own = tuple(_held(p, found, read.get(p.name, ())) for p, found in zip(program.populations, chosen, strict=False))
    changed = replace(program, populations=own)
    for product, found in zip(program.products, chosen[len(own) :], strict=True):
        if len(found.places):
            changed = with_stuck(changed, product, found)
    return changed


def _held(population: Population, found: Held, read: Sequence[str]) -> Population:
    if not len(found.places):
        return population
    message = population.neuron.message
    values = found.values(message.low, message.high) if message.bits else np.zeros(len(found.places), dtype=np.int64)
    seen = found.values(-STATE_MAX, STATE_MAX)
    fast = None if read else _by_threshold(population, found.places, values)
    stuck = fast or Stuck(population.neuron, population.size, found.places, values, dict.fromkeys(read, seen))
    return replace(population, neuron=stuck)


def _by_threshold(population: Population, places: IntArray, values: IntArray) -> Neuron | None:
    """The same for integrate-and-fire neurons that never rest, at the simulator's speed: a threshold that no membrane
    exceeds, or that every one does. None for other neurons."""
    neuron = population.neuron
    if not isinstance(neuron, CubaLif) or neuron.refractory:
        return None
    threshold = np.broadcast_to(np.asarray(neuron.vth, dtype=np.int64), population.shape).copy()
    threshold.reshape(-1)[places] = np.where(values != 0, -STATE_MAX - 1, STATE_MAX)
    return replace(neuron, vth=threshold)


def _read(program: Program) -> dict[str, tuple[str, ...]]:
    """State variables that outputs read, by population."""
    found: dict[str, tuple[str, ...]] = {}
    for port in program.outputs:
        if port.variable != "message":
            found[port.population] = (*found.get(port.population, ()), port.variable)
    return found
