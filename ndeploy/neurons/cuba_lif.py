"""Current-based leaky integrate-and-fire, Loihi's own neuron; LIF and IF are special cases.

    u <- wrap24(decay(u, 4095 - du) + ((a + input_bias) << shift))
    v <- clip24(decay(v, 4096 - dv) + u + bias)
    spike iff v > vth;  then the reset

`du = 4095` forgets the current at once (LIF); `dv = 0` does not leak (IF). The arithmetic with reset "zero",
shift 6 and vth a multiple of 64 is that of lava-nc 0.10.0 `lava/proc/lif/models.py` (PyLifModelBitAcc).
Resets, with amount = `reset_amount`:

    zero            v <- reset_value (0 on Loihi) in the step of the spike
    subtract        v <- v - amount in the step of the spike
    zero-next       as snnTorch's reset_delay: the result of the step after the spike is replaced by reset_value
    subtract-next   as snnTorch's reset_delay: the next step's result is lowered by amount
    none            the membrane keeps its value
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import STATE_SHIFT, IntArray, clip_state
from ndeploy.neurons.base import BINARY, Message, Neuron, Parameter, State
from ndeploy.neurons.membrane import Integrated, integrate, overflow

RESETS = ("zero", "subtract", "zero-next", "subtract-next", "none")


@dataclass(frozen=True, eq=False)
class CubaLif(Neuron):
    """Parameters are in state units (2^shift times a unit of synaptic input).

    du, dv: 12-bit decays, 0..4095, du with Loihi's +1 offset; vth, bias, reset_amount, reset_value: 24-bit;
    refractory: updates after a spike during which v is held at reset_value and no spike is sent (u keeps integrating).
    """

    kind: ClassVar[str] = "cuba-lif"
    du: Parameter
    dv: Parameter
    vth: Parameter
    bias: Parameter = 0
    input_bias: Parameter = 0
    shift: int = STATE_SHIFT
    reset: str = "zero"
    reset_amount: Parameter = 0
    reset_value: Parameter = 0
    refractory: int = 0

    @property
    def message(self) -> Message:
        return BINARY

    @property
    def state(self) -> tuple[str, ...]:
        names: tuple[str, ...] = ("u", "v")
        if self.reset.endswith("-next"):
            names += ("spiked",)
        if self.refractory:
            names += ("wait",)
        return names

    def _integrate(self, state: State, inputs: Mapping[str, IntArray]) -> Integrated:
        """The sums of this step, delayed resets applied."""
        entering = inputs["in"] + self.input_bias
        sums = integrate(state, entering, du=self.du, dv=self.dv, bias=self.bias, shift=self.shift)
        if self.reset == "zero-next":
            return sums._replace(raw_v=np.where(state["spiked"] > 0, self.reset_value, sums.raw_v))
        if self.reset == "subtract-next":
            return sums._replace(raw_v=sums.raw_v - state["spiked"] * self.reset_amount)
        return sums

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        _, u, raw_v = self._integrate(state, inputs)
        v = clip_state(raw_v)
        if self.refractory:
            v = np.where(state["wait"] > 0, self.reset_value, v)
        spike = (v > self.vth).astype(np.int64)
        if self.reset == "zero":
            v = np.where(spike > 0, self.reset_value, v)
        elif self.reset == "subtract":
            v = v - spike * self.reset_amount
        after: State = {"u": u, "v": v}
        if self.reset.endswith("-next"):
            after["spiked"] = spike
        if self.refractory:
            after["wait"] = np.where(spike > 0, self.refractory, np.maximum(state["wait"] - 1, 0))
        return after, spike

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        return overflow(self._integrate(state, inputs))
