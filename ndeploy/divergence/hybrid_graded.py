"""Graded neurons of the float64 execution: the integer update, or the real function it stands for (`hybrid`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ndeploy.divergence.causes import Mix
from ndeploy.divergence.exact import ExactGraded
from ndeploy.divergence.hybrid_neurons import Stepped
from ndeploy.divergence.signals import FloatArray
from ndeploy.fixed import DECAY_ONE, IntArray
from ndeploy.ir.lowered import (
    DeltaCoded,
    Gated,
    Graded,
    Held,
    Normed,
    Registered,
    Softmaxed,
    Synchronised,
)
from ndeploy.ir.program import Population
from ndeploy.neurons import Register, Sigma, Synchrony

BIASES = {"in": "bias", "gate": "gate_bias"}
"""The field that holds a port's integer bias."""


def decays(population: Population, exact: ExactGraded) -> FloatArray:
    """What stays of a synchronisation's sum in a step, flat: the network's, but for those that the program has not
    rounded from it (they are off by more than one of 4096). Empty for other neurons."""
    if not (isinstance(population.neuron, Synchrony) and isinstance(exact.model, Synchronised)):
        return np.zeros(0)
    real = np.array(np.broadcast_to(exact.model.decay, population.shape), dtype=np.float64).reshape(-1)
    own = np.broadcast_to(np.asarray(population.neuron.factor), population.shape).reshape(-1) / DECAY_ONE
    return np.where(np.abs(own - real) > 1.0 / DECAY_ONE, own, real)


def wrong_decays(population: Population, exact: ExactGraded) -> bool:
    """Whether some of a synchronisation's factors are not rounded from the network's."""
    own = decays(population, exact)
    return bool(own.size and (own != np.broadcast_to(exact.model.decay, population.shape).reshape(-1)).any())


def graded(population: Population, exact: ExactGraded, mix: Mix, samples: int) -> Stepped:
    """The population's neurons, cleared.

    "activation" stands for all of the integer update but its biases, which go with the weights: methods add to them
    what makes up for the mean error of rounded weights.
    """
    if mix.mends("activation", population.name):
        return _Real(population, exact, mix, samples)
    if isinstance(population.neuron, Register | Sigma):
        return _Holding(population, samples)
    return _Whole(population, exact, mix, samples)


def _biases(population: Population, exact: ExactGraded) -> dict[str, FloatArray]:
    """By port the integer bias, flat, in units of the input."""
    found = {}
    for port in population.neuron.ports:
        value = np.asarray(getattr(population.neuron, BIASES.get(port, ""), 0), dtype=np.float64)
        found[port] = np.array(np.broadcast_to(value, population.shape)).reshape(-1)
    return found


class _Whole(Stepped):
    """The integer update on what arrives, rounded to whole numbers where something before it was mended."""

    def __init__(self, population: Population, exact: ExactGraded, mix: Mix, samples: int) -> None:
        super().__init__(population)
        self.neuron, self.shape = population.neuron, population.shape
        mended = mix.mends("decay", population.name) and wrong_decays(population, exact)
        if isinstance(self.neuron, Synchrony) and mended:
            nearest = np.rint(np.broadcast_to(exact.model.decay, self.shape) * DECAY_ONE).astype(np.int64)
            self.neuron = replace(self.neuron, factor=nearest)
        self.state: dict[str, IntArray] = {
            name: np.array(np.broadcast_to(value, (samples, *self.shape)))
            for name, value in population.neuron.initial(self.shape).items()
        }
        self.more: dict[str, Tensor] = {}
        if mix.mends("weights", population.name):
            own = _biases(population, exact)
            self.more = {port: torch.from_numpy(exact.bias[port] / exact.unit[port] - own[port]) for port in own}

    def step(self, inputs: Mapping[str, Tensor]) -> Tensor:
        whole = {}
        for port, a in inputs.items():
            value = a + self.more[port] if port in self.more else a
            whole[port] = np.rint(value.numpy()).astype(np.int64).reshape(-1, *self.shape)
        self.state, message = self.neuron.step(self.state, whole)
        return torch.from_numpy(message.reshape(len(message), -1).astype(np.float64))


