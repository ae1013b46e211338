"""LIF with two thresholds and spikes -1, 0, +1 (lava-nc 0.10.0 PyTernLifModelFixed)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import DECAY_ONE, STATE_MAX, STATE_SHIFT, IntArray, clip_state, decay, wrap_state
from ndeploy.neurons.base import Message, Neuron, Parameter, State


@dataclass(frozen=True, eq=False)
class TernaryLif(Neuron):
    """u and v as in `CubaLif`; +1 iff v > vth_high, -1 iff v < vth_low; v <- 0 on either."""

    kind: ClassVar[str] = "ternary-lif"
    du: Parameter
    dv: Parameter
    vth_low: Parameter
    vth_high: Parameter
    bias: Parameter = 0
    shift: int = STATE_SHIFT

    @property
    def message(self) -> Message:
        return Message(bits=2, signed=True)

    @property
    def state(self) -> tuple[str, ...]:
        return ("u", "v")

    def _sums(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[IntArray, IntArray, IntArray]:
        raw_u = decay(state["u"], np.asarray(DECAY_ONE - 1 - self.du)) + (inputs["in"] << self.shift)
        u = wrap_state(raw_u)
        return raw_u, u, decay(state["v"], np.asarray(DECAY_ONE - self.dv)) + u + self.bias

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        _, u, raw_v = self._sums(state, inputs)
        v = clip_state(raw_v)
        spike = (v > self.vth_high).astype(np.int64) - (v < self.vth_low).astype(np.int64)
        return {"u": u, "v": np.where(spike != 0, 0, v)}, spike

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        raw_u, u, raw_v = self._sums(state, inputs)
        return {"u-wrapped": int((raw_u != u).sum()), "v-saturated": int((np.abs(raw_v) > STATE_MAX).sum())}
