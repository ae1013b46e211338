"""Sigma, delta and sigma-delta neurons (lava-nc 0.10.0 `lava/proc/sdn/models.py`).

Delta sends the change of its input when the change, plus what was held back, reaches the threshold:
    x <- a << (spike_exp + state_exp)                 (delta)
    sigma <- sigma + a;  x <- f(sigma + bias)         (sigma-delta; f is ReLU or identity)
    d <- x - act + residue;  s <- d if |d| >= vth else 0;  residue <- d - s;  act <- x;  send s >> state_exp
With cum_error the comparison is made on the accumulated |error|, which a spike clears.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ndeploy.fixed import STATE_MAX, IntArray
from ndeploy.neurons.base import Message, Neuron, Parameter, State


def _delta(state: State, x: IntArray, vth: Parameter, cum_error: bool) -> tuple[State, IntArray]:
    d = x - state["act"] + state["residue"]
    after: State = {}
    if cum_error:
        error = state["error"] + d
        s = np.where(np.abs(error) >= vth, d, 0)
        after["error"] = np.where(s != 0, 0, error)
    else:
        s = np.where(np.abs(d) >= vth, d, 0)
    after["act"] = x
    after["residue"] = d - s
    return after, s


def _beyond(*arrays: IntArray) -> int:
    return sum(int((np.abs(a) > STATE_MAX).sum()) for a in arrays)


@dataclass(frozen=True, eq=False)
class Sigma(Neuron):
    """sigma <- sigma + a, sent as it is. start: sigma before the first update (0 in Lava)."""

    kind: ClassVar[str] = "sigma"
    bits: int = 24
    start: Parameter = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, signed=True)

    @property
    def state(self) -> tuple[str, ...]:
        return ("sigma",)

    def initial(self, shape: tuple[int, ...]) -> State:
        return {"sigma": np.broadcast_to(np.asarray(self.start, dtype=np.int64), shape).astype(np.int64)}

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        sigma = state["sigma"] + inputs["in"]
        return {"sigma": sigma}, sigma

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        sigma = state["sigma"] + inputs["in"]
        outside = int(((sigma < self.message.low) | (sigma > self.message.high)).sum())
        return {"state-overflow": _beyond(sigma), "payload-overflow": outside}


@dataclass(frozen=True, eq=False)
class Delta(Neuron):
    """vth in state units, that is already scaled by 2^(spike_exp + state_exp). start: what the receivers hold before
    the first update, in state units (0 in Lava)."""

    kind: ClassVar[str] = "delta"
    vth: Parameter
    spike_exp: int = 0
    state_exp: int = 0
    cum_error: bool = False
    bits: int = 24
    start: Parameter = 0

    @property
    def message(self) -> Message:
        return Message(self.bits, signed=True)

    @property
    def state(self) -> tuple[str, ...]:
        return ("act", "residue", "error") if self.cum_error else ("act", "residue")

    def initial(self, shape: tuple[int, ...]) -> State:
        act = np.broadcast_to(np.asarray(self.start, dtype=np.int64), shape).astype(np.int64)
        return super().initial(shape) | {"act": act}

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        after, s = _delta(state, inputs["in"] << (self.spike_exp + self.state_exp), self.vth, self.cum_error)
        return after, s >> self.state_exp

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        after, message = self.step(state, inputs)
        outside = int(((message < self.message.low) | (message > self.message.high)).sum())
        return {"state-overflow": _beyond(*after.values()), "payload-overflow": outside}


@dataclass(frozen=True, eq=False)
class SigmaDelta(Neuron):
    """vth and bias in state units, that is already scaled by 2^(spike_exp + state_exp)."""

    kind: ClassVar[str] = "sigma-delta"
    vth: Parameter
    bias: Parameter = 0
    relu: bool = True
    spike_exp: int = 0
    state_exp: int = 0
    cum_error: bool = False
    bits: int = 24

    @property
    def message(self) -> Message:
        return Message(self.bits, signed=True)

    @property
    def state(self) -> tuple[str, ...]:
        return ("sigma", "act", "residue", "error") if self.cum_error else ("sigma", "act", "residue")

    def step(self, state: State, inputs: Mapping[str, IntArray]) -> tuple[State, IntArray]:
        sigma = state["sigma"] + inputs["in"]
        x = sigma + self.bias
        after, s = _delta(state, np.maximum(x, 0) if self.relu else x, self.vth, self.cum_error)
        after["sigma"] = sigma
        return after, s >> self.state_exp

    def overflow(self, state: State, inputs: Mapping[str, IntArray]) -> dict[str, int]:
        after, message = self.step(state, inputs)
        outside = int(((message < self.message.low) | (message > self.message.high)).sum())
        return {"state-overflow": _beyond(*after.values()), "payload-overflow": outside}
