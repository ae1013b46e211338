"""A whole Program, chip step by chip step, samples side by side: the arithmetic of the fused mode.

The same page as ndeploy/oracle.py (docs/program.md), with exact fast synapses instead of lists, and messages for all
samples at once. A partition is told the messages of the input populations as they are sent and keeps its own messages
in flight, each at least one chip step.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping

import numpy as np
from ndeploy.targets._lava.operators import contraction, deliveries

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Program
from ndeploy.neurons import Input

Recorder = Callable[[str, str, int, IntArray], None]
"""(population, "message" or variable, model step, (samples, neurons))."""


class Partition:
    """State of all populations of all samples. Not reusable: one run."""

    def __init__(self, program: Program, samples: int, record: Recorder) -> None:
        self.program = program
        self._samples = samples
        self._record = record
        self._state = {p.name: p.neuron.initial((samples, *p.shape)) for p in program.populations}
        self._waiting: dict[tuple[str, str], IntArray] = {}
        self._in_flight: dict[int, list[tuple[str, str, IntArray]]] = defaultdict(list)
        self._outgoing = defaultdict(list)
        for projection in program.projections:
            self._outgoing[projection.source].append((projection, deliveries(projection)))
        self._products = [(product, contraction(product)) for product in program.products]
        self._operands: dict[tuple[str, int], IntArray] = {}
        self._operand_names = {name for p in program.products for name in (p.left, p.right)}

    def advance(self, time: int, inputs: Mapping[str, IntArray]) -> None:
        """Chip step `time`: inputs by input population, (samples, neurons), are read where that population sends."""
        for target, port, value in self._in_flight.pop(time, []):
            key = target, port
            self._waiting[key] = self._waiting[key] + value if key in self._waiting else value
        for population in self.program.populations:
            step, phase = divmod(time - population.offset, self.program.period)
            if phase or not 0 <= step < self.program.steps:
                continue
            if isinstance(population.neuron, Input):
                message = np.asarray(inputs[population.name], dtype=np.int64)
            else:
                shape = (self._samples, *population.shape)
                none = np.zeros(shape, dtype=np.int64)
                arrived = {port: self._waiting.pop((population.name, port), none) for port in population.neuron.ports}
                state, message = population.neuron.step(
                    self._state[population.name], {port: value.reshape(shape) for port, value in arrived.items()}
                )
                self._state[population.name] = state
                message = message.reshape(self._samples, -1)
                self._record(population.name, "message", step, message)
                for variable, value in state.items():
                    self._record(population.name, variable, step, value.reshape(self._samples, -1))
            if population.name in self._operand_names:
                self._operands[population.name, step] = message
            for projection, deliver in self._outgoing[population.name] if message.any() else ():
                for delay, value in deliver(message).items():
                    self._in_flight[time + delay].append((projection.target, projection.port, value))
        self._multiply(time)

    def _multiply(self, time: int) -> None:
        for product, contract in self._products:
            start = max(self.program.population(name).offset for name in (product.left, product.right))
            step, phase = divmod(time - start, self.program.period)
            if phase or not 0 <= step < self.program.steps:
                continue
            value = contract(self._operands[product.left, step], self._operands[product.right, step])
            self._in_flight[time + product.delay].append((product.target, product.port, value))
        for name, step in list(self._operands):
            # an operand is read at the latest when the last population has made the same model step
            if time > self.program.latency + step * self.program.period:
                del self._operands[name, step]
