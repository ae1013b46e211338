"""Trainable forms of spiking neurons, and of the stateless ones that spiking networks are joined with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ndeploy.fixed import DECAY_ONE, STATE_MAX
from ndeploy.neurons import Compare, CubaLi, CubaLif, Neuron, Parameter, ProductNeuron, Relay, TernaryLif
from ndeploy.target import Target
from ndeploy.train.fields import bias_field, threshold_field
from ndeploy.train.latent import Latent
from ndeploy.train.neuron import Form, Shape, State, TrainableNeuron
from ndeploy.train.scan import RESETS, Scanned, scan
from ndeploy.train.straight import clip, clip_state, decay, shift, wrap_state
from ndeploy.train.surrogate import spike

SHARE = 0.25
"""A rate of 1 moves a threshold by this share of itself, and the bias by as much."""


def tensor(value: Parameter, dtype: torch.dtype = torch.float64) -> Tensor:
    """A parameter that is not trained."""
    return torch.as_tensor(np.asarray(value, dtype=np.int64)).to(dtype)


def _largest(value: Parameter) -> int:
    return int(np.abs(np.asarray(value)).max(initial=0))


class _Leaky(TrainableNeuron):
    """Current and membrane, as ndeploy/neurons/membrane.py defines them."""

    neuron: CubaLif | CubaLi | TernaryLif

    def __init__(
        self, neuron: CubaLif | CubaLi | TernaryLif, bounds: Mapping[str, int], target: Target | None, unit: float
    ) -> None:
        super().__init__()
        self.neuron = neuron
        field = bias_field(neuron.bias, target)
        self.bias = Latent(neuron.bias, field.low, field.high, unit=unit, fit=field.fit)
        self.input_bias = getattr(neuron, "input_bias", 0)
        entering = None if "in" not in bounds else (bounds["in"] + _largest(self.input_bias)) << neuron.shift
        # a current that is forgotten at once is what entered; up to 2^23 - 1 nothing wraps
        self.forgets = bool((np.asarray(neuron.du) == DECAY_ONE - 1).all())
        self.wraps = not (self.forgets and entering is not None and entering <= STATE_MAX)
        halves = {DECAY_ONE >> i for i in range(13)} | {0}
        factors = set((DECAY_ONE - np.unique(np.asarray(neuron.dv))).tolist())
        # decays by powers of two are exact in float32, and raw_v is at most twice the 24 bits of a state
        small = _largest(neuron.bias) < 1 << 22 and entering is not None and entering < 1 << 22
        self.dtype = torch.float32 if small and not self.wraps and factors <= halves else torch.float64

    def _begin(self) -> None:
        """Rounded parameters for this pass."""
        n = self.neuron
        self._bias = self.bias.value(self.dtype)
        self._keep_u = tensor(DECAY_ONE - 1 - np.asarray(n.du), self.dtype)
        self._keep_v = tensor(DECAY_ONE - np.asarray(n.dv), self.dtype)
        self._entering = None if _largest(self.input_bias) == 0 else tensor(self.input_bias, self.dtype)

    def start(self, samples: int, shape: Shape) -> State:
        self._begin()
        return {name: torch.zeros((samples, *shape), dtype=self.dtype) for name in self.neuron.state}

    def _integrate(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(u, v before resets and clipping)."""
        entering = inputs["in"].to(self.dtype)
        if self._entering is not None:
            entering = entering + self._entering
        u = shift(entering, self.neuron.shift)
        if not self.forgets:
            u = decay(state["u"], self._keep_u) + u
        if self.wraps:
            u = wrap_state(u)
        return u, decay(state["v"], self._keep_v) + u + self._bias


