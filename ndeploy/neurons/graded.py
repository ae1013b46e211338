"""Stateless graded neurons: relay, compare, product.

A relay passes its summed input on (joins of residual branches, token sums); compare sends a binary spike when the sum
reaches a level (OR pooling, counts); product multiplies its two ports (attention, coincidence of binary spikes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.neurons.base import BINARY, Message, Neuron, Parameter, State


class _Stateless(Neuron):
    @property
    def state(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, eq=False)
class Relay(_Stateless):
    """message = a where |a| > vth, else 0; Lava's GradedVec. `bits`, `signed` declare the payload; it must fit."""

    kind: ClassVar[str] = "relay"
    bits: int
    signed: bool = True
    vth: int = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, self.signed)

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        a = inputs["in"]
        return {}, np.where(np.abs(a) > self.vth, a, 0)

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        a = inputs["in"]
        return {"payload-overflow": int(((a < self.message.low) | (a > self.message.high)).sum())}


@dataclass(frozen=True, eq=False)
class Compare(_Stateless):
    """Binary spike iff a + bias > vth. In Lava: LIF with du = dv = 4095 when vth = bias = 0 and a is never negative."""

    kind: ClassVar[str] = "compare"
    vth: Parameter = 0
    bias: Parameter = 0

    @property
    def message(self) -> Message:
        return BINARY

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        return {}, (inputs["in"] + self.bias > self.vth).astype(np.int64)


@dataclass(frozen=True, eq=False)
class ProductNeuron(_Stateless):
    """message = (a1 * a2) >> exponent (floor), sent where its magnitude exceeds vth; Lava's ProdNeuron."""

    kind: ClassVar[str] = "product"
    ports: ClassVar[tuple[str, ...]] = ("in1", "in2")
    bits: int = 1
    signed: bool = False
    exponent: int = 0
    vth: int = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, self.signed)

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        value = (inputs["in1"] * inputs["in2"]) >> self.exponent
        return {}, np.where(np.abs(value) > self.vth, value, 0)

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        value = (inputs["in1"] * inputs["in2"]) >> self.exponent
        return {"payload-overflow": int(((value < self.message.low) | (value > self.message.high)).sum())}
