"""Softmax: scores become shares of one, on the embedded processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import IntArray, divide, exp2_negative, rescale
from ndeploy.neurons.base import Message, Neuron, Parameter, State
from ndeploy.neurons.saturation import saturation


@dataclass(frozen=True, eq=False)
class Softmax(Neuron):
    """Over the last axis of the population viewed as `view`:

    x = a * multiplier >> shift                      scores times log2(e), in units of 1/4096
    e = 2^-(max x - x) in units of 2^-16;  message = round(e (2^bits - 1) / sum e)

    One unit of the message is 1 / (2^bits - 1). Error of a share p among N against the real softmax of the unrounded x:
    half a unit of x is 8.5e-5 of e (what it does to the maximum cancels), exp2 errs by 2.6e-5 of the largest e; with S
    the sum of e over the largest, S >= 1, below 1.7e-4 (1 + 2.6e-5 N) p + 2.6e-5 (1 + N p) / S + half a unit. That is
    2.2e-4 + half a unit where the shares are equal; N = 64 scores that all vanish beside one may take 1.9e-3 from it.
    """

    kind: ClassVar[str] = "softmax"
    embedded: ClassVar[bool] = True
    bits: int
    view: tuple[int, ...]
    multiplier: Parameter = 1
    shift: Parameter = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, signed=False)

    @property
    def state(self) -> tuple[str, ...]:
        return ()

    def operations(self, size: int) -> int:
        # align, maximum, difference, table and interpolation (3), sum, multiply, divide of every score
        return 9 * size

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        x = rescale(inputs["in"], self.multiplier, self.shift)
        viewed = x.reshape(-1, *self.view)
        e = exp2_negative(viewed.max(axis=-1, keepdims=True) - viewed)
        shares = divide(e * self.message.high, e.sum(axis=-1, keepdims=True))
        return {}, shares.reshape(x.shape)

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        events = saturation(np.zeros(1, dtype=np.int64), self.message, {"input": inputs["in"]})
        return {"input-overflow": events["input-overflow"]}