class TrainableLif(_Leaky):
    """`CubaLif`: threshold and bias are trained; what a reset takes away carries no gradient."""

    neuron: CubaLif

    def __init__(self, neuron: CubaLif, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> None:
        unit = max(1.0, SHARE * float(np.abs(np.asarray(neuron.vth)).mean()))
        super().__init__(neuron, bounds, target, unit)
        field = threshold_field(neuron.vth, target)
        self.vth = Latent(neuron.vth, field.low, field.high, unit=unit, fit=field.fit)
        self.width = torch.as_tensor(np.maximum(np.abs(np.asarray(neuron.vth, dtype=np.float64)), 1.0))

    def _begin(self) -> None:
        super()._begin()
        self._vth = self.vth.value(self.dtype)
        self._width = self.width.to(self.dtype)
        self._amount = tensor(self.neuron.reset_amount, self.dtype)
        self._to = tensor(self.neuron.reset_value, self.dtype)

    def forward(self, state: State, inputs: Mapping[str, Tensor], step: int) -> tuple[State, Tensor]:
        n = self.neuron
        u, raw = self._integrate(state, inputs)
        if n.reset == "zero-next":
            raw = torch.where(state["spiked"] > 0, self._to, raw)
        elif n.reset == "subtract-next":
            raw = raw - state["spiked"] * self._amount
        v = clip_state(raw)
        if n.refractory:
            v = torch.where(state["wait"] > 0, self._to, v)
        sent = spike(v - self._vth, self._width)
        spiked = sent.detach()
        if n.reset == "zero":
            v = torch.where(spiked > 0, self._to, v)
        elif n.reset == "subtract":
            v = v - spiked * self._amount
        after = {"u": u, "v": v}
        if n.reset.endswith("-next"):
            after["spiked"] = spiked
        if n.refractory:
            after["wait"] = torch.where(spiked > 0, float(n.refractory), (state["wait"] - 1).clamp(min=0))
        return after, sent

    def over_steps(self, inputs: Mapping[str, Tensor], keep: tuple[str, ...] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """As in the base class; all steps in one compiled scan where the reset is simple and no state is wanted."""
        n, entering = self.neuron, inputs["in"]
        samples, steps, *shape = entering.shape
        if keep or n.refractory or n.reset not in RESETS or steps == 0:
            return super().over_steps(inputs, keep)
        if entering.stride(1) == 0:
            # the same at every step
            entering = entering[:, :1]
        if _largest(self.input_bias):
            entering = entering + tensor(self.input_bias, entering.dtype)

        def row(value: Tensor) -> Tensor:
            return value.expand(tuple(shape)).reshape(-1)

        how = Scanned(
            steps, 2.0**n.shift, self.forgets, self.wraps,
            row(tensor(DECAY_ONE - 1 - np.asarray(n.du))), row(tensor(DECAY_ONE - np.asarray(n.dv))),
            RESETS[n.reset], row(tensor(n.reset_amount)), row(tensor(n.reset_value)), row(self.width),
        )  # fmt: skip
        sent = scan(entering.flatten(2), row(self.bias.value()), row(self.vth.value()), how)
        return sent.view(samples, steps, *shape), {}

    def integer(self) -> Neuron:
        return replace(self.neuron, vth=self.vth.integer(), bias=self.bias.integer())


class TrainableTernary(_Leaky):
    """`TernaryLif`: the bias is trained."""

    neuron: TernaryLif

    def __init__(self, neuron: TernaryLif, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> None:
        width = np.maximum(np.abs(np.asarray(neuron.vth_high)), np.abs(np.asarray(neuron.vth_low)))
        super().__init__(neuron, bounds, target, max(1.0, SHARE * float(width.mean())))
        self.width = torch.as_tensor(np.maximum(width.astype(np.float64), 1.0))

    def forward(self, state: State, inputs: Mapping[str, Tensor], step: int) -> tuple[State, Tensor]:
        u, raw = self._integrate(state, inputs)
        v = clip_state(raw)
        high, low = tensor(self.neuron.vth_high, self.dtype), tensor(self.neuron.vth_low, self.dtype)
        width = self.width.to(self.dtype)
        sent = spike(v - high, width) - spike(low - v, width)
        return {"u": u, "v": torch.where(sent.detach() != 0, 0.0, v)}, sent

    def integer(self) -> Neuron:
        return replace(self.neuron, bias=self.bias.integer())


class TrainableReadout(_Leaky):
    """`CubaLi`: the bias is trained."""

    neuron: CubaLi

    def __init__(self, neuron: CubaLi, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> None:
        super().__init__(neuron, bounds, target, max(1.0, SHARE * _largest(neuron.bias)))

    def forward(self, state: State, inputs: Mapping[str, Tensor], step: int) -> tuple[State, Tensor]:
        u, raw = self._integrate(state, inputs)
        v = clip_state(raw)
        if not self.neuron.emit_bits:
            return {"u": u, "v": v}, torch.zeros_like(v)
        low, high = self.neuron.message.low, self.neuron.message.high
        return {"u": u, "v": v}, clip(shift(v, -self.neuron.emit_shift), low, high)

    def integer(self) -> Neuron:
        return replace(self.neuron, bias=self.bias.integer())


class _Plain(TrainableNeuron):
    """Neither state nor trained parameters."""

    stateless: ClassVar[bool] = True

    def __init__(self, neuron: Any, shape: Shape, bounds: Mapping[str, int], target: Target | None) -> None:
        super().__init__()
        self.neuron = neuron

    def start(self, samples: int, shape: Shape) -> State:
        return {}

    def integer(self) -> Neuron:
        found: Neuron = self.neuron
        return found


class TrainableCompare(_Plain):
    """`Compare`: its level belongs to a pool or a count and is not trained."""

    def forward(self, state: State, inputs: Mapping[str, Tensor], step: int) -> tuple[State, Tensor]:
        a = inputs["in"]
        level = tensor(self.neuron.vth, a.dtype) - tensor(self.neuron.bias, a.dtype)
        # whole numbers: half a unit above the level is the middle between silence and spike
        return {}, spike(a - level - 0.5, (level + 1).abs().clamp(min=1.0))


class TrainableRelay(_Plain):
    """`Relay`: what is held back carries no gradient."""

    def forward(self, state: State, inputs: Mapping[str, Tensor], step: int) -> tuple[State, Tensor]:
        a = inputs["in"]
        if self.neuron.vth == 0:
            return {}, a
        return {}, torch.where(a.abs() > self.neuron.vth, a, 0.0)


class TrainableProduct(_Plain):
    """`ProductNeuron`."""

    def forward(self, state: State, inputs: Mapping[str, Tensor], step: int) -> tuple[State, Tensor]:
        value = shift(inputs["in1"].double() * inputs["in2"].double(), -self.neuron.exponent)
        return {}, value if self.neuron.vth == 0 else torch.where(value.abs() > self.neuron.vth, value, 0.0)


FORMS: dict[type[Neuron], Form] = {
    CubaLif: TrainableLif,
    CubaLi: TrainableReadout,
    TernaryLif: TrainableTernary,
    Compare: TrainableCompare,
    Relay: TrainableRelay,
    ProductNeuron: TrainableProduct,
}
"""By type of the integer neuron."""
