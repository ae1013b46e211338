"""Leaky integrator without spikes: a readout whose membrane is the answer.

    u <- wrap24(decay(u, 4095 - du) + ((a + input_bias) << shift))
    v <- clip24(decay(v, 4096 - dv) + u + bias)

`du = 4095, dv = 0` sums its input. In Lava: LIF with a threshold the membrane cannot reach (mantissa 2^17).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import STATE_SHIFT, IntArray, clip_state
from ndeploy.neurons.base import SILENT, Message, Neuron, Parameter, State
from ndeploy.neurons.membrane import Integrated, integrate, overflow


@dataclass(frozen=True, eq=False)
class CubaLi(Neuron):
    """Parameters as in `CubaLif`. With `emit_bits` > 0 the membrane is also sent, as v >> emit_shift (floor),
    a signed message of that many bits (saturating)."""

    kind: ClassVar[str] = "cuba-li"
    du: Parameter = 4095
    dv: Parameter = 0
    bias: Parameter = 0
    input_bias: Parameter = 0
    shift: int = STATE_SHIFT
    emit_bits: int = 0
    emit_shift: int = 0

    @property
    def message(self) -> Message:
        return Message(self.emit_bits, signed=True) if self.emit_bits else SILENT

    @property
    def state(self) -> tuple[str, ...]:
        return ("u", "v")

    def _integrate(self, state: State, inputs: Mapping[str, IntArray]) -> Integrated:
        entering = inputs["in"] + self.input_bias
        return integrate(state, entering, du=self.du, dv=self.dv, bias=self.bias, shift=self.shift)

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        _, u, raw_v = self._integrate(state, inputs)
        v = clip_state(raw_v)
        if not self.emit_bits:
            return {"u": u, "v": v}, np.zeros_like(v)
        return {"u": u, "v": v}, np.clip(v >> self.emit_shift, self.message.low, self.message.high)

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        return overflow(self._integrate(state, inputs))
