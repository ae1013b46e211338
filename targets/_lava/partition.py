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
from ndeploy.targets._lava.schedule import updates_of

from ndeploy.fixed import IntArray
from ndeploy.ir.program import Population, Program
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
        self._updates = {p.name: updates_of(program, p) for p in program.populations}
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
            if step >= self._updates[population.name]:
                # it stands still and sends nothing; its record of messages is zero to begin with
                self._record_state(population, step)
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
                self._record_state(population, step)
            if population.name in self._operand_names:
                self._operands[population.name, step] = message
            for projection, deliver in self._outgoing[population.name] if message.any() else ():
                for delay, value in deliver(message).items():
                    self._in_flight[time + delay].append((projection.target, projection.port, value))
        self._multiply(time)

    def _record_state(self, population: Population, step: int) -> None:
        for variable, value in self._state[population.name].items():
            self._record(population.name, variable, step, value.reshape(self._samples, -1))

    def _multiply(self, time: int) -> None:
        for product, contract in self._products:
            start = max(self.program.population(name).offset for name in (product.left, product.right))
            step, phase = divmod(time - start, self.program.period)
            if phase or not 0 <= step < self.program.steps:
                continue
            value = contract(self._operand(product.left, step), self._operand(product.right, step))
            self._in_flight[time + product.delay].append((product.target, product.port, value))
        for name, step in list(self._operands):
            # an operand is read at the latest when the last population has made the same model step; the last message
            # of one that stands still is read to the end
            latched = self._updates[name] < self.program.steps and step == self._updates[name] - 1
            if time > self.program.latency + step * self.program.period and not latched:
                del self._operands[name, step]

    def _operand(self, name: str, step: int) -> IntArray:
        """What the population sent for that model step, or last."""
        return self._operands[name, min(step, self._updates[name] - 1)]
