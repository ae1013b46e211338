"""LIF with two thresholds and spikes -1, 0, +1 (lava-nc 0.10.0 PyTernLifModelFixed)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import STATE_SHIFT, IntArray, clip_state
from ndeploy.neurons.base import Message, Neuron, Parameter, State
from ndeploy.neurons.membrane import Integrated, integrate, overflow


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

    def _integrate(self, state: State, inputs: Mapping[str, IntArray]) -> Integrated:
        return integrate(state, inputs["in"], du=self.du, dv=self.dv, bias=self.bias, shift=self.shift)

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        _, u, raw_v = self._integrate(state, inputs)
        v = clip_state(raw_v)
        spike = (v > self.vth_high).astype(np.int64) - (v < self.vth_low).astype(np.int64)
        return {"u": u, "v": np.where(spike != 0, 0, v)}, spike

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        return overflow(self._integrate(state, inputs))
