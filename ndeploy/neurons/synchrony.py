"""Synchrony: a product neuron with a leaky accumulator, read through a table of tick and pair (CTM)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import STATE_MAX, IntArray, clip_state, decay, round_shift
from ndeploy.neurons.base import Message, Neuron, Parameter, State
from ndeploy.neurons.saturation import saturate, saturation


@dataclass(frozen=True, eq=False)
class Synchrony(Neuron):
    """alpha <- clip24(decay(alpha, factor) + ((a_left a_right + half) >> exponent));  tick <- tick + 1
    message = clip((alpha * table[tick - 1] + half) >> shift)

    factor: 0..4096, 4096 keeps all. start: alpha before the first update. table: (ticks, neurons), the data-independent
    1 / sqrt(beta) with all scales folded in, 16 bits; updates beyond its last row use the last row.
    Error of alpha after k updates: less than k units of rounding toward zero and, with an exponent, k halves; where
    the factor is rounded to 12 bits, k 2^-13 of the largest |alpha| more. The message: the table's entry times that,
    and half a unit.
    """

    kind: ClassVar[str] = "synchrony"
    ports: ClassVar[tuple[str, ...]] = ("left", "right")
    bits: int
    factor: Parameter
    table: IntArray
    exponent: int = 0
    start: Parameter = 0
    shift: Parameter = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, signed=True)

    @property
    def state(self) -> tuple[str, ...]:
        return ("alpha", "tick")

    def initial(self, shape: tuple[int, ...]) -> State:
        state = super().initial(shape)
        start = np.asarray(self.start, dtype=np.int64)
        return state | {"alpha": np.broadcast_to(start, shape).astype(np.int64)}

    def _alpha(self, state: State, inputs: Mapping[str, IntArray]) -> IntArray:
        product = round_shift(inputs["left"] * inputs["right"], self.exponent)
        return decay(state["alpha"], np.asarray(self.factor)) + product

    def _value(self, alpha: IntArray, tick: IntArray) -> IntArray:
        neurons = self.table.shape[1]
        row = np.minimum(tick.reshape(-1, neurons), len(self.table) - 1)
        entry = self.table[row, np.arange(neurons)].reshape(alpha.shape)
        return round_shift(alpha * entry, self.shift)

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        alpha = clip_state(self._alpha(state, inputs))
        message = saturate(self._value(alpha, state["tick"]), self.message)
        return {"alpha": alpha, "tick": state["tick"] + 1}, message

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        raw = self._alpha(state, inputs)
        events = saturation(self._value(clip_state(raw), state["tick"]), self.message, {})
        return events | {"alpha-saturated": int((np.abs(raw) > STATE_MAX).sum())}
