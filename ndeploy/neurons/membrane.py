"""The current and the membrane that all leaky integrators share (lava-nc 0.10.0 `AbstractPyLifModelFixed`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ndeploy.fixed import DECAY_ONE, STATE_MAX, IntArray, decay, wrap_state
from ndeploy.neurons.base import Parameter, State


class Integrated(NamedTuple):
    """u before and after wrapping to 24 bits; v before resets and clipping."""

    raw_u: IntArray
    u: IntArray
    raw_v: IntArray


def integrate(
    state: State, entering: IntArray, *, du: Parameter, dv: Parameter, bias: Parameter, shift: int
) -> Integrated:
    """u <- wrap24(decay(u, 4095 - du) + (entering << shift)); v <- decay(v, 4096 - dv) + u + bias."""
    raw_u = decay(state["u"], np.asarray(DECAY_ONE - 1 - du)) + (entering << shift)
    u = wrap_state(raw_u)
    return Integrated(raw_u, u, decay(state["v"], np.asarray(DECAY_ONE - dv)) + u + bias)


def overflow(integrated: Integrated) -> dict[str, int]:
    """How many neurons wrap their current and saturate their membrane."""
    return {
        "u-wrapped": int((integrated.raw_u != integrated.u).sum()),
        "v-saturated": int((np.abs(integrated.raw_v) > STATE_MAX).sum()),
    }
