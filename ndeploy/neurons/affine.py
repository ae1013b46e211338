"""Affine: a sum brought to the scale of its message; ReLU where the message is unsigned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import IntArray, rescale
from ndeploy.neurons.base import Message, Neuron, Parameter, State
from ndeploy.neurons.saturation import saturate, saturation


@dataclass(frozen=True, eq=False)
class Affine(Neuron):
    """message = clip(((a + bias) * multiplier + half) >> shift) to the payload of `bits`.

    An exact real multiplier rho = multiplier / 2^shift of 16 bits errs by at most 2^-16 of the value; the rounding adds
    half a unit of the message.
    """

    kind: ClassVar[str] = "affine"
    bits: int
    signed: bool = True
    multiplier: Parameter = 1
    shift: Parameter = 0
    bias: Parameter = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, self.signed)

    @property
    def state(self) -> tuple[str, ...]:
        return ()

    def _value(self, inputs: Mapping[str, IntArray]) -> IntArray:
        return rescale(inputs["in"] + np.asarray(self.bias), self.multiplier, self.shift)

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        return {}, saturate(self._value(inputs), self.message)

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        return saturation(self._value(inputs), self.message, {"input": inputs["in"] + np.asarray(self.bias)})
