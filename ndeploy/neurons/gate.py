"""Gated linear unit and SiLU: a sum times the sigmoid of another, or of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import SIGMOID_BITS, IntArray, rescale, round_shift, sigmoid
from ndeploy.neurons.base import Message, Neuron, Parameter, State
from ndeploy.neurons.saturation import saturate, saturation


@dataclass(frozen=True, eq=False)
class Gate(Neuron):
    """v = a_in + bias;  g = ((a_gate + gate_bias) * gate_multiplier) >> gate_shift, in units of 1/4096;
    message = clip((((v * sigmoid(g)) >> 15) * multiplier) >> shift), every shift to nearest.

    Error against v s(g) multiplier / 2^shift with the real sigmoid s of the unrounded g: sigmoid's table 6.8e-5 |v|,
    half a unit of g through sigmoid's slope of at most 1/4 3.1e-5 |v|, half a unit of v and half a unit of the message:
    below (1e-4 |v| + 0.5) multiplier / 2^shift + 0.5 units of the message. Where g's real factor is rounded to a
    multiplier of 16 bits, |g| s'(g) 2^-16 <= 3.5e-6 more of |v|.
    """

    kind: ClassVar[str] = "gate"
    ports: ClassVar[tuple[str, ...]] = ("in", "gate")
    bits: int
    signed: bool = True
    bias: Parameter = 0
    gate_bias: Parameter = 0
    gate_multiplier: Parameter = 1
    gate_shift: Parameter = 0
    multiplier: Parameter = 1
    shift: Parameter = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, self.signed)

    @property
    def state(self) -> tuple[str, ...]:
        return ()

    def _sums(self, inputs: Mapping[str, IntArray]) -> tuple[IntArray, IntArray]:
        return inputs["in"] + np.asarray(self.bias), inputs["gate"] + np.asarray(self.gate_bias)

    def _value(self, inputs: Mapping[str, IntArray]) -> IntArray:
        v, g = self._sums(inputs)
        open_ = sigmoid(rescale(g, self.gate_multiplier, self.gate_shift))
        return rescale(round_shift(v * open_, SIGMOID_BITS), self.multiplier, self.shift)

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        return {}, saturate(self._value(inputs), self.message)

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        v, g = self._sums(inputs)
        return saturation(self._value(inputs), self.message, {"input": v, "gate": g})


@dataclass(frozen=True, eq=False)
class Silu(Neuron):
    """message = clip((((v * sigmoid(g)) >> 15) * multiplier) >> shift), v = a + bias, g as `Gate`'s with a_gate = a.

    Error as `Gate`'s.
    """

    kind: ClassVar[str] = "silu"
    bits: int
    signed: bool = True
    bias: Parameter = 0
    gate_multiplier: Parameter = 1
    gate_shift: Parameter = 0
    multiplier: Parameter = 1
    shift: Parameter = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, self.signed)

    @property
    def state(self) -> tuple[str, ...]:
        return ()

    def _value(self, inputs: Mapping[str, IntArray]) -> IntArray:
        v = inputs["in"] + np.asarray(self.bias)
        open_ = sigmoid(rescale(v, self.gate_multiplier, self.gate_shift))
        return rescale(round_shift(v * open_, SIGMOID_BITS), self.multiplier, self.shift)

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        return {}, saturate(self._value(inputs), self.message)

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        return saturation(self._value(inputs), self.message, {"input": inputs["in"] + np.asarray(self.bias)})