class _Holding(Stepped):
    """`Register` and `Sigma`: they add and round nothing but their start."""

    def __init__(self, population: Population, samples: int) -> None:
        super().__init__(population)
        neuron = population.neuron
        start = next(iter(neuron.initial(population.shape).values())).astype(np.float64).reshape(1, -1)
        self.held = torch.from_numpy(np.repeat(start, samples, axis=0))
        self.sums = isinstance(neuron, Sigma)

    def step(self, inputs: Mapping[str, Tensor]) -> Tensor:
        value = inputs["in"] + self.held
        self.held = value if self.sums else torch.zeros_like(value)
        return value


class _Real(Stepped):
    """The function in real values. A delta coder sends every change: a float network has no threshold there."""

    def __init__(self, population: Population, exact: ExactGraded, mix: Mix, samples: int) -> None:
        super().__init__(population)
        self.model, self.shape = exact.model, population.shape
        self.scale = torch.from_numpy(exact.scale)
        self.unit = {port: torch.from_numpy(value) for port, value in exact.unit.items()}
        bias = exact.bias
        if not mix.mends("weights", population.name):
            bias = {port: own * exact.unit[port] for port, own in _biases(population, exact).items()}
        self.bias = {port: torch.from_numpy(value) for port, value in bias.items()}

        def full(value: FloatArray) -> Tensor:
            flat = np.array(np.broadcast_to(value, population.shape), dtype=np.float64).reshape(1, -1)
            return torch.from_numpy(np.repeat(flat, samples, axis=0))

        if isinstance(self.model, Registered | Held | DeltaCoded):
            self.held = full(self.model.start)
        elif isinstance(self.model, Synchronised):
            self.held, self.beta = full(self.model.alpha), full(self.model.beta)
            rest = mix.mends("decay", population.name)
            self.decay = full(self.model.decay if rest else decays(population, exact).reshape(self.shape))

    def step(self, inputs: Mapping[str, Tensor]) -> Tensor:
        real = {port: a * self.unit[port] + self.bias[port] for port, a in inputs.items()}
        return self._value(real) / self.scale

    def _value(self, real: Mapping[str, Tensor]) -> Tensor:
        model = self.model
        if isinstance(model, Graded):
            x = real["in"]
            return {"identity": lambda: x, "relu": lambda: x.clamp(min=0.0), "silu": lambda: x * torch.sigmoid(x)}[
                model.function
            ]()
        if isinstance(model, Gated):
            return real["in"] * torch.sigmoid(real["gate"])
        if isinstance(model, Normed):
            viewed = real["in"].reshape(-1, *model.view).movedim(model.axis + 1, -1)
            mean, variance = viewed.mean(-1, keepdim=True), viewed.var(-1, keepdim=True, correction=0)
            normed = (viewed - mean) / torch.sqrt(variance + model.epsilon)
            normed = normed * torch.from_numpy(np.array(model.gain)) + torch.from_numpy(np.array(model.offset))
            return normed.movedim(-1, model.axis + 1).reshape(real["in"].shape)
        if isinstance(model, Softmaxed):
            return torch.softmax(real["in"].reshape(-1, *model.view), -1).reshape(real["in"].shape)
        if isinstance(model, Synchronised):
            self.held = self.decay * self.held + real["left"] * real["right"]
            self.beta = self.decay * self.beta + 1.0
            return self.held / torch.sqrt(self.beta)
        if isinstance(model, DeltaCoded):
            change = real["in"] - self.held
            self.held = real["in"]
            return change
        value = real["in"] + self.held
        self.held = value if isinstance(model, Held) else torch.zeros_like(value)
        return value
