"""Layer norm: a population's sums, centred and divided by their standard deviation, on the embedded processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import FRACTION_BITS, IntArray, divide, rescale, round_shift, square_root
from ndeploy.neurons.base import Message, Neuron, Parameter, State
from ndeploy.neurons.saturation import saturate, saturation

ALIGNED_BITS = 20
"""Magnitude of an aligned sum: squares summed over 2^20 neurons stay below 2^61, whatever the sums are."""


@dataclass(frozen=True, eq=False)
class LayerNorm(Neuron):
    """Over `axis` of the population viewed as `view`, with N neurons to a group:

    x = (a + bias) * multiplier >> shift             one unit for the whole group, 20 bits
    c = x - round(sum x / N);  V = sum c^2 / N + epsilon
    y = c 2^20 / floor(sqrt(V 2^16))                 the normalised value in units of 1/4096
    message = clip((y * gain + offset) >> gain_shift)

    `bias`, `multiplier`, `shift`, `gain`, `offset`, `gain_shift` broadcast to the population's shape.
    Error of y against the real layer norm of x, sigma = sqrt(V) >= 1 in units of x: by the floors of V and of the root
    |y| (1 / (2 V) + 1 / (256 sigma - 1)), where these two factors multiply; by the rounded mean (0.5 of c) 2048 / sigma
    units; half a unit by the division.
    """

    kind: ClassVar[str] = "layer-norm"
    embedded: ClassVar[bool] = True
    bits: int
    view: tuple[int, ...]
    axis: int
    epsilon: int
    bias: Parameter = 0
    multiplier: Parameter = 1
    shift: Parameter = 0
    gain: Parameter = 1
    offset: Parameter = 0
    gain_shift: Parameter = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, signed=True)

    @property
    def state(self) -> tuple[str, ...]:
        return ()

    def operations(self, size: int) -> int:
        # align, sum, centre, square, add, divide, gain, offset and clip of every neuron
        return 9 * size

    def _value(self, inputs: Mapping[str, IntArray]) -> IntArray:
        limit = (1 << ALIGNED_BITS) - 1
        x = np.clip(rescale(inputs["in"] + np.asarray(self.bias), self.multiplier, self.shift), -limit, limit)
        viewed = x.reshape(-1, *self.view)
        axis = self.axis - len(self.view)
        n = self.view[self.axis]
        centred = viewed - divide(viewed.sum(axis=axis, keepdims=True), np.asarray(n))
        spread = (centred * centred).sum(axis=axis, keepdims=True) // n + self.epsilon
        root = np.maximum(square_root(spread << 16), 1)
        y = divide(centred << (FRACTION_BITS + 8), root).reshape(x.shape)
        return round_shift(y * np.asarray(self.gain) + np.asarray(self.offset), self.gain_shift)

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        return {}, saturate(self._value(inputs), self.message)

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        x = rescale(inputs["in"] + np.asarray(self.bias), self.multiplier, self.shift)
        events = saturation(self._value(inputs), self.message, {"input": inputs["in"] + np.asarray(self.bias)})
        return events | {"aligned-saturated": int((np.abs(x) >= 1 << ALIGNED_BITS).sum())}
