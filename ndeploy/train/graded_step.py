"""The integer step of a neuron as the value of a smooth function: what all trainable forms of graded neurons share.

The value of an update is that of the integer neuron's own `step`, so equality needs no proof of its own. The gradient
is that of the real function the step approximates, at the same whole numbers: straight through every rounding, shift
and table, zero where a message or a state is clipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from ndeploy.fixed import MULTIPLIER_BITS, STATE_BITS, STATE_MAX, IntArray
from ndeploy.neurons import Message, Neuron, Parameter
from ndeploy.train.latent import FloatArray, Latent
from ndeploy.train.neuron import Shape, State, TrainableNeuron
from ndeploy.train.straight import clip, straight

N = TypeVar("N", bound=Neuron)
FACTOR_MAX = (1 << MULTIPLIER_BITS) - 1
FINE = 1 << 8
"""A multiplier or gain below is a power of two or a count that is meant exactly: it is not trained."""
SHARE = 2.0**-6
"""A unit of what is trained: of a multiplier or gain itself, of the sum a bias is added to. A machine that thinks in
ticks amplifies what moves all of its neurons at once: at a rate that suits its mantissas, 0.003, they may move no
faster (a hundredth of themselves in 200 steps)."""
REACH = 0.5
"""How much of the same a bounded training may change."""
TYPICAL = 1 / 16
"""What messages mostly are of the largest that a payload holds."""


def whole(x: Tensor) -> IntArray:
    """Whole numbers in floats, as the integer neuron takes them."""
    result: IntArray = x.detach().to(torch.int64).numpy()
    return result


def real(parameter: Parameter) -> Tensor | float:
    """A parameter that is not trained, in float64."""
    return torch.from_numpy(np.asarray(parameter, dtype=np.float64)) if np.ndim(parameter) else float(parameter)


def inverse_power(shift: Parameter) -> Tensor | float:
    """2^-shift."""
    return real(np.ldexp(1.0, -np.asarray(shift))) if np.ndim(shift) else 2.0 ** -int(shift)


def within(value: Tensor, message: Message) -> Tensor:
    """A real message before it is rounded, cut to the payload: no gradient where the rounded one is clipped."""
    return clip(value, message.low - 0.5, message.high + 0.5)


class GradedNeuron(TrainableNeuron, Generic[N]):
    """A trainable form of integer neurons N. `smooth` is the real function; values are the integer neuron's.

    latents: its trained parameters by name. What is not among them stays as it is.
    """

    def __init__(self, neuron: N, latents: Mapping[str, Latent]) -> None:
        super().__init__()
        self.neuron = neuron
        self.trained = tuple(latents)
        for name, latent in latents.items():
            self.add_module(name, latent)
        self.now = neuron
        self.parts: dict[str, Tensor | float] = {}

    def latent(self, name: str) -> Latent:
        """What is trained of the parameter of that name; TypeError where it is not."""
        found = getattr(self, name) if name in self.trained else None
        if not isinstance(found, Latent):
            raise TypeError(f"'{name}' of {self.neuron.kind} is not trained")
        return found

    def integer(self) -> N:
        found = {name: self.latent(name).integer() for name in self.trained}
        return replace(self.neuron, **found) if found else self.neuron

    def start(self, samples: int, shape: Shape) -> State:
        self.now = self.integer()
        self.parts = {name: self.latent(name).value() for name in self.trained}
        first = self.now.initial((samples, *shape)) if self.now.state else {}
        return {name: torch.from_numpy(value.astype(np.float64)) for name, value in first.items()}

    def part(self, name: str) -> Tensor | float:
        """A parameter as the smooth function takes it: with its gradient where it is trained."""
        if name not in self.parts:
            self.parts[name] = real(getattr(self.neuron, name))
        return self.parts[name]

    def power(self, name: str) -> Tensor | float:
        """2^-shift of the parameter of that name."""
        key = f"2^-{name}"
        if key not in self.parts:
            self.parts[key] = inverse_power(getattr(self.neuron, name))
        return self.parts[key]

    def smooth(self, state: State, inputs: Mapping[str, Tensor]) -> tuple[State, Tensor]:
        """The real function in float64: state after the update and message, both before rounding."""
        raise NotImplementedError

    def forward(self, state: State, inputs: Mapping[str, Tensor], step: int) -> tuple[State, Tensor]:
        after, message = self.now.step(
            {name: whole(value) for name, value in state.items()}, {port: whole(x) for port, x in inputs.items()}
        )
        # a payload that is clipped to 24 bits fits whatever float the inputs come in
        narrow = self.stateless and self.neuron.message.bits <= STATE_BITS
        dtype = next(iter(inputs.values())).dtype if narrow else torch.float64
        sent = torch.from_numpy(message.astype(np.float64))
        values = {name: torch.from_numpy(value.astype(np.float64)) for name, value in after.items()}
        if torch.is_grad_enabled():
            real_state, real_message = self.smooth(state, {port: x.double() for port, x in inputs.items()})
            sent = straight(real_message, sent)
            values |= {name: straight(value, values[name]) for name, value in real_state.items()}
        return values, sent.to(dtype)


def factor(value: Parameter, *, signed: bool = False) -> Latent | None:
    """A multiplier or gain as it is trained: a unit is `SHARE` of itself. None where it is too coarse to be trained."""
    top = min(int(np.abs(np.asarray(value)).max(initial=0)), FACTOR_MAX)
    if top < FINE:
        return None
    return Latent(value, -FACTOR_MAX if signed else 0, FACTOR_MAX, unit=SHARE * top, reach=REACH * top)


class OwnUnits(Latent):
    """A latent whose numbers have a unit each: `size` broadcasts to the parameter, a unit is `SHARE` of it."""

    def __init__(self, start: Parameter, low: int, high: int, size: FloatArray) -> None:
        super().__init__(start, low, high)
        own = np.broadcast_to(size, np.broadcast_shapes(np.shape(size), self.shape))
        # one number for several neurons takes the unit in their middle
        kept = (1,) * (own.ndim - self.base.ndim) + tuple(self.base.shape)
        for axis, length in enumerate(kept):
            if own.shape[axis] != length:
                own = np.median(own, axis, keepdims=True)
        self.size: Tensor
        self.register_buffer("size", torch.from_numpy(np.array(own.reshape(tuple(self.base.shape)), dtype=np.float64)))
        self.unit = SHARE * self.size
        self.reach = REACH * self.size


def bias(value: Parameter, size: FloatArray, bound: int | None, limit: int = STATE_MAX) -> Latent | None:
    """A bias as it is trained; None for the number 0, which is no bias.

    size: what the sum mostly is, by neuron; a unit is `SHARE` of it. bound: largest sum the bias is added to,
    so that both together stay below `limit`; what starts beyond stays allowed.
    """
    if not np.ndim(value) and not int(np.asarray(value)):
        return None
    start = int(np.abs(np.asarray(value)).max(initial=0))
    room = max(start, limit - (bound or 0))
    return OwnUnits(value, -room, room, size)


def sum_for(value: float, multiplier: Parameter, shift: Parameter) -> FloatArray:
    """The sum that multiplier / 2^shift makes `value` of."""
    by = np.maximum(np.asarray(multiplier, dtype=np.float64), 1.0)
    return np.asarray(np.ldexp(value / by, np.asarray(shift)), dtype=np.float64)


def present(**latents: Latent | None) -> dict[str, Latent]:
    """Those that are trained."""
    return {name: latent for name, latent in latents.items() if latent is not None}
