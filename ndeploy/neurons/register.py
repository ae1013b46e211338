"""Register: passes messages on, with a first value of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import IntArray
from ndeploy.neurons.base import Message, Neuron, Parameter, State


@dataclass(frozen=True, eq=False)
class Register(Neuron):
    """message = a + held;  held <- 0, where held is `start` before the first update. The sum must fit the payload."""

    kind: ClassVar[str] = "register"
    bits: int
    start: Parameter = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, signed=True)

    @property
    def state(self) -> tuple[str, ...]:
        return ("held",)

    def initial(self, shape: tuple[int, ...]) -> State:
        return {"held": np.broadcast_to(np.asarray(self.start, dtype=np.int64), shape).astype(np.int64)}

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        return {"held": np.zeros_like(state["held"])}, inputs["in"] + state["held"]

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        value = inputs["in"] + state["held"]
        return {"payload-overflow": int(((value < self.message.low) | (value > self.message.high)).sum())}
